"""The whole flow, parity included, for the families of `mapped_checkpoints`.

Their reference in the parity gate is not transformers' class of the same name, so the gate itself is put to the test
too: it must notice an importer that reads the checkpoint in another way than its authors do.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.command import kogata_plain as kogata
from support.mapped_checkpoints import (
    LONGROPE,
    Make,
    tiny_gpt2,
    tiny_internlm2,
    tiny_internlm3,
    tiny_minicpm,
    tiny_openelm,
    tiny_opt,
)

from exporter.importers.families import FAMILIES


@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (tiny_openelm, "OpenELM computed by kogata's torch module"),
        pytest.param(tiny_minicpm, "MiniCPM computed by transformers' Granite", marks=pytest.mark.slow),
        pytest.param(tiny_internlm2, "InternLM2 computed by transformers' Llama", marks=pytest.mark.slow),
        pytest.param(tiny_internlm3, "InternLM3 computed by transformers' Llama", marks=pytest.mark.slow),
        pytest.param(tiny_gpt2, "", marks=pytest.mark.slow),
        pytest.param(tiny_opt, "", marks=pytest.mark.slow),
    ],
)
def test_both_formats_pass_every_row(make: Make, reference: str, tmp_path: Path) -> None:
    make(tmp_path / "checkpoint")
    assert kogata("export", tmp_path / "checkpoint", "-o", tmp_path / "out", "--bits", 8, "-q") == 0
    report = json.loads((tmp_path / "out/parity/report.json").read_text())
    assert report["verdict"] == "passed"
    rows = {row["name"]: row for row in report["rows"]}
    onnx = {"onnx mobile", "onnx mobile lowering", "onnx mobile exact cached decode", "onnx mobile exact padding"}
    if "onnx" in rows:  # heads that the form for phones doesn't take
        onnx = {"onnx", "onnx lowering", "onnx cached decode", "onnx padding", "onnx vs coreml"}
    assert {"import", "coreml", "coreml masks", *onnx} <= set(rows)
    assert reference in rows["import"]["runners"][0]


def test_a_checkpoint_without_model_type(tmp_path: Path) -> None:
    """As MiniCPM's first ones are: named by their class, with code beside them that is never run."""
    settings = {"model_type": ..., "auto_map": {"AutoModelForCausalLM": "modeling_minicpm.MiniCPMForCausalLM"}}
    tiny_minicpm(tmp_path / "checkpoint", **settings, rope_scaling=LONGROPE)
    (tmp_path / "checkpoint/modeling_minicpm.py").write_text("raise SystemExit('executed')")
    options = ("--bits", 16, "--to", "onnx", "--parity", "quick", "-q")
    assert kogata("export", tmp_path / "checkpoint", "-o", tmp_path / "out", *options) == 0


def test_the_gate_notices_another_reading_of_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries, keys and values stacked, say, instead of interleaved: every shape fits, every number is wrong."""
    tiny_internlm2(tmp_path / "checkpoint")
    monkeypatch.setitem(FAMILIES, "internlm2", replace(FAMILIES["internlm2"], grouped=False))
    options = ("--bits", 16, "--to", "onnx", "--parity", "quick", "-q")
    assert kogata("export", tmp_path / "checkpoint", "-o", tmp_path / "out", *options) == 1
    assert not (tmp_path / "out").exists()
    report = json.loads((tmp_path / "out.rejected/parity/report.json").read_text())
    assert {row["name"]: row["verdict"] for row in report["rows"]}["import"] == "failed"
