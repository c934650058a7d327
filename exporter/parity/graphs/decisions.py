"""What an app decides from an output: yes or no, the sign of a single number, or the first of several classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.graphs.kinds import OutputKind
from exporter.parity.graphs.series import Series

Array = NDArray[Any]

_LEAST = 10  # a flip among fewer decisions counts as one of as many: few samples are a coarse scale
_TIE = 0.01  # of the largest value: what float16 hardware is granted (40 dB)
_YES_NO_TIE = 0.05  # of a probability: nobody sets a threshold more exactly


@dataclass
class Decisions:
    """yes, no: clear decisions of the reference. flipped: those of them that the artifact takes the other way.

    Decisions within the error that the row grants anyway are near-ties, and are left out.
    """

    yes: int = 0
    no: int = 0
    flipped: int = 0
    classes: bool = False

    @classmethod
    def of(cls, series: Series, kind: OutputKind, granted: float) -> Decisions | None:
        """None for an output that decides nothing. granted: squared error over variance."""
        spread = math.sqrt(granted) * series.spread(kind.kind)
        peak = max((float(np.abs(a).max()) for a in series.references if a.size), default=0.0)
        tie = max(spread, _TIE * peak) if math.isfinite(peak) else math.nan
        if math.isnan(tie):
            return None
        if kind.kind == "yes-no":
            return cls()._add_all(series, lambda array: array - 0.5, max(tie, _YES_NO_TIE))
        if kind.kind == "shares":
            return cls(classes=True)._add_choices(series, kind.axis, tie)
        single = all(array.ndim == 0 or array.shape[-1] == 1 for array in series.references)
        signs = {bool(sign) for array in series.references for sign in np.unique(array > 0)}
        return cls()._add_all(series, lambda array: array, tie) if single and len(signs) > 1 else None

    @property
    def kept(self) -> float:
        """Share of decisions that stay; of yes and no, beside the rarer one: a detector says no nearly everywhere."""
        count = self.yes + self.no if self.classes else min(self.yes, self.no)
        return max(0.0, 1 - self.flipped / max(count, _LEAST))

    def _add_all(self, series: Series, centred: Callable[[Array], Array], tie: float) -> Decisions:
        for reference, artifact in zip(series.references, series.artifacts, strict=True):
            a, b = (centred(np.asarray(side, np.float64)) for side in (reference, artifact))
            clear = np.abs(a) > tie
            self.yes += int(np.count_nonzero(clear & (a > 0)))
            self.no += int(np.count_nonzero(clear & (a <= 0)))
            self.flipped += int(np.count_nonzero(clear & ((a > 0) != (b > 0))))
        return self

    def _add_choices(self, series: Series, axis: int, tie: float) -> Decisions:
        for reference, artifact in zip(series.references, series.artifacts, strict=True):
            if not reference.size:
                continue
            a, b = (np.moveaxis(np.asarray(side, np.float64), axis, -1) for side in (reference, artifact))
            first, second = a.argmax(-1)[..., None], b.argmax(-1)[..., None]
            gaps = np.take_along_axis(a, first, -1) - np.take_along_axis(a, second, -1)
            self.yes += int(first.size)
            self.flipped += int(np.count_nonzero(gaps > tie))
        return self
