"""`kogata pack --for hub`: a repository that verifies, with the bundle's bytes under Apple's names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.bundle_plans import PASSED, make_decoder_plan
from support.bundles import write_bundle
from support.command import kogata

from exporter.bundle import BundlePlan, CompressionFacts, verify_bundle
from exporter.bundle.hub import variant


def bundle(folder: Path, **changes: object) -> Path:
    plan: BundlePlan = make_decoder_plan(folder / "made")
    artifacts = tuple(replace(a, parity=PASSED) for a in plan.artifacts)
    whole = replace(plan, name="Tiny", artifacts=artifacts, device_vectors=b"{}")
    return write_bundle(replace(whole, **changes), folder / "bundle")  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("bits", "mixed", "bpw", "expected"),
    [
        (4, None, 4.1, "TinyF16P4"),
        (6, None, 6.0, "TinyF16P6"),
        (None, "--bpw 3.7", 3.6996, "Tiny_mbp_3_7"),
        (None, "--max-kl 0.02", 4.5, "Tiny_mbp_4_5"),
        (None, None, 16.0, "TinyF16"),
    ],
)
def test_variants_are_named_as_apple_does(bits: int | None, mixed: str | None, bpw: float, expected: str) -> None:
    tensors = ({"name": "w", "bits": 3 if mixed else bits},)
    facts = CompressionFacts(bits, None, 8_000_000, round(bpw * 1_000_000), tensors, mixed)
    assert variant("Tiny", facts) == expected


def test_the_repository_verifies_and_has_the_bundles_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = bundle(tmp_path)
    assert kogata("pack", source, "--for", "hub", "-o", tmp_path / "hub", "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["result"]["models"] == ["TinyF16P4.mlpackage", "onnx/model.onnx"]
    found = verify_bundle(tmp_path / "hub")
    assert found.ok
    before, after = contents(source), contents(tmp_path / "hub")
    renamed = {name.replace("coreml/Tiny.mlpackage", "TinyF16P4.mlpackage"): data for name, data in before.items()}
    rewritten = {"manifest.json", "README.md", "SHA256SUMS", "bom.cdx.json"}
    assert set(renamed) - set(after) == {"parity/device.json"}
    assert {name for name, data in after.items() if renamed[name] != data} == rewritten
    card = after["README.md"].decode()
    assert "Add `TinyF16P4.mlpackage` to the Xcode target" in card
    assert "coreml/Tiny" not in card
    assert "device.json" not in card
    assert kogata("pack", source, "--for", "hub", "-o", tmp_path / "again", "--quiet") == 0
    assert contents(tmp_path / "again") == after
    assert kogata("pack", source, "--for", "hub", "-o", tmp_path / "hub", "--quiet") == 2  # not without --force
    assert kogata("pack", source, "--for", "hub", "-o", tmp_path / "hub", "--quiet", "--force") == 0


def test_a_bundle_that_must_not_be_shipped_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = bundle(tmp_path)
    options = ("--for", "hub", "-o", tmp_path / "hub", "--quiet")
    assert kogata("pack", source, *options, "--download", "on-demand", "--min-ram", "6GB") == 2
    assert capsys.readouterr().err.count("the hub has no such setting") == 2
    (source / "onnx" / "model.onnx").write_bytes(b"other")
    assert kogata("pack", source, *options) == 1
    assert not (tmp_path / "hub").exists()
