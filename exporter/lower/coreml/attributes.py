"""Reads ONNX node attributes and constant inputs with their types."""

from __future__ import annotations

import onnx_ir as ir

from exporter.errors import UnsupportedError
from exporter.lower.coreml.lowering import Lowering


def integer(node: ir.Node, name: str, default: int) -> int:
    """An INT attribute, or `default` when the node has none."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def number(node: ir.Node, name: str, default: float) -> float:
    """A FLOAT attribute, or `default` when the node has none."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def integers(node: ir.Node, name: str, default: list[int]) -> list[int]:
    """An INTS attribute, or `default` when the node has none."""
    attribute = node.attributes.get(name)
    return default if attribute is None else [int(value) for value in attribute.as_ints()]


def string(node: ir.Node, name: str, default: str) -> str:
    """A STRING attribute, or `default` when the node has none."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def required_input(node: ir.Node, index: int) -> ir.Value:
    """Input `index`. Raises ValueError if it is missing: the op's definition requires it."""
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"{node.name}: input {index} of {node.op_type} is missing")
    return value


def optional_input(node: ir.Node, index: int) -> ir.Value | None:
    """Input `index`, or None if it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def constant_ints(lowering: Lowering, node: ir.Node, index: int) -> list[int]:
    """Input `index` as integers. Raises UnsupportedError if it is computed: Core ML needs a constant."""
    value = required_input(node, index)
    if not lowering.is_constant(value):
        raise UnsupportedError.of(
            "coreml.dynamic-parameter",
            f"input {index} of {node.op_type} is computed at run time, but Core ML needs a constant",
            where=node.name or node.op_type,
            hint="export with --to onnx",
        )
    return [int(v) for v in lowering.array(value).reshape(-1)]


def fixed_shape(value: ir.Value) -> tuple[int, ...]:
    """The shape of a value. Raises ValueError if a size is open."""
    if value.shape is None or any(not isinstance(size, int) for size in value.shape):
        raise ValueError(f"{value.name} has no fixed shape")
    return tuple(int(size) for size in value.shape if isinstance(size, int))


def constant_number(value: ir.Value | None) -> float | None:
    """The stored number of a constant with one element; None for other values."""
    tensor = None if value is None else value.const_value
    if tensor is None or tensor.size != 1 or tensor.dtype == ir.DataType.STRING:
        return None
    return float(tensor.numpy().reshape(-1)[0])


def without_casts(value: ir.Value) -> ir.Value:
    """The value before casts between float types, which don't matter: all floats are float16 in the program."""
    node = value.producer()
    while node is not None and node.op_type == "Cast" and node.inputs[0] is not None:
        source, target = node.inputs[0], ir.DataType(integer(node, "to", 0))
        if source.dtype is None or not source.dtype.is_floating_point() or not target.is_floating_point():
            break
        value, node = source, source.producer()
    return value


def is_used(node: ir.Node, index: int) -> bool:
    """Whether output `index` is used by a node or is a graph output."""
    if index >= len(node.outputs):
        return False
    value = node.outputs[index]
    return bool(value.is_graph_output() or tuple(value.uses()))
