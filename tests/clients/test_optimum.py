"""optimum: greedy tokens of decoders, embeddings and logits of encoders.

Where `ORTModelForCausalLM` can't run a decoder, the card says so instead of offering it, and the class does fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import optimum.onnxruntime as ort
import pytest
import torch
import transformers
from support.checkpoints import SENTENCES, tiny_bert
from support.client_exports import FAMILIES, ONNX_FORMS, STEPS, Exported, export_decoder, export_form
from support.decoder_checkpoints import DECODERS
from support.encoder_checkpoints import FAMILIES as ENCODERS
from support.encoder_checkpoints import tiny_encoder
from transformers import AutoTokenizer

from exporter.bundle.optimum_decoder import NOT_IN_TRANSFORMERS
from exporter.formats import Form

VERSION = version("optimum-onnx")
# fp32 on both sides, but other orders of summation, through two layers whose activations are around 1 to 10.
TOLERANCE = 2e-4
forms = pytest.mark.parametrize("form", ONNX_FORMS, ids=lambda form: form.name)


def generated(exported: Exported) -> list[list[int]]:
    model = ort.ORTModelForCausalLM.from_pretrained(exported.folder)
    return [
        model.generate(torch.tensor([answer.ids]), max_new_tokens=STEPS, do_sample=False)[0].tolist()
        for answer in exported.answers
    ]


@forms
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_or_a_reason(
    family: str, form: Form, decoder: Callable[[str, Form], Exported], record: Callable[..., None]
) -> None:
    exported = decoder(family, form)
    card = (exported.bundle / "README.md").read_text(encoding="utf-8").replace("\\", "")
    reason = re.search(r"optimum's `ORTModelForCausalLM` can't run this model: (.+)\.\n", card)
    assert ("import ORTModelForCausalLM" in card) == (reason is None)
    if reason is None:
        exported.judge(generated(exported))
        record("optimum-onnx", VERSION, form.name, "greedy tokens", "equal", family)
    else:
        with pytest.raises(Exception, match=r"."):  # each cause has its own: a shape, a key that is unknown
            generated(exported)
        unknown = family in NOT_IN_TRANSFORMERS
        kind = "not in transformers" if unknown else "other head_dim, or fewer key/value heads than it expects"
        record("optimum-onnx", VERSION, form.name, "greedy tokens", f"can't run: {kind}", family)


@forms
@pytest.mark.parametrize("family", sorted(DECODERS))
def test_greedy_tokens_of_plain_heads(family: str, form: Form, tmp_path: Path, record: Callable[..., None]) -> None:
    """With heads of the shape that optimum takes every model to have, it runs every family that transformers has."""
    exported = export_decoder(family, tmp_path, form, plain=True)
    assert "import ORTModelForCausalLM" in (exported.bundle / "README.md").read_text(encoding="utf-8")
    exported.judge(generated(exported))
    record("optimum-onnx", VERSION, form.name, "greedy tokens, hidden_size / heads wide", "equal", family)


@forms
def test_embeddings(form: Form, tmp_path: Path, record: Callable[..., None]) -> None:
    exported = export_form(tiny_bert(tmp_path / "checkpoint"), tmp_path, form)
    batch = AutoTokenizer.from_pretrained(exported.folder)(list(SENTENCES), return_tensors="pt", padding=True)
    with torch.no_grad():
        wanted = transformers.AutoModel.from_pretrained(exported.checkpoint)(**batch).last_hidden_state
    found = ort.ORTModelForFeatureExtraction.from_pretrained(exported.folder)(**batch).last_hidden_state
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[real], wanted[real], atol=TOLERANCE, rtol=TOLERANCE)
    record("optimum-onnx", VERSION, form.name, "token embeddings", "equal", "bert")


@forms
@pytest.mark.parametrize("family", ENCODERS)
def test_logits(family: str, form: Form, tmp_path: Path, record: Callable[..., None]) -> None:
    exported = export_form(tiny_encoder(tmp_path / "c", family, "ForSequenceClassification"), tmp_path, form)
    batch = AutoTokenizer.from_pretrained(exported.folder)(list(SENTENCES), return_tensors="pt", padding=True)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(
        exported.checkpoint, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        wanted = theirs(**batch).logits
    found = ort.ORTModelForSequenceClassification.from_pretrained(exported.folder)(**batch).logits
    torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=TOLERANCE)
    record("optimum-onnx", VERSION, form.name, "logits of a classifier", "equal", family)
