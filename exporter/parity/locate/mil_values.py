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

Array = NDArray[Any]
Observe = Callable[[str, "torch.Tensor"], None]


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
        """Hub value name → array. Names that become the same identifier are left out: which is which is unknown."""
        names = list(names)
        count = Counter(mil_name(name) for name in names)
        return {
            name: self.values[mil_name(name)]
            for name in names
            if count[mil_name(name)] == 1 and mil_name(name) in self.values
        }


class OverflowScan:
    """An `observe` callback that notes tensors with infinite or NaN elements, in program order.

    In a run with float16 rounding, infinity is what a float16 tensor becomes beyond ±65504.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, None] = {}

    def __call__(self, name: str, tensor: torch.Tensor) -> None:
        """Looks at one tensor."""
        if tensor.is_floating_point() and name not in self.tensors and not bool(tensor.isfinite().all()):
            self.tensors[name] = None
