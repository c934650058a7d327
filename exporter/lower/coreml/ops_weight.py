"""Ops that read the big matrices: linear layers and embeddings, palettized or dense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from coremltools.converters.mil.mil import Builder as mb

from exporter.lower.coreml.attributes import given, integer
from exporter.lower.coreml.lowering import Lowering, Var, first_columns


def lower_matmul(lowering: Lowering, node: ir.Node) -> None:
    """`x · Wᵀ` with a constant W becomes `linear`, together with a bias added to it; anything else `matmul`."""
    left, right = given(node, 0), given(node, 1)
    weight = transposed_weight(lowering, right)
    if weight is None:
        name = lowering.op_name(node.outputs[0].name or "")
        lowering.bind(node.outputs[0], mb.matmul(x=lowering.var(left), y=lowering.var(right), name=name))
        return
    result, bias = _with_bias(lowering, node.outputs[0])
    lowering.bind(result, linear(lowering, lowering.var(left), Linear(weight, bias, result.name or "")))


@dataclass(frozen=True)
class Linear:
    """A linear layer: the hub values of its weight `[out, in]` and bias `[out]`, and the name of its result."""

    weight: ir.Value
    bias: ir.Value | None
    name: str


def linear(lowering: Lowering, x: Var, layer: Linear) -> Var:
    """`x · weightᵀ + bias`, cut to the weight's own rows when its palette's last group had to be padded."""
    dense = lowering.var(layer.weight)
    palette = lowering.palette(layer.weight)
    rows = dense.shape[0] if palette is None else palette.shape[0]
    surplus = dense.shape[0] - rows
    if layer.bias is None:
        bias = lowering.zeros(dense.shape[0])
    elif surplus:
        bias = np.pad(lowering.array(layer.bias), (0, surplus))
    else:
        bias = lowering.var(layer.bias)
    if not surplus:
        return mb.linear(x=x, weight=dense, bias=bias, name=lowering.op_name(layer.name))
    padded = mb.linear(x=x, weight=dense, bias=bias, name=lowering.op_name(f"{layer.name}/padded"))
    return first_columns(padded, rows, lowering.op_name(layer.name))


def _with_bias(lowering: Lowering, product: ir.Value) -> tuple[ir.Value, ir.Value | None]:
    """The sum of `product` and a constant vector, where that is all that `product` is used for; else itself."""
    uses = tuple(product.uses())
    if len(uses) == 1 and not product.is_graph_output():
        add = uses[0].node
        other = add.inputs[1 - uses[0].idx] if add.op_type == "Add" else None
        if other is not None and lowering.is_constant(other) and lowering.array(other).ndim == 1:
            return add.outputs[0], other
    return product, None


def transposed_weight(lowering: Lowering, value: ir.Value) -> ir.Value | None:
    """The matrix W when `value` is Transpose(W) of a constant."""
    node = value.producer()
    if node is None or node.op_type != "Transpose" or list(node.attributes["perm"].as_ints()) != [1, 0]:
        return None
    weight = given(node, 0)
    return weight if lowering.is_constant(weight) else None


def lower_transpose(lowering: Lowering, node: ir.Node) -> None:
    """A transposed weight is left to `linear`; activations are permuted."""
    if transposed_weight(lowering, node.outputs[0]) is not None:
        return
    x = lowering.var(given(node, 0))
    perm = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(x.rank - 1, -1, -1)
    name = lowering.op_name(node.outputs[0].name or "")
    lowering.bind(node.outputs[0], mb.transpose(x=x, perm=list(perm), name=name))


def lower_gather(lowering: Lowering, node: ir.Node) -> None:
    """Gather along one axis. Ids that are zero by construction (token types) fetch their row beforehand."""
    table, ids = given(node, 0), given(node, 1)
    axis = integer(node, "axis", 0)
    name = node.outputs[0].name or ""
    if lowering.is_zero(ids) and axis == 0 and lowering.is_constant(table):
        row: np.ndarray = lowering.array(table)[0]
        lowering.bind(node.outputs[0], mb.const(val=row[None, None], name=lowering.op_name(name)))
        return
    var = mb.gather(
        x=lowering.var(table), indices=lowering.var(ids), axis=axis, validate_indices=False, name=lowering.op_name(name)
    )
    lowering.bind(node.outputs[0], var)


OPS: dict[str, Callable[[Lowering, ir.Node], None]] = {
    "MatMul": lower_matmul,
    "Transpose": lower_transpose,
    "Gather": lower_gather,
}
