"""`Hub`: an ONNX model together with the facts that later stages need.

Every stage between import and lowering takes a `Hub` and returns a `Hub`. Its `model` is always a complete ONNX model
that onnxruntime can run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

from exporter.graph.palette import Palette

Task = str  # the task's name on the Hugging Face hub: "text-generation", "feature-extraction", …
WeightRole = Literal["embedding", "linear"]

OPSET = 23  # the first with Attention, RotaryEmbedding and RMSNormalization
GRAPH_OPSET = 21  # of imported ONNX files: the first with UINT4; onnxruntime has no kernels for some ops of 22 and 23
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
    """The KV cache of a decoder: one key and one value tensor `[batch, kv_heads[i], past, head_dim]` for layer i.

    Graph inputs are `past_key_values.{i}.key` and `.value`, outputs `present.{i}.key` and `.value`.
    """

    kv_heads: tuple[int, ...]
    head_dim: int

    @property
    def layers(self) -> int:
        """The number of layers."""
        return len(self.kv_heads)


@dataclass(frozen=True)
class DecoderSpec:
    """A text decoder. Inputs `input_ids` int64 `[batch, seq]`, `attention_mask` int64 `[batch, past + seq]`,
    `position_ids` int64 `[batch, seq]` and the cache; outputs `logits` float32 `[batch, seq, vocab]` and the cache.

    heads: query heads of each layer. windows: widths of the layers' sliding windows, ascending; layers without a window
        are left out. The additive masks are the graph values `mask` and `mask.window.{width}`; in the latter a query
        attends to itself and the `width - 1` tokens before it.
    rope_switch: longer sequences are rotated by other factors (LongRoPE). So a text that is fed in pieces, some of
        which end before this length, gives other numbers than in one piece. None if there is only one set of factors.
    """

    vocab_size: int
    hidden_size: int
    heads: tuple[int, ...]
    context: int
    cache: CacheSpec
    windows: tuple[int, ...] = ()
    rope_switch: int | None = None

    @property
    def task(self) -> Task:
        """The task's name on the Hugging Face hub."""
        return "text-generation"


Pooling = Literal["mean", "cls", "max", "mean_sqrt_len", "weightedmean", "lasttoken"]
Scores = Literal["softmax", "sigmoid", "identity"]


@dataclass(frozen=True)
class EncoderSpec:
    """A text encoder. Inputs `input_ids`, `attention_mask` and, where the model has types, `token_type_ids`,
    all int64 `[batch, seq]`. Outputs, float32, by task:

    "feature-extraction": `token_embeddings` `[batch, seq, hidden]` and, with pooling, `sentence_embedding`
        `[batch, width]`; "text-classification" and "text-ranking": `logits` `[batch, labels]`; "token-classification":
        `logits` `[batch, seq, labels]`; "fill-mask": `logits` `[batch, seq, vocab]`; "question-answering":
        `start_logits` and `end_logits` `[batch, seq]`.

    context: longest sequence, in tokens, that the model was made for (sentence-transformers' max_seq_length if the
        checkpoint states one).
    pooling: by sentence-transformers' name, or None. normalize: whether the sentence embedding is scaled to L2 norm 1,
        before it is truncated.
    labels: of a classifier, in the order of its logits. scores: the function from logits to scores.
    pairs: the task takes two texts, marked by `token_type_ids`.
    rope_switch: as in `DecoderSpec`; the length of the longest text of a batch counts.
    """

    vocab_size: int
    hidden_size: int
    context: int
    pooling: Pooling | None = None
    normalize: bool = False
    task: Task = "feature-extraction"
    labels: tuple[str, ...] = ()
    scores: Scores | None = None
    pairs: bool = False
    rope_switch: int | None = None


InputKind = Literal["image", "ids", "types", "mask", "positions", "features", "output", "past", "numbers"]


@dataclass(frozen=True)
class GraphInput:
    """One input of a graph that wasn't imported natively.

    shape: its sizes in the Core ML program and in the parity check; the ONNX file may leave them open.
    kind: the meaning of its elements: an "image" `[batch, channels, height, width]`, normalized; token "ids"; token
        "types"; a "mask" of ones; "positions" 0, 1, 2, …; audio "features"; the "output" or an input of another
        component; the "past" of a cache; any other "numbers".
    vocabulary: ids are below this. source: the `(component, its output or input)` that provides the value.
    """

    name: str
    dtype: ir.DataType
    shape: tuple[int, ...]
    kind: InputKind
    vocabulary: int | None = None
    source: tuple[str, str] | None = None


@dataclass(frozen=True)
class GraphSpec:
    """A graph that wasn't imported natively, with any inputs and outputs: a whole model or one of its components.

    component: the name of the component and its files: "model" for a single one, or "encoder_model" and others.
    context: longest sequence in tokens, None for a model without text. labels: of a classifier's logits.
    """

    task: Task
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    component: str = "model"
    context: int | None = None
    labels: tuple[str, ...] = ()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Input name → its sizes, for `simplify`."""
        return {port.name: port.shape for port in self.inputs}


@dataclass(frozen=True)
class Hub:
    """An ONNX model and facts about it.

    model: complete and runnable. Weights are memory-mapped, in the checkpoint's dtype.
    family: the `model_type`, such as "llama".
    weights: the matrices that can be compressed, in graph order.
    stored: names of all initializers that come from the checkpoint, as whole tensors or parts of them.
    palettes: weight name → palette, for weights that the graph decodes with `kogata::LutToDense`.
    """

    model: ir.Model
    family: str
    spec: DecoderSpec | EncoderSpec | GraphSpec
    weights: tuple[Weight, ...]
    stored: frozenset[str] = frozenset()
    palettes: Mapping[str, Palette] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """The task's name on the Hugging Face hub."""
        return self.spec.task


def has_cache(spec: GraphSpec) -> bool:
    """Whether the graph is a text decoder that optimum exported with a KV cache, `past_key_values`."""
    return spec.task == "text-generation" and any(port.kind == "past" for port in spec.inputs)
