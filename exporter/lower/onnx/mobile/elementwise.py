"""Given a decoder's graph,
Result: a residual sum and the norm after it are one op, and so are x and sigmoid(a · x). Casts of stored tensors to
float32 are done now.
Refuses: nothing; what doesn't match stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import onnx_ir as ir

from exporter.graph.passes.rewrite import constant_of
from exporter.lower.onnx.mobile.attention import MICROSOFT


def store_floats(graph: ir.Graph, but: Collection[str]) -> None:
    """Stores initializers that are only cast to float32 as float32. but: names of initializers that stay."""
    for node in [node for node in graph if node.op_type == "Cast"]:
        stored = node.inputs[0]
        if stored is None or stored.const_value is None or stored.name in but or len(stored.uses()) > 1:
            continue
        tensor, name = stored.const_value, str(stored.name)
        graph.initializers.pop(name)
        stored.name = f"{name}/stored"
        floats = ir.LazyTensor(
            partial(_as_floats, tensor), dtype=ir.DataType.FLOAT, shape=ir.Shape(tensor.shape.numpy()), name=name
        )
        value = ir.Value(name=name, type=ir.TensorType(floats.dtype), shape=floats.shape, const_value=floats)
        graph.register_initializer(value)
        ir.convenience.replace_all_uses_with(node.outputs[0], value)
        graph.remove(node, safe=True)


def _as_floats(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype("float32"))


def fuse_norms(graph: ir.Graph) -> None:
    """Makes one op of each residual sum and the norm that reads it."""
    for norm in [node for node in graph if node.op_type in ("RMSNormalization", "LayerNormalization")]:
        total = norm.inputs[0]
        add = total.producer() if total is not None else None
        if total is None or add is None or add.op_type != "Add" or not _is_residual(add) or not _is_vector(norm):
            continue
        rms = norm.op_type == "RMSNormalization"
        parameters = [norm.inputs[1], *([] if rms else [norm.inputs[2] if len(norm.inputs) > 2 else None])]
        fused = ir.node(
            "SkipSimplifiedLayerNormalization" if rms else "SkipLayerNormalization",
            [*add.inputs, *parameters],
            attributes={"epsilon": norm.attributes["epsilon"].as_float()},
            domain=MICROSOFT,
            num_outputs=4,
            name=norm.name,
        )
        for unused in fused.outputs[1:3]:
            unused.name = ""
        for old, new in ((norm.outputs[0], fused.outputs[0]), (total, fused.outputs[3])):
            new.name, new.type, new.shape = old.name, old.type, old.shape
        # The sum's other readers come after the sum, so the fused op stands where the sum stood.
        graph.insert_before(add, fused)
        for old, new in ((norm.outputs[0], fused.outputs[0]), (total, fused.outputs[3])):
            ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        graph.remove([norm, add], safe=True)


def _is_residual(add: ir.Node) -> bool:
    """Whether two hidden states are added, not a bias; no graph output is the sum."""
    made = [value is not None and value.const_value is None for value in add.inputs]
    return all(made) and not add.outputs[0].is_graph_output()


def _is_vector(norm: ir.Node) -> bool:
    """Whether the norm is over the last axis and its weight is known and has one axis."""
    axis, weight = norm.attributes.get("axis"), constant_of(norm.inputs[1])
    return (axis is None or axis.as_int() == -1) and weight is not None and len(weight.shape) == 1


def fuse_gates(graph: ir.Graph) -> None:
    """Makes QuickGelu, x · sigmoid(a · x), of its parts; with a = 1 it is SiLU."""
    for product in [node for node in graph if node.op_type == "Mul"]:
        x, gate = product.inputs
        sigmoid = gate.producer() if gate is not None else None
        if x is None or sigmoid is None or sigmoid.op_type != "Sigmoid" or len(sigmoid.outputs[0].uses()) > 1:
            continue
        steep, slope = sigmoid.inputs[0], 1.0
        if steep is not x:
            factor = steep.producer() if steep is not None else None
            if factor is None or factor.op_type != "Mul" or factor.inputs[0] is not x:
                continue
            constant = constant_of(factor.inputs[1])
            if constant is None or constant.size != 1:
                continue
            slope = float(constant.numpy().reshape(()))
        fused = ir.node("QuickGelu", [x], attributes={"alpha": slope}, domain=MICROSOFT, name=product.name)
        old, new = product.outputs[0], fused.outputs[0]
        new.name, new.type, new.shape = old.name, old.type, old.shape
        ir.convenience.replace_nodes_and_values(graph, product, [product], [fused], [old], [new])
