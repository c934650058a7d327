"""Data types that the parts of the benchmark exchange."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.graph.model import Hub

Weights = Mapping[str, NDArray[np.float32]]  # tensor name → dense weight [out, in]
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Setting:
    """Palettes of `bits`, with one LUT for `group_size` output rows; None: one for the whole tensor."""

    bits: int
    group_size: int | None

    @classmethod
    def of(cls, text: str) -> Setting:
        """Parses a text such as `4g16`, `3g1`, or `4` for one LUT per tensor."""
        bits, _, group = text.partition("g")
        return cls(int(bits), int(group) if group else None)

    def rows(self, out: int) -> int:
        """Rows that share a LUT in a matrix of `out` rows."""
        return min(self.group_size or out, out)

    def __str__(self) -> str:
        return f"{self.bits} bit " + (f"g{self.group_size}" if self.group_size else "per tensor")


@dataclass(frozen=True)
class Outcome:
    """The result of a method for a model.

    weights: the palettized tensors as the phone decodes them, float16 values. stored_bytes: of all tensors, with LUTs
    and uncompressed tensors. seconds: to palettize the weights, without reading them and without measurements that are
    made once for each model, unless the method says otherwise. peak_bytes: largest resident set, if the method runs in
    its own process.
    """

    weights: Weights
    stored_bytes: int
    seconds: float
    peak_bytes: int | None = None


class Subject(Protocol):
    """A model in torch whose weights can be replaced. calibration: token ids of a decoder, sentences of an encoder."""

    name: str
    checkpoint: Path
    hub: Hub
    calibration: Sequence[Any]
    metrics: tuple[str, ...]  # the first is the loss that methods are compared by

    def score(self, weights: Weights) -> Scores:
        """Metric → value with these weights instead of the checkpoint's."""

    def losses(self) -> Iterable[object]:
        """One scalar torch loss per calibration text, with a graph to differentiate."""


class Method(Protocol):
    """A way to palettize. uniform: all tensors get the setting's bits and groups. trains: takes minutes."""

    name: str
    uniform: bool
    trains: bool

    def palettize(self, subject: Subject, setting: Setting) -> Outcome:
        """Raises UnavailableError."""


def require_palettes(weights: Weights, setting: Setting) -> None:
    """Raises AssertionError if a group has more than `2**bits` values: its bytes would be understated."""
    for name, weight in weights.items():
        size = setting.rows(len(weight))
        for start in range(0, len(weight), size):
            values = np.unique(weight[start : start + size])
            if values.size > 2**setting.bits:
                raise AssertionError(f"{name}: {values.size} values in rows {start} to {start + size}, {setting}")
