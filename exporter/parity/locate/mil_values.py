"""Intermediate values of a Core ML program, under the names of the hub values that they stand for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from exporter.runners.mil import MilModel

Array = NDArray[Any]
Observe = Callable[[str, "torch.Tensor"], None]

FP16_MAX = 65504.0


def mil_name(hub_name: str) -> str:
    """The identifier that the Core ML lowering gives an op that computes this hub value."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", hub_name)
    return f"_{name}" if not name or name[0].isdigit() else name


class MilCapture:
    """An `observe` callback that keeps every tensor by its MIL name."""

    def __init__(self) -> None:
        self.values: dict[str, Array] = {}

    def __call__(self, name: str, tensor: torch.Tensor) -> None:
        """Keeps a copy: the executor may reuse the memory."""
        self.values[name] = np.array(tensor.detach().numpy())

    def by_hub_name(self, names: Iterable[str]) -> dict[str, Array]:
        """Hub value name → array. Names that become the same identifier are left out: nothing tells them apart."""
        names = list(names)
        count = Counter(mil_name(name) for name in names)
        return {
            name: self.values[mil_name(name)]
            for name in names
            if count[mil_name(name)] == 1 and mil_name(name) in self.values
        }


class OverflowScan:
    """An `observe` callback that notes float16 tensors with elements beyond ±65504 (or NaN), in program order.

    Values are observed before they are rounded, so that the scan sees what float16 can't hold. It ignores tensors that
    the program computes in float32.
    """

    def __init__(self, model: MilModel) -> None:
        self._half = {
            output.name
            for operation in model.function.operations
            for output in operation.outputs
            if output.type.dtype.name == "fp16"
        }
        self.largest: dict[str, float] = {}

    def __call__(self, name: str, tensor: torch.Tensor) -> None:
        """Looks at one tensor; keeps the largest absolute value of those that overflow."""
        if name not in self._half or not tensor.numel() or not tensor.is_floating_point():
            return
        largest = float(tensor.abs().max())
        if not largest <= FP16_MAX:  # NaN overflows too
            self.largest[name] = max(largest, self.largest.get(name, largest))
