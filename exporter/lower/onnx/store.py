"""Given a cloned graph,
Result: its weights are stored as packed palettes (with embeddings looked up row by row) or as dense matrices. Values
keep their names, because parity reports refer to them.
Refuses: a matrix with values that fp16 can't represent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.errors import Diagnostic, UnsupportedError
from exporter.graph.bits import pack, packed_size
from exporter.graph.lut import DOMAIN
from exporter.graph.palette import BLOCK, Palette
from exporter.lower.onnx.functions import needed_functions
from exporter.lower.onnx.packing import pack_plane

FLOAT16_MAX = 65504.0


@dataclass
class StoredNames:
    """Names of initializers by content. All other initializers are kept tensors."""

    indices: set[str] = field(default_factory=set)
    luts: set[str] = field(default_factory=set)
    constants: set[str] = field(default_factory=set)


def pack_palettes(model: ir.Model, palettes: Mapping[str, Palette]) -> StoredNames:
    """Packs every palette's indices to its number of bits, without the rows that pad an incomplete last group."""
    names = StoredNames()
    produced = {value.name: value for node in model.graph for value in node.outputs}
    for name, palette in palettes.items():
        _Packer(model.graph, name, palette, names).pack(produced[name])
    for function in needed_functions(palettes.values(), model.graph.opset_imports[""]):
        model.functions[function.identifier()] = function
    return names


