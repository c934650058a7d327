"""Tensors that hold several weights or a transposed one: each weight becomes a lazy part of the stored tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.importers.parts import NamedTensor

Array = NDArray[Any]


@dataclass(frozen=True)
class Fused:
    """The weights in one checkpoint tensor.

    shapes: role → shape, in the order of the rows. grouped_by: None, or the rows of a head if the tensor holds for each
    key/value head its queries, its key and its value. transposed: stored `[in, out]`.
    """

    shapes: Mapping[str, tuple[int, ...]]
    grouped_by: int | None = None
    transposed: bool = False

    @property
    def stored(self) -> tuple[int, ...]:
        """The shape of the tensor in the file."""
        first = next(iter(self.shapes.values()))
        shape = (sum(shape[0] for shape in self.shapes.values()), *first[1:])
        return shape[::-1] if self.transposed else shape

    def split(self, name: str, tensor: ir.TensorProtocol) -> dict[str, NamedTensor]:
        """Role → its part of the tensor, which is read lazily; the tensor itself if it holds a single weight."""
        if len(self.shapes) == 1 and not self.transposed:
            return {role: NamedTensor(name, tensor) for role in self.shapes}
        parts, start = {}, 0
        for i, (role, shape) in enumerate(self.shapes.items()):
            label = role.removesuffix(".bias").rsplit(".", 1)[-1]
            part = f"{name}/{label}" if len(self.shapes) > 1 else name
            read = partial(self._read, tensor, i, start)
            parts[role] = NamedTensor(part, ir.LazyTensor(read, dtype=tensor.dtype, shape=ir.Shape(shape), name=part))
            start += shape[0]
        return parts

    def _read(self, tensor: ir.TensorProtocol, i: int, start: int) -> ir.TensorProtocol:
        shape = list(self.shapes.values())[i]
        rows: Array = tensor.numpy()
        if self.transposed:
            rows = rows.T
        rows = rows[start : start + shape[0]] if self.grouped_by is None else self._grouped(rows, i)
        return ir.Tensor(np.ascontiguousarray(rows), dtype=tensor.dtype, shape=ir.Shape(shape))

    def _grouped(self, rows: Array, i: int) -> Array:
        """The queries, keys or values from rows `[kv_heads · (query heads of each + 2) · head_dim, …]`."""
        query, key, _ = (shape[0] for shape in self.shapes.values())
        each = query // key
        groups = rows.reshape(key // (self.grouped_by or 1), each + 2, self.grouped_by or 1, *rows.shape[1:])
        part = (groups[:, :each], groups[:, each], groups[:, each + 1])[i]
        return part.reshape(-1, *rows.shape[1:])
