"""Decoders that embed texts, against sentence-transformers itself (its torch backend, fp32, eager attention).

Tolerance: 1e-4 of the largest element; float32 on both sides, in another order of sums. In float16, 2e-2.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from support.checkpoints import SENTENCES, edit_config, write_json
from support.decoder_checkpoints import DECODERS, tiny_decoder
from support.encoder_checkpoints import write_pooling
from support.hub_sessions import open_session

from exporter.checkpoint import open_checkpoint
from exporter.errors import UnsupportedError
from exporter.graph.model import EncoderSpec, Hub
from exporter.importers import import_checkpoint, reference_points
from exporter.importers.native import plan_import
from exporter.importers.routes import route_of
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.runners.mil import load_mlpackage
from exporter.runners.mil_texts import MilEncoder
from exporter.runners.reference import TorchEncoder

TEXTS = ("yes", *(text[:45] for text in SENTENCES[:3]), " ".join(SENTENCES[:3])[:55])  # 3 to 29 tokens
TANH = "torch.nn.modules.activation.Tanh"
BIDIRECTIONAL = {"head_dim": 12, "sliding_window": 8, "use_bidirectional_attention": True}
# model type → configuration, pooling; every pooling and every kind of mask, position and block is among them.
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("llama", DECODERS["llama"]["plain"], "mean_tokens"),
    "windows": ("qwen3", DECODERS["qwen3"]["biased, windows"], "lasttoken"),
    "sliding": ("mistral", DECODERS["mistral"]["sliding"], "weightedmean_tokens"),
    "soft caps": ("gemma2", DECODERS["gemma2"]["soft caps"], "cls_token"),
    "bidirectional": ("gemma3_text", BIDIRECTIONAL, "mean_tokens"),
    "longrope": ("phi3", DECODERS["phi3"]["longrope"], "lasttoken"),
    "parallel": ("phi", DECODERS["phi"]["grouped, normed"], "max_tokens"),
    "learned positions": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}, "lasttoken"),
    "projections": ("opt", {"word_embed_proj_dim": 24, "ffn_dim": 48, "do_layer_norm_before": False}, "mean_tokens"),
}


def embedder(folder: Path, case: str, *, bare: bool = True, **pooling: Any) -> Path:
    """bare: saved from the class without a head, as fine-tunes are; else with its head."""
    model_type, settings, mode = CASES[case]
    tiny_decoder(folder, model_type, **settings)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())  # GPT-2 would embed token types
    write_json(folder / "tokenizer_config.json", tokenizer | {"model_input_names": ["input_ids", "attention_mask"]})
    if bare:
        head = transformers.AutoModelForCausalLM.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        inner = getattr(head, "model", None) or head.base_model  # Gemma 3 finds no base_model by its own prefix
        inner.save_pretrained(folder)
    write_pooling(folder, mode, **pooling)
    return folder


def expected(folder: Path, texts: tuple[str, ...] = TEXTS) -> np.ndarray:
    """Each text alone: in a batch, transformers' own numbers depend on the padding for some models."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"})
    return np.concatenate([model.encode([text]) for text in texts])


