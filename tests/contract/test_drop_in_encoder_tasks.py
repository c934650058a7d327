"""The `onnx/` folder of encoders with a head, as optimum's classes load it, and `kogata run` against transformers.

The reference is transformers' own model and pipeline; the files hold 16-bit weights, so nothing is lost but the order
of float32 sums (and, for Core ML, float16).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from support.checkpoints import SENTENCES
from support.encoder_checkpoints import tiny_encoder
from support.requests import export_request
from transformers import AutoTokenizer, pipeline

from exporter.errors import InputError, UsageError
from exporter.pipeline.export import export_checkpoint
from exporter.pipeline.run import run_bundle
from exporter.progress import NoProgress

LABELS = {"id2label": {0: "no", 1: "maybe", 2: "yes"}, "label2id": {"no": 0, "maybe": 1, "yes": 2}}
TAGS = {"id2label": {0: "O", 1: "B-room", 2: "I-room"}, "label2id": {"O": 0, "B-room": 1, "I-room": 2}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "SequenceClassification": ("bert", LABELS),
    "TokenClassification": ("distilbert", TAGS),
    "MaskedLM": ("roberta", {}),
    "QuestionAnswering": ("electra", {}),
}
TEXT, SECOND = "Dim the bedroom lamp at nine.", "The lamp is in the bedroom, please, and the dog doesn't mind."
TOLERANCE = 2e-4


@pytest.fixture(scope="module", params=CASES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Head, checkpoint, bundle."""
    family, settings = CASES[request.param]
    root = tmp_path_factory.mktemp("tasks")
    checkpoint = tiny_encoder(root / "checkpoint", family, f"For{request.param}", **settings)
    asked = export_request(checkpoint, root / "bundle", bits=16)
    return request.param, checkpoint, export_checkpoint(asked, NoProgress()).path


def test_optimum_gives_the_same_logits(exported: tuple[str, Path, Path]) -> None:
    import optimum.onnxruntime

    head, checkpoint, bundle = exported
    auto = {"MaskedLM": "AutoModelForMaskedLM"}.get(head, f"AutoModelFor{head}")
    ours = getattr(optimum.onnxruntime, f"ORTModelFor{head}").from_pretrained(bundle / "onnx")
    theirs = getattr(transformers, auto).from_pretrained(checkpoint, attn_implementation="eager").eval()
    second = [SECOND] * 3 if head in ("SequenceClassification", "QuestionAnswering") else None
    tokenizer = AutoTokenizer.from_pretrained(bundle / "onnx")
    batch = tokenizer(list(SENTENCES[:3]), second, padding=True, truncation=True, max_length=60, return_tensors="pt")
    if not getattr(theirs.config, "type_vocab_size", 0):
        batch.pop("token_type_ids", None)
    with torch.no_grad():
        wanted, found = theirs(**batch), ours(**batch)
    real = batch["attention_mask"].bool()
    for name in ("start_logits", "end_logits") if head == "QuestionAnswering" else ("logits",):
        a, b = wanted[name], found[name]
        if head != "SequenceClassification":
            a, b = a[real], b[real]
        torch.testing.assert_close(b, a, atol=TOLERANCE, rtol=TOLERANCE)
    if head.endswith("Classification"):
        assert ours.config.id2label == CASES[head][1]["id2label"]


def test_the_card_s_python_snippet_runs(exported: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    head, _, bundle = exported
    card = (bundle / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(bundle)
    found: dict[str, Any] = {}
    exec(compile(code.replace("…", "Dim the lamp"), "README.md", "exec"), found)
    result = found[{"QuestionAnswering": "answer", "MaskedLM": "best"}.get(head, "found")]
    assert result
    if head == "SequenceClassification":
        assert "`classLabel`" in card
        assert "no, maybe, yes." in card


def answers(bundle: Path, text: str, second: str | None = None) -> list[dict[str, Any]]:
    """From both artifacts; the numbers are float32's, and float16's within 0.02."""
    return [dict(run_bundle(bundle, text, kind, None, second).as_json()) for kind in ("onnx", "coreml")]


def test_kogata_run_says_what_transformers_pipelines_say(exported: tuple[str, Path, Path]) -> None:
    head, checkpoint, bundle = exported
    check = {
        "SequenceClassification": classified,
        "TokenClassification": tagged,
        "MaskedLM": filled,
        "QuestionAnswering": answered,
    }[head]
    check(checkpoint, bundle)


def test_a_second_text_where_it_belongs_and_a_mask_to_fill(exported: tuple[str, Path, Path]) -> None:
    head, _, bundle = exported
    if head == "QuestionAnswering":
        with pytest.raises(UsageError, match="question-answering takes two texts"):
            run_bundle(bundle, TEXT, None, None)
    elif head != "SequenceClassification":
        with pytest.raises(UsageError, match="takes one text"):
            run_bundle(bundle, TEXT, None, None, SECOND)
    if head == "MaskedLM":
        with pytest.raises(InputError, match="the text has no mask: <mask>"):
            run_bundle(bundle, TEXT, None, None)


def classified(checkpoint: Path, bundle: Path) -> None:
    judge = pipeline("text-classification", str(checkpoint), device="cpu", top_k=None)
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["task"], manifest["model"]["labels"]) == ("text-classification", ["no", "maybe", "yes"])
    for given, second in ((TEXT, None), ({"text": TEXT, "text_pair": SECOND}, SECOND)):
        judged = judge(given)
        wanted = {e["label"]: e["score"] for e in (judged[0] if isinstance(judged[0], list) else judged)}
        for found in answers(bundle, TEXT, second):
            scores = {entry["label"]: entry["score"] for entry in found["labels"]}
            assert scores == pytest.approx(wanted, abs=2e-2)
            assert [e["score"] for e in found["labels"]] == sorted(scores.values(), reverse=True)


def tagged(checkpoint: Path, bundle: Path) -> None:
    for strategy, key in (("none", "tokens"), ("simple", "entities")):
        tagger = pipeline("token-classification", str(checkpoint), device="cpu", aggregation_strategy=strategy)
        name = "entity" if strategy == "none" else "entity_group"
        wanted = [(e[name], e["start"], e["end"], pytest.approx(float(e["score"]), abs=2e-2)) for e in tagger(TEXT)]
        assert wanted
        for found in answers(bundle, TEXT):
            entities = [(e["label"], e["start"], e["end"], e["score"]) for e in found[key] if e["label"] != "O"]
            assert entities == wanted
            assert all(TEXT[e["start"] : e["end"]] == e["text"] for e in found[key])


def filled(checkpoint: Path, bundle: Path) -> None:
    filler = pipeline("fill-mask", str(checkpoint), device="cpu")
    text = TEXT.replace("bedroom", "<mask>")
    wanted = filler(text)
    for found in answers(bundle, text):
        (best,) = found["masks"]
        assert [c["score"] for c in best] == pytest.approx([e["score"] for e in wanted], abs=2e-2)
        assert [c["token"] for c in best] == [e["token_str"].strip() for e in wanted]


def answered(checkpoint: Path, bundle: Path) -> None:
    finder = pipeline("question-answering", str(checkpoint), device="cpu")
    wanted = finder(question=TEXT, context=SECOND, align_to_words=False)
    for found in answers(bundle, TEXT, SECOND):
        answer = found["answer"]
        assert (answer["start"], answer["end"]) == (wanted["start"], wanted["end"])
        assert answer["score"] == pytest.approx(wanted["score"], abs=2e-2)
        assert answer["text"] == SECOND[answer["start"] : answer["end"]]
