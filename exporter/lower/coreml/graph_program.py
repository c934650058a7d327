"""Lowers any graph of fixed shapes to a MIL program without states."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import coremltools as ct
import numpy as np
import onnx
import onnx_ir as ir

from exporter.errors import Diagnostic, UnsupportedError
from exporter.graph.model import OPSET, GraphSpec, Hub
from exporter.graph.names import identifier
from exporter.graph.passes.fold_constants import fold_constants
from exporter.graph.passes.simplify import simplify
from exporter.graph.passes.spell_attention import spell_attention
from exporter.lower.coreml.emit import is_bool
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Function, Placeholder, Program, Var, mb, types
from exporter.lower.coreml.ops import CONSTANT, REFUSALS
from exporter.lower.coreml.ops.shape import MAX_RANK, MOVES_IN_ORDER, has_fixed_shape
from exporter.lower.coreml.program import TARGET, CoreMLProgram, lower_outputs, needed_nodes
from exporter.lower.coreml.registry import has_rule, unknown_op

_SUPPORTED_TYPES = frozenset(
    {
        *(ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE, ir.DataType.BOOL),
        *(ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64),
        *(ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64),
    }
)
# Supported only in natively imported decoders, whose caches, soft caps and rotations have a known layout.
_NATIVE_ONLY_OPS = ("Attention", "RotaryEmbedding")
_HINT = "export with --to onnx"


def graph_program(hub: Hub, spec: GraphSpec) -> CoreMLProgram:
    """The program of a graph.

    Inputs and outputs are named by their `identifier` and have the spec's shapes; floats are float16, integers and
    bools int32. Scalars have shape `[1]`, because Core ML has no scalars. Raises UnsupportedError with everything that
    can't be lowered, before lowering starts.
    """
    hub = _fixed(hub, spec)
    UnsupportedError.raise_all(_unsupported(hub))
    graph = hub.model.graph
    placeholders = {identifier(str(value.name)): _placeholder(value) for value in graph.inputs}
    with Function(placeholders, opset_version=TARGET) as function:
        lowering = Lowering(hub)
        for value in (*graph.inputs, *graph.outputs):
            lowering.op_name(str(value.name))  # reserves the name for this output
        for value in graph.inputs:
            lowering.bind(value, _given(lowering, value, function.inputs[identifier(str(value.name))]))
        results = lower_outputs(lowering, graph.outputs)
        taken = set(map(id, function.inputs.values()))
        ports = []
        for value, var in zip(graph.outputs, results, strict=True):
            ports.append(_output(var, identifier(str(value.name)), id(var) not in taken))
            taken.add(id(var))
        function.set_outputs(ports)
    program = Program()
    program.add_function("main", function)
    return CoreMLProgram(
        program,
        [ct.TensorType(name, tuple(p.shape), dtype=_feature(p.dtype)) for name, p in _by_name(function)],
        [ct.TensorType(name=port.name, dtype=_feature(port.dtype)) for port in ports],
    )


def unsupported_nodes(hub: Hub, spec: GraphSpec) -> list[Diagnostic]:
    """Everything in the graph that can't be lowered to Core ML, one diagnostic for each node. Nothing is lowered.

    Raises InputError if the spec's shapes contradict the graph.
    """
    return _unsupported(_fixed(hub, spec))


def _fixed(hub: Hub, spec: GraphSpec) -> Hub:
    """The graph with fixed shapes, and with Attention replaced by ops that have lowering rules."""
    model = simplify(hub.model, spec.shapes)
    spell_attention(model.graph)
    fold_constants(model)  # infers the shapes of the new values
    return replace(hub, model=model)


def _unsupported(hub: Hub) -> list[Diagnostic]:
    graph = hub.model.graph
    problems = [
        Diagnostic("coreml.port", problem, where=value.name or "", hint=_HINT)
        for value in (*graph.inputs, *graph.outputs)
        if (problem := _value_problem(value))
    ]
    names = Counter(identifier(str(value.name)) for value in (*graph.inputs, *graph.outputs))
    problems += [
        Diagnostic("coreml.port", f"{count} inputs or outputs would get the name '{name}'", where=name, hint=_HINT)
        for name, count in sorted(names.items())
        if count > 1
    ]
    for node in needed_nodes(Lowering(hub), graph.outputs):
        if not has_rule(node):
            problems.append(unknown_op(node))
        elif problem := _node_problem(hub, node):
            message = f"the Core ML lowering of {node.op_type} has no rule for {problem}"
            problems.append(Diagnostic("coreml.op", message, where=node.name or node.op_type, hint=_HINT))
    return problems


def _value_problem(value: ir.Value, most: int = MAX_RANK) -> str:
    if value.dtype is None or value.dtype not in _SUPPORTED_TYPES:
        return f"values of type {value.dtype.name if value.dtype else 'unknown'}"
    if not has_fixed_shape(value):
        return "a shape that is known only at run time"
    shape = list(value.shape or ())
    if len(shape) > most:
        return f"more than {most} axes"
    return f"an empty tensor {shape}" if 0 in shape else ""


def _node_problem(hub: Hub, node: ir.Node) -> str:
    most = 99 if node.op_type in MOVES_IN_ORDER else MAX_RANK
    for value in (*node.outputs, *node.inputs):
        read = value is not None and (value.uses() or value.is_graph_output()) and value.const_value is None
        if value is not None and read and (problem := _value_problem(value, most)):
            return problem
    for index in CONSTANT.get(node.op_type, ()):
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is not None and value.const_value is None and value.name not in hub.palettes:
            return f"an input {index} that is computed at run time"
    if node.op_type in _NATIVE_ONLY_OPS:
        return "its attributes and inputs, except in natively imported decoders"
    if newer := _newer_attributes(node):
        return f"the attribute '{newer[0]}', which is newer than opset {OPSET}"
    refuse = REFUSALS.get(node.op_type)
    return "" if refuse is None else refuse(node)


def _newer_attributes(node: ir.Node) -> list[str]:
    """Attributes that opset 23 doesn't have: the rules don't know what they change."""
    if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type, OPSET, ""):
        return []
    known = onnx.defs.get_schema(node.op_type, OPSET, "").attributes
    return sorted(set(node.attributes) - set(known))


def _placeholder(value: ir.Value) -> Any:
    shape = tuple(int(size) for size in value.shape or () if isinstance(size, int)) or (1,)
    floats = value.dtype is not None and value.dtype.is_floating_point()
    return Placeholder(shape, dtype=types.fp16 if floats else types.int32, name=identifier(str(value.name)))


def _given(lowering: Lowering, value: ir.Value, var: Var) -> Var:
    """The program's input converted to the type and shape of the graph's input."""
    if not value.shape:
        var = mb.squeeze(x=var, axes=[0], name=lowering.op_name(f"{value.name}/scalar"))
    if value.dtype == ir.DataType.BOOL:
        var = mb.cast(x=var, dtype="bool", name=lowering.op_name(f"{value.name}/truth"))
    return var


def _output(var: Var, name: str, own: bool) -> Var:
    """`var` as an output with the name `name`. own: whether `var` isn't an input or another output too."""
    if is_bool(var):
        var, own = mb.cast(x=var, dtype="int32"), True
    if var.rank == 0:
        var, own = mb.expand_dims(x=var, axes=[0]), True
    if not own or var.op is None or var.op.op_type == "const" or len(var.op.outputs) > 1:
        return mb.identity(x=var, name=name)
    var.set_name(name)
    return var


def _feature(dtype: Any) -> Any:
    return np.float16 if types.is_float(dtype) else np.int32


def _by_name(function: Any) -> list[tuple[str, Any]]:
    return list(function.inputs.items())
