"""Given a decoder's graph with palettes or dense weights,
Result: products with a weight are `MatMulNBits`, and look-ups of rows are `GatherBlockQuantized`, both on integers that
the kernels read as they are stored. A tied embedding's integers are stored once: both ops' tensors name the same bytes.
Refuses: nothing; a weight that is used in another way stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.graph.grid import Grid, GridBits, palette_grid, rounded_grid, usual_block
from exporter.graph.model import Weight
from exporter.graph.palette import Palette
from exporter.lower.onnx.mobile.attention import MICROSOFT

ACCURACY = 4  # activations are rounded to int8 per block: the level with the fast kernels


@dataclass(frozen=True)
class Stored:
    """Names of initializers: those with integers, those with scales, and integers that are the same bytes as others."""

    integers: set[str] = field(default_factory=set)
    scales: set[str] = field(default_factory=set)
    same_bytes: dict[str, str] = field(default_factory=dict)


def quantize_weights(model: ir.Model, weights: tuple[Weight, ...], sources: Sources) -> Stored:
    """Replaces the uses of all weights in place."""
    stored = Stored()
    values = {value.name: value for node in model.graph for value in node.outputs}
    for weight in weights:
        dense = values.get(weight.name) or model.graph.initializers[weight.name]
        _Uses(model.graph, _Matrix(weight, dense, sources), stored).replace()
    return stored


@dataclass(frozen=True)
class Sources:
    """What integers are made of: of a grid where there is one, else of a palette, else of the dense matrix. bits: of
    matrices without a grid."""

    grids: Mapping[str, Grid]
    palettes: Mapping[str, Palette]
    bits: GridBits


@dataclass(frozen=True)
class _Matrix:
    """One weight. dense: its value in the graph, float32 or in the checkpoint's dtype."""

    weight: Weight
    dense: ir.Value
    sources: Sources

    @property
    def bits(self) -> GridBits:
        ready = self.sources.grids.get(self.weight.name)
        return ready.bits if ready is not None else self.sources.bits

    @property
    def block(self) -> int:
        ready = self.sources.grids.get(self.weight.name)
        return ready.block if ready is not None else usual_block(self.weight.shape[1])

    @property
    def blocks(self) -> int:
        return -(-self.weight.shape[1] // self.block)

    def grid(self) -> Grid:
        """Made anew at each call, so that only one matrix is in memory."""
        name = self.weight.name
        ready, palette = self.sources.grids.get(name), self.sources.palettes.get(name)
        if ready is not None:
            return ready
        if palette is not None and self.bits == 8:
            return palette_grid(palette, self.block)
        return rounded_grid(self._floats() if palette is None else palette.dense(), self.bits, self.block)

    def _floats(self) -> NDArray[np.float32]:
        tensor = self.dense.const_value
        assert tensor is not None
        return tensor.numpy().astype(np.float32)


class _Uses:
    """Replaces all uses of one matrix."""

    def __init__(self, graph: ir.Graph, matrix: _Matrix, stored: Stored) -> None:
        self.graph, self.matrix, self.stored = graph, matrix, stored

    def replace(self) -> None:
        for value in self._floats():
            for use in list(value.uses()):
                if use.node.op_type == "Gather" and use.idx == 0:
                    self._gather(use.node)
                elif use.node.op_type == "Transpose":
                    for product in [
                        u.node for u in use.node.outputs[0].uses() if u.node.op_type == "MatMul" and u.idx == 1
                    ]:
                        self._product(product)

    def _floats(self) -> list[ir.Value]:
        """The weight's value, and its cast to float32."""
        casts = [use.node.outputs[0] for use in self.matrix.dense.uses() if use.node.op_type == "Cast"]
        return [self.matrix.dense, *casts]

    def _product(self, old: ir.Node) -> None:
        rows, columns = self.matrix.weight.shape
        inputs: list[ir.Value | None] = [old.inputs[0], self.integers, self.scales]
        result = old.outputs[0]
        bias = _bias(result)
        if bias is not None:
            inputs += [None, None, bias[1]]
        node = ir.node(
            "MatMulNBits",
            inputs,
            attributes={
                "K": columns,
                "N": rows,
                "bits": self.matrix.bits,
                "block_size": self.matrix.block,
                "accuracy_level": ACCURACY,
            },
            domain=MICROSOFT,
        )
        self._put(old, node, [old] if bias is None else [bias[0], old])

    def _gather(self, old: ir.Node) -> None:
        node = ir.node(
            "GatherBlockQuantized",
            [self.rows, old.inputs[1], self.scales],
            attributes={
                "bits": self.matrix.bits,
                "block_size": self.matrix.block,
                "gather_axis": 0,
                "quantize_axis": 1,
            },
            domain=MICROSOFT,
        )
        self._put(old, node, [old])

    def _put(self, place: ir.Node, node: ir.Node, old: list[ir.Node]) -> None:
        result, new = old[0].outputs[0], node.outputs[0]
        node.name, new.name, new.type, new.shape = old[0].name, result.name, result.type, result.shape
        self.graph.insert_before(place, node)
        result.replace_all_uses_with(new, replace_graph_outputs=True)
        self.graph.remove(old, safe=True)

    @cached_property
    def integers(self) -> ir.Value:
        """As `MatMulNBits` reads them."""
        matrix = self.matrix
        shape = (matrix.weight.shape[0], matrix.blocks, matrix.block * matrix.bits // 8)
        value = self._initializer("integers", ir.DataType.UINT8, shape, self._packed)
        self.stored.integers.add(str(value.name))
        return value

    @cached_property
    def rows(self) -> ir.Value:
        """As `GatherBlockQuantized` reads them: the same bytes where the last block isn't padded."""
        matrix = self.matrix
        rows, columns = matrix.weight.shape
        shape = (rows, columns * matrix.bits // 8)
        value = self._initializer(
            "rows", ir.DataType.UINT8, shape, lambda: self._packed().reshape(rows, -1)[:, : shape[1]]
        )
        self.stored.integers.add(str(value.name))
        if "linear" in matrix.weight.roles and columns % matrix.block == 0:
            self.stored.same_bytes[str(value.name)] = f"{matrix.weight.name}/integers"
        return value

    @cached_property
    def scales(self) -> ir.Value:
        """float32 `[rows, blocks]`."""
        shape = (self.matrix.weight.shape[0], self.matrix.blocks)
        value = self._initializer("scales", ir.DataType.FLOAT, shape, lambda: self.matrix.grid().scales)
        self.stored.scales.add(str(value.name))
        return value

    def _packed(self) -> NDArray[np.uint8]:
        grid = self.matrix.grid()
        return grid.packed.read(0, grid.packed.size).reshape(grid.shape[0], grid.blocks, -1)

    def _initializer(
        self, key: str, dtype: ir.DataType, shape: tuple[int, ...], load: Callable[[], NDArray[np.generic]]
    ) -> ir.Value:
        name = f"{self.matrix.weight.name}/{key}"
        tensor = ir.LazyTensor(
            lambda: ir.tensor(np.ascontiguousarray(load())), dtype=dtype, shape=ir.Shape(shape), name=name
        )
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape), const_value=tensor)
        self.graph.register_initializer(value)
        return value


def _bias(product: ir.Value) -> tuple[ir.Node, ir.Value] | None:
    """The sum with a bias that alone reads the product, and the bias."""
    uses = list(product.uses())
    if len(uses) != 1 or uses[0].node.op_type != "Add" or product.is_graph_output():
        return None
    other = uses[0].node.inputs[1 - uses[0].idx]
    if other is None or other.const_value is None or len(other.const_value.shape) != 1:
        return None
    return uses[0].node, other
