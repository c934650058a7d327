"""What calibration did is told wherever a bundle is described: manifest, card, page, and what the command prints."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.bundles import write_bundle

from exporter.bundle import BundlePlan, FitFacts, read_manifest
from exporter.bundle.manifest import manifest_problems
from exporter.bundle.schema import manifest_schema
from exporter.cli.summary import export_report
from exporter.parity.results import ParityReport
from exporter.pipeline.export import ExportResult
from exporter.report import render, render_parity_html

TEXTS = "24,412 tokens of the built-in texts, 12,345 of them the model's own"
FITTED = FitFacts(TEXTS, "kl", 0.31234, 0.0789)
PLAIN = replace(FITTED, fitted=0.4, used="plain")
RECOVERED = replace(FITTED, recovered=0.0456, used="recovered")
TOWER = FitFacts("99 tokens of mine.txt", "distance", 0.011, 0.0022, component="text_model")
HOSTILE = "9 tokens of <script>alert(1)</script>|`x`\n# [a](b) \x1b[31m.txt"


def made(plan: BundlePlan, folder: Path, *fits: FitFacts) -> Path:
    return write_bundle(replace(plan, compression=replace(plan.compression, calibration=fits)), folder / "out")


def plain(text: str) -> str:
    return " ".join(text.replace("\\", "").split())


def card(plan: BundlePlan, folder: Path, *fits: FitFacts) -> str:
    return plain((made(plan, folder, *fits) / "README.md").read_text("utf-8"))


@pytest.mark.parametrize("fits", [(FITTED,), (PLAIN,), (RECOVERED, TOWER)])
def test_the_manifest_keeps_them(fits: tuple[FitFacts, ...], decoder_plan: BundlePlan, tmp_path: Path) -> None:
    path = made(decoder_plan, tmp_path, *fits) / "manifest.json"
    data = json.loads(path.read_bytes())
    jsonschema.Draft202012Validator(manifest_schema()).validate(data)
    assert data["compression"]["calibration"] == [asdict(fit) for fit in fits]
    manifest = read_manifest(path)
    assert manifest.compression.calibration == fits
    assert manifest.to_bytes() == path.read_bytes()


def test_without_calibration_nothing_is_said(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    path = made(decoder_plan, tmp_path)
    assert "calibration" not in json.loads((path / "manifest.json").read_bytes())["compression"]
    assert read_manifest(path / "manifest.json").compression.calibration == ()
    assert "fitted" not in (path / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("key", "value"),
    [("used", "best"), ("error", "weights"), ("plain", None), ("fitted", -0.1), ("recovered", "no"), ("component", "")],
)
def test_the_schema_refuses_what_is_none(key: str, value: Any, decoder_plan: BundlePlan, tmp_path: Path) -> None:
    data = json.loads((made(decoder_plan, tmp_path, FITTED) / "manifest.json").read_bytes())
    spoiled, without = copy.deepcopy(data), copy.deepcopy(data)
    spoiled["compression"]["calibration"][0][key] = value
    del without["compression"]["calibration"][0][key]
    checker = jsonschema.Draft202012Validator(manifest_schema())
    for wrong in (spoiled, without):
        assert not checker.is_valid(wrong)
        assert any("calibration[0]" in problem.where for problem in manifest_problems(wrong))


def test_the_card_says_what_ships(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    text = card(decoder_plan, tmp_path / "fitted", FITTED)
    assert f"The LUTs were fitted to calibration texts ({TEXTS})." in text
    assert "the KL divergence between the outputs of the model before and after compression is 0.0789 nats;" in text
    assert "with k-means on the weights alone, at the same size, it is 0.312." in text
    trained = card(decoder_plan, tmp_path / "recovered", RECOVERED)
    assert f"fitted to calibration texts ({TEXTS}) and then trained on them." in trained
    assert "is 0.0456 nats; with k-means on the weights alone, at the same size, it is 0.312." in trained
    assert "0.0789" not in trained
    assert "The LUTs were fitted" not in card(decoder_plan, tmp_path / "plain", PLAIN)
    tower = card(decoder_plan, tmp_path / "tower", TOWER)
    assert "the distance between the outputs of text_model before and after compression is 0.0022;" in tower


def page(*fits: FitFacts) -> str:
    facts = {"bits": 4, "group_size": 16, "bpw": 4.5, "parameters": 164, "stored_bytes": 256, "tensors": []}
    report = ParityReport("full", 4, 0, "built-in", ()).as_json()
    return render_parity_html("tiny", report, {**facts, "calibration": [asdict(fit) for fit in fits]}).decode()


def test_the_page_has_all_numbers() -> None:
    text = page(FITTED, TOWER)
    assert "KL divergence in nats to the uncompressed model" in text
    assert "<b>0.312</b> with plain k-means, <b>0.0789</b> with palettes fitted to text." in text
    assert "<code>text_model</code>: Distance of the outputs" in text
    assert "<b>0.0022</b>" in text
    assert "tables trained" not in text
    assert "<b>0.0456</b> with trained LUTs. Used: trained LUTs." in page(RECOVERED)
    assert "Used: plain k-means." in page(PLAIN)
    assert "plain k-means" not in page()


def told(plan: BundlePlan, folder: Path, *fits: FitFacts) -> str:
    path = made(plan, folder, *fits)
    return render(export_report(ExportResult(path, read_manifest(path / "manifest.json"), None, ()), path), "text")


def test_the_command_prints_both_numbers(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    text = plain(told(decoder_plan, tmp_path / "a", FITTED, TOWER))
    assert (
        "KL divergence to the uncompressed model, on held-back texts plain k-means 0.3123 fitted to text 0.0789" in text
    )
    assert f"used fitted texts {TEXTS}" in text
    assert "text_model: distance of the outputs to the uncompressed model" in text
    trained = plain(told(decoder_plan, tmp_path / "b", RECOVERED))
    assert "fitted to text 0.0789 LUTs trained 0.0456 used recovered" in trained
    assert "used plain texts" in plain(told(decoder_plan, tmp_path / "c", PLAIN))
    assert "held-back" not in told(decoder_plan, tmp_path / "d")


def test_a_file_s_name_stays_a_name(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    hostile = replace(FITTED, texts=HOSTILE)
    written = (made(decoder_plan, tmp_path, hostile) / "README.md").read_text("utf-8")
    assert "\n# [a]" not in written
    assert "<script>" not in written
    assert "<script>" not in page(hostile)
    for text in (page(hostile), told(decoder_plan, tmp_path / "b", hostile)):
        assert "\x1b" not in text


def test_a_note_beside_the_verdict_is_kept(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    first, *others = decoder_plan.artifacts
    noted = replace(first, parity=replace(first.parity, note="inputs were made up"))
    path = write_bundle(replace(decoder_plan, artifacts=(noted, *others)), tmp_path / "out") / "manifest.json"
    data = json.loads(path.read_bytes())
    jsonschema.Draft202012Validator(manifest_schema()).validate(data)
    manifest = read_manifest(path)
    assert [facts.note for facts in manifest.parity.values()].count("inputs were made up") == 1
    assert manifest.to_bytes() == path.read_bytes()
