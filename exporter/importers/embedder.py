"""Builds the graph of a decoder that embeds texts: its layers without a KV cache and without the head, then pooling."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from exporter.graph.model import Hub
from exporter.importers.decoder import DecoderBuilder
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.masks import distant, hide, later, padding_mask
from exporter.importers.parts import NamedTensor
from exporter.importers.sentence import Tokens, build_embeddings, embedding_spec, sentence_weights


def build_embedder(layout: DecoderLayout, weights: Mapping[str, NamedTensor], family: str) -> Hub:
    """Builds the graph of a decoder with `layout.sentence`. It has the inputs and outputs in `EncoderSpec`.

    weights: role → tensor, with the roles and shapes of `tensor_shapes(layout)`. family: the model type.
    """
    dense = layout.sentence.dense if layout.sentence else ()
    return _Embedder(layout, {**weights, **sentence_weights(dense)}, family).build()


class _Embedder(DecoderBuilder):
    """Positions count a text's own tokens, so that padding before or behind a text changes nothing."""

    def build(self) -> Hub:
        layout, b = self.layout, self.builder
        names = ("input_ids", "attention_mask")
        ids, attention_mask = (b.input(name, ir.DataType.INT64, ["batch_size", "sequence"]) for name in names)
        real = b.op("Cast", attention_mask, to=int(ir.DataType.FLOAT), name="attention_mask/float")
        self._attention_mask = attention_mask
        count = b.op("CumSum", attention_mask, self.integer(1), name="positions/count")
        index = b.op("Sub", count, self.integer(1), name="positions/index")
        self.positions = b.op("Mul", index, attention_mask, name="positions")  # padding is at position 0
        self._build_attention_masks(ids, real)
        x, _ = self.build_layers(ids)
        tokens = Tokens(x, real, layout.width, layout.context, self.positions, padded_first=True)
        build_embeddings(self, layout.sentence, tokens)
        spec = embedding_spec(layout.vocab_size, layout.width, layout.context, layout.sentence, self.rope_switch)
        return b.build(self.family, spec)

    def last_position(self, label: str) -> ir.Value:
        """From the mask: a program of fixed length has positions behind a text's end."""
        b = self.builder
        counts = b.op("ReduceSum", self._attention_mask, self.integers(1), keepdims=0, name=f"{label}/lengths")
        longest = b.op("ReduceMax", counts, keepdims=0, name=f"{label}/longest")
        return b.op("Sub", longest, self.integer(1), name=f"{label}/last")

    def _build_attention_masks(self, ids: ir.Value, real: ir.Value) -> None:
        """`mask` hides padding; `mask.causal` later tokens too; `mask.window.{width}` those outside of a window too."""
        layout = self.layout
        mask = padding_mask(self, ids, real)
        if not layout.bidirectional:
            mask = hide(self, mask, later(self, self.positions, "mask.causal"), "mask.causal")
        self.masks[None] = mask
        for window in layout.windows:
            name = f"mask.window.{window}"
            self.masks[window] = hide(self, mask, distant(self, self.positions, window - 1, name), name)
