"""Matrix products: linear layers with palettized or dense weights, Gemm, and products of activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.lower.coreml.attributes import integer, number, optional_input, required_input, without_casts
from exporter.lower.coreml.deferred import deferred_float16
from exporter.lower.coreml.emit import name_of, operand, set_result
from exporter.lower.coreml.lowering import MIN_DEFERRED_ELEMENTS, Lowering, as_float16, first_columns
from exporter.lower.coreml.mil import Var, mb
from exporter.lower.coreml.ops.layout import lower_transpose as lower_permutation

LowerOp = Callable[[Lowering, ir.Node], None]


def lower_matmul(lowering: Lowering, node: ir.Node) -> None:
    """`x · Wᵀ` with a constant W becomes `linear`, together with a following bias; other products become `matmul`."""
    left, right = required_input(node, 0), without_casts(required_input(node, 1))
    weight = transposed_weight(lowering, right)
    if weight is not None:
        result, bias = _with_bias(lowering, node.outputs[0])
        lowering.bind(result, linear(lowering, lowering.var(left), Linear(weight, bias, result.name or "")))
        return
    x = lowering.var(left)
    turned = _turned_constant(lowering, right)
    if turned is not None and x.rank > 1:
        result, bias = _with_bias(lowering, node.outputs[0])
        addend = lowering.zeros(turned.shape[0]) if bias is None else lowering.var(bias)
        lowering.bind(result, mb.linear(x=x, weight=turned, bias=addend, name=lowering.op_name(result.name or "")))
        return
    y = lowering.var(right)
    if x.rank == 1 or y.rank == 1:
        _with_vectors(lowering, node, x, y)
        return
    set_result(lowering, node, mb.matmul(x=x, y=y, name=name_of(lowering, node)))


def _turned_constant(lowering: Lowering, value: ir.Value) -> NDArray[np.float16] | None:
    """A dense constant matrix `[in, out]` as `[out, in]` for `linear`, deferred if large; None for other values."""
    stored = value.const_value
    if stored is None or len(stored.shape) != 2 or lowering.palette(value) is not None:
        return None
    if stored.size < MIN_DEFERRED_ELEMENTS:
        return np.ascontiguousarray(lowering.array(value).T).astype(np.float16)
    name, (rows, columns) = value.name or "", stored.shape.numpy()
    return deferred_float16((columns, rows), lambda part: as_float16(stored.numpy()[:, part].T, name))


def _with_vectors(lowering: Lowering, node: ir.Node, x: Var, y: Var) -> None:
    """A product with a vector: a row on the left or a column on the right; its axis of size 1 is removed afterwards."""
    lost = []
    if x.rank == 1:
        x, lost = mb.expand_dims(x=x, axes=[0], name=name_of(lowering, node, "row")), [-2]
    if y.rank == 1:
        y, lost = mb.expand_dims(x=y, axes=[1], name=name_of(lowering, node, "column")), [*lost, -1]
    product = mb.matmul(x=x, y=y, name=name_of(lowering, node, "product"))
    axes = [axis % product.rank for axis in lost]
    set_result(lowering, node, mb.squeeze(x=product, axes=axes, name=name_of(lowering, node)))


@dataclass(frozen=True)
class Linear:
    """A linear layer: the graph values of its weight `[out, in]` and bias `[out]`, and the name of its result."""

    weight: ir.Value
    bias: ir.Value | None
    name: str


def linear(lowering: Lowering, x: Var, layer: Linear) -> Var:
    """`x · weightᵀ + bias`, without the outputs of rows that pad the last group of the weight's palette."""
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
    """The sum of `product` and a constant vector, and the vector, if that is the only use of `product`; else `product`
    and None."""
    uses = tuple(product.uses())
    if len(uses) == 1 and not product.is_graph_output():
        add = uses[0].node
        other = add.inputs[1 - uses[0].idx] if add.op_type == "Add" else None
        if other is not None and lowering.is_constant(other) and lowering.array(other).ndim == 1:
            return add.outputs[0], other
    return product, None


def transposed_weight(lowering: Lowering, value: ir.Value) -> ir.Value | None:
    """W if `value` is Transpose(W) of a constant W, else None."""
    node = value.producer()
    if node is None or node.op_type != "Transpose":
        return None
    weight = without_casts(required_input(node, 0))
    if not lowering.is_constant(weight) or len(weight.shape or ()) != 2:
        return None
    return weight if "perm" not in node.attributes or list(node.attributes["perm"].as_ints()) == [1, 0] else None


def lower_transpose(lowering: Lowering, node: ir.Node) -> None:
    """Transpose. Transposed weights are skipped, because `linear` handles them; activations are permuted."""
    weight = transposed_weight(lowering, node.outputs[0])
    uses = tuple(node.outputs[0].uses())
    if weight is None or node.outputs[0].is_graph_output() or not all(_multiplies(use.node, use.idx) for use in uses):
        lower_permutation(lowering, node)


def _multiplies(node: ir.Node, index: int) -> bool:
    """Whether a node is a product that can take its input `index` as the weight of a linear layer."""
    return index == 1 and (node.op_type == "MatMul" or (node.op_type == "Gemm" and not integer(node, "transB", 0)))


def lower_gemm(lowering: Lowering, node: ir.Node) -> None:
    """Gemm: alpha · A · B + beta · C; A and B may be transposed."""
    x, right = operand(lowering, node), without_casts(required_input(node, 1))
    if integer(node, "transA", 0):
        x = mb.transpose(x=x, perm=[1, 0], name=name_of(lowering, node, "transposed"))
    alpha, beta = number(node, "alpha", 1.0), number(node, "beta", 1.0)
    addend = optional_input(node, 2) if beta else None
    turned = bool(integer(node, "transB", 0))
    weight = right if turned and lowering.is_constant(right) else None
    if weight is None and not turned:
        weight = transposed_weight(lowering, right)
    if weight is not None and alpha == 1.0 and (addend is None or _is_bias(lowering, addend, beta)):
        set_result(lowering, node, linear(lowering, x, Linear(weight, addend, node.outputs[0].name or "")))
        return
    if weight is not None:
        var = linear(lowering, x, Linear(weight, None, f"{node.outputs[0].name}/product"))
    else:
        var = mb.matmul(x=x, y=lowering.var(right), transpose_y=turned, name=name_of(lowering, node, "product"))
    if alpha != 1.0:
        var = mb.mul(x=var, y=np.float16(alpha), name=name_of(lowering, node, "scaled"))
    if addend is not None:
        c = lowering.var(addend)
        c = c if beta == 1.0 else mb.mul(x=c, y=np.float16(beta), name=name_of(lowering, node, "addend"))
        var = mb.add(x=var, y=c, name=name_of(lowering, node))
    set_result(lowering, node, var)


def _is_bias(lowering: Lowering, value: ir.Value, beta: float) -> bool:
    return beta == 1.0 and lowering.is_constant(value) and lowering.array(value).ndim == 1


def refuse_integers(node: ir.Node) -> str:
    """Supported: floats. Integer products occur only in quantized graphs, which Kogata doesn't import."""
    value = required_input(node, 0)
    return "" if value.dtype is None or value.dtype.is_floating_point() else "integers"


OPS: dict[str, LowerOp] = {
    "MatMul": lower_matmul,
    "Gemm": lower_gemm,
    "Transpose": lower_transpose,
}
REFUSALS: dict[str, Callable[[ir.Node], str]] = {"MatMul": refuse_integers, "Gemm": refuse_integers}
