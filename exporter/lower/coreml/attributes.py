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
