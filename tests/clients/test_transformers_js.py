"""transformers.js in Node, with the layout that `kogata pack --for transformers.js` writes.

The reference is transformers in Python. All models run in one process of Node.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from support.checkpoints import SENTENCES, tiny_bert
from support.client_exports import FAMILIES, MESSAGES, ONNX_FORMS, STEPS, Exported, export_form
from support.command import kogata
from support.encoder_checkpoints import FAMILIES as ENCODERS
from support.encoder_checkpoints import tiny_encoder
from transformers import AutoTokenizer

from exporter.formats import Form

PACKAGE = "@huggingface/transformers"
# Families that the client has no class for, or no cache, and its message. No file can change that.
REFUSED = {
    **dict.fromkeys(
        ("data2vec-text", "exaone4", "glm4", "internlm2", "internlm3", "minicpm", "nemotron", "seed_oss"),
        "Unsupported model type",
    ),
    "gpt_bigcode": "Missing the following inputs: past_key_values",
}
UNKNOWN = "can't run: it has no class or no cache for it"
TOLERANCE = 2e-4  # fp32 on both sides, but other orders of summation
LONGEST = 30
SHORT = list(SENTENCES)  # at most 22 tokens each
FILES = {"fp32": "model.onnx", "q4": "model_q4.onnx", "q8": "model_quantized.onnx"}
forms = pytest.mark.parametrize("form", ONNX_FORMS, ids=lambda form: form.name)
Run = Callable[[list[dict[str, Any]]], dict[str, Any]]


def packed(exported: Exported, dtype: str = "fp32") -> Path:
    folder = exported.bundle.parent / f"packed-{dtype}"
    assert kogata("pack", exported.bundle, "--for", "transformers.js", "--dtype", dtype, "-o", folder, "-q") == 0
    return folder


@pytest.fixture(scope="module", params=ONNX_FORMS, ids=lambda form: form.name)
def decoders(
    request: pytest.FixtureRequest, transformers_js: Run, decoder: Callable[[str, Form], Exported]
) -> tuple[Form, dict[str, Exported], dict[str, Any]]:
    exports = {}
    for family in FAMILIES:
        with contextlib.suppress(pytest.skip.Exception):  # a family that doesn't have this form
            exports[family] = decoder(family, request.param)
    jobs = [
        {
            "id": family,
            "kind": "generate",
            "folder": str(packed(exported)),
            "dtype": "fp32",
            "texts": [answer.text for answer in exported.answers],
            "steps": STEPS,
            "messages": MESSAGES,
        }
        for family, exported in exports.items()
    ]
    return request.param, exports, transformers_js(jobs)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_and_chat_template(
    family: str,
    decoders: tuple[Form, dict[str, Exported], dict[str, Any]],
    record: Callable[..., None],
    npm_version: Callable[[str], str],
) -> None:
    form, exports, results = decoders
    if family not in exports:
        pytest.skip(f"{family} has no {form.name} form")
    exported, result = exports[family], results[family]
    if family in REFUSED:
        assert REFUSED[family] in result["error"]
        record(
            "transformers.js (Node)",
            npm_version(PACKAGE),
            form.name,
            "greedy tokens",
            UNKNOWN,
            family,
        )
        return
    assert "error" not in result, result["error"]
    assert [answer["ids"] for answer in result["answers"]] == [answer.ids for answer in exported.answers]
    exported.judge([answer["made"] for answer in result["answers"]])
    tokenizer = AutoTokenizer.from_pretrained(exported.checkpoint)
    assert result["prompt"] == tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    compared = "ids, greedy tokens, chat prompt"
    record("transformers.js (Node)", npm_version(PACKAGE), form.name, compared, "equal", family)


@forms
@pytest.mark.parametrize("dtype", FILES)
def test_embeddings_by_dtype(
    dtype: str, form: Form, transformers_js: Run, tmp_path: Path, record: Callable[..., None],
    npm_version: Callable[[str], str],
) -> None:  # fmt: skip
    exported = export_form(tiny_bert(tmp_path / "checkpoint", max_seq_length=LONGEST), tmp_path, form)
    folder = packed(exported, dtype)
    assert [path.name for path in (folder / "onnx").iterdir()] == [FILES[dtype]]
    texts = [*SHORT, " ".join(SHORT)]  # the last is cut
    job = {"kind": "embed", "texts": texts, "pooling": "mean", "normalize": True}
    found = transformers_js([{"id": "bert", "folder": str(folder), "dtype": dtype, **job}])["bert"]
    wanted = SentenceTransformer(str(exported.checkpoint), device="cpu").encode(SHORT)
    np.testing.assert_allclose(found["embeddings"][:-1], wanted, atol=TOLERANCE)
    np.testing.assert_allclose(found["embeddings"][-1], of_the_first(LONGEST, texts[-1], exported), atol=TOLERANCE)
    record(
        "transformers.js (Node)",
        npm_version(PACKAGE),
        form.name,
        f"embeddings, one text too long, dtype {dtype}",
        "equal",
        "bert",
    )


@forms
def test_scores_of_classifiers(
    form: Form, transformers_js: Run, tmp_path: Path, record: Callable[..., None], npm_version: Callable[[str], str]
) -> None:
    jobs, wanted = [], {}
    for family in ENCODERS:
        checkpoint = tiny_encoder(tmp_path / family / "c", family, "ForSequenceClassification", num_labels=3)
        exported = export_form(checkpoint, tmp_path / family, form)
        jobs.append({"id": family, "kind": "classify", "dtype": "fp32", "folder": str(packed(exported))})
        jobs[-1]["texts"] = list(SENTENCES[:3])
        wanted[family] = probabilities(checkpoint)
    results = transformers_js(jobs)
    for family, scores in wanted.items():
        result = results[family]
        if family in REFUSED:
            assert REFUSED[family] in result["error"]
            record(
                "transformers.js (Node)",
                npm_version(PACKAGE),
                form.name,
                "scores of a classifier",
                UNKNOWN,
                family,
            )
            continue
        assert "error" not in result, (family, result["error"])
        for found, row in zip(result["scores"], scores, strict=True):
            by_label = {entry["label"]: entry["score"] for entry in found}
            np.testing.assert_allclose([by_label[f"LABEL_{i}"] for i in range(3)], row, atol=TOLERANCE)
        record("transformers.js (Node)", npm_version(PACKAGE), form.name, "scores of a classifier", "equal", family)


def of_the_first(count: int, text: str, exported: Exported) -> np.ndarray:
    """The embedding of the first ids alone: transformers.js cuts the closing special token off, too."""
    ids = AutoTokenizer.from_pretrained(exported.checkpoint)(text)["input_ids"]
    assert len(ids) > count
    model = transformers.AutoModel.from_pretrained(exported.checkpoint).eval()
    with torch.no_grad():
        mean = model(torch.tensor([ids[:count]])).last_hidden_state[0].mean(0)
    return torch.nn.functional.normalize(mean, dim=0).numpy()


def probabilities(checkpoint: Path) -> np.ndarray:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    with torch.no_grad():
        logits = [model.eval()(**tokenizer(text, return_tensors="pt")).logits[0] for text in SENTENCES[:3]]
    return torch.stack(logits).softmax(-1).numpy()
