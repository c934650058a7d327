"""Typed reading of ONNX node attributes and of constant inputs."""

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


def given(node: ir.Node, index: int) -> ir.Value:
    """Input `index`, which the op's definition requires."""
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"{node.name}: input {index} of {node.op_type} is missing")
    return value


def optional(node: ir.Node, index: int) -> ir.Value | None:
    """Input `index`, or None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def constant_ints(lowering: Lowering, node: ir.Node, index: int) -> list[int]:
    """Input `index` as integers; refuses a computed one, which Core ML wants to know beforehand."""
    value = given(node, index)
    if not lowering.is_constant(value):
        raise UnsupportedError.of(
            "coreml.dynamic-parameter",
            f"input {index} of {node.op_type} is computed at run time; Core ML needs a constant there",
            where=node.name or node.op_type,
            hint="export with --to onnx",
        )
    return [int(v) for v in lowering.array(value).reshape(-1)]


def fixed_shape(value: ir.Value) -> tuple[int, ...]:
    """The shape that the graph states for a value. Raises ValueError where a size is open."""
    if value.shape is None or any(not isinstance(size, int) for size in value.shape):
        raise ValueError(f"{value.name} has no fixed shape")
    return tuple(int(size) for size in value.shape if isinstance(size, int))


def constant_number(value: ir.Value | None) -> float | None:
    """The number in a constant of one element, as it is stored; None for anything else."""
    tensor = None if value is None else value.const_value
    if tensor is None or tensor.size != 1 or tensor.dtype == ir.DataType.STRING:
        return None
    return float(tensor.numpy().reshape(-1)[0])


def without_casts(value: ir.Value) -> ir.Value:
    """What `value` is a cast of, from float to float: all floats are float16 in the program."""
    node = value.producer()
    while node is not None and node.op_type == "Cast" and node.inputs[0] is not None:
        source, target = node.inputs[0], ir.DataType(integer(node, "to", 0))
        if source.dtype is None or not source.dtype.is_floating_point() or not target.is_floating_point():
            break
        value, node = source, source.producer()
    return value


def used(node: ir.Node, index: int) -> bool:
    """Whether anything reads output `index`."""
    if index >= len(node.outputs):
        return False
    value = node.outputs[index]
    return bool(value.is_graph_output() or tuple(value.uses()))
