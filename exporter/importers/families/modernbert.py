"""ModernBERT. Source: `modeling_modernbert.py` and `configuration_modernbert.py` of transformers (arXiv 2412.13663)."""

from __future__ import annotations

from exporter.importers.activation import ACTIVATIONS
from exporter.importers.config import ConfigReader
from exporter.importers.decoder_config import read_sliding
from exporter.importers.encoder import EncoderLayout
from exporter.importers.encoder_heads import HeadStyle, Slot, encoder_classes, read_head
from exporter.importers.encoder_layout import InputLayout, Rotary
from exporter.importers.families.encoder_names import MASKED_HEAD, activation, hidden_and_heads, weights_and_biases
from exporter.importers.family import Family, Ignorable
from exporter.importers.rope import Rope, read_rope


def layout(config: ConfigReader) -> EncoderLayout:
    """The encoder's layout, without sentence-transformers' modules."""
    hidden, heads = hidden_and_heads(config)
    if config.valid and (hidden // heads) % 2:
        config.invalid(
            "num_attention_heads", f"a head has {hidden // heads} elements; rotary positions need an even number"
        )
    positions = config.integer("max_position_embeddings", 8192)
    layers = config.integer("num_hidden_layers")
    biases = {"attention": "attention_bias", "mlp": "mlp_bias", "norm": "norm_bias"}
    return EncoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=config.integer("intermediate_size"),
        layers=layers,
        heads=heads,
        norm_eps=config.number("norm_eps", 1e-5, maximum=1.0),
        activation=activation(config, "hidden_activation"),
        inputs=InputLayout(hidden),
        longest=positions,
        context=positions,
        pre_norm=True,
        gated=True,
        biases=frozenset(part for part, key in biases.items() if config.flag(key, False)),
        rotary=_rotary(config, layers if config.valid else 1, max(hidden // heads, 1)),
        head=read_head(config, "ModernBert", _heads(config)),
    )


def _rotary(config: ConfigReader, layers: int, head_dim: int) -> Rotary:
    """The ropes. transformers 5 writes `layer_types` and a rope for each type, 4 a period of layers and two bases."""
    every = config.integer("global_attn_every_n_layers", 3)
    window = config.integer("local_attention", 128) // 2
    local = read_sliding(config, layers, lambda i: bool(i % every))
    if window < 1 and any(local):
        config.invalid("local_attention", "must be at least 2: otherwise a token attends only to itself")
    everywhere = read_rope(
        config, rotary_dim=head_dim, theta=160_000.0, theta_key="global_rope_theta", layer_type="full_attention"
    )
    null = config.has("local_rope_theta")  # null means the value of global_rope_theta, not the default
    near = read_rope(
        config,
        rotary_dim=head_dim,
        theta=everywhere.theta if null else 10_000.0,
        theta_key="local_rope_theta",
        layer_type="sliding_attention",
    )
    if any(rope != Rope(rope.theta) for rope in (everywhere, near)):
        config.unsupported("rope_scaling", "scaled positions are not supported for ModernBERT")
    return Rotary(
        thetas=tuple(near.theta if is_local else everywhere.theta for is_local in local),
        windows=tuple(window if is_local else 0 for is_local in local),
    )


def _heads(config: ConfigReader) -> dict[Slot, HeadStyle]:
    act = ACTIVATIONS[config.choice("classifier_activation", "gelu", list(ACTIVATIONS))]
    pooling = config.choice("classifier_pooling", "cls", ["cls", "mean"])
    shared = {part for part, key in (("dense", "classifier_bias"), ("norm", "norm_bias")) if config.flag(key, False)}
    classes = HeadStyle(
        act, norm=True, biases=frozenset({*shared, "output"}), pooling="mean" if pooling == "mean" else "cls"
    )
    decoder = {*shared, "output"} if config.flag("decoder_bias", True) else shared
    return {
        "sequence": classes,
        "token": classes,
        "answer": classes,
        "mask": HeadStyle(act, norm=True, biases=frozenset(decoder)),
    }


_LAYER = "{prefix}layers.{i}"
_HEAD = {
    f"{slot}.{part}": f"head.{part}" for slot in ("sequence", "token", "answer", "mask") for part in ("dense", "norm")
}
_OUTPUTS = {f"{slot}.output": "classifier" for slot in ("sequence", "token", "answer")}

FAMILY = Family(
    model_type="modernbert",
    architectures=encoder_classes("ModernBert"),
    layout=layout,
    prefixes=("", "model."),
    names={
        "embedding": "{prefix}embeddings.tok_embeddings.weight",
        **weights_and_biases(
            {
                "embedding.norm": "{prefix}embeddings.norm",
                "layers.{i}.attention.q": f"{_LAYER}.attn.Wqkv",
                "layers.{i}.attention.k": f"{_LAYER}.attn.Wqkv",
                "layers.{i}.attention.v": f"{_LAYER}.attn.Wqkv",
                "layers.{i}.attention.output": f"{_LAYER}.attn.Wo",
                "layers.{i}.attention.norm": f"{_LAYER}.attn_norm",
                "layers.{i}.mlp.up": f"{_LAYER}.mlp.Wi",
                "layers.{i}.mlp.gate": f"{_LAYER}.mlp.Wi",
                "layers.{i}.mlp.down": f"{_LAYER}.mlp.Wo",
                "layers.{i}.mlp.norm": f"{_LAYER}.mlp_norm",
                "final.norm": "{prefix}final_norm",
                **_HEAD,
                **_OUTPUTS,
                "mask.output": "decoder",
            }
        ),
    },
    points={
        "embeddings/norm": "embeddings",
        "layers.{i}/attention/output": "layers.{i}.attn.Wo",
        "layers.{i}/mlp/activation": "layers.{i}.mlp.act",
        "layers.{i}/mlp/down": "layers.{i}.mlp.Wo",
        "layers.{i}/output": "layers.{i}",
        "token_embeddings": "final_norm",
    },
    ignorable=(Ignorable(r"(head|decoder)\..*", "pretraining head; this task doesn't use it", unless=MASKED_HEAD),),
    copies=(("decoder.weight", "embedding"),),
)
