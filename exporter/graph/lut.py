"""`kogata::LutToDense(indices, lut)`: the function that Kogata adds to ONNX.

Its body is standard ONNX, so every runtime that inlines model-local functions can run it.
"""

from __future__ import annotations

import onnx_ir as ir

DOMAIN = "kogata"
NAME = "LutToDense"


def lut_to_dense(opset: int) -> ir.Function:
    """The definition of the function.

    indices: unsigned integers `[groups * group_size, in]`; lut: float16 `[groups, entries]`; result: float32
    `[groups * group_size, in]`, where row r takes its values from `lut[r // group_size]`.
    """
    indices, lut = ir.Value(name="indices"), ir.Value(name="lut")
    nodes: list[ir.Node] = []

    def op(name: str, kind: str, *inputs: ir.Value, **attributes: int | list[int]) -> ir.Value:
        node = ir.node(kind, inputs, attributes=attributes)
        node.outputs[0].name = name
        nodes.append(node)
        return node.outputs[0]

    shape = op("shape", "Shape", indices)
    groups = op("groups", "Shape", lut, start=0, end=1)
    rest = op("rest", "Constant", value_ints=[-1])
    by_group = op("by_group", "Concat", groups, rest, axis=0)
    positions = op("positions", "Cast", indices, to=int(ir.DataType.INT32))
    grouped = op("grouped", "Reshape", positions, by_group)
    # float32 before the lookup: casting the small LUT is free, casting the dense weight is not.
    table = op("table", "Cast", lut, to=int(ir.DataType.FLOAT))
    values = op("values", "GatherElements", table, grouped, axis=1)
    dense = op("dense", "Reshape", values, shape)
    graph = ir.Graph([indices, lut], [dense], nodes=nodes, opset_imports={"": opset}, name=NAME)
    return ir.Function(domain=DOMAIN, name=NAME, graph=graph, attributes=[])
