"""Given a decoder's graph with fused attention and integer weights,
Result: the three products that make queries, keys and values of the same hidden states are one product.
Refuses: nothing; products with other blocks or bits, or whose results something else reads, stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from exporter.graph.grid import JOINED
from exporter.lower.onnx.mobile.attention import MICROSOFT
from exporter.lower.onnx.mobile.weights import Stored

_BIAS = 5  # its place among the inputs of MatMulNBits


def join_projections(graph: ir.Graph, stored: Stored) -> None:
    """Joins the products in place."""
    for attention in [node for node in graph if node.op_type == "GroupQueryAttention"]:
        made = [value.producer() for value in attention.inputs[:3] if value is not None]
        products = [node for node in made if node is not None and node.op_type == "MatMulNBits"]
        if len(products) == 3 and _alike(products):
            _join(graph, attention, products, stored)


def _alike(products: Sequence[ir.Node]) -> bool:
    first = products[0]
    keys = ("K", "bits", "block_size")
    return all(
        node.inputs[0] is first.inputs[0]
        and len(node.outputs[0].uses()) == 1
        and all(value is None or len(value.uses()) == 1 for value in node.inputs[1:])
        and all(node.attributes[key].as_int() == first.attributes[key].as_int() for key in keys)
        for node in products
    )


def _join(graph: ir.Graph, attention: ir.Node, products: Sequence[ir.Node], stored: Stored) -> None:
    first = products[0]
    integers, scales = ([node.inputs[place] for node in products] for place in (1, 2))
    inputs: list[ir.Value | None] = [first.inputs[0], _stacked(graph, integers), _stacked(graph, scales)]
    for values, names in ((integers, stored.integers), (scales, stored.scales)):
        names -= {str(value.name) for value in values if value is not None}
    stored.integers.add(str(inputs[1].name if inputs[1] else ""))
    stored.scales.add(str(inputs[2].name if inputs[2] else ""))
    if any(len(node.inputs) > _BIAS for node in products):
        inputs += [None, None, _stacked(graph, [_bias(graph, node) for node in products])]
    rows = sum(node.attributes["N"].as_int() for node in products)
    attributes = dict(first.attributes) | {"N": ir.AttrInt64("N", rows)}
    node = ir.Node(MICROSOFT, "MatMulNBits", inputs, attributes=attributes.values(), name=f"{attention.name}/qkv")
    node.outputs[0].name = f"{attention.name}/qkv/product"
    graph.insert_before(attention, node)
    attention.replace_input_with(0, node.outputs[0])
    for place in (1, 2):
        attention.replace_input_with(place, None)
    graph.remove(products, safe=True)


def _bias(graph: ir.Graph, product: ir.Node) -> ir.Value:
    bias = product.inputs[_BIAS] if len(product.inputs) > _BIAS else None
    if bias is not None:
        return bias
    name = f"{product.name}/no_bias"
    zeros = ir.tensor(np.zeros(product.attributes["N"].as_int(), np.float32), name=name)
    value = ir.Value(name=name, type=ir.TensorType(zeros.dtype), shape=ir.Shape(zeros.shape.numpy()), const_value=zeros)
    graph.register_initializer(value)
    return value


def _stacked(graph: ir.Graph, parts: Sequence[ir.Value | None]) -> ir.Value:
    """An initializer with the rows of all parts. Its name is made of theirs: "A+B+C/integers"."""
    values = [value for value in parts if value is not None]
    tensors = [tensor for value in values if (tensor := value.const_value) is not None]
    stems = [str(value.name).rpartition("/") for value in values]
    name = JOINED.join(stem or key for stem, _, key in stems) + (f"/{stems[0][2]}" if stems[0][0] else "")
    rows = sum(int(tensor.shape.numpy()[0]) for tensor in tensors)
    shape = ir.Shape((rows, *tensors[0].shape.numpy()[1:]))
    joined = ir.LazyTensor(partial(_rows, tensors), dtype=tensors[0].dtype, shape=shape, name=name)
    value = ir.Value(name=name, type=ir.TensorType(joined.dtype), shape=shape, const_value=joined)
    graph.register_initializer(value)
    return value


def _rows(tensors: Sequence[ir.TensorProtocol]) -> ir.TensorProtocol:
    return ir.tensor(np.concatenate([tensor.numpy() for tensor in tensors]))
