"""Lowers encoders to MIL programs."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import onnx_ir as ir

from exporter.graph.model import EncoderSpec, Hub
from exporter.lower.coreml import cache
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Function, Placeholder, Program, Var, get_new_symbol, mb, types
from exporter.lower.coreml.package import PROBABILITIES
from exporter.lower.coreml.program import TARGET, CoreMLProgram, check_context, hub_value, lower_outputs

LENGTHS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)  # enumerated lengths of an encoder: powers of two


def encoder_lengths(context: int) -> tuple[int, ...]:
    """The sequence lengths that an encoder program accepts: powers of two below `context`, and `context` itself."""
    return (*(n for n in LENGTHS if n < context), context)


def encoder_program(hub: Hub, spec: EncoderSpec, context: int) -> CoreMLProgram:
    """The program of an encoder.

    Inputs: `input_ids`, `attention_mask` and, for pairs, `token_type_ids`, int32 `[1, L]`. Outputs: the graph's, as
    float16. A classifier with one label per text also has `classLabel` and `classLabel_probs`, as usual in Core ML.
    """
    check_context(context, spec.context)
    lengths = encoder_lengths(context)
    length = get_new_symbol() if len(lengths) > 1 else context
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if spec.pairs else [])]
    inputs = {name: Placeholder((1, length), dtype=types.int32, name=name) for name in names}
    classes = class_labels(spec)
    with Function(inputs, opset_version=TARGET) as function:
        lowering = Lowering(hub)
        for value in hub.model.graph.inputs:
            if value.name in inputs:
                lowering.bind(value, function.inputs[value.name])
            else:
                lowering.bind_zero(value)  # token types: all 0 for a single text
        lowering.bind(hub_value(hub, "mask"), padding_mask(function.inputs["attention_mask"]))
        _bind_places(lowering, function.inputs["input_ids"])
        outputs = lower_outputs(lowering, hub.model.graph.outputs)
        if classes:
            wide = mb.cast(x=outputs[0], dtype="fp32", name="logits_fp32")
            outputs.append(mb.softmax(x=wide, axis=-1, name=PROBABILITIES))
        function.set_outputs(outputs)
    program = Program()
    program.add_function("main", function)
    shapes: Any = (
        1,
        context,
    )  # a short context has one length only, but coremltools needs at least two for EnumeratedShapes
    if len(lengths) > 1:
        shapes = ct.EnumeratedShapes([(1, n) for n in lengths], default=(1, lengths[min(2, len(lengths) - 1)]))
    return CoreMLProgram(
        program,
        [ct.TensorType(name, shapes, dtype=np.int32) for name in inputs],
        [ct.TensorType(name=value.name, dtype=np.float16) for value in hub.model.graph.outputs],
        classes,
    )


def class_labels(spec: EncoderSpec) -> tuple[str, ...]:
    """The labels of a classifier with one label per text. Empty for models that Core ML's classifiers can't represent:
    several labels at once, a single score, a label that occurs twice.
    """
    one = spec.task == "text-classification" and spec.scores == "softmax"
    return spec.labels if one and len(set(spec.labels)) == len(spec.labels) and all(spec.labels) else ()


def padding_mask(attention_mask: Var) -> Var:
    """1 (a token) or 0 (padding), int32 `[1, L]`, as an additive mask float16 `[1, 1, 1, L]`."""
    tokens = mb.not_equal(x=attention_mask, y=np.int32(0), name="tokens")
    return mb.expand_dims(x=cache.additive(tokens, "additive_padding"), axes=[1, 2], name="mask")


def _bind_places(lowering: Lowering, ids: Var) -> None:
    """Binds position ids and relative positions, which the graph expands to the batch size; here the batch is 1."""
    values = {value.name: value for node in lowering.hub.model.graph for value in node.outputs}
    if "positions" in values:
        length = mb.squeeze(x=mb.slice_by_index(x=mb.shape(x=ids), begin=[1], end=[2]), name="length")
        places = mb.range_1d(start=0, end=length, step=1, name="places")
        lowering.bind(values["positions"], mb.expand_dims(x=places, axes=[0], name="positions"))
    index = values.get("relative/index")
    if index is not None:
        _bind_index(lowering, index)


def _bind_index(lowering: Lowering, index: ir.Value) -> None:
    """Binds the rows of relative positions as `[1, 1, L, L]`, since they are the same for all heads."""
    node = index.producer()
    assert node is not None
    one, shape = node.inputs
    assert one is not None
    assert shape is not None
    concat = shape.producer()
    assert concat is not None
    heads = concat.inputs[1]
    assert heads is not None
    (row,) = lower_outputs(lowering, [one])
    reps = [1, int(lowering.array(heads)[0]), 1, 1]
    lowering.bind(index, mb.tile(x=row, reps=reps, name=lowering.op_name("relative/index")))
