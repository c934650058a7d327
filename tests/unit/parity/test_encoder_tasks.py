"""Parity of encoders with a head: what is compared, that a right export passes, and that broken ones are found."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from exporter.errors import InputError
from exporter.formats import FLEXIBLE, PORTABLE
from exporter.parity import ParityOptions
from exporter.parity.metrics import LogitsComparison
from exporter.parity.options import judged
from exporter.parity.scores import ScoreComparison, same_order, two_classes
from exporter.parity.texts import encode_texts
from exporter.texts import PromptFile

LABELS = {"id2label": {0: "no", 1: "maybe", 2: "yes"}}
TASKS = {  # of most random rerankers, all texts score nearly the same: seed 3 is one that tells them apart
    "text-classification": ("bert", "ForSequenceClassification", LABELS),
    "multi-label": ("roberta", "ForSequenceClassification", {**LABELS, "problem_type": "multi_label_classification"}),
    "text-ranking": (
        "distilbert",
        "ForSequenceClassification",
        {"seed": 3, "num_labels": 1, "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
    ),
    "regression": ("mpnet", "ForSequenceClassification", {"num_labels": 1, "problem_type": "regression"}),
    "token-classification": ("modernbert", "ForTokenClassification", LABELS),
    "fill-mask": ("distilbert", "ForMaskedLM", {}),
    "question-answering": ("bert", "ForQuestionAnswering", {}),
}
NUMBERS = {  # what the end-to-end row of each is gated on
    "text-classification": {"kl", "top1_or_tie"},
    "multi-label": {"kl", "top1_or_tie"},
    "text-ranking": {"unexplained", "order"},
    "regression": {"unexplained", "order"},
    "token-classification": {"kl", "top1_or_tie"},
    "fill-mask": {"kl", "top1_or_tie"},
    "question-answering": {"kl", "top1_or_tie"},
}


def built(encoder, name):
    family, head, settings = TASKS[name]
    return encoder(family, head, **settings)


@pytest.mark.parametrize("name", TASKS)
def test_a_right_export_passes_on_its_task_s_own_numbers(encoder, quick, name):
    subjects = built(encoder, name).subjects
    report = quick(subjects, max_prompts=16)
    assert report.verdict == "passed", [finding.message for finding in report.findings]
    assert {"import", "compression", "onnx", "coreml", "onnx vs coreml", "hub padding", "onnx padding"} <= {
        row.name for row in report.rows
    }
    for form in (PORTABLE, FLEXIBLE):
        row = report.row(form)
        assert {check.limit.metric for check in row.checks} == NUMBERS[name] | {"non_finite"}
    assert report.row("import").metrics["relative_error"] < 1e-4


def test_swapped_labels_fail_and_are_found_at_the_logits(encoder, quick, breaking):
    """The head's rows in another order: every layer agrees, the logits don't."""
    with_tensor, _ = breaking
    bert = built(encoder, "text-classification")
    hub = with_tensor(bert.hub, "classifier.weight", lambda w: w[::-1])
    report = quick(replace(bert.only("checkpoint"), hub=hub), max_prompts=8)
    assert report.verdict == "failed"
    assert "logits" in report.findings[0].where or "head/" in report.findings[0].where


def test_ignored_token_types_fail_on_pairs(encoder, quick, breaking):
    with_tensor, _ = breaking
    bert = built(encoder, "question-answering")
    hub = with_tensor(bert.hub, "bert.embeddings.token_type_embeddings.weight", lambda t: np.repeat(t[:1], 2, 0))
    report = quick(replace(bert.only("checkpoint"), hub=hub), max_prompts=8)
    assert report.row("import").verdict == "failed"
    assert report.findings[0].where.startswith("embeddings/")


def test_attention_to_padding_fails(encoder, quick, breaking):
    _, rewired = breaking
    model = built(encoder, "token-classification")

    def unmask(nodes):
        mask = nodes["mask/score"]
        mask.replace_input_with(0, nodes["attention_mask/float"].outputs[0])

    report = quick(replace(model.only("checkpoint"), hub=rewired(model.hub, unmask)), max_prompts=8)
    assert "failed" in (report.row("hub padding").verdict, report.row("import").verdict)


def test_fill_mask_compares_masked_tokens_only(encoder):
    subjects = built(encoder, "fill-mask").subjects
    texts = encode_texts(subjects, ParityOptions(max_prompts=20))
    mask = subjects.tokenizer.token_to_id("[MASK]")
    specials = {subjects.tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]")}
    for ids, rows in zip(texts.ids, texts.rows, strict=True):
        assert 1 <= len(rows) <= -(-len(ids) // 7)
        assert (ids[rows] == mask).all()
        assert not specials & {int(i) for i in ids[rows]}
    assert texts.counted(0, np.zeros((len(texts.ids[0]), 5), np.float32)).shape == (len(texts.rows[0]), 5)


def test_pairs_carry_token_types_and_prompts_without_a_second_text_are_refused(encoder, tmp_path):
    subjects = built(encoder, "question-answering").subjects
    texts = encode_texts(subjects, ParityOptions())
    assert len(texts.ids) == 40
    assert all(set(map(int, types)) == {0, 1} for types in texts.types)
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"text": "Where is the lamp?"}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="question-answering takes two texts"):
        encode_texts(subjects, ParityOptions(prompts=PromptFile(path)))
    path.write_text(json.dumps({"text": "Where?", "second": 3}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match='"second" must be a text'):
        encode_texts(subjects, ParityOptions(prompts=PromptFile(path)))


def test_what_each_task_s_outputs_are():
    assert judged("fill-mask", None) == judged("text-generation", None) == "tokens"
    assert judged("text-classification", "softmax") == judged("token-classification", "softmax") == "classes"
    assert judged("text-classification", "identity") == judged("text-ranking", "sigmoid") == "scores"
    assert judged("feature-extraction", None) == "embeddings"


def test_independent_classes_are_compared_by_their_sigmoid():
    """KL of two Bernoulli variables, by hand: p = sigmoid(1), q = sigmoid(0.5)."""
    compared = LogitsComparison()
    compared.add(two_classes(np.array([[1.0, -2.0]], np.float32)), two_classes(np.array([[0.5, -2.0]], np.float32)))
    p, q = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-0.5))
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert compared.metrics()["kl"] == pytest.approx(expected / 2)
    assert compared.metrics()["top1"] == 1


def test_scores_by_hand():
    compared = ScoreComparison()
    for reference, artifact in ((0.0, 0.1), (1.0, 1.3), (2.0, 1.2), (4.0, 4.0)):
        compared.add(np.array([[reference]], np.float32), np.array([[artifact]], np.float32))
    metrics = compared.metrics()
    spread = sum((x - 1.75) ** 2 for x in (0, 1, 2, 4))
    assert metrics["unexplained"] == pytest.approx((0.1**2 + 0.3**2 + 0.8**2) / spread, rel=1e-5)
    assert metrics["order"] == pytest.approx(5 / 6)  # of six pairs, (1, 2) is turned round


def test_near_ties_have_no_order():
    reference = np.array([[0.0], [0.001], [1.0]])
    assert same_order(reference, reference[[1, 0, 2]], tie=0.01) == 1
    assert same_order(reference, reference[::-1], tie=0.01) == 0
    assert same_order(reference[:1], reference[:1], tie=0.0) == 1


def test_one_prompt_has_no_variance_but_an_error():
    compared = ScoreComparison()
    compared.add(np.array([[2.0]], np.float32), np.array([[1.0]], np.float32))
    assert compared.metrics()["unexplained"] == pytest.approx(0.25)
