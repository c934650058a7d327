"""Reads the settings that most decoder families have under the same names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from exporter.importers.activation import ACTIVATIONS, Activation
from exporter.importers.config import ConfigReader
from exporter.importers.decoder_layout import DecoderLayout, LayerLayout, Norm
from exporter.importers.rope import Rope

MAX_LAYERS = 1024  # limits the work for a hostile configuration


@dataclass(frozen=True)
class Sizes:
    """Sizes that every decoder has."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int


def read_sizes(config: ConfigReader, defaults: Mapping[str, int]) -> Sizes:
    """Reads the sizes. defaults: values of the family's configuration class for absent keys; other keys are required.

    The number of key/value heads defaults to that of query heads, head_dim to hidden_size / heads. null means these
    two values even if `defaults` has others.
    """

    def integer(key: str) -> int:
        return config.integer(key, defaults.get(key))

    hidden, heads = integer("hidden_size"), integer("num_attention_heads")
    kv_heads = heads if config.has("num_key_value_heads") else defaults.get("num_key_value_heads", heads)
    kv_heads = config.integer("num_key_value_heads", kv_heads)
    if config.valid and heads % kv_heads:
        config.invalid("num_key_value_heads", f"{kv_heads} doesn't divide num_attention_heads, {heads}")
    head_dim = defaults.get("head_dim")
    if head_dim is None or config.has("head_dim"):
        if config.valid and config.get("head_dim") is None and hidden % heads:
            message = f"{heads} doesn't divide hidden_size {hidden}, and head_dim is absent"
            config.invalid("num_attention_heads", message)
        head_dim = max(hidden // heads, 1)
    head_dim = config.integer("head_dim", head_dim)
    if config.valid and head_dim % 2:
        config.invalid("head_dim", f"{head_dim} is odd; rotary positions need an even number")
    return Sizes(
        vocab_size=integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=integer("intermediate_size"),
        layers=config.integer("num_hidden_layers", defaults.get("num_hidden_layers"), maximum=MAX_LAYERS),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        context=integer("max_position_embeddings"),
    )


def read_activation(config: ConfigReader, default: str = "silu", key: str = "hidden_act") -> Activation:
    """The activation under `key`, one of `ACTIVATIONS`."""
    return ACTIVATIONS[config.choice(key, default, list(ACTIVATIONS))]


def read_window(config: ConfigReader, default: int | None) -> int | None:
    """`sliding_window`: the number of tokens that a query attends to, itself included; None for all tokens."""
    if config.get("sliding_window") is None:
        return None if config.has("sliding_window") else default
    return config.integer("sliding_window")


def read_sliding(config: ConfigReader, layers: int, default: Callable[[int], bool]) -> tuple[bool, ...]:
    """Whether each layer has a sliding window: from `layer_types`, or else from `default(layer)`."""
    kinds = config.get("layer_types")
    if kinds is None:
        return tuple(default(i) for i in range(layers))
    if not isinstance(kinds, list) or len(kinds) != layers:
        config.invalid("layer_types", f"must be a list with one type for each of the {layers} layers")
        return (False,) * layers
    for kind in kinds:
        if kind not in ("full_attention", "sliding_attention"):
            config.unsupported("layer_types", f"{str(kind)[:40]!r}", "supported: full_attention, sliding_attention")
            break
    return tuple(kind == "sliding_attention" for kind in kinds)


def uniform_layers(
    sizes: Sizes, rope: Rope, window: int | None = None, scale: float | None = None
) -> tuple[LayerLayout, ...]:
    """The layouts of layers that are all equal."""
    return layer_layouts(sizes, (rope,) * sizes.layers, (window,) * sizes.layers, scale)


def layer_layouts(
    sizes: Sizes, ropes: Sequence[Rope | None], windows: Sequence[int | None], scale: float | None = None
) -> tuple[LayerLayout, ...]:
    """The layouts of layers that differ only in rope and window. scale: of attention scores; None: 1/√head_dim."""
    scale = sizes.head_dim**-0.5 if scale is None else scale
    return tuple(
        LayerLayout(sizes.heads, sizes.kv_heads, sizes.intermediate_size, scale, rope, window)
        for rope, window in zip(ropes, windows, strict=True)
    )


def read_rms_norm(config: ConfigReader, eps: float, key: str = "rms_norm_eps") -> Norm:
    """RMS norms. eps: the family's default."""
    return Norm("rms", config.number(key, eps, maximum=1.0))


def read_layer_norm(config: ConfigReader, key: str, *, biased: bool) -> Norm:
    """LayerNorms with the epsilon under `key`, 1e-5 by default."""
    return Norm("layer", config.number(key, 1e-5, maximum=1.0), bias=biased)


def biases(*, qkv: bool = False, output: bool = False, mlp: bool = False) -> frozenset[str]:
    """The roles of linear layers with a bias."""
    roles = {"attention.q": qkv, "attention.k": qkv, "attention.v": qkv, "attention.output": output}
    roles |= {"mlp.gate": mlp, "mlp.up": mlp, "mlp.down": mlp}
    return frozenset(role for role, biased in roles.items() if biased)


def windows_of(config: ConfigReader, sliding: Sequence[bool], window: int | None) -> tuple[int | None, ...]:
    """The window of each layer, None for layers without one. sliding: whether each layer has a window."""
    if any(sliding) and window is None:
        config.invalid("sliding_window", "is absent, but layer_types names layers with a sliding window")
    return tuple(window if slides else None for slides in sliding)


def plain_layout(
    config: ConfigReader,
    sizes: Sizes,
    layers: tuple[LayerLayout, ...],
    norm: Norm,
    *,
    tied: bool,
    activation: Activation | None = None,
) -> DecoderLayout:
    """Llama's layout; a family replaces what it does differently.

    tied: the family's default for tie_word_embeddings. activation: None reads `hidden_act`, "silu" by default.
    """
    return DecoderLayout(
        vocab_size=sizes.vocab_size,
        hidden_size=sizes.hidden_size,
        head_dim=sizes.head_dim,
        layers=layers,
        context=sizes.context,
        norm=norm,
        tied=config.flag("tie_word_embeddings", tied),
        rotary_dim=sizes.head_dim,
        activation=activation or read_activation(config),
    )
