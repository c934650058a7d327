"""sentence-transformers' modules behind graphs of optimum, against sentence-transformers itself (torch, fp32, eager).

Tolerance: 1e-4 of the largest element; float32 on both sides, in another order of sums.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
import transformers
from sentence_transformers.models import Dense, Pooling
from support.checkpoints import SENTENCES, write_json
from support.encoder_checkpoints import encoder_tokenizer, write_pooling
from support.hub_sessions import open_session

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.sentence_dense import SentenceDense
from exporter.errors import UnsupportedError
from exporter.graph.model import GraphSpec, Hub
from exporter.graph.passes.simplify import simplify
from exporter.importers.graph_inputs import Sizes
from exporter.importers.onnx_file import GraphFacts, graph_hub
from exporter.importers.optimum import import_through_optimum
from exporter.importers.routes import route_of
from exporter.importers.sentence import Sentence
from exporter.importers.sentence_graph import append_sentence, stated_sentence
from exporter.runners.reference_graph import TorchGraph, TorchReference

TEXTS = SENTENCES[:3]
GELU = "torch.nn.modules.activation.GELU"
SMALL = {
    "hidden_size": 32, "embedding_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "intra_bottleneck_size": 32, "true_hidden_size": 32, "max_position_embeddings": 64,
}  # fmt: skip
MODES = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "lasttoken": "lasttoken",
         "weightedmean_tokens": "weightedmean", "mean_sqrt_len_tokens": "mean_sqrt_len"}  # fmt: skip
MASKS = ([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], [[1, 1, 1, 1, 1], [0, 0, 0, 1, 1]])


def mobilebert(folder: Path) -> Path:
    tokenizer = encoder_tokenizer(padding_is_one=False)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.MobileBertConfig(vocab_size=len(tokenizer), **SMALL)
    transformers.MobileBertForMaskedLM(config).save_pretrained(folder)
    return folder


def embeds(masked: bool = True) -> Hub:
    """A graph as another exporter writes it: rows of a table as `last_hidden_state`; its names collide with ours."""
    inputs = "int64[n, s] input_ids" + (", int64[n, s] attention_mask" if masked else "")
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g ({inputs}) => (float[n, s, 6] last_hidden_state) {{
        {'"pooling/real" = Cast<to = 1>(attention_mask)' if masked else ""}
        last_hidden_state = Gather("integers/1", input_ids)
    }}"""
    model = onnx.parser.parse_model(text)
    table = np.random.default_rng(2).standard_normal((9, 6)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "integers/1"))
    facts = GraphFacts("toy", "feature-extraction", vocabulary=9)
    return graph_hub(ir.from_proto(model), facts, Sizes({}, {"n": 2, "s": 5}, guess=True))[0]


@pytest.mark.parametrize("mode", MODES)
def test_every_pooling_wherever_the_padding_is(mode: str) -> None:
    hub = append_sentence(embeds(), Sentence(MODES[mode]), 16)  # type: ignore[arg-type]
    ids = np.array([[3, 1, 4, 1, 5], [8, 7, 2, 6, 4]])
    session = open_session(hub)
    for mask in MASKS:
        feeds = {"input_ids": ids, "attention_mask": np.array(mask)}
        tokens, sentence = session.run(["last_hidden_state", "sentence_embedding"], feeds)
        features = {"token_embeddings": torch.tensor(tokens), "attention_mask": torch.tensor(mask)}
        wanted = Pooling(6, MODES[mode].replace("sqrt_len", "sqrt_len_tokens"))(features)["sentence_embedding"]
        np.testing.assert_allclose(sentence, wanted.numpy(), atol=1e-6)


def test_a_dense_layer_and_a_truncation_without_a_mask() -> None:
    torch.manual_seed(1)
    layer = Dense(6, 5, activation_function=torch.nn.Tanh())
    tensors = {f"linear.{name}": ir.tensor(getattr(layer.linear, name).detach().numpy()) for name in ("weight", "bias")}
    dense = SentenceDense("2_Dense", 6, 5, "Tanh", tensors)
    hub = append_sentence(embeds(masked=False), Sentence("mean", (dense,), normalize=True, truncate=3), 16)
    assert [(weight.name, weight.shape) for weight in hub.weights][-1] == ("2_Dense/linear.weight", (5, 6))
    assert {"2_Dense/linear.weight", "2_Dense/linear.bias"} <= hub.stored
    assert isinstance(hub.spec, GraphSpec)
    assert hub.spec.outputs == ("last_hidden_state", "sentence_embedding")
    ids = np.array([[3, 1, 4, 1, 5]])
    tokens, sentence = open_session(hub).run(None, {"input_ids": ids})
    with torch.no_grad():
        whole = layer({"sentence_embedding": torch.tensor(tokens).mean(1)})["sentence_embedding"]
    np.testing.assert_allclose(sentence, torch.nn.functional.normalize(whole).numpy()[:, :3], atol=1e-6)
    simplify(hub.model, {"input_ids": (1, 5)})


