"""What the model card says was lost: few plain rows. parity/report.json has every metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.bundle.facts import Bound, ParityFacts
    from exporter.bundle.manifest import Manifest

ROWS = 4


def _share(value: float) -> str:
    return f"{100 * value:.4g} %"


def _plain(value: float) -> str:
    return f"{value:.3g}"


def _with(unit: str) -> Callable[[float], str]:
    return lambda value: f"{value:.3g} {unit}"


# Metric → its meaning for somebody who doesn't know it, and how it is written. In the order in which a card shows them.
_WORDS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "kl": ("Difference of the predictions (KL divergence, mean over positions)", _with("nats")),
    "top1_or_tie": ("Positions where the most likely token is the checkpoint's", _share),
    "greedy_equal": ("Answers that are the same, word for word", _share),
    "decisions": ("Decisions that are the checkpoint's", _share),
    "cosine_mean": ("Similarity of the outputs (cosine, mean over texts)", _plain),
    "cosine_min": ("Similarity of the outputs (cosine, worst text)", _plain),
    "order": ("Pairs of texts whose scores are in the same order", _share),
    "self_retrieval": ("Texts that find themselves among the checkpoint's embeddings", _share),
    "unexplained": ("Error of the outputs, as a share of their variance", _share),
    "unequal": ("Whole numbers that differ", _share),
    "psnr_db": ("Distance of the outputs (PSNR, larger is closer)", _with("dB")),
    "sentence_psnr_db": ("Distance of the embeddings (PSNR, larger is closer)", _with("dB")),
    "non_finite": ("Outputs that are not numbers", _plain),
}


@dataclass(frozen=True)
class Loss:
    """One row. limit: in words, "none" where the metric isn't limited. broken: whether the value breaks its limit."""

    what: str
    value: str
    limit: str
    broken: bool


def losses(parity: ParityFacts) -> tuple[Loss, ...]:
    """Four rows, those with limits first chosen; more where more limits are broken, for a card must not hide one."""
    bounds = parity.thresholds
    known = [name for name in _WORDS if name in parity.metrics]
    chosen = sorted(known, key=lambda name: name not in bounds)[:ROWS]
    broken = [name for name in bounds if name in parity.metrics and _broken(parity.metrics[name], bounds[name])]
    shown = [name for name in known if name in chosen or name in broken]
    shown += [name for name in broken if name not in _WORDS]
    return tuple(_loss(name, parity.metrics[name], bounds.get(name)) for name in shown)


def model_index(manifest: Manifest) -> list[dict[str, Any]]:
    """The hub's `model-index`, from the accuracy on the task file; empty where there was none.

    https://github.com/huggingface/hub-docs/blob/main/modelcard.md
    """
    results = [
        {
            "task": {"type": manifest.task},
            "dataset": {"type": "custom", "name": "task file of the export"},
            "metrics": [
                {
                    "type": "exact_match",
                    "name": f"exact match, {artifact.path}",
                    "value": round(task.correct / task.total, 4),
                }
            ],
        }
        for artifact in manifest.artifacts
        for task in manifest.parity[artifact.path].tasks
    ]
    return [{"name": manifest.name, "results": results}] if results else []


def _loss(name: str, value: float | None, bound: Bound | None) -> Loss:
    what, write = _WORDS.get(name, (name, _plain))
    limits = [] if bound is None else [("at least", bound.min), ("at most", bound.max)]
    limit = " and ".join(f"{side} {write(number)}" for side, number in limits if number is not None)
    finite = value is not None and math.isfinite(value)
    written = write(value) if value is not None and finite else "not finite"
    return Loss(what, written, limit or "none", bound is not None and _broken(value, bound))


def _broken(value: float | None, bound: Bound) -> bool:
    if value is None or not math.isfinite(value):
        return bound.min is not None or bound.max is not None
    return (bound.min is not None and value < bound.min) or (bound.max is not None and value > bound.max)
