"""The layout of a decoder: everything but the weights that determines its graph. It implies the weights' shapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from exporter.importers.activation import Activation
from exporter.importers.rope import Rope
from exporter.importers.sentence import Sentence

Block = Literal["pre", "post", "sandwich", "after", "parallel"]
"""The place of a layer's norms; a layer runs attention, then the MLP, each being a branch:

pre: x + branch(norm(x)), as in Llama. post: x + norm(branch(x)), as in OLMo 2. sandwich: both, as in Gemma 2.
after: norm(x + branch(x)), as in OPT-350m. parallel: x + attention(norm(x)) + mlp(norm'(x)), as in Phi 2.
"""


@dataclass(frozen=True)
class Norm:
    """A norm. kind: RMS or layer norm. shift: added to the stored weight (Gemma stores w - 1). weight, bias: whether
    the checkpoint has them."""

    kind: Literal["rms", "layer"]
    eps: float
    shift: float = 0.0
    weight: bool = True
    bias: bool = False


@dataclass(frozen=True)
class LayerLayout:
    """One layer. intermediate_size: width of the MLP. scale: factor of attention scores.

    rope: None if the layer has no rotary positions. window: the number of tokens that a query attends to, itself
    included; None for all tokens.
    """

    heads: int
    kv_heads: int
    intermediate_size: int
    scale: float
    rope: Rope | None = None
    window: int | None = None


@dataclass(frozen=True)
class QkNorm:
    """Norms of queries and keys.

    over: "head": over each head, with weights `[head_dim]` for all heads; "each head": over each head, with weights
    `[heads, head_dim]`; "projection": over all heads together, with weights `[heads * head_dim]`. rotated: whether the
    norms come after the rotation.
    """

    norm: Norm
    over: Literal["head", "each head", "projection"] = "head"
    rotated: bool = False


@dataclass(frozen=True)
class DecoderLayout:
    """The layout of a decoder.

    layers: one entry for each. context: longest sequence, in tokens; the length of rotary and position tables.
    head_dim: elements of a head. rotary_dim: how many of them are rotated, the first ones.
    interleaved: rotation pairs neighbours (2i, 2i + 1) instead of halves (i, i + rotary_dim / 2).
    biases: roles with a bias, without their layer, such as "attention.q"; "head" means the logits' layer.
    gated: the MLP is down(activation(gate(x)) * up(x)) instead of down(activation(up(x))).
    positions: rows of the learned position table, None if there is none. position_offset: row of the first token.
    embedding_size: width of the embedding if linear layers project it to hidden_size and back; else None.
    shared_norm: in a parallel block, the MLP reads the attention's norm.
    softcap, logits_softcap: c in c·tanh(x / c), for attention scores and logits; None if there is no cap.
    embedding_factor, residual_factor, logits_factor: factors of embeddings, of each branch's output, and of logits.
    sentence: for a model that embeds texts: what is computed from its last hidden states; None for a model that
        generates text. bidirectional: tokens attend to later tokens too, in windows as well; only for embeddings.
    """

    vocab_size: int
    hidden_size: int
    head_dim: int
    layers: tuple[LayerLayout, ...]
    context: int
    norm: Norm
    tied: bool
    activation: Activation = "silu"
    gated: bool = True
    block: Block = "pre"
    shared_norm: bool = False
    final_norm: bool = True
    embedding_norm: bool = False
    qk_norm: QkNorm | None = None
    rotary_dim: int = 0
    interleaved: bool = False
    biases: frozenset[str] = frozenset()
    positions: int | None = None
    position_offset: int = 0
    embedding_size: int | None = None
    softcap: float | None = None
    logits_softcap: float | None = None
    embedding_factor: float = 1.0
    residual_factor: float = 1.0
    logits_factor: float = 1.0
    sentence: Sentence | None = None
    bidirectional: bool = False

    @property
    def width(self) -> int:
        """Elements of the last hidden states."""
        return self.embedding_size or self.hidden_size

    @property
    def windows(self) -> tuple[int, ...]:
        """The widths of sliding windows that are smaller than the context, ascending."""
        return tuple(sorted({w for layer in self.layers if (w := self.window_of(layer)) is not None}))

    def window_of(self, layer: LayerLayout) -> int | None:
        """The layer's window; None if it covers the whole context."""
        return layer.window if layer.window is not None and layer.window < self.context else None


def tensor_shapes(layout: DecoderLayout) -> dict[str, tuple[int, ...]]:
    """Weight role → shape, `[out, in]` for linear layers, in the order in which the graph uses them."""
    width = layout.width
    shapes: dict[str, tuple[int, ...]] = {"embedding": (layout.vocab_size, width)}
    if layout.positions is not None:
        shapes["embedding.position"] = (layout.positions, layout.hidden_size)
    if layout.embedding_norm:
        shapes |= _norm_shapes(layout.norm, "embedding.norm", (width,))
    if layout.embedding_size is not None:
        shapes |= dict(_linear(layout, "embedding.project_in", (layout.hidden_size, width), "embedding.project_in"))
    for i, layer in enumerate(layout.layers):
        for role, shape in _layer_shapes(layout, layer):
            shapes[f"layers.{i}.{role}"] = shape
    if layout.final_norm:
        shapes |= _norm_shapes(layout.norm, "norm", (layout.hidden_size,))
    if layout.embedding_size is not None:
        shapes |= dict(_linear(layout, "embedding.project_out", (width, layout.hidden_size), "embedding.project_out"))
    if layout.sentence is not None:  # the head isn't used
        return shapes
    if not layout.tied:
        shapes["head"] = (layout.vocab_size, width)
    if "head" in layout.biases:
        shapes["head.bias"] = (layout.vocab_size,)
    return shapes


def _layer_shapes(layout: DecoderLayout, layer: LayerLayout) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, inner = (layout.hidden_size,), layer.intermediate_size
    q, kv = layer.heads * layout.head_dim, layer.kv_heads * layout.head_dim
    before = layout.block in ("pre", "sandwich", "parallel")
    behind = layout.block in ("post", "sandwich", "after")
    if before:
        yield from _norm_shapes(layout.norm, "attention.norm", hidden).items()
    for part, rows, heads in (("q", q, layer.heads), ("k", kv, layer.kv_heads), ("v", kv, layer.kv_heads)):
        yield from _linear(layout, f"attention.{part}", (rows, layout.hidden_size))
        if layout.qk_norm is not None and part != "v":
            over = layout.qk_norm.over
            of = {"head": (layout.head_dim,), "each head": (heads, layout.head_dim), "projection": (rows,)}[over]
            yield from _norm_shapes(layout.qk_norm.norm, f"attention.{part}.norm", of).items()
    yield from _linear(layout, "attention.output", (layout.hidden_size, q))
    if behind:
        yield from _norm_shapes(layout.norm, "attention.post_norm", hidden).items()
    if before and not layout.shared_norm:
        yield from _norm_shapes(layout.norm, "mlp.norm", hidden).items()
    if layout.gated:
        yield from _linear(layout, "mlp.gate", (inner, layout.hidden_size))
    yield from _linear(layout, "mlp.up", (inner, layout.hidden_size))
    yield from _linear(layout, "mlp.down", (layout.hidden_size, inner))
    if behind:
        yield from _norm_shapes(layout.norm, "mlp.post_norm", hidden).items()


def _linear(
    layout: DecoderLayout, role: str, shape: tuple[int, int], name: str = ""
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield name or role, shape
    if role in layout.biases:
        yield f"{name or role}.bias", shape[:1]


def _norm_shapes(norm: Norm, role: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    shapes = {role: shape} if norm.weight else {}
    return shapes | ({f"{role}.bias": shape} if norm.bias else {})
