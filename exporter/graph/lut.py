"""`kogata::LutToDense(indices, lut)`, and `LutToDense2` for LUTs of pairs: the functions that the hub adds to ONNX.

Their bodies are standard ONNX, so every runtime that inlines model-local functions runs them as they are.
"""

from __future__ import annotations

import onnx_ir as ir

DOMAIN = "kogata"
NAMES = ("LutToDense", "LutToDense2")


def function_name(cluster_dim: int) -> str:
    """Of the function that decodes palettes whose indices stand for so many rows."""
    return NAMES[cluster_dim - 1]


def lut_to_dense(opset: int, cluster_dim: int = 1) -> ir.Function:
    """The function.

    indices: unsigned integers `[groups * group_size / cluster_dim, in]`; lut: float16 `[groups, entries]`, with
    vectors `[groups, entries, cluster_dim]`; result: float32 `[groups * group_size, in]`, where row r takes its values
    from `lut[r // group_size]`, and from place `r % cluster_dim` of a vector.
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
    # float32 before the lookup: casting the small table is free, casting the dense weight is not.
    table = op("table", "Cast", lut, to=int(ir.DataType.FLOAT))
    if cluster_dim == 1:
        values = op("values", "GatherElements", table, grouped, axis=1)
        dense = op("dense", "Reshape", values, shape)
    else:
        # Side by side, not with one GatherND: onnxruntime must be able to infer the number of rows, or attention has
        # no heads, and it looks neither through a Concat of sizes nor a -1.
        one = op("one", "Constant", value_ints=[1])
        sides = []
        for side in range(cluster_dim):
            number = op(f"side_{side}", "Constant", value_int=side)
            values = op(
                f"values_{side}",
                "GatherElements",
                op(f"table_{side}", "Gather", table, number, axis=2),
                grouped,
                axis=1,
            )
            sides.append(op(f"rows_{side}", "Unsqueeze", op(f"every_{side}", "Reshape", values, shape), one))
        dense = op("dense", "Flatten", op("joined", "Concat", *sides, axis=1), axis=2)
    graph = ir.Graph([indices, lut], [dense], nodes=nodes, opset_imports={"": opset}, name=function_name(cluster_dim))
    return ir.Function(domain=DOMAIN, name=function_name(cluster_dim), graph=graph, attributes=[])
