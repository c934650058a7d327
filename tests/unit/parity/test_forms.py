"""Several forms of one format in one report, one wording for texts and graphs, and rows without a checkpoint."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from exporter.formats import FLEXIBLE, FORMS, PORTABLE, Form, FormFacts, read_form
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.lower.onnx import OnnxOptions, lower_onnx
from exporter.parity import ParityOptions
from exporter.parity.graphs.check import check_graphs
from exporter.parity.keys import Unrounded, row_name, title
from exporter.report import render_parity_html
from exporter.runners.shipped import CORE_ML, ONNXRUNTIME, RUNTIMES

SECOND = Form("onnx", "second")
STATELESS = Form("coreml", "stateless")


@pytest.fixture(autouse=True)
def further_forms(monkeypatch):
    """A second form of each format, run as the first."""
    monkeypatch.setitem(FORMS, SECOND, FormFacts("second ONNX file", "onnx-second", "android"))
    monkeypatch.setitem(FORMS, STATELESS, FormFacts("stateless Core ML program", "stateless", "iphone"))
    monkeypatch.setitem(RUNTIMES, SECOND, ONNXRUNTIME)
    monkeypatch.setitem(RUNTIMES, STATELESS, CORE_ML)


def graph_report(subjects):
    return check_graphs([subjects], ParityOptions(bits=6, depth="quick"))["model"]


def without(subjects, name, folder):
    """An ONNX file of the compressed graph in which one weight is 0."""
    palettes = dict(subjects.compressed.palettes)
    palettes[name] = replace(palettes[name], lut=np.zeros_like(palettes[name].lut))
    return lower_onnx(apply_palettes(subjects.hub, palettes), folder, OnnxOptions()).path


def test_names_of_rows():
    assert [row_name(form) for form in (PORTABLE, FLEXIBLE, SECOND)] == ["onnx", "coreml", "onnx second"]
    assert [row_name(form, "lowering") for form in (PORTABLE, SECOND)] == ["onnx lowering", "onnx second lowering"]
    assert [row_name(form, "fp16") for form in (FLEXIBLE, STATELESS)] == ["fp16", "coreml stateless fp16"]
    assert row_name("hub", "padding") == "hub padding"
    assert title(Unrounded(STATELESS)) == "shipped stateless Core ML program without rounding"
    assert (SECOND.label, str(SECOND), read_form("onnx/second")) == ("onnx second", "onnx/second", SECOND)


def test_two_forms_of_one_format_keep_rows_and_verdicts_apart(llama, quick, tmp_path):
    other = without(llama.subjects, "model.layers.1.mlp.up_proj.weight", tmp_path)
    report = quick(replace(llama.subjects, artifacts={**llama.subjects.artifacts, SECOND: other}))
    verdicts = {row.name: row.verdict for row in report.rows}
    assert list(verdicts) == [
        "import", "compression", "onnx lowering", "coreml lowering", "fp16", "onnx second lowering",
        "onnx", "coreml", "onnx second", "onnx vs coreml", "onnx vs onnx second",
        "hub padding", "onnx cached decode", "onnx padding", "coreml masks", "coreml cached decode",
        "onnx second cached decode", "onnx second padding", "tokenizer",
    ]  # fmt: skip
    failed = {name for name, verdict in verdicts.items() if verdict == "failed"}
    assert {"onnx second lowering", "onnx vs onnx second"} <= failed
    assert all("second" in name for name in failed)
    assert report.row(SECOND).artifacts == (SECOND,)
    assert report.row("onnx vs onnx second").artifacts == (SECOND,)  # its lowering explains the difference
    expected = {"onnx/portable": "passed", "coreml/flexible": "passed", "onnx/second": "failed"}
    made = report.as_json()
    assert made["artifacts"] == expected
    finding = report.findings[0]
    assert (finding.code, finding.where) == ("parity.onnx-second-lowering", "layers.1/mlp/up")
    assert "compressed graph against shipped second ONNX file" in finding.message
    page = render_parity_html("tiny", json.loads(json.dumps(made))).decode()
    assert "ONNX, second" in page
    assert "<b>ONNX, second was run by:</b>" in page


def test_two_forms_of_a_graph_s_format_keep_rows_and_verdicts_apart(classifier, tmp_path):
    other = without(classifier, "hidden", tmp_path)
    report = graph_report(replace(classifier, artifacts={PORTABLE: classifier.artifacts[PORTABLE], SECOND: other}))
    verdicts = {row.name: row.verdict for row in report.rows}
    assert verdicts == {
        "compression": "passed",
        "onnx lowering": "passed",
        "onnx second lowering": "failed",
        "onnx": "passed",
        "onnx second": "failed",
        "onnx vs onnx second": "failed",
    }
    assert (report.artifact_verdict(PORTABLE), report.artifact_verdict(SECOND)) == ("passed", "failed")


def test_a_difference_that_nothing_explains_accuses_both(classifier, tmp_path):
    other = without(classifier, "hidden", tmp_path)
    artifacts = {PORTABLE: classifier.artifacts[PORTABLE], SECOND: other}
    report = graph_report(replace(classifier, hub=None, compressed=None, artifacts=artifacts))
    assert [row.name for row in report.rows] == ["onnx vs onnx second"]
    assert report.artifact_verdict(PORTABLE) == report.artifact_verdict(SECOND) == "failed"


def test_two_core_ml_forms_each_have_their_unrounded_variant(classifier):
    artifacts = dict.fromkeys((FLEXIBLE, STATELESS), classifier.artifacts[FLEXIBLE])
    report = graph_report(replace(classifier, artifacts=artifacts))
    assert report.verdict == "passed"
    assert [row.name for row in report.rows] == [
        "compression", "coreml lowering", "fp16", "coreml stateless lowering", "coreml stateless fp16",
        "coreml", "coreml stateless", "coreml vs coreml stateless",
    ]  # fmt: skip
    assert report.row("coreml vs coreml stateless").metrics["psnr_db"] == 300


def poisoned(hub, name, breaking, folder):
    """An ONNX file of the hub with NaN in one tensor."""
    with_tensor, _ = breaking
    return lower_onnx(with_tensor(hub, name, lambda w: np.full_like(w, np.nan)), folder, OnnxOptions()).path


def test_texts_and_graphs_report_the_same_failure_in_the_same_words(llama, classifier, quick, breaking, tmp_path):
    """NaN in a file of each: all that may differ is how many values there are, and the tensor's name."""
    text_file = poisoned(llama.compressed, "model.norm.weight", breaking, tmp_path / "text")
    graph_file = poisoned(classifier.compressed, "bias", breaking, tmp_path / "graph")
    text = quick(replace(llama.only("hub", "compressed"), artifacts={PORTABLE: text_file})).findings
    graph = graph_report(replace(classifier, artifacts={PORTABLE: graph_file})).findings

    def words(finding):
        known = re.sub(r"first tensor that diverges: .*", "first tensor that diverges", finding.message)
        return finding.code, re.sub(r"infinite [0-9.e+]+", "infinite N", known), finding.hint

    by_code = {finding.code: finding for finding in graph}
    lowering = next(finding for finding in text if finding.code == "parity.onnx-lowering")
    assert words(lowering) == words(by_code["parity.onnx-lowering"])
    assert "PSNR not a number (limit 80); first tensor that diverges" in words(lowering)[1]
    explained = next(finding for finding in text if finding.code == "parity.onnx")
    assert explained.message.endswith("; because of: onnx lowering")
    assert by_code["parity.onnx"].message.endswith("; because of: onnx lowering")


def test_without_a_checkpoint_the_imported_graph_is_the_reference(llama, classifier, quick):
    text = quick(llama.only("hub", "compressed", "onnx", "coreml"))
    graph = graph_report(classifier)
    for report in (text, graph):
        assert report.verdict == "passed"
        assert report.row("import") is None
        assert report.row(PORTABLE).compares == "imported graph against shipped ONNX file"
        assert report.row(FLEXIBLE).compares == "imported graph against shipped Core ML program"


def test_lowering_is_not_judged_where_the_compressed_graph_is_unknown(llama, classifier, quick):
    text = quick(llama.only("hub", "onnx"))
    assert [row.name for row in text.rows][:2] == ["onnx", "hub padding"]
    graph = graph_report(replace(classifier, compressed=None))
    assert [row.name for row in graph.rows] == ["fp16", "onnx", "coreml", "onnx vs coreml"]
