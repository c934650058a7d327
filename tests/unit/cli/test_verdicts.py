"""A bundle's verdict travels with its files: `verify` and every format of a report show it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.bundle_plans import PASSED, make_decoder_plan
from support.command import kogata

from exporter.bundle import BundlePlan, ParityFacts, Staging, TaskFacts, finish_bundle, read_manifest, verify_bundle
from exporter.bundle.facts import Verdict

TASKS = (TaskFacts(95, 100, 97, 1.0, "failed"),)


def plan(made: Path, onnx: Verdict, coreml: Verdict) -> BundlePlan:
    whole = make_decoder_plan(made)
    parity = {"onnx": replace(PASSED, verdict=onnx, tasks=TASKS), "coreml": replace(PASSED, verdict=coreml)}
    facts = {kind: ParityFacts("unchecked") if f.verdict == "unchecked" else f for kind, f in parity.items()}
    return replace(whole, artifacts=tuple(replace(a, parity=facts[a.form.format]) for a in whole.artifacts))


def bundle(tmp_path: Path, onnx: Verdict, coreml: Verdict, failures: tuple[str, ...] = ()) -> Path:
    """As it lies on somebody's disk: a rejected one under another name."""
    with Staging(tmp_path / "out") as staging:
        manifest = finish_bundle(plan(tmp_path / "made", onnx, coreml), staging.path, lambda _: failures)
        path = staging.reject() if manifest.verdict == "failed" else staging.commit()
    return path.rename(tmp_path / "bundle")


CASES = [
    ("passed", "passed", (), "passed", 0, 0),
    ("failed", "passed", (), "failed", 1, 1),
    ("passed", "passed", ("onnx: 12 bytes, over the budget --max-size 10",), "failed", 1, 1),
    ("passed", "unchecked", (), "unchecked", 0, 1),
    ("unchecked", "unchecked", (), "unchecked", 0, 1),
    ("unchecked", "failed", (), "failed", 1, 1),
]


@pytest.mark.parametrize(("onnx", "coreml", "failures", "verdict", "code", "strict"), CASES)
def test_verify_says_what_the_export_said(
    onnx: Verdict,
    coreml: Verdict,
    failures: tuple[str, ...],
    verdict: str,
    code: int,
    strict: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = bundle(tmp_path, onnx, coreml, failures)
    assert read_manifest(path / "manifest.json").failures == failures
    assert kogata("verify", path, "--require", "passed") == strict
    capsys.readouterr()
    for format in ("text", "json", "junit", "github"):
        assert kogata("verify", path, "--format", format) == code
        told = capsys.readouterr()
        match format:
            case "json":
                envelope = json.loads(told.out)
                assert (envelope["verdict"], envelope["result"]["verdict"]) == (verdict, verdict)
                assert envelope["ok"] == (code == 0)
            case "junit":
                suites = ElementTree.fromstring(told.out)
                assert {p.get("value") for p in suites.iter("property") if p.get("name") == "verdict"} == {verdict}
                assert (suites.get("failures") != "0") == (verdict == "failed")
            case _:
                assert verdict in told.out
        assert (format == "text" and code != 0) == ("this bundle failed" in told.err)


def test_a_manifest_whose_verdict_contradicts_its_parity_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundle(tmp_path, "failed", "passed")
    facts = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(facts | {"verdict": "passed"}))
    assert kogata("verify", path) == 1
    assert kogata("run", path, "text") == 2
    assert "should be 'failed'" in capsys.readouterr().err


def test_manifests_of_older_versions_have_the_verdict_of_their_parity(tmp_path: Path) -> None:
    path = bundle(tmp_path, "failed", "passed") / "manifest.json"
    facts = json.loads(path.read_text())
    del facts["verdict"], facts["failures"]
    path.write_text(json.dumps(facts))
    assert read_manifest(path).verdict == "failed"


def test_task_accuracy_stands_in_manifest_and_card(tmp_path: Path) -> None:
    path = bundle(tmp_path, "failed", "passed")
    assert read_manifest(path / "manifest.json").parity["onnx/model.onnx"].tasks == TASKS
    card = (path / "README.md").read_text()
    assert "95 of 100 answers are exactly the expected ones (95.00 %); the checkpoint gives 97" in card
    assert "**This bundle failed a gate: don't ship it.**" in card


def test_what_finder_leaves_is_ignored_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bundle(tmp_path, "passed", "passed")
    left = [path / ".DS_Store", path / "coreml" / "tiny.mlpackage" / ".DS_Store"]
    for file in left:
        file.write_bytes(b"\0\0\0\1Bud1")
    assert kogata("verify", path) == 0
    told = capsys.readouterr().out
    assert "note: .DS_Store: is no part of the bundle" in told
    assert "note: coreml/tiny.mlpackage/.DS_Store: is no part" in told
    left[0].unlink()
    left[0].symlink_to("/etc/passwd")
    (path / ".ds_store").write_bytes(b"")
    assert {d.where for d in verify_bundle(path).diagnostics} == {".DS_Store", ".ds_store"}
