"""A node's attributes, read once, and the dtype that stands for all floats: what an op is made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch

Op = Callable[..., Any]
"""Takes the node's inputs in order, None for those left out; returns a tensor, or a tuple where there are several."""

_DTYPES = {
    ir.DataType.BOOL: torch.bool,
    ir.DataType.INT8: torch.int8,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT64: torch.int64,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.UINT16: torch.int32,  # torch computes little with these two; the next wider type holds their values
    ir.DataType.UINT32: torch.int64,
    ir.DataType.DOUBLE: torch.float64,
}
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def torch_dtype(dtype: ir.DataType | int, floats: torch.dtype) -> torch.dtype | None:
    """The torch dtype of an ONNX dtype: `floats` for any float of up to 32 bits; None where torch has none."""
    dtype = ir.DataType(dtype)
    return floats if dtype in _FLOATS else _DTYPES.get(dtype)


@dataclass(frozen=True)
class Attributes:
    """A node's attributes, typed. floats: the dtype of all floats in the graph; products: of attention's products."""

    node: ir.Node
    floats: torch.dtype
    products: torch.dtype

    def integer(self, name: str, default: int) -> int:
        """An INT attribute, or `default` when the node has none."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_int()

    def flag(self, name: str, default: bool = False) -> bool:
        """An INT attribute that is 0 or 1."""
        return bool(self.integer(name, int(default)))

    def number(self, name: str, default: float) -> float:
        """A FLOAT attribute, or `default` when the node has none."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_float()

    def integers(self, name: str) -> list[int] | None:
        """An INTS attribute, or None when the node has none."""
        attribute = self.node.attributes.get(name)
        return None if attribute is None else [int(value) for value in attribute.as_ints()]

    def text(self, name: str, default: str) -> str:
        """A STRING attribute, or `default` when the node has none."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_string()

    def dtype(self, name: str, default: ir.DataType) -> torch.dtype:
        """An attribute that names a dtype. Raises NotImplementedError for one that torch doesn't have."""
        asked = ir.DataType(self.integer(name, int(default)))
        found = torch_dtype(asked, self.floats)
        if found is None:
            raise NotImplementedError(f"the dtype {asked.name}")
        return found

    def given(self, index: int) -> bool:
        """Whether the node has the input `index`."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def used(self, index: int) -> bool:
        """Whether anything reads output `index`."""
        if index >= len(self.node.outputs):
            return False
        value = self.node.outputs[index]
        return bool(value.name) and bool(value.is_graph_output() or value.uses())


OpMaker = Callable[[Attributes], Op]
"""Raises NotImplementedError for a variant of the op that isn't implemented; the message names it."""


def always(op: Op) -> OpMaker:
    """The maker of an op without attributes."""
    return lambda _: op


def ints(tensor: torch.Tensor) -> list[int]:
    """A tensor of sizes, axes or places as Python integers."""
    return [int(value) for value in tensor.reshape(-1).tolist()]
