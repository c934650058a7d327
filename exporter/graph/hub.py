"""The hub: one ONNX graph, with what the later stages need to know about it.

Every stage between import and lowering takes a `Hub` and returns a `Hub`. Its `model` is a complete ONNX
model at each of these points, so that any of them can be run in onnxruntime as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

from exporter.graph.palette import Palette

Task = Literal["text-generation", "feature-extraction"]
WeightRole = Literal["embedding", "linear"]

OPSET = 23  # the first with Attention, RotaryEmbedding and RMSNormalization
IR_VERSION = 11  # the lowest that opset 23 allows: older runtimes on phones read it


@dataclass(frozen=True)
class Weight:
    """A matrix that compression may palettize.

    name: the initializer's name in the graph, which is the tensor's name in the checkpoint.
    shape: `[out, in]`; for an embedding `[vocabulary, hidden]`.
    roles: how the graph uses it; a tied embedding has both roles.
    """

    name: str
    shape: tuple[int, int]
    roles: tuple[WeightRole, ...]


@dataclass(frozen=True)
class CacheSpec:
    """The KV cache of a decoder: one key and one value tensor `[batch, kv_heads, past, head_dim]` a layer.

    Graph inputs are `past_key_values.{i}.key` and `.value`, outputs `present.{i}.key` and `.value`.
    """

    layers: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True)
class DecoderSpec:
    """A text decoder. Inputs `input_ids` int64 `[batch, seq]`, `attention_mask` int64 `[batch, past + seq]`,
    `position_ids` int64 `[batch, seq]` and the cache; outputs `logits` float32 `[batch, seq, vocab]` and the cache.
    """

    vocab_size: int
    hidden_size: int
    heads: int
    context: int
    cache: CacheSpec


@dataclass(frozen=True)
class EncoderSpec:
    """A text encoder. Inputs `input_ids`, `attention_mask` and, where the model has types, `token_type_ids`,
    all int64 `[batch, seq]`; outputs `token_embeddings` float32 `[batch, seq, hidden]` and, with pooling,
    `sentence_embedding` float32 `[batch, hidden]`.

    context: longest sequence, in tokens, that the model was made for (sentence-transformers' max_seq_length
        where the checkpoint states one).
    pooling: "mean", "cls" or None; normalize: whether the sentence embedding has L2 norm 1.
    """

    vocab_size: int
    hidden_size: int
    context: int
    pooling: Literal["mean", "cls"] | None
    normalize: bool


@dataclass(frozen=True)
class Hub:
    """An ONNX model in memory and what it is.

    model: complete and runnable; weights stay memory-mapped, in the checkpoint's dtype.
    family: `model_type` of the importer's family file, "llama" say.
    weights: the matrices open to compression, in graph order.
    palettes: weight name → palette, for those that the graph now decodes with `kogata::LutToDense`.
    """

    model: ir.Model
    family: str
    spec: DecoderSpec | EncoderSpec
    weights: tuple[Weight, ...]
    palettes: Mapping[str, Palette] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """The task's name on the Hugging Face hub."""
        return "text-generation" if isinstance(self.spec, DecoderSpec) else "feature-extraction"
