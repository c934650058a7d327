"""The layout of an encoder: everything but the weights that determines its graph. It implies the weights' shapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from exporter.importers.activation import Activation
from exporter.importers.encoder_heads import Head
from exporter.importers.relative import Buckets, Disentangled, layer_shapes, shared_shapes
from exporter.importers.sentence import Sentence


@dataclass(frozen=True)
class InputLayout:
    """The embeddings before the first layer: the sum of a token's, its position's and its type's vectors.

    width: of the tables. positions: rows of the position table, 0 if there is none (relative or rotary positions).
    padding_id: RoBERTa counts positions from `padding_id + 1` on and skips this id; None: positions count from 0.
    types: rows of the token type table, 0 if there is none.
    projection: whether a linear layer from `width` to the encoder's width comes before or after the norm.
    """

    width: int
    positions: int = 0
    padding_id: int | None = None
    types: int = 0
    projection: Literal["before norm", "after norm"] | None = None


@dataclass(frozen=True)
class Rotary:
    """Rotary positions and local attention (ModernBERT).

    thetas: base wavelength of each layer. windows: how many tokens before and after each token a layer attends to; 0:
    all tokens.
    """

    thetas: tuple[float, ...]
    windows: tuple[int, ...]


@dataclass(frozen=True)
class EncoderLayout:
    """The layout of an encoder.

    heads: attention heads, each of `hidden_size / heads` elements. stored_layers: layers in the checkpoint; if they are
        fewer than `layers`, runs of `layers / stored_layers` layers share their weights (ALBERT).
    longest: the longest sequence that the model has positions for. context: see `EncoderSpec`.
    pre_norm: norms come before attention and MLP, and after the last layer (ModernBERT), instead of after each residual
        sum (BERT).
    gated: the MLP multiplies its activation with a second projection.
    biases: the linear layers and norms of a layer that have a bias.
    relative: relative positions, which are added to the attention scores. head: None for plain token embeddings.
    sentence: what sentence-transformers computes after the encoder; None for token embeddings alone.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    norm_eps: float
    activation: Activation
    inputs: InputLayout
    longest: int
    context: int
    stored_layers: int = 0
    pre_norm: bool = False
    gated: bool = False
    biases: frozenset[str] = frozenset({"attention", "mlp", "norm"})
    rotary: Rotary | None = None
    relative: Buckets | Disentangled | None = None
    head: Head | None = None
    sentence: Sentence | None = None

    @property
    def head_dim(self) -> int:
        """Elements of one head."""
        return self.hidden_size // self.heads

    def stored_layer(self, layer: int) -> int:
        """The number of the checkpoint's layer that the graph's layer `layer` takes its weights from."""
        return layer * self.stored_layers // self.layers if self.stored_layers else layer


def tensor_shapes(layout: EncoderLayout) -> dict[str, tuple[int, ...]]:
    """Weight role → shape, `[out, in]` for linear layers. The dense layers of `sentence` bring their tensors."""
    shapes = dict(_inputs(layout))
    for i in range(layout.stored_layers or layout.layers):
        shapes.update((f"layers.{i}.{role}", shape) for role, shape in _layer(layout, i))
    if layout.pre_norm:
        shapes.update(_with_bias(layout, "norm", "final.norm", (layout.hidden_size,)))
    if layout.relative is not None:
        shapes.update(shared_shapes(layout.relative, layout.heads, layout.hidden_size))
    if layout.head is not None:
        shapes.update(layout.head.shapes(layout.hidden_size, layout.vocab_size))
    return shapes


def _inputs(layout: EncoderLayout) -> Iterator[tuple[str, tuple[int, ...]]]:
    inputs, hidden = layout.inputs, layout.hidden_size
    yield "embedding", (layout.vocab_size, inputs.width)
    if inputs.positions:
        yield "embedding.position", (inputs.positions, inputs.width)
    if inputs.types:
        yield "embedding.type", (inputs.types, inputs.width)
    if inputs.projection is not None:
        yield "embedding.projection", (hidden, inputs.width)
    if inputs.projection == "after norm":
        yield "embedding.projection.bias", (hidden,)
    norm = hidden if inputs.projection == "before norm" else inputs.width
    yield from _with_bias(layout, "norm", "embedding.norm", (norm,))


def _layer(layout: EncoderLayout, i: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, inner = layout.hidden_size, layout.intermediate_size
    for part in "qkv":
        yield from _with_bias(layout, "attention", f"attention.{part}", (hidden, hidden))
    yield from _with_bias(layout, "attention", "attention.output", (hidden, hidden))
    if layout.relative is not None:
        yield from layer_shapes(layout.relative, hidden).items()
    yield from _with_bias(layout, "mlp", "mlp.up", (inner, hidden))
    if layout.gated:
        yield from _with_bias(layout, "mlp", "mlp.gate", (inner, hidden))
    yield from _with_bias(layout, "mlp", "mlp.down", (hidden, inner))
    if i or not layout.pre_norm:  # the first layer of a pre-norm encoder has no norm of its own
        yield from _with_bias(layout, "norm", "attention.norm", (hidden,))
    yield from _with_bias(layout, "norm", "mlp.norm", (hidden,))


def _with_bias(
    layout: EncoderLayout, kind: str, role: str, shape: tuple[int, ...]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield role, shape
    if kind in layout.biases:
        yield f"{role}.bias", shape[:1]
