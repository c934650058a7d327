"""BERT and what shares its architecture: MiniLM, BGE, E5, GTE (v1) and others.

Source: `modeling_bert.py` and `configuration_bert.py` of transformers.
What they default to when a key is absent is the same here, but for the sizes, which must be stated.
"""

from __future__ import annotations

from exporter.importers.config import ConfigReader
from exporter.importers.encoder import EncoderLayout, GeluKind
from exporter.importers.family import Family, Ignorable

# transformers' names for the two ways to compute it
GELUS: dict[str, GeluKind] = {"gelu": "none", "gelu_new": "tanh", "gelu_fast": "tanh", "gelu_pytorch_tanh": "tanh"}


def layout(config: ConfigReader) -> EncoderLayout:
    """The configuration's encoder, without what sentence-transformers adds behind it."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    if config.sound and hidden % heads:
        config.invalid("num_attention_heads", f"{heads} doesn't divide hidden_size, {hidden}")
    config.choice("position_embedding_type", "absolute", ["absolute"])
    config.refuse("is_decoder", [False], "only BERT as an encoder is")
    config.refuse("add_cross_attention", [False], "only BERT as an encoder is")
    positions = config.integer("max_position_embeddings", 512)
    return EncoderLayout(
        vocab_size=config.integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=config.integer("intermediate_size"),
        layers=config.integer("num_hidden_layers"),
        heads=heads,
        positions=positions,
        types=config.integer("type_vocab_size", 2),
        norm_eps=config.number("layer_norm_eps", 1e-12, most=1.0),
        gelu=GELUS[config.choice("hidden_act", "gelu", list(GELUS))],
        context=positions,
    )


EMBEDDINGS = "{prefix}embeddings"
LAYER = "{prefix}encoder.layer.{i}"

NAMES = {
    "embedding": f"{EMBEDDINGS}.word_embeddings.weight",
    "embedding.position": f"{EMBEDDINGS}.position_embeddings.weight",
    "embedding.type": f"{EMBEDDINGS}.token_type_embeddings.weight",
    "embedding.norm": f"{EMBEDDINGS}.LayerNorm.weight",
    "embedding.norm.bias": f"{EMBEDDINGS}.LayerNorm.bias",
    "layers.{i}.attention.q": f"{LAYER}.attention.self.query.weight",
    "layers.{i}.attention.q.bias": f"{LAYER}.attention.self.query.bias",
    "layers.{i}.attention.k": f"{LAYER}.attention.self.key.weight",
    "layers.{i}.attention.k.bias": f"{LAYER}.attention.self.key.bias",
    "layers.{i}.attention.v": f"{LAYER}.attention.self.value.weight",
    "layers.{i}.attention.v.bias": f"{LAYER}.attention.self.value.bias",
    "layers.{i}.attention.output": f"{LAYER}.attention.output.dense.weight",
    "layers.{i}.attention.output.bias": f"{LAYER}.attention.output.dense.bias",
    "layers.{i}.attention.norm": f"{LAYER}.attention.output.LayerNorm.weight",
    "layers.{i}.attention.norm.bias": f"{LAYER}.attention.output.LayerNorm.bias",
    "layers.{i}.mlp.up": f"{LAYER}.intermediate.dense.weight",
    "layers.{i}.mlp.up.bias": f"{LAYER}.intermediate.dense.bias",
    "layers.{i}.mlp.down": f"{LAYER}.output.dense.weight",
    "layers.{i}.mlp.down.bias": f"{LAYER}.output.dense.bias",
    "layers.{i}.mlp.norm": f"{LAYER}.output.LayerNorm.weight",
    "layers.{i}.mlp.norm.bias": f"{LAYER}.output.LayerNorm.bias",
}

POINTS = {
    "embeddings/norm": "embeddings",
    "layers.{i}/attention/q": "encoder.layer.{i}.attention.self.query",
    "layers.{i}/attention/k": "encoder.layer.{i}.attention.self.key",
    "layers.{i}/attention/v": "encoder.layer.{i}.attention.self.value",
    "layers.{i}/attention/output": "encoder.layer.{i}.attention.output.dense",
    "layers.{i}/attention/norm": "encoder.layer.{i}.attention.output",
    "layers.{i}/mlp/up": "encoder.layer.{i}.intermediate.dense",
    "layers.{i}/mlp/gelu": "encoder.layer.{i}.intermediate",
    "layers.{i}/mlp/down": "encoder.layer.{i}.output.dense",
    "layers.{i}/output": "encoder.layer.{i}",
    "token_embeddings": "encoder.layer.{i}",
}

FAMILY = Family(
    model_type="bert",
    architectures=("BertModel", "BertForMaskedLM", "BertForPreTraining"),
    layout=layout,
    prefixes=("", "bert."),
    names=NAMES,
    points=POINTS,
    ignorable=(
        Ignorable(r"(bert\.)?embeddings\.position_ids", "0, 1, 2, …: made in the graph"),
        Ignorable(
            r"(bert\.)?pooler\.dense\.(weight|bias)", "trained for next-sentence prediction; embeddings don't use it"
        ),
        Ignorable(r"cls\..*", "pretraining head; embeddings don't use it"),
    ),
    aliases=((".LayerNorm.weight", ".LayerNorm.gamma"), (".LayerNorm.bias", ".LayerNorm.beta")),
)