def test_mobilebert_embeds_as_in_sentence_transformers(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = mobilebert(tmp_path / "checkpoint")
    write_pooling(folder, "mean_tokens", normalize=True, dense=[(24, GELU)])
    write_json(folder / "config_sentence_transformers.json", {"truncate_dim": 20})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 48})
    checkpoint = open_checkpoint(folder)
    assert route_of(checkpoint) == "optimum"
    (hub,), _ = import_through_optimum(checkpoint, {}, None, tmp_path)
    assert isinstance(hub.spec, GraphSpec)
    assert (hub.task, hub.spec.context, hub.spec.outputs[-1]) == ("feature-extraction", 48, "sentence_embedding")
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"})
    wanted = model.encode(list(TEXTS))
    batch = transformers.AutoTokenizer.from_pretrained(folder)(list(TEXTS), padding=True, return_tensors="np")
    feeds = {port.name: batch[port.name].astype(np.int64) for port in hub.spec.inputs}
    (found,) = open_session(hub).run(["sentence_embedding"], feeds)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    reference = TorchGraph(TorchReference(folder, "AutoModel"), hub.spec).run(feeds)
    np.testing.assert_allclose(reference["sentence_embedding"], wanted, atol=1e-4 * np.abs(wanted).max())


def test_t5_embeds_with_its_encoder_alone(tmp_path: Path) -> None:
    """sentence-t5 and GTR: sentence-transformers loads T5EncoderModel, and the checkpoint has no decoder."""
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "checkpoint"
    tokenizer = encoder_tokenizer(padding_is_one=False)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", settings | {"model_input_names": ["input_ids", "attention_mask"]})
    torch.manual_seed(0)
    config = transformers.T5Config(len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    transformers.T5EncoderModel(config).save_pretrained(folder)
    write_pooling(folder, "mean_tokens", normalize=True, dense=[(24, "torch.nn.modules.linear.Identity")])
    (hub,), _ = import_through_optimum(open_checkpoint(folder), {}, None, tmp_path)
    assert isinstance(hub.spec, GraphSpec)
    wanted = SentenceTransformer(str(folder), device="cpu").encode(list(TEXTS))
    batch = transformers.AutoTokenizer.from_pretrained(folder)(list(TEXTS), padding=True, return_tensors="np")
    feeds = {port.name: batch[port.name].astype(np.int64) for port in hub.spec.inputs}
    (found,) = open_session(hub).run(["sentence_embedding"], feeds)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    reference = TorchGraph(TorchReference(folder, "T5EncoderModel"), hub.spec).run(feeds)
    np.testing.assert_allclose(reference["sentence_embedding"], wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", ["LSTM", "CNN", "WordWeights", "LayerNorm", "WeightedLayerPooling", "my.Own"])
def test_other_modules_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    folder = mobilebert(tmp_path)
    name = kind if "." in kind else f"sentence_transformers.models.{kind}"
    modules = [("", "sentence_transformers.models.Transformer"), ("1_Own", name)]
    write_json(folder / "modules.json", [{"path": path, "type": kind} for path, kind in modules])
    with pytest.raises(UnsupportedError, match=f"the module {kind} is not supported"):
        import_through_optimum(open_checkpoint(folder), {}, None, tmp_path)


def test_a_cross_encoder_keeps_its_own_head(tmp_path: Path) -> None:
    folder = mobilebert(tmp_path)
    write_json(folder / "modules.json", [{"path": "", "type": "sentence_transformers.models.Transformer"}])
    write_json(folder / "config_sentence_transformers.json", {"model_type": "CrossEncoder"})
    assert stated_sentence(open_checkpoint(folder)) is None
