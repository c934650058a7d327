"""What sentence-transformers puts behind an encoder, against the library itself (its torch backend, fp32).

Tolerance: 1e-4 of the largest element; float32 on both sides, in another order of sums.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import SENTENCES, write_json
from support.encoder_checkpoints import tiny_encoder, write_pooling
from support.hub_sessions import open_session

from exporter.checkpoint import open_checkpoint
from exporter.errors import InputError, UnsupportedError
from exporter.importers import import_checkpoint
from exporter.importers.native import plan_import
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.runners.mil import load_mlpackage
from exporter.runners.reference import TorchEncoder

TEXTS = ("yes", *SENTENCES[:3])
TANH, IDENTITY = "torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity"
MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


def embeddings(folder: Path) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"})
    found: np.ndarray = model.encode(list(TEXTS))
    return found


def pooled_checkpoint(folder: Path, mode: str, **settings: object) -> Path:
    checkpoint = tiny_encoder(folder, "mpnet")
    write_pooling(checkpoint, mode, **settings)
    return checkpoint


def from_hub(folder: Path) -> np.ndarray:
    from transformers import AutoTokenizer

    hub = import_checkpoint(open_checkpoint(folder))
    batch = AutoTokenizer.from_pretrained(folder)(list(TEXTS), padding=True, return_tensors="np")
    feeds = {name: batch[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
    (found,) = open_session(hub).run(["sentence_embedding"], feeds)
    return found


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("mode", MODES)
def test_pooling_equals_sentence_transformers(mode: str, tmp_path: Path) -> None:
    folder = pooled_checkpoint(tmp_path, mode, normalize=mode == "max_tokens")
    assert_close(from_hub(folder), embeddings(folder))


@pytest.mark.parametrize("dense", [[(24, TANH)], [(40, IDENTITY), (12, "torch.nn.modules.activation.GELU")]])
def test_dense_layers_equal_sentence_transformers(dense: list[tuple[int, str]], tmp_path: Path) -> None:
    folder = pooled_checkpoint(tmp_path, "cls_token", normalize=True, dense=dense)
    expected = embeddings(folder)
    assert expected.shape[1] == dense[-1][0]
    assert_close(from_hub(folder), expected)
    hub = import_checkpoint(open_checkpoint(folder))
    assert "2_Dense/linear.weight" in {weight.name for weight in hub.weights}
    assert "2_Dense/model.safetensors" in open_checkpoint(folder).source.files
    reference = TorchEncoder(folder)
    for text, wanted in zip(TEXTS, expected, strict=True):
        from transformers import AutoTokenizer

        ids = np.array(AutoTokenizer.from_pretrained(folder)(text)["input_ids"], np.int64)
        sentence = reference.encode(ids).sentence
        assert sentence is not None
        assert_close(sentence, wanted)


@pytest.mark.parametrize("mode", MODES)
def test_core_ml_pools_the_same(mode: str, tmp_path: Path) -> None:
    """Executed from disk, rounded to float16 after each op, with padding behind the text."""
    folder = pooled_checkpoint(tmp_path / "checkpoint", mode, dense=[(24, TANH)] if mode == "lasttoken" else [])
    lower_coreml(import_checkpoint(open_checkpoint(folder)), tmp_path / "s.mlpackage", CoreMLOptions())
    model = load_mlpackage(tmp_path / "s.mlpackage")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, wanted in zip(TEXTS, embeddings(folder), strict=True):
        ids = tokenizer(text)["input_ids"]
        length = min(shape[1] for shape in model.inputs[0].enumerated if shape[1] >= len(ids))
        feeds = {name: np.zeros((1, length), np.int32) for name in ("input_ids", "attention_mask")}
        feeds["input_ids"][0, : len(ids)], feeds["attention_mask"][0, : len(ids)] = ids, 1
        assert_close(model.predict(feeds)["sentence_embedding"][0], wanted, 2e-2)


def test_modules_win_over_the_head(tmp_path: Path) -> None:
    """all-mpnet-base-v2 names MPNetForMaskedLM and is an embedding model."""
    folder = tiny_encoder(tmp_path, "mpnet", "ForMaskedLM")
    write_pooling(folder, "mean_tokens", normalize=True)
    checkpoint = open_checkpoint(folder)
    hub = import_checkpoint(checkpoint)
    assert (hub.task, hub.spec.pooling) == ("feature-extraction", "mean")
    assert {name.split(".")[0] for name in plan_import(checkpoint, None).binding.unused} == {"lm_head"}
    assert_close(from_hub(folder), embeddings(folder))


def test_what_a_dense_module_can_t_be(tmp_path: Path) -> None:
    folder = pooled_checkpoint(tmp_path, "mean_tokens", dense=[(8, "torch.nn.modules.activation.Hardtanh")])
    with pytest.raises(UnsupportedError, match="a dense layer with Hardtanh is not supported"):
        import_checkpoint(open_checkpoint(folder))
    settings = {"in_features": 36, "out_features": 8, "activation_function": "my_package.Secret"}
    write_json(folder / "2_Dense" / "config.json", settings)
    with pytest.raises(UnsupportedError, match=r"the activation 'my_package\.Secret'"):
        import_checkpoint(open_checkpoint(folder))
    write_json(folder / "2_Dense" / "config.json", settings | {"out_features": 9})
    with pytest.raises(InputError, match=r"2_Dense/model\.safetensors holds"):
        open_checkpoint(folder)
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(UnsupportedError, match=r"Dense without 2_Dense/model\.safetensors"):
        import_checkpoint(open_checkpoint(folder))