def padded(folder: Path, hub: Hub, side: str) -> np.ndarray:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side=side)
    batch = tokenizer(list(TEXTS), padding=True, return_tensors="np")
    feeds = {name: batch[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
    assert (feeds["attention_mask"][:, 0 if side == "left" else -1] == 0).sum() == len(TEXTS) - 1
    (found,) = open_session(hub).run(["sentence_embedding"], feeds)
    return np.asarray(found)


def assert_close(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-4) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("case", CASES)
def test_embeddings_equal_sentence_transformers_on_both_sides_of_padding(case: str, tmp_path: Path) -> None:
    dense = [(24, TANH)] if case == "bidirectional" else []  # as EmbeddingGemma has
    folder = embedder(tmp_path / "checkpoint", case, normalize=case != "llama", dense=dense)
    checkpoint, wanted = open_checkpoint(folder), expected(folder)
    assert route_of(checkpoint) == "native"
    hub = import_checkpoint(checkpoint)
    assert hub.task == "feature-extraction"
    assert [value.name for value in hub.model.graph.inputs] == ["input_ids", "attention_mask"]
    if case != "longrope":  # there the longest text of a batch chooses the factors for all of its texts
        assert_close(padded(folder, hub, "right"), wanted)
        assert_close(padded(folder, hub, "left"), wanted)
    lower_coreml(hub, tmp_path / "s.mlpackage", CoreMLOptions())
    runner = MilEncoder(load_mlpackage(tmp_path / "s.mlpackage"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    made = [runner.encode(np.array(tokenizer(text)["input_ids"])).sentence for text in TEXTS]
    assert_close(np.stack([sentence for sentence in made if sentence is not None]), wanted, 2e-2)


def test_a_checkpoint_with_its_head_gives_the_same(tmp_path: Path) -> None:
    folder = embedder(tmp_path, "llama", bare=False)
    plan = plan_import(open_checkpoint(folder), None)
    assert {name for name, why in plan.binding.unused.items() if "head" in why} == {"lm_head.weight"}
    hub = import_checkpoint(open_checkpoint(folder))
    assert_close(padded(folder, hub, "left"), expected(folder))
    assert "lm_head.weight" not in hub.model.graph.initializers


def test_truncation_comes_last_as_in_sentence_transformers(tmp_path: Path) -> None:
    """It cuts the normalized embedding, whose norm is then below 1; a size above the width changes nothing."""
    folder = embedder(tmp_path, "llama", normalize=True)
    write_json(folder / "config_sentence_transformers.json", {"truncate_dim": 12})
    hub, wanted = import_checkpoint(open_checkpoint(folder)), expected(folder)
    assert wanted.shape == (len(TEXTS), 12)
    assert np.linalg.norm(wanted, axis=1).max() < 0.99
    assert_close(padded(folder, hub, "right"), wanted)
    ids = np.array(transformers.AutoTokenizer.from_pretrained(folder)(TEXTS[1])["input_ids"])
    sentence = TorchEncoder(folder).encode(ids).sentence
    assert sentence is not None
    assert_close(sentence, wanted[1])
    write_json(folder / "config_sentence_transformers.json", {"truncate_dim": 999})
    assert_close(padded(folder, import_checkpoint(open_checkpoint(folder)), "right"), expected(folder))


def test_reference_points_are_those_of_the_bare_model(tmp_path: Path) -> None:
    folder = embedder(tmp_path, "llama")
    hub = import_checkpoint(open_checkpoint(folder))
    points = reference_points(hub)
    assert points["token_embeddings"] == "norm"
    assert points["layers.1/mlp/up"] == "layers.1.mlp.up_proj"
    modules = dict(TorchEncoder(folder).model.named_modules())
    assert set(points.values()) <= set(modules)


def test_context_is_that_of_the_modules(tmp_path: Path) -> None:
    folder = embedder(tmp_path, "llama")
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 40})
    spec = import_checkpoint(open_checkpoint(folder)).spec
    assert isinstance(spec, EncoderSpec)
    assert (spec.context, spec.pooling, spec.normalize) == (40, "mean", False)


def test_a_bidirectional_decoder_can_t_generate(tmp_path: Path) -> None:
    folder = embedder(tmp_path, "bidirectional", bare=False)
    (folder / "modules.json").unlink()
    with pytest.raises(UnsupportedError, match="use_bidirectional_attention: true is not supported without"):
        import_checkpoint(open_checkpoint(folder))


def test_a_dense_layer_must_fit_the_embedding(tmp_path: Path) -> None:
    folder = embedder(tmp_path, "llama", dense=[(24, TANH)])
    write_pooling(folder, "mean_tokens")  # the second layer now reads the model's own 32 elements
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("2_Dense", "Dense")]
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules]
    write_json(folder / "modules.json", listed)
    with pytest.raises(Exception, match="2_Dense reads 32 elements and gets 24"):
        import_checkpoint(open_checkpoint(folder))


def test_a_class_with_another_head_is_left_to_optimum(tmp_path: Path) -> None:
    folder = embedder(tmp_path, "llama")
    edit_config(folder, architectures=["LlamaForSequenceClassification"])
    assert route_of(open_checkpoint(folder)) == "optimum"
