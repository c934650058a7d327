"""Given a cloned hub graph,
Result: its weights are stored as asked: palettes packed (and embeddings looked up row by row), or matrices dense.
Refuses: a matrix that fp16 can't hold. Values keep their names, because parity reports point at them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.errors import Diagnostic, UnsupportedError
from exporter.graph.lut import DOMAIN
from exporter.graph.palette import Palette
from exporter.lower.onnx.functions import needed_functions
from exporter.lower.onnx.packing import pack_plane, pack_uint4

FLOAT16_MAX = 65504.0


@dataclass
class StoredNames:
    """Initializers by what they hold; all others are kept tensors."""

    indices: set[str] = field(default_factory=set)
    luts: set[str] = field(default_factory=set)
    constants: set[str] = field(default_factory=set)


def pack_palettes(model: ir.Model, palettes: Mapping[str, Palette]) -> StoredNames:
    """Stores every palette's indices in as many bits as it has, without the rows that pad a ragged last group."""
    names = StoredNames()
    produced = {value.name: value for node in model.graph for value in node.outputs}
    for name, palette in palettes.items():
        _Packer(model.graph, name, palette, names).pack(produced[name])
    for function in needed_functions({p.bits for p in palettes.values()}, model.graph.opset_imports[""]):
        model.functions[function.identifier()] = function
    return names


class _Packer:
    """Replaces `NAME/indices` uint8 by its packed form and the nodes that unpack it; nodes left unused stay."""

    def __init__(self, graph: ir.Graph, name: str, palette: Palette, names: StoredNames) -> None:
        self.graph, self.name, self.palette, self.names = graph, name, palette, names
        self.nodes: list[ir.Node] = []

    def pack(self, dense: ir.Value) -> None:
        """`dense` is the palette's decoded value, of which embeddings take rows."""
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
        indices, bits = self.palette.indices, self.palette.bits
        if bits == 8:
            return self._stored("indices", ir.DataType.UINT8, indices.shape, lambda: ir.tensor(indices))
        if bits == 4:
            return self._uint4("indices", lambda: indices)
        if bits in (1, 2):
            return self._op("indices", f"Unpack{bits}", self._plane("packed", bits, lambda: indices), self._shape())
        if bits == 3:
            low = self._plane("packed_low", 2, lambda: indices & np.uint8(3))
            high = self._plane("packed_high", 1, lambda: indices >> np.uint8(2))
        else:
            low = self._uint4("packed_low", lambda: indices & np.uint8(15))
            high = self._plane("packed_high", 2, lambda: indices >> np.uint8(4))
        return self._op("indices", f"Unpack{bits}", low, high, self._shape())

    def _padded(self, indices: ir.Value, surplus: int) -> ir.Value:
        if indices.dtype == ir.DataType.UINT4:  # runtimes pad uint8, not uint4
            indices = self._op("indices/uint8", "Cast", indices, domain="", to=int(ir.DataType.UINT8))
        pads = self._constant(f"pads/{surplus}", np.array([0, 0, surplus, 0], np.int64))
        return self._op("indices/padded", "Pad", indices, pads, domain="")

    def _plane(self, key: str, bits: int, part: Callable[[], NDArray[np.uint8]]) -> ir.Value:
        size = -(-self.palette.indices.size * bits // 8)
        return self._stored(key, ir.DataType.UINT8, (size,), lambda: ir.tensor(pack_plane(part(), bits)))

    def _uint4(self, key: str, part: Callable[[], NDArray[np.uint8]]) -> ir.Value:
        shape = self.palette.shape
        return self._stored(
            key, ir.DataType.UINT4, shape, lambda: ir.PackedTensor(pack_uint4(part()), ir.DataType.UINT4, shape=shape)
        )

    def _shape(self) -> ir.Value:
        rows, columns = self.palette.shape
        return self._constant(f"shape/{rows}x{columns}", np.array([rows, columns], np.int64))

    def _constant(self, name: str, array: NDArray[np.int64]) -> ir.Value:
        """Shared by all weights that need the same."""
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


def _axis(gather: ir.Node) -> int:
    axis = gather.attributes.get("axis")
    return axis.as_int() if axis is not None else 0


def store_dense(model: ir.Model, weights: tuple[str, ...], palettes: Mapping[str, Palette], dtype: ir.DataType) -> None:
    """Stores every matrix of `weights` dense as `dtype` (FLOAT16 or FLOAT), decoding palettes."""
    produced = {value.name: value for node in model.graph for value in node.outputs}
    problems = []
    for name in weights:
        old, load = (
            (produced[name], palettes[name].dense)
            if name in palettes
            else (model.graph.initializers[name], _loader(model.graph.initializers[name]))
        )
        if dtype == ir.DataType.FLOAT16 and (peak := _peak(palettes.get(name), load)) > FLOAT16_MAX:
            problems.append(
                Diagnostic(
                    "lower.fp16-overflow",
                    f"the largest value is {peak:.6g}, fp16 ends at {FLOAT16_MAX:.0f}",
                    where=name,
                    hint="store the weights as fp32: --onnx-weights fp32",
                )
            )
        _replace_dense(model.graph, name, old, load, dtype)
    UnsupportedError.raise_all(problems)


def _loader(value: ir.Value) -> Callable[[], NDArray[np.float32]]:
    tensor = value.const_value
    assert tensor is not None
    return lambda: tensor.numpy().astype(np.float32)


def _peak(palette: Palette | None, load: Callable[[], NDArray[np.float32]]) -> float:
    if palette is not None:
        return 0.0  # a LUT is fp16 already
    values = load()
    # Rounding to fp16 takes everything below 65520 to 65504; comparing the rounded value is what counts.
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    return float(np.abs(values).max()) if np.isinf(rounded).any() else 0.0


def _replace_dense(
    graph: ir.Graph, name: str, old: ir.Value, load: Callable[[], NDArray[np.float32]], dtype: ir.DataType
) -> None:
    shape = old.shape
    assert shape is not None
    numpy_dtype = np.float16 if dtype == ir.DataType.FLOAT16 else np.float32
    old.name = f"{name}/replaced"  # unused after this; leaves the name to the new initializer
    tensor = ir.LazyTensor(
        lambda: ir.tensor(load().astype(numpy_dtype)), dtype=dtype, shape=ir.Shape(shape.numpy()), name=name
    )
    stored = _initializer(name, tensor)
    dense = stored
    if dtype == ir.DataType.FLOAT16:
        cast = ir.node("Cast", [stored], attributes={"to": int(ir.DataType.FLOAT)})
        cast.name = cast.outputs[0].name = f"{name}/float"
        dense = cast.outputs[0]
    for use in list(old.uses()):
        if use.node.op_type == "Cast":  # of the checkpoint's dtype to float
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
