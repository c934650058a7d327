"""Limits that follow from this model: from what fitting its palettes measured on texts that it kept apart.

Factor 2, because parity's prompts are other texts. Measured, parity's prompts over the texts kept apart: 1.06, 1.00 and
0.97 for samples/home_intents at 4, 3 and 2 bits; 0.99, 1.07 and 1.03 for samples/prose; 1.24 and 1.19 for
all-MiniLM-L6-v2 at 4 and 2 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from exporter.parity.metrics import METRICS
from exporter.parity.options import Judged
from exporter.parity.thresholds import Limit

_TWICE = 2.0
_QUICK = 3.0  # a quarter of the prompts: their mean varies twice as much
_NEAR = 1.5  # of the fitted palettes' error, where k-means is hardly worse: other texts differ by as much
_ELSEWHERE = (
    4.0  # of k-means on texts of another domain: on built-in texts home_intents costs 3 times its own requests'
)
_LEAST = 1e-3  # nats, or 1 - cosine: what float16 arithmetic alone is granted


@dataclass(frozen=True)
class FitCost:
    """What the palettes cost on the texts that fitting kept apart.

    error: nats ("kl"), or 1 - cosine ("distance"). shipped: of the palettes in the files; plain: of optimal k-means at
    the same bits. same_texts: whether parity's prompts come from the same source as these texts.
    """

    error: Literal["kl", "distance"]
    shipped: float
    plain: float
    same_texts: bool = True

    def allowed(self, depth: str) -> float:
        """Twice what was measured, or what k-means costs where that is less. Prompts from elsewhere: 4 times."""
        if not self.same_texts:
            return max(_ELSEWHERE * max(self.plain, self.shipped), _LEAST)
        factor = _TWICE if depth == "full" else _QUICK
        return max(min(factor * self.shipped, max(self.plain, _NEAR * self.shipped)), _LEAST)


def narrowed(limits: Sequence[Limit], cost: FitCost | None, judged: Judged, depth: str) -> tuple[Limit, ...]:
    """`limits`, where what the fit measured allows less than the table. The table stays the ceiling."""
    metric = {"tokens": "kl", "classes": "kl", "embeddings": "cosine_mean"}.get(judged)
    if cost is None or metric is None or (metric == "kl") != (cost.error == "kl"):
        return tuple(limits)
    return tuple(_narrower(limit, cost, depth) if limit.metric == metric else limit for limit in limits)


def _narrower(limit: Limit, cost: FitCost, depth: str) -> Limit:
    higher, allowed = METRICS[limit.metric].higher_is_better, cost.allowed(depth)
    value = 1 - allowed if higher else allowed
    if value <= limit.value if higher else value >= limit.value:
        return limit
    where = "on texts kept apart" if cost.same_texts else "on other texts than these"
    costs = f"the fit measured {cost.shipped:.3g} {where}, and {cost.plain:.3g} for plain k-means"
    return Limit(limit.metric, value, f"{costs}; in no case beyond {limit.value:g}: {limit.reason}")
