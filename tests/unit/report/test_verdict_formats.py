"""A failed bundle in JUnit, annotations and summary: bundle, row, number, limit, folder and next step."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from junitparser import JUnitXml

from exporter.cli.output import Output
from exporter.errors import Diagnostic
from exporter.report import Case, Number, Report, Subject, render, render_summary

KL = Number("kl", "0.3 nats", "≤ 0.2 nats", False, "a limit")
FINITE = Number("non_finite", "0", "≤ 0", True)
ONNX, COREML = "onnx/model.onnx", "coreml/m.mlpackage"
FAILED = Report(
    "export",
    1,
    {},
    (Diagnostic("parity.onnx", "row 'onnx' failed: KL 0.3 (limit 0.2)", "layers.0", "why"),),
    cases=(
        Case("import", True, "a against b", (ONNX, COREML), (FINITE,), 1.25),
        Case("onnx", False, "c against d", (ONNX,), (FINITE, KL), 0.5),
        Case("coreml", None, "not run", (COREML,)),
    ),
    verdict="failed",
    subject=Subject("m", "out/m.rejected", "out/m"),
    next_step="don't ship it",
    seconds=3.0,
)
# Jenkins' junit-10.xsd: element → its children, required and optional attributes.
SCHEMA = {
    "testsuites": ({"testsuite"}, set(), {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"properties", "testcase", "system-out", "system-err"},
        {"name", "tests", "failures", "errors"},
        {"time", "skipped", "file", "timestamp", "hostname", "id", "package", "group", "log", "url"},
    ),
    "properties": ({"property"}, set(), set()),
    "property": (set(), {"name", "value"}, set()),
    "testcase": ({"skipped", "error", "failure", "system-out", "system-err"}, {"name"}, {"time", "classname", "group"}),
    "failure": (set(), set(), {"type", "message"}),
    "skipped": (set(), set(), {"type", "message"}),
    "system-out": (set(), set(), set()),
}
TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?")


def assert_valid(text: str) -> ElementTree.Element:
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "testsuites"
    for element in root.iter():
        children, required, optional = SCHEMA[element.tag]
        assert {child.tag for child in element} <= children
        assert required <= set(element.attrib) <= required | optional
        assert TIME.fullmatch(element.get("time", ""))
    return root


def test_junit_has_a_suite_for_each_artifact_and_a_case_for_each_row() -> None:
    text = render(FAILED, "junit")
    root = assert_valid(text)
    suites = {suite.name: suite for suite in JUnitXml.fromroot(root)}
    whole, onnx, coreml = suites.values()
    assert list(suites) == [f"kogata export m{part} (out/m)" for part in ("", f", {ONNX}", f", {COREML}")]
    assert [case.name for case in onnx] == ["import", "onnx"]
    assert [case.name for case in coreml] == ["import", "coreml"]
    assert (onnx.tests, onnx.failures, onnx.skipped, onnx.time) == (2, 1, 0, 1.75)
    assert (coreml.tests, coreml.failures, coreml.skipped) == (2, 0, 1)
    assert [case.time for case in onnx] == [1.25, 0.5]
    assert {case.classname for case in onnx} == {f"kogata.export: out/m/{ONNX}"}
    facts = {p.name: p.value for p in onnx.properties()}
    assert facts["onnx: kl"] == "0.3 nats (limit ≤ 0.2 nats)"
    assert (facts["verdict"], facts["bundle"], facts["artifact"]) == ("failed", "out/m.rejected", ONNX)
    assert root[1].get("file") == f"out/m.rejected/{ONNX}"
    (failure,) = list(onnx)[1].result
    assert failure.message == "kl 0.3 nats, limit ≤ 0.2 nats: a limit"
    assert "bundle: out/m.rejected\nnext: don't ship it" in failure.text
    assert (root.get("tests"), root.get("failures"), root.get("time")) == ("5", "2", "3.000")
    assert whole.failures == 1


def test_exports_of_one_pipeline_are_told_apart_and_keep_their_names() -> None:
    def names(report: Report) -> list[tuple[str | None, str | None]]:
        root = ElementTree.fromstring(render(report, "junit"))
        return [(suite.get("name"), case.get("classname")) for suite in root for case in suite.iter("testcase")]

    other = replace(FAILED, subject=Subject("m", "out/n.rejected", "out/n"))
    passed = replace(FAILED, exit_code=0, diagnostics=(), subject=Subject("m", "out/m", "out/m"))
    assert not set(names(FAILED)) & set(names(other))
    assert set(names(passed)) <= set(names(FAILED))


def test_every_annotation_of_an_error_stands_alone() -> None:
    verdict, row = render(FAILED, "github").splitlines()
    assert verdict.startswith("::error title=m%3A kogata export::verdict: failed%0A")
    assert row.startswith("::error title=m%3A parity.onnx::layers.0: row 'onnx' failed: KL 0.3 (limit 0.2)%0A")
    for line in (verdict, row):
        assert line.endswith("%0Abundle: out/m.rejected%0Anext: don't ship it")


def test_json_names_the_bundle_and_the_next_step() -> None:
    envelope = json.loads(render(FAILED, "json"))
    assert envelope["bundle"] == {"name": "m", "path": "out/m.rejected"}
    assert envelope["next_step"] == "don't ship it"


def test_the_summary_is_added_to_github_s_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "summary.md"
    file.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert Output("json", quiet=True).write(FAILED) == 1
    assert file.read_text() == "before\n"
    assert Output("github", quiet=True).write(FAILED) == 1
    text = file.read_text()
    assert text.startswith("before\n### kogata export m: failed\n\nBundle: out/m.rejected<br>Exit code: 1\n")
    assert f"| **onnx** | **{ONNX}** | **kl** | **0.3 nats** | **≤ 0.2 nats** | **failed** |\n" in text
    assert "**Next:** don't ship it\n" in text


def test_a_summary_that_can_t_be_written_changes_no_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "no" / "summary.md"))
    assert Output("github", quiet=True, about=Path("out/m")).write(replace(FAILED, exit_code=0)) == 0
    assert "warning: the step's summary can't be written" in capsys.readouterr().err


def test_a_failure_without_a_result_names_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    failed = Report("export", 2, None, (Diagnostic("a.b", "bad"),))
    for format in ("json", "junit", "github"):
        assert Output(format, quiet=True, about=Path("out/six")).write(failed) == 2
        assert "out/six" in capsys.readouterr().out


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_breaks_a_format(name: str, text: str) -> None:
    number = Number(text, text, text, False, text)
    case = Case(name, False, text, (name or "x",), (number,), 0.1)
    subject = Subject(name, text, text)
    report = replace(FAILED, cases=(case,), subject=subject, next_step=text)
    JUnitXml.fromroot(assert_valid(render(report, "junit")))
    lines = render(report, "github").removesuffix("\n").split("\n")
    assert [line.split("=")[0] for line in lines] == ["::error title"] * 2
    table = [line for line in render_summary(report).split("\n") if line.startswith("|")]
    assert len(table) == 3
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 7 for line in table)
    assert "<" not in render_summary(report).replace("<br>", "")


def test_a_summary_stays_below_github_s_limit() -> None:
    case = Case("x" * 2000, True, "y" * 2000)
    text = render_summary(replace(FAILED, cases=(case,) * 500))
    assert len(text.encode()) < 2**20
    assert "The rest was left out" in text
