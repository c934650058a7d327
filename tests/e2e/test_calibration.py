"""Calibration from the command line: a user's texts, and every way in which it can be asked for in vain."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from support.calibrated import few_tokens
from support.checkpoints import tiny_bert, tiny_llama
from support.command import kogata

from exporter.pipeline import decide


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    few_tokens(monkeypatch)


def export(checkpoint: Path, out: Path, *options: object) -> int:
    return kogata("export", checkpoint, "-o", out, "--to", "onnx", "--parity", "none", *options)


def refused(code: int, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What is said then: one line that isn't progress, and nothing is left behind."""
    capsys.readouterr()
    checkpoint, out, *options = arguments
    assert isinstance(checkpoint, Path)
    assert isinstance(out, Path)
    assert export(checkpoint, out, *options, "-q") == code
    assert not list(out.parent.glob("out*"))
    captured = capsys.readouterr()
    told = (captured.out + captured.err).strip()
    assert told.startswith("error: ")
    assert told.count("error:") == 1
    assert "bug" not in told
    return " ".join(told.split())


def test_a_user_s_texts(decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = tmp_path / "mine.jsonl"
    talks = [[{"role": "user", "content": f"Wake me up at {hour}, please."}] for hour in range(12)]
    texts.write_text("\n".join(json.dumps({"messages": talk}) for talk in talks))
    out = tmp_path / "out"
    assert export(decoder, out, "--bits", 3, "--calibrate", texts) == 0
    told = " ".join(capsys.readouterr().out.split())
    (fit,) = json.loads((out / "manifest.json").read_text())["compression"]["calibration"]
    assert fit["used"] == "fitted"
    assert fit["fitted"] < fit["plain"]
    assert "tokens of mine.jsonl" in fit["texts"]
    assert str(tmp_path) not in (out / "manifest.json").read_text()
    assert f"plain k-means {fit['plain']:.4g} fitted to text {fit['fitted']:.4g} used fitted" in told
    assert "fitted to calibration text" in (out / "README.md").read_text()


def test_trained_tables(decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what an interrupted training would go on from is gone."""
    out = tmp_path / "out"
    assert export(decoder, out, "--bits", 2, "--recover", 3) == 0
    (fit,) = json.loads((out / "manifest.json").read_text())["compression"]["calibration"]
    assert fit["recovered"] > 0
    assert fit["used"] == ("recovered" if fit["recovered"] < fit["fitted"] else "fitted")
    assert f"LUTs trained {fit['recovered']:.4g} used {fit['used']}" in " ".join(capsys.readouterr().out.split())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_of_another_s_where_a_training_is_saved(
    decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "kept" / "out"
    place.parent.mkdir()
    own = place.with_name("out.recovery.safetensors")
    own.write_text("mine")
    assert export(decoder, place, "--bits", 2, "--recover", 3, "-q") == 2
    assert "not from Kogata" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in place.parent.iterdir()] == [own.name]
    assert own.read_text() == "mine"


@pytest.mark.parametrize(
    "options",
    [
        ("--bits", 16),
        ("--bits", 3),
        ("--bits", 3, "--calibrate", "none"),
        ("--bits", 8, "--recover", 3),
        ("--max-kl", 0.1),
    ],
)
@pytest.mark.parametrize("tensor", ["model.norm.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_damaged_checkpoint(
    options: tuple[object, ...], tensor: str, decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tensor and the place, whatever met it first."""
    damaged = tmp_path / "damaged"
    shutil.copytree(decoder, damaged)
    tensors = load_file(damaged / "model.safetensors")
    tensors[tensor].view(-1)[3] = float("nan")
    save_file(tensors, damaged / "model.safetensors", {"format": "pt"})
    told = refused(2, capsys, damaged, tmp_path / "out", *options)
    assert f"{tensor}: nan at [" in told
    assert "the checkpoint is damaged" in told


def test_no_calibration(decoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(decoder, out, "--bits", 3, "--calibrate", "none", "-q") == 0
    assert "calibration" not in json.loads((out / "manifest.json").read_text())["compression"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("bad.jsonl", b'{"text": "good"}\nnonsense\n', "bad.jsonl:2: not JSON"),
        ("bad.jsonl", b'{"txt": "good"}\n', 'bad.jsonl:1: has no "text"'),
        (
            "bad.jsonl",
            b'{"text": "good"}\n{"text": "\\ud800"}\n',
            "bad.jsonl:2: not valid Unicode: half a surrogate pair",
        ),
        ("bad.txt", b"\n \n", "bad.txt: the file has no prompts"),
        ("bad.txt", b"\xff\xfe", "bad.txt: not UTF-8"),
        ("bad.csv", b"a,b", "must end in .txt or .jsonl"),
    ],
)
def test_a_bad_file(
    name: str, content: bytes, told: str, decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert told in refused(2, capsys, decoder, tmp_path / "out", "--calibrate", tmp_path / name)


def test_options_that_make_no_sense(decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert "training needs texts" in refused(2, capsys, decoder, out, "--recover", 3, "--calibrate", "none")
    assert "no such file" in refused(2, capsys, decoder, out, "--calibrate", tmp_path / "none.txt")
    assert "cpu, cuda, cuda:1 or mps" in refused(2, capsys, decoder, out, "--device", "gpu")
    assert "it needs calibration text" in refused(2, capsys, decoder, out, "--max-kl", 0.1, "--calibrate", "none")


def test_a_limit_on_kl_for_embeddings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have none, which is told before texts are read."""
    bert = tiny_bert(tmp_path / "bert")
    monkeypatch.setattr(decide, "open_session", None)
    assert "this model's outputs are not probabilities" in refused(2, capsys, bert, tmp_path / "out", "--max-kl", 0.1)
