"""Hub graph to MIL program: the functions that a phone calls, with their inputs, states and outputs."""

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

TARGET = ct.target.iOS18  # the first with states, grouped LUTs and 3-bit LUTs


@dataclass(frozen=True)
class CoreMLProgram:
    """A MIL program and the shapes that its inputs may take.

    classes: labels of a classifier, in the order of its output `probabilities`; empty for any other program.
    """

    program: Program
    inputs: Sequence[ct.TensorType]
    outputs: Sequence[ct.TensorType]
    classes: tuple[str, ...] = ()


def decoder_program(hub: Hub, spec: DecoderSpec, context: int) -> CoreMLProgram:
    """The stateful program that swift-transformers and Apple's examples call; see `cache` for its states."""
    check_context(context, spec.context)
    q, rows, width = get_new_symbol(), get_new_symbol(), get_new_symbol()
    shape = (spec.cache.layers, 1, max(spec.cache.kv_heads), context, spec.cache.head_dim)
    placeholders = {
        "inputIds": Placeholder((1, q), dtype=types.int32, name="inputIds"),
        "causalMask": Placeholder((1, 1, rows, width), dtype=types.fp16, name="causalMask"),
        cache.KEY: StateTensorPlaceholder(shape, types.fp16, name=cache.KEY),
        cache.VALUE: StateTensorPlaceholder(shape, types.fp16, name=cache.VALUE),
        cache.POSITION: StateTensorPlaceholder((2,), types.fp16, name=cache.POSITION),
    }
    with Function(placeholders, opset_version=TARGET) as function:
        given = function.inputs
        span = cache.open_span(given["inputIds"], given["causalMask"], given[cache.POSITION])
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
    """Window (None: all that came before) → the hub value that is its mask, for those that the layers use."""
    names = {"mask": None} | {f"mask.window.{width}": width for width in spec.windows}
    values = (value for node in hub.model.graph for value in node.outputs)
    return {names[value.name]: value for value in values if value.name in names}


def check_context(asked: int, most: int) -> None:
    """Raises InputError for a context that the model was not made for."""
    if not 0 < asked <= most:
        raise InputError.of(
            "coreml.context",
            f"a context of {asked} tokens was asked for; the model was made for {most}",
            hint=f"give --context between 1 and {most}",
        )


def lower_outputs(lowering: Lowering, outputs: Sequence[ir.Value]) -> list[Var]:
    """Lowers what is behind `outputs`, and nothing else; their variables."""
    lower_nodes(lowering, needed(lowering, outputs))
    return [lowering.var(value) for value in outputs]


def needed(lowering: Lowering, outputs: Sequence[ir.Value]) -> list[ir.Node]:
    """The nodes behind `outputs`, in graph order, without those behind values that are bound already."""
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
    """The graph's input or computed value of that name."""
    graph = hub.model.graph
    for value in graph.inputs:
        if value.name == name:
            return value
    for node in graph:
        for value in node.outputs:
            if value.name == name:
                return value
    raise ValueError(f"the hub graph has no value {name!r}")
