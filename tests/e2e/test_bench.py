"""`kogata bench` on real bundles: every number that a report needs is there; none of them is judged."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.checkpoints import tiny_bert, tiny_llama
from support.command import kogata_plain
from support.gqa_graph import write_gqa_folder

SHORT = ("--repeats", 2, "--threads", 1, "--quiet")
PROMPTS = ("--context", 5, "--context", 2, "--tokens", 3)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bench")
    checkpoint = tiny_llama(place / "llama", hidden_size=48, head_dim=12)
    assert kogata_plain("export", checkpoint, "-o", place / "out", "--parity", "none", "--bits", 8) == 0
    return place / "out"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bench")
    asked = ("--parity", "none", "--bits", 8, "--to", "onnx")
    assert kogata_plain("export", tiny_bert(place / "bert"), "-o", place / "out", *asked) == 0
    return place / "out"


@pytest.fixture(scope="module")
def gqa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gqa_folder(tmp_path_factory.mktemp("bench") / "gqa")


def bench(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    """The JSON envelope."""
    assert kogata_plain("bench", *arguments, *SHORT, "--format", "json") == code
    return json.loads(capsys.readouterr().out)


def test_a_bundle_alone(decoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    envelope = bench(capsys, decoder, *PROMPTS)
    result = envelope["result"]
    (subject,) = result["subjects"]
    assert (subject["label"], subject["form"], subject["engine"]) == ("onnx", "onnx/portable", "onnxruntime")
    assert subject["bytes"] == (decoder / "onnx" / "model.onnx").stat().st_size
    measures = [(m["measure"], m["context"], m["batch"]) for m in subject["measures"]]
    assert measures == [
        *((name, None, None) for name in ("load s", "load processor s")),
        *((name, None, None) for name in ("memory of the libraries", "memory after load", "peak memory")),
        *((f"{part} tokens/s", context, None) for context in (2, 5) for part in ("prefill", "decode")),
    ]
    for measure in subject["measures"]:
        values = measure["values"]
        assert len(values) == 2
        assert min(values) > 0
        assert measure["median"] == np.median(values)
    assert [(r["subject"], r["round"]) for r in result["rounds"]] == [("onnx", 0), ("onnx", 1)]
    if sys.platform != "darwin":
        (note,) = envelope["diagnostics"]
        assert (note["code"], note["level"]) == ("bench.left-out", "note")
        assert "macOS only" in note["message"]
        assert result["left_out"] == [{"what": note["where"], "why": note["message"]}]


@pytest.mark.parametrize("engine", ["onnxruntime", "genai"])
def test_a_bundle_beside_a_genai_folder(
    engine: str, decoder: Path, gqa: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = () if engine == "genai" else ("--engine", engine)  # genai is the default with such a folder
    result = bench(capsys, decoder, gqa, *PROMPTS, *asked)["result"]
    assert {subject["engine"] for subject in result["subjects"]} == {engine}
    assert [r["subject"] for r in result["rounds"]] == ["A onnx", "B genai folder"] * 2
    ours, theirs = ({_key(m): m["values"] for m in subject["measures"]} for subject in result["subjects"])
    (compared,) = result["ratios"]
    assert (compared["of"], compared["to"]) == ("A onnx", "B genai folder")
    assert {_key(m) for m in compared["measures"]} == set(ours) == set(theirs)
    for measure in compared["measures"]:
        expected = np.divide(ours[_key(measure)], theirs[_key(measure)])
        np.testing.assert_allclose(measure["values"], expected)
        assert measure["median"] == pytest.approx(np.median(expected))


def _key(measure: dict[str, Any]) -> tuple[Any, ...]:
    return measure["measure"], measure["context"], measure["batch"]


def test_an_encoder(encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = bench(capsys, encoder, "--batch", 2, "--batch", 1, "--context", 9)["result"]
    for done in result["rounds"]:
        assert [(row["context"], row["batch"]) for row in done["rows"]] == [(9, 1), (9, 2)]
        assert all(row["texts"] % row["batch"] == 0 < row["texts"] for row in done["rows"])
    assert result["conditions"]["tokens"] is None


def test_the_report_for_people(decoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kogata_plain("bench", decoder, decoder, *PROMPTS, *SHORT) == 0
    told = capsys.readouterr().out
    for words in ("load and memory: medians of 2 rounds", "A onnx divided by B onnx: ratios of 2 rounds", "libraries"):
        assert words in told


def test_changed_files_are_not_run(decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoiled = shutil.copytree(decoder, tmp_path / "spoiled")
    data = bytearray((spoiled / "onnx" / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (spoiled / "onnx" / "model.onnx").write_bytes(data)
    (found,) = bench(capsys, spoiled, code=1)["diagnostics"]
    assert (found["code"], found["where"]) == ("bundle.changed", "onnx/model.onnx")


def test_wrong_uses_are_named(
    decoder: Path, encoder: Path, gqa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, code, named in (
        ((decoder, encoder), 2, "bench.kinds"),
        ((encoder, gqa), 3, "bench.engine"),
        ((encoder, "--engine", "genai"), 3, "bench.engine"),
        ((decoder, "--artifact", "onnx/other"), 2, "bench.artifact"),
        ((tmp_path / "empty",), 2, "bench.input"),
        ((tmp_path / "nothing",), 2, "bundle.none"),
        ((decoder, "--genai-python", sys.executable), 2, "bench.genai-python"),
        ((decoder, gqa, "--genai-python", tmp_path / "nothing"), 2, "bench.python"),
        ((decoder, "--context", 63), 2, "bench.context"),
        ((decoder, "--timeout", 0), 2, "cli.usage"),
    ):
        envelope = bench(capsys, *arguments, code=code)
        assert [d["code"] for d in envelope["diagnostics"]] == [named], arguments


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML runs there")
def test_core_ml_alone_needs_macos(decoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = bench(capsys, decoder, "--artifact", "coreml", code=4)["diagnostics"]
    assert found["code"] == "bench.coreml"
