"""Hub graph to MIL program: the functions that a phone calls, with their inputs, states and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import coremltools as ct
import numpy as np
import onnx_ir as ir
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Placeholder, Program, get_new_symbol, types
from coremltools.converters.mil.mil.program import StateTensorPlaceholder

from exporter.errors import InputError
from exporter.graph.hub import DecoderSpec, EncoderSpec, Hub
from exporter.lower.coreml import cache
from exporter.lower.coreml.lowering import Lowering, Var
from exporter.lower.coreml.registry import lower_nodes

TARGET = ct.target.iOS18  # the first with states, grouped LUTs and 3-bit LUTs
LENGTHS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)  # enumerated lengths of an encoder: powers of two


@dataclass(frozen=True)
class CoreMLProgram:
    """A MIL program and the shapes that its inputs may take."""

    program: Program
    inputs: Sequence[ct.TensorType]
    outputs: Sequence[ct.TensorType]


def encoder_lengths(context: int) -> tuple[int, ...]:
    """The sequence lengths that an encoder program accepts: powers of two below `context`, and `context` itself."""
    return (*(n for n in LENGTHS if n < context), context)


def encoder_program(hub: Hub, spec: EncoderSpec, context: int) -> CoreMLProgram:
    """Inputs `input_ids`, `attention_mask` int32 `[1, L]`; outputs as the hub's, float16."""
    _check_context(context, spec.context)
    lengths = encoder_lengths(context)
    length = get_new_symbol() if len(lengths) > 1 else context
    inputs = {name: Placeholder((1, length), dtype=types.int32, name=name) for name in ("input_ids", "attention_mask")}
    with Function(inputs, opset_version=TARGET) as function:
        lowering = Lowering(hub)
        mask = function.inputs["attention_mask"]
        for value in hub.model.graph.inputs:
            if value.name in inputs:
                lowering.bind(value, function.inputs[value.name])
            else:
                lowering.bind_zero(value)  # token types: one sentence has type 0 throughout
        lowering.bind(_value(hub, "mask"), padding_mask(mask))
        function.set_outputs(_lower_outputs(lowering, hub.model.graph.outputs))
    program = Program()
    program.add_function("main", function)
    shapes: Any = (1, context)  # a short context is the only length, and coremltools enumerates no fewer than two
    if len(lengths) > 1:
        shapes = ct.EnumeratedShapes([(1, n) for n in lengths], default=(1, lengths[min(2, len(lengths) - 1)]))
    return CoreMLProgram(
        program,
        [ct.TensorType(name, shapes, dtype=np.int32) for name in inputs],
        [ct.TensorType(name=value.name, dtype=np.float16) for value in hub.model.graph.outputs],
    )


def padding_mask(attention_mask: Var) -> Var:
    """1 (a token) or 0 (padding), int32 `[1, L]`, as an additive mask float16 `[1, 1, 1, L]`."""
    tokens = mb.not_equal(x=attention_mask, y=np.int32(0), name="tokens")
    return mb.expand_dims(x=cache.additive(tokens, "additive_padding"), axes=[1, 2], name="mask")


def decoder_program(hub: Hub, spec: DecoderSpec, context: int) -> CoreMLProgram:
    """The stateful program that swift-transformers and Apple's examples call; see `cache` for its states."""
    _check_context(context, spec.context)
    q, rows, width = get_new_symbol(), get_new_symbol(), get_new_symbol()
    shape = (spec.cache.layers, 1, spec.cache.kv_heads, context, spec.cache.head_dim)
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
        lowering.bind(_value(hub, "input_ids"), given["inputIds"])
        lowering.bind(_value(hub, "position_ids"), position_ids)
        lowering.bind(_value(hub, "mask"), cache.causal_mask(span, position_ids, given["causalMask"]))
        logits = [value for value in hub.model.graph.outputs if value.name == "logits"]
        function.set_outputs(_lower_outputs(lowering, logits))
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


def _check_context(asked: int, most: int) -> None:
    if not 0 < asked <= most:
        raise InputError.of(
            "coreml.context",
            f"a context of {asked} tokens was asked for; the model was made for {most}",
            hint=f"give --context between 1 and {most}",
        )


def _lower_outputs(lowering: Lowering, outputs: Sequence[ir.Value]) -> list[Var]:
    lower_nodes(lowering, _needed(lowering, outputs))
    return [lowering.var(value) for value in outputs]


def _needed(lowering: Lowering, outputs: Sequence[ir.Value]) -> list[ir.Node]:
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


def _value(hub: Hub, name: str) -> ir.Value:
    graph = hub.model.graph
    for value in graph.inputs:
        if value.name == name:
            return value
    for node in graph:
        for value in node.outputs:
            if value.name == name:
                return value
    raise ValueError(f"the hub graph has no value {name!r}")
