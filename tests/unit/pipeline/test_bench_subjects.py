"""Folders for onnxruntime-genai: what is read of them, and what is refused before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from support.gqa_graph import CONTEXT, HEAD_DIM, VOCABULARY, genai_config, write_gqa_folder

from exporter.errors import InputError, KogataError, UnsupportedError
from exporter.pipeline.bench_subjects import genai_side, is_genai_folder, read_genai
from exporter.runners.onnx_scan import scan_onnx


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_gqa_folder(tmp_path / "folder")


def test_sizes_and_files_of_a_folder(folder: Path) -> None:
    found = read_genai(folder)
    assert (found.context, found.vocabulary, found.head_dim, found.shared) == (CONTEXT, VOCABULARY, HEAD_DIM, True)
    files = [folder / "model.onnx", folder / "model.onnx.data"]
    for engine, opened in (("genai", folder), ("onnxruntime", files[0])):
        (subject,) = genai_side(folder, "B", engine).subjects  # type: ignore[arg-type]
        assert (subject.label, subject.model, subject.engine) == ("B genai folder", opened, engine)
        assert subject.bytes == sum(file.stat().st_size for file in files)


def test_a_bundle_is_not_a_genai_folder(folder: Path) -> None:
    assert is_genai_folder(folder)
    (folder / "manifest.json").write_text("{}")
    assert not is_genai_folder(folder)
    assert not is_genai_folder(folder / "nothing")


CHANGES: list[tuple[str, Callable[[dict[str, Any]], Any], type[KogataError], str]] = [
    ("library", lambda c: c["model"]["decoder"]["session_options"].update(custom_ops_library="x.so"),
     InputError, "bench.custom-ops"),
    ("library elsewhere", lambda c: c.update(more=[{"custom_ops_library": "x.so"}]), InputError, "bench.custom-ops"),
    ("another provider", lambda c: c["model"]["decoder"]["session_options"].update(provider_options=[{"cuda": {}}]),
     UnsupportedError, "bench.genai"),
    ("vision", lambda c: c["model"].update(vision={"filename": "v.onnx"}), UnsupportedError, "bench.genai"),
    ("pipeline", lambda c: c["model"]["decoder"].update(pipeline=[]), UnsupportedError, "bench.genai"),
    ("other cache", lambda c: c["model"]["decoder"]["inputs"].update(past_key_names="p.%d"),
     UnsupportedError, "bench.genai"),
    ("no context", lambda c: c["model"].pop("context_length"), InputError, "bench.genai"),
    ("text as size", lambda c: c["model"].update(vocab_size="96"), InputError, "bench.genai"),
    ("no decoder", lambda c: c["model"].update(decoder=[]), InputError, "bench.genai"),
    ("no file", lambda c: c["model"]["decoder"].update(filename="other.onnx"), InputError, "bench.genai"),
    ("outside", lambda c: c["model"]["decoder"].update(filename="../model.onnx"), InputError, "checkpoint.path"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "kind", "code"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_what_is_refused(change: Callable[[Any], Any], kind: type[KogataError], code: str, folder: Path) -> None:
    config: Any = json.loads(json.dumps(genai_config()))
    change(config)
    (folder / "genai_config.json").write_text(json.dumps(config))
    with pytest.raises(kind) as raised:
        read_genai(folder)
    assert [d.code for d in raised.value.diagnostics] == [code]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model": 1e999}', "[" * 100_000])
def test_damaged_configurations_are_named(text: str, folder: Path) -> None:
    (folder / "genai_config.json").write_text(text)
    with pytest.raises(InputError):
        read_genai(folder)


def test_weights_outside_of_the_folder_are_refused(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    stored = next(t for t in model.graph.initializer if t.external_data)
    next(entry for entry in stored.external_data if entry.key == "location").value = "../secret"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError) as raised:
        genai_side(folder, "B", "genai")
    assert raised.value.diagnostics[0].code == "onnx.external-data"


def test_a_scan_names_the_files_of_the_weights(folder: Path) -> None:
    assert scan_onnx(folder / "model.onnx").data == (folder / "model.onnx.data",)
