"""Lowers a graph to a MIL program: its main function with inputs, states and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import coremltools as ct
import numpy as np
import onnx_ir as ir

from exporter.errors import InputError
from exporter.graph.model import DecoderSpec, Hub
from exporter.lower.coreml import cache
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Function, Placeholder, Program, StateTensorPlaceholder, Var, get_new_symbol, types
from exporter.lower.coreml.registry import lower_nodes

TARGET = ct.target.iOS18  # the oldest with states, grouped LUTs and 3-bit LUTs


@dataclass(frozen=True)
class CoreMLProgram:
    """A MIL program and the shapes of its inputs.

    classes: labels of a classifier, in the order of its output `probabilities`; empty for other programs.
    """

    program: Program
    inputs: Sequence[ct.TensorType]
    outputs: Sequence[ct.TensorType]
    classes: tuple[str, ...] = ()


def decoder_program(hub: Hub, spec: DecoderSpec, context: int) -> CoreMLProgram:
    """The program of a decoder, as swift-transformers and Apple's examples expect it; for its states see `cache`."""
    check_context(context, spec.context)
    q, rows, width = get_new_symbol(), get_new_symbol(), get_new_symbol()
    shape = cache.state_shape(spec.cache, context)
    placeholders = {
        "inputIds": Placeholder((1, q), dtype=types.int32, name="inputIds"),
        "causalMask": Placeholder((1, 1, rows, width), dtype=types.fp16, name="causalMask"),
        cache.KEY: StateTensorPlaceholder(shape, types.fp16, name=cache.KEY),
        cache.VALUE: StateTensorPlaceholder(shape, types.fp16, name=cache.VALUE),
    }
    with Function(placeholders, opset_version=TARGET) as function:
        given = function.inputs
        span = cache.open_span(given["inputIds"], given["causalMask"], given[cache.KEY])
        store = cache.StateCache(spec.cache, span, given[cache.KEY], given[cache.VALUE])
        lowering = Lowering(hub, cache=store)
        position_ids = cache.positions(span)
        lowering.bind(hub_value(hub, "input_ids"), given["inputIds"])
        lowering.bind(hub_value(hub, "position_ids"), position_ids)
        masks = _masks(hub, spec)
        drawn = cache.causal_masks(span, position_ids, given["causalMask"], list(masks))
        for window, mask in masks.items():
            lowering.bind(mask, drawn[window])
        logits = [value for value in hub.model.graph.outputs if value.name == "logits"]
        function.set_outputs(lower_outputs(lowering, logits))
    program = Program()
    program.add_function("main", function)
    tokens = ct.RangeDim(1, context, default=1)
    return CoreMLProgram(
        program,
        [
            ct.TensorType("inputIds", (1, tokens), dtype=np.int32),
            ct.TensorType(
                "causalMask",
                (1, 1, ct.RangeDim(1, context, default=1), ct.RangeDim(1, context + 1, default=1)),
                dtype=np.float16,
            ),
        ],
        [ct.TensorType(name="logits", dtype=np.float16)],
    )


def _masks(hub: Hub, spec: DecoderSpec) -> dict[int | None, ir.Value]:
    """Window → graph value of its mask, for the windows that the layers use. None: all earlier tokens."""
    names = {"mask": None} | {f"mask.window.{width}": width for width in spec.windows}
    values = (value for node in hub.model.graph for value in node.outputs)
    return {names[value.name]: value for value in values if value.name in names}


def check_context(asked: int, most: int) -> None:
    """Raises InputError for a context above the model's maximum."""
    if not 0 < asked <= most:
        raise InputError.of(
            "coreml.context",
            f"the context of {asked} tokens is outside of the model's range, 1 to {most}",
            hint=f"set --context to a number from 1 to {most}",
        )


def lower_outputs(lowering: Lowering, outputs: Sequence[ir.Value]) -> list[Var]:
    """Lowers the nodes that `outputs` depend on. Returns the variables of the outputs."""
    lower_nodes(lowering, needed_nodes(lowering, outputs))
    return [lowering.var(value) for value in outputs]


def needed_nodes(lowering: Lowering, outputs: Sequence[ir.Value]) -> list[ir.Node]:
    """The nodes that `outputs` depend on, in graph order, except those that only bound values depend on."""
    wanted: set[ir.Node] = set()
    stack = list(outputs)
    while stack:
        value = stack.pop()
        node = value.producer()
        if lowering.bound(value) or lowering.is_constant(value) or node is None or node in wanted:
            continue
        wanted.add(node)
        stack.extend(v for v in node.inputs if v is not None)
    return [node for node in lowering.hub.model.graph if node in wanted]


def hub_value(hub: Hub, name: str) -> ir.Value:
    """The graph's input or node output with the name `name`. Raises ValueError if there is none."""
    graph = hub.model.graph
    for value in graph.inputs:
        if value.name == name:
            return value
    for node in graph:
        for value in node.outputs:
            if value.name == name:
                return value
    raise ValueError(f"the graph has no value {name!r}")
