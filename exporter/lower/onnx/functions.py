"""Model-local functions of stored models: `kogata::LutGather` and `Unpack1`, `Unpack2`, `Unpack3`, `Unpack6`.

4 and 8 bits need no unpacking: `LutToDense` reads UINT4 and UINT8 tensors. For 2 bits ONNX has UINT2 since opset 25,
but this would require a newer runtime than the rest of the graph; 1, 3 and 6 bits have no ONNX type. So these are
stored as planes of 1, 2 and 4 bits in types of opset 23. The functions consist of standard ONNX ops on constants, which
runtimes evaluate once, while they load the model.

`LutGather` looks up rows of an embedding without decoding the other rows. A small model would otherwise use most of its
memory and load time for decoding the whole vocabulary, of which a step needs a few rows.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from exporter.graph.lut import DOMAIN
from exporter.graph.palette import Palette

Attribute = int | str | list[int] | ir.TensorProtocol


class _Body:
    """Collects the nodes of one function."""

    def __init__(self, *inputs: str) -> None:
        self.inputs = [ir.Value(name=name) for name in inputs]
        self.nodes: list[ir.Node] = []
        self.domains = {""}

    def op(self, name: str, kind: str, *inputs: ir.Value, domain: str = "", **attributes: Attribute) -> ir.Value:
        node = ir.node(kind, inputs, attributes=attributes, domain=domain)
        node.outputs[0].name = name
        self.nodes.append(node)
        self.domains.add(domain)
        return node.outputs[0]

    def const(self, name: str, array: np.ndarray) -> ir.Value:
        return self.op(name, "Constant", value=ir.tensor(array))

    def function(self, name: str, result: ir.Value, opset: int) -> ir.Function:
        imports = {domain: 1 if domain else opset for domain in sorted(self.domains)}
        graph = ir.Graph(self.inputs, [result], nodes=self.nodes, opset_imports=imports, name=name)
        return ir.Function(domain=DOMAIN, name=name, graph=graph, attributes=[])


def unpack_plane(bits: int, opset: int) -> ir.Function:
    """`Unpack{bits}(packed, shape)` for 1 or 2 bits.

    packed: uint8 `[ceil(n * bits / 8)]` in plane layout (see `packing`). shape: int64, a shape of n elements. Result:
    uint8 of that shape.
    """
    body = _Body("packed", "shape")
    packed, shape = body.inputs
    runs = 8 // bits
    shifts = body.const("shifts", (np.arange(runs, dtype=np.uint8) * np.uint8(bits))[:, None])
    mask = body.const("mask", np.array(2**bits - 1, np.uint8))
    shifted = body.op("shifted", "BitShift", packed, shifts, direction="RIGHT")
    by_run = body.op("by_run", "BitwiseAnd", shifted, mask)
    minus_one = body.op("minus_one", "Constant", value_ints=[-1])
    flat = body.op("flat", "Reshape", by_run, minus_one)
    zero = body.op("zero", "Constant", value_ints=[0])
    size = body.op("size", "ReduceProd", shape, keepdims=1)
    unpadded = body.op("unpadded", "Slice", flat, zero, size)
    return body.function(f"Unpack{bits}", body.op("indices", "Reshape", unpadded, shape), opset)


def unpack3(opset: int) -> ir.Function:
    """`Unpack3(low, high, shape)`: low: a plane with the lower 2 bits; high: one with the upper bit. Result: uint8 of
    `shape`."""
    body = _Body("low", "high", "shape")
    low, high, shape = body.inputs
    low_bits = body.op("low_bits", "Unpack2", low, shape, domain=DOMAIN)
    high_bits = body.op("high_bits", "Unpack1", high, shape, domain=DOMAIN)
    return body.function("Unpack3", _joined(body, low_bits, high_bits, 2), opset)


def unpack6(opset: int) -> ir.Function:
    """`Unpack6(low, high, shape)`: low: UINT4 of `shape`, the lower 4 bits; high: a plane with the upper 2 bits.
    Result: uint8 of `shape`."""
    body = _Body("low", "high", "shape")
    low, high, shape = body.inputs
    low_bits = body.op("low_bits", "Cast", low, to=int(ir.DataType.UINT8))
    high_bits = body.op("high_bits", "Unpack2", high, shape, domain=DOMAIN)
    return body.function("Unpack6", _joined(body, low_bits, high_bits, 4), opset)


def _joined(body: _Body, low: ir.Value, high: ir.Value, low_width: int) -> ir.Value:
    width = body.const("width", np.array(low_width, np.uint8))
    shifted = body.op("high_shifted", "BitShift", high, width, direction="LEFT")
    return body.op("indices", "BitwiseOr", low, shifted)


def lut_gather(opset: int) -> ir.Function:
    """`LutGather(ids, indices, lut, group_size)`: `LutToDense(indices, lut)` at rows `ids`.

    ids: integers, any shape, not negative; indices: unsigned integers `[rows, columns]`, no rows of padding; lut:
    float16 `[groups, entries]`; group_size: int64 scalar; result: float32 `[*ids, columns]`.
    """
    body = _Body("ids", "indices", "lut", "group_size")
    ids, indices, lut, group_size = body.inputs
    rows = body.op("rows", "Cast", ids, to=int(ir.DataType.INT64))
    groups = body.op("groups", "Div", rows, group_size)
    floats = body.op("floats", "Cast", lut, to=int(ir.DataType.FLOAT))
    luts = body.op("tables", "Gather", floats, groups, axis=0)
    # Runtimes can gather uint8 but not uint4. They fold the cast while loading.
    plain = body.op("plain", "Cast", indices, to=int(ir.DataType.UINT8))
    chosen = body.op("chosen", "Gather", plain, rows, axis=0)
    positions = body.op("positions", "Cast", chosen, to=int(ir.DataType.INT32))
    values = body.op("values", "GatherElements", luts, positions, axis=-1)
    return body.function("LutGather", values, opset)


def needed_functions(palettes: Collection[Palette], opset: int) -> list[ir.Function]:
    """All functions that a graph with these palettes may call, directly or through other functions."""
    bits = {p.bits for p in palettes}
    functions = [lut_gather(opset)] if palettes else []
    if bits & {1, 3}:
        functions.append(unpack_plane(1, opset))
    if bits & {2, 3, 6}:
        functions.append(unpack_plane(2, opset))
    if 3 in bits:
        functions.append(unpack3(opset))
    if 6 in bits:
        functions.append(unpack6(opset))
    return functions
