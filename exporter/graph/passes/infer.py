"""Infers types and shapes of one node's outputs with ONNX's own inference.

Only the node and its small constants are serialized, so the size of the weights doesn't matter.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, TypeProto

from exporter.errors import InputError

_UNINFERRED = (
    "GroupNormalization",
    "MeanVarianceNormalization",
)  # ONNX has no inference for these; they keep the input's shape
MAX_SHAPE_ELEMENTS = 1024  # of a constant that can decide a shape: axes, sizes, pads, scales


def infer(node: ir.Node, opsets: dict[str, int], ir_version: int) -> None:
    """Sets the types and shapes of the node's outputs if they can be inferred.

    Nodes of unknown domains and nodes with subgraphs keep the types and shapes in the file. Raises InputError if the
    node's inputs don't fit together.
    """
    if node.domain not in ("", "ai.onnx") or any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values()):
        return
    inputs = [value for value in node.inputs if value is not None]
    if any(value.type is None for value in inputs):
        return
    if node.op_type in _UNINFERRED:
        node.outputs[0].type, node.outputs[0].shape = inputs[0].type, inputs[0].shape
        return
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets[""], "")
    except onnx.defs.SchemaError as error:
        raise InputError.of(
            "onnx.op", f"ONNX {opsets['']} has no op '{node.op_type}'", where=node.name or node.op_type
        ) from error
    types = {str(value.name): _type_proto(value) for value in inputs}
    data = {str(value.name): proto for value in inputs if (proto := _small(value)) is not None}
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    try:
        inferred = onnx.shape_inference.infer_node_outputs(
            schema, ir.serde.serialize_node(node), types, data, opset_imports=imports, ir_version=ir_version
        )
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        message = str(error).splitlines()[0] if str(error) else "its inputs don't fit together"
        raise InputError.of("onnx.shape", message, where=node.name or node.op_type) from error
    for value in node.outputs:
        if value.name in inferred:
            _set(value, inferred[value.name])
    if node.op_type == "Resize":
        _scale(node)


def _scale(node: ir.Node) -> None:
    """Sets sizes that follow from scales: float32 products, rounded down, as in onnxruntime."""
    x, result = node.inputs[0], node.outputs[0]
    scales = node.inputs[2].const_value if len(node.inputs) > 2 and node.inputs[2] is not None else None
    by_size = len(node.inputs) > 3 and node.inputs[3] is not None
    if x is None or x.shape is None or result.shape is None or scales is None or scales.size == 0 or by_size:
        return
    axes = list(node.attributes["axes"].as_ints()) if "axes" in node.attributes else range(len(x.shape))
    sizes = list(result.shape)
    for axis, scale in zip(axes, scales.numpy(), strict=True):
        size = x.shape[axis]
        if isinstance(size, int):
            sizes[axis] = int(np.float32(size) * np.float32(scale))
    result.shape = ir.Shape(sizes)


def _type_proto(value: ir.Value) -> TypeProto:
    if not isinstance(value.type, ir.TensorType):
        proto = TypeProto()
        ir.serde.serialize_type_into(proto, value.type)  # type: ignore[arg-type]
        return proto
    sizes = None
    if value.shape is not None:
        sizes = [size if isinstance(size, int) else size.value for size in value.shape]
    return onnx.helper.make_tensor_type_proto(int(value.dtype or 0), sizes)


def _small(value: ir.Value) -> TensorProto | None:
    tensor = value.const_value
    if tensor is None or tensor.size > MAX_SHAPE_ELEMENTS or tensor.dtype == ir.DataType.STRING:
        return None
    return onnx.numpy_helper.from_array(tensor.numpy(), name=value.name)


def _set(value: ir.Value, proto: TypeProto) -> None:
    if proto.WhichOneof("value") != "tensor_type":
        return
    tensor = proto.tensor_type
    if tensor.elem_type:
        value.type = ir.TensorType(ir.DataType(tensor.elem_type))
    if not tensor.HasField("shape"):
        return
    old = value.shape
    sizes: list[int | str | None] = []
    for axis, dim in enumerate(tensor.shape.dim):
        size: int | str | None = dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
        if not isinstance(size, int) and old is not None and len(old) == len(tensor.shape.dim):
            known = old[axis]
            size = known if isinstance(known, int) else size
        sizes.append(size)
    value.shape = ir.Shape(sizes)