class _Packer:
    """Replaces `NAME/indices`, uint8, by packed indices and nodes that unpack them. Unused nodes stay in the graph."""

    def __init__(self, graph: ir.Graph, name: str, palette: Palette, names: StoredNames) -> None:
        self.graph, self.name, self.palette, self.names = graph, name, palette, names
        self.nodes: list[ir.Node] = []

    def pack(self, dense: ir.Value) -> None:
        """Packs the palette. dense: its decoded value, from which embeddings look up rows."""
        old = self.graph.initializers.pop(f"{self.name}/indices")
        self.names.luts.add(f"{self.name}/lut")
        indices = self._unpacked()
        self._look_up_rows(dense, indices)
        surplus = self.palette.lut.shape[0] * self.palette.group_size - self.palette.shape[0]
        if surplus:
            indices = self._padded(indices, surplus)
        ir.convenience.replace_all_uses_with(old, indices)
        if self.nodes:
            self.graph.insert_before(self.graph[0], self.nodes)
        self.names.constants |= {f"{self.name}/{key}" for key in ("start", "end", "axis")}

    def _look_up_rows(self, dense: ir.Value, indices: ir.Value) -> None:
        gathers = [
            use.node for use in dense.uses() if use.node.op_type == "Gather" and use.idx == 0 and _axis(use.node) == 0
        ]
        if not gathers:
            return
        lut = self.graph.initializers[f"{self.name}/lut"]
        group_size = self._constant(
            f"group_size/{self.palette.group_size}", np.array(self.palette.group_size, np.int64)
        )
        for old in gathers:
            ids, rows = old.inputs[1], old.outputs[0]
            node = ir.node("LutGather", [ids, indices, lut, group_size], domain=DOMAIN)
            node.name, node.outputs[0].name = old.name, rows.name
            node.outputs[0].type, node.outputs[0].shape = rows.type, rows.shape
            ir.convenience.replace_nodes_and_values(self.graph, old, [old], [node], [rows], [node.outputs[0]])

    def _unpacked(self) -> ir.Value:
        bits, shape, packed = self.palette.bits, self.palette.shape, self.palette.packed
        if bits == 8:
            return self._stored("indices", ir.DataType.UINT8, shape, lambda: _bytes(packed.read(0, packed.size), shape))
        if bits == 4:
            return self._stored("indices", ir.DataType.UINT4, shape, lambda: _uint4(packed.read(0, packed.size), shape))
        if bits in (1, 2):
            return self._op("indices", f"Unpack{bits}", self._plane("packed", bits, 0), self._shape())
        if bits == 3:
            low, high = self._plane("packed_low", 2, 0), self._plane("packed_high", 1, 2)
        else:
            low = self._stored("packed_low", ir.DataType.UINT4, shape, lambda: _uint4(self._low_halves(), shape))
            high = self._plane("packed_high", 2, 4)
        return self._op("indices", f"Unpack{bits}", low, high, self._shape())

    def _padded(self, indices: ir.Value, surplus: int) -> ir.Value:
        if indices.dtype == ir.DataType.UINT4:  # runtimes can pad uint8 but not uint4
            indices = self._op("indices/uint8", "Cast", indices, domain="", to=int(ir.DataType.UINT8))
        pads = self._constant(f"pads/{surplus}", np.array([0, 0, surplus, 0], np.int64))
        return self._op("indices/padded", "Pad", indices, pads, domain="")

    def _plane(self, key: str, bits: int, shift: int) -> ir.Value:
        """A plane with `bits` bits of every index, from bit `shift` on."""
        size = self.palette.size
        mask, down = np.uint8(2**bits - 1), np.uint8(shift)
        return self._stored(
            key,
            ir.DataType.UINT8,
            (-(-size * bits // 8),),
            lambda: ir.tensor(pack_plane(((at, b >> down & mask) for at, b in self.palette.blocks()), size, bits)),
        )

    def _low_halves(self) -> NDArray[np.uint8]:
        """The lowest four bits of every index, two in each byte."""
        packed = np.empty(packed_size(self.palette.size, 4), np.uint8)
        for first, indices in self.palette.blocks():
            part = pack(indices & np.uint8(15), 4)
            packed[first // 2 : first // 2 + part.size] = part
        return packed

    def _shape(self) -> ir.Value:
        rows, columns = self.palette.shape
        return self._constant(f"shape/{rows}x{columns}", np.array([rows, columns], np.int64))

    def _constant(self, name: str, array: NDArray[np.int64]) -> ir.Value:
        """A constant that all weights share if they need the same one."""
        name = f"{DOMAIN}/{name}"
        if name not in self.names.constants:
            self.names.constants.add(name)
            self.graph.register_initializer(_initializer(name, ir.tensor(array, name=name)))
        return self.graph.initializers[name]

    def _stored(
        self, key: str, dtype: ir.DataType, shape: tuple[int, ...], load: Callable[[], ir.TensorProtocol]
    ) -> ir.Value:
        name = f"{self.name}/{key}"
        value = _initializer(name, ir.LazyTensor(load, dtype=dtype, shape=ir.Shape(shape), name=name))
        self.names.indices.add(name)
        self.graph.register_initializer(value)
        return value

    def _op(self, key: str, kind: str, *inputs: ir.Value, domain: str = DOMAIN, **attributes: int) -> ir.Value:
        node = ir.node(kind, inputs, domain=domain, attributes=attributes)
        node.name = node.outputs[0].name = f"{self.name}/{key}"
        self.nodes.append(node)
        return node.outputs[0]


def _bytes(packed: NDArray[np.uint8], shape: tuple[int, ...]) -> ir.TensorProtocol:
    return ir.tensor(packed.reshape(shape))


def _uint4(packed: NDArray[np.uint8], shape: tuple[int, ...]) -> ir.TensorProtocol:
    return ir.PackedTensor(packed, ir.DataType.UINT4, shape=shape)


def _axis(gather: ir.Node) -> int:
    axis = gather.attributes.get("axis")
    return axis.as_int() if axis is not None else 0


def store_dense(model: ir.Model, weights: tuple[str, ...], palettes: Mapping[str, Palette], dtype: ir.DataType) -> None:
    """Stores all `weights` as dense matrices of `dtype` (FLOAT16 or FLOAT), with palettes decoded.

    Raises UnsupportedError with all weights that have values beyond fp16's range.
    """
    produced = {value.name: value for node in model.graph for value in node.outputs}
    problems = []
    for name in weights:
        load: Callable[[], NDArray[Any]]
        if name in palettes:  # LUTs are fp16 already
            old, peak = produced[name], 0.0
            load = palettes[name].halves if dtype == ir.DataType.FLOAT16 else palettes[name].dense
        else:
            old = model.graph.initializers[name]
            load = partial(_loaded, old, dtype)
            peak = _peak(old) if dtype == ir.DataType.FLOAT16 else 0.0
        if peak > FLOAT16_MAX:
            problems.append(
                Diagnostic(
                    "lower.fp16-overflow",
                    f"the largest value is {peak:.6g}; fp16 goes up to {FLOAT16_MAX:.0f}",
                    where=name,
                    hint="store the weights as fp32: --onnx-weights fp32",
                )
            )
        _replace_dense(model.graph, name, old, load, dtype)
    UnsupportedError.raise_all(problems)


def _blocks(value: ir.Value) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Blocks of the matrix with a few million weights. Each block is read separately to limit memory."""
    tensor = value.const_value
    assert tensor is not None
    rows, columns = tensor.shape.numpy()
    step = max(1, BLOCK // max(1, columns))
    for first in range(0, rows, step):
        part = slice(first, first + step)
        yield part, tensor.numpy()[part].astype(np.float32)


def _loaded(value: ir.Value, dtype: ir.DataType) -> NDArray[np.generic]:
    shape = value.shape
    assert shape is not None
    out = np.empty(shape.numpy(), dtype.numpy())
    for part, values in _blocks(value):
        out[part] = values
    return out


def _peak(value: ir.Value) -> float:
    """The largest magnitude if fp16 can't represent it, else 0."""
    peak, beyond = 0.0, False
    for _, values in _blocks(value):
        # Values below 65520 are rounded to 65504 in fp16, so the rounded value is compared.
        with np.errstate(over="ignore"):
            beyond |= bool(np.isinf(values.astype(np.float16)).any())
        peak = max(peak, float(np.abs(values).max(initial=0)))
    return peak if beyond else 0.0


def _replace_dense(
    graph: ir.Graph, name: str, old: ir.Value, load: Callable[[], NDArray[np.generic]], dtype: ir.DataType
) -> None:
    shape = old.shape
    assert shape is not None
    old.name = f"{name}/replaced"  # unused from here on; the new initializer takes its name
    tensor = ir.LazyTensor(lambda: ir.tensor(load()), dtype=dtype, shape=ir.Shape(shape.numpy()), name=name)
    stored = _initializer(name, tensor)
    dense = stored
    if dtype == ir.DataType.FLOAT16:
        cast = ir.node("Cast", [stored], attributes={"to": int(ir.DataType.FLOAT)})
        cast.name = cast.outputs[0].name = f"{name}/float"
        dense = cast.outputs[0]
    for use in list(old.uses()):
        if use.node.op_type == "Cast":  # from the checkpoint's dtype to float
            use.node.outputs[0].name = f"{name}/replaced/float"
            ir.convenience.replace_all_uses_with(use.node.outputs[0], dense)
        else:
            use.node.replace_input_with(use.idx, dense)
    if dense is not stored:
        graph.insert_before(graph[0], cast)
    graph.initializers.pop(f"{name}/replaced", None)
    graph.initializers.pop(name, None)
    graph.register_initializer(stored)


def _initializer(name: str, tensor: ir.TensorProtocol) -> ir.Value:
    return ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy()), const_value=tensor
    )
