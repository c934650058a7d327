"""Weights as torch linear layers, the input of other tools' palettizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.pipeline.parts import candidates

from .ours import plain_compression
from .parts import Outcome, Setting, Subject, Weights


@dataclass(frozen=True)
class Layer:
    """Rows of a tensor. group_size: rows per LUT; None: one LUT for all rows."""

    tensor: str
    rows: slice
    group_size: int | None


@dataclass(frozen=True)
class Work:
    """The input of another tool: the tensors that Kogata palettizes at this setting, so that all store the same bytes.

    An incomplete last group becomes a separate layer: the other tools skip a matrix that groups don't divide.
    """

    weights: Weights
    layers: Mapping[str, Layer]
    setting: Setting
    stored_bytes: int

    @classmethod
    def of(cls, subject: Subject, setting: Setting) -> Work:
        plain = plain_compression(subject, setting)
        loaders = {c.name: c.load for c in candidates(subject.hub)}
        weights = {name: loaders[name](slice(None)) for name in plain.palettes}
        layers: dict[str, Layer] = {}
        for number, (name, weight) in enumerate(weights.items()):
            size = setting.rows(len(weight))
            whole = len(weight) // size * size
            layers[f"w{number}"] = Layer(name, slice(0, whole), size if size < whole else None)
            if whole < len(weight):
                layers[f"w{number}rest"] = Layer(name, slice(whole, len(weight)), None)
        return cls(weights, layers, setting, plain.stored_bytes)

    def parts(self, of: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Layer name → its rows in `of`, which has one matrix for each tensor."""
        return {key: np.ascontiguousarray(of[layer.tensor][layer.rows]) for key, layer in self.layers.items()}

    def outcome(self, parts: Mapping[str, NDArray[np.floating]], seconds: float) -> Outcome:
        """The outcome of the layers' decoded weights, rounded to float16 like a stored LUT."""
        dense = {name: np.empty_like(weight) for name, weight in self.weights.items()}
        for key, layer in self.layers.items():
            dense[layer.tensor][layer.rows] = np.asarray(parts[key], np.float32).astype(np.float16)
        return Outcome(dense, self.stored_bytes, seconds)
