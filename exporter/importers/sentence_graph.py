"""Adds what sentence-transformers computes after a model to a graph that optimum exported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from exporter.checkpoint import Checkpoint
from exporter.errors import UnsupportedError
from exporter.graph.builder import GraphBuilder
from exporter.graph.model import GraphSpec, Hub
from exporter.importers.config import ConfigReader
from exporter.importers.parts import LayerBuilder
from exporter.importers.sentence import Sentence, Tokens, build_sentence, read_modules, sentence_weights

TOKENS = "last_hidden_state"
SENTENCE = "sentence_embedding"
_WIDTHS = (
    "hidden_size",
    "d_model",
    "dim",
    "n_embd",
    "emb_dim",
)  # names of the width of a token's embedding in config.json


def stated_sentence(checkpoint: Checkpoint) -> Sentence | None:
    """What the checkpoint's `modules.json` asks for; None without it, or where nothing is pooled.

    Raises UnsupportedError with the name of everything in it that can't be built, before anything is traced.
    """
    modules = checkpoint.sentence
    if modules is None:
        return None
    config = ConfigReader(checkpoint.config)
    width = stated_width(checkpoint)
    if modules.cross_encoder:
        for what in modules.unsupported:
            config.unsupported("modules.json", f"{what} is not supported")
        config.finish()
        return None
    if modules.dense:  # without a stated width, the first layer says what it reads
        width = width or modules.dense[0].in_features
    sentence = read_modules(modules, config, width)
    config.finish()
    return sentence if sentence.pooling is not None else None


def stated_width(checkpoint: Checkpoint) -> int:
    """Elements of a token's embedding, as config.json states it; 0 if it doesn't."""
    return next((size for key in _WIDTHS if type(size := checkpoint.config.get(key)) is int), 0)


def append_sentence(hub: Hub, sentence: Sentence, context: int, width: int = 0) -> Hub:
    """Adds the output `sentence_embedding` `[batch, width]` to the graph, in place.

    context: the longest text. width: of a token's embedding, if the graph doesn't say it.
    Raises UnsupportedError for a graph that gives no embedding for each token.
    """
    spec, graph = hub.spec, hub.model.graph
    assert isinstance(spec, GraphSpec)
    inputs = {str(value.name): value for value in graph.inputs}
    tokens = next((value for value in graph.outputs if value.name == TOKENS), None)
    last = tokens.shape[-1] if tokens is not None and tokens.shape is not None else None
    hidden = last if isinstance(last, int) else width
    if tokens is None or not hidden or "input_ids" not in inputs:
        message = f"modules.json needs a model with the input input_ids and the output {TOKENS} of a known width"
        raise UnsupportedError.of("sentence.graph", message, where="modules.json")
    builder = GraphBuilder.behind(graph)
    layers = LayerBuilder(builder, sentence_weights(sentence.dense))
    with builder.scope("pooling"):
        if "attention_mask" in inputs:
            mask = inputs["attention_mask"]
        else:  # every token is real
            one = builder.const(np.ones((1, 1), np.int64), "pooling/one")
            mask = builder.op("Expand", one, builder.op("Shape", inputs["input_ids"], name="shape"), name="mask")
        real = builder.op("Cast", mask, to=int(ir.DataType.FLOAT), name="real")
        vector = build_sentence(layers, sentence, Tokens(tokens, real, hidden, context, padded_first=True))
    batch = inputs["input_ids"].shape
    sizes = [batch[0] if batch is not None and isinstance(batch[0], int) else "batch_size", sentence.width(hidden)]
    builder.output(vector, SENTENCE, ir.DataType.FLOAT, sizes)
    return replace(builder.extend(hub), spec=replace(spec, outputs=(*spec.outputs, SENTENCE)))
