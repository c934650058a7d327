"""What an export tells an app developer about the tokenizer, in the bundle and in its findings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.chat_json import join
from support.checkpoints import tiny_bert, tiny_llama
from support.requests import export_request
from transformers import AutoTokenizer

from exporter.bundle import ChatFacts, read_manifest, verify_bundle
from exporter.pipeline.export import ExportResult, export_checkpoint
from exporter.progress import NoProgress


def _export(checkpoint: Path, out: Path, *formats: str) -> ExportResult:
    return export_checkpoint(export_request(checkpoint, out, formats=formats, bits=16), NoProgress())


def test_a_decoders_bundle_has_the_pieces_of_its_template(tmp_path: Path) -> None:
    result = _export(tiny_llama(tmp_path / "llama"), tmp_path / "out", "coreml", "onnx")
    assert verify_bundle(result.path).ok
    assert read_manifest(result.path / "manifest.json").chat == ChatFacts(True)
    messages = [
        {"role": "user", "content": " a "},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "明日"},
    ]
    for place in ("tokenizer", "onnx"):
        chat = json.loads((result.path / place / "chat.json").read_bytes())
        theirs = AutoTokenizer.from_pretrained(result.path / place)
        ids = theirs.apply_chat_template(messages, add_generation_prompt=True)
        assert theirs.encode(join(chat, messages), add_special_tokens=False) == ids
        assert theirs.eos_token_id in chat["stop_ids"]
    assert [finding.code for finding in result.findings] == []


def test_a_template_that_does_not_reduce_is_said_so(tmp_path: Path) -> None:
    checkpoint = tiny_llama(tmp_path / "llama")
    (checkpoint / "chat_template.jinja").write_text(
        "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    result = _export(checkpoint, tmp_path / "out", "coreml")
    reason = "it writes today's date"
    assert result.manifest.chat == ChatFacts(False, reason)
    pieces = json.loads((result.path / "tokenizer" / "chat.json").read_bytes())
    assert pieces == {"schema_version": 1, "reducible": False, "reason": reason}
    (note,) = [finding for finding in result.findings if finding.code == "chat.pieces"]
    assert note.level == "note"
    assert reason in note.message
    assert result.passed
    assert reason in (result.path / "README.md").read_text()


@pytest.mark.parametrize("date", [False, True])
def test_conversations_are_test_vectors_only_where_an_app_can_build_them(date: bool, tmp_path: Path) -> None:
    checkpoint = tiny_llama(tmp_path / "llama")
    if date:
        (checkpoint / "chat_template.jinja").write_text(
            "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"
        )
    request = export_request(checkpoint, tmp_path / "out", formats=("onnx",), bits=16, parity="quick")
    result = export_checkpoint(request, NoProgress())
    vectors = json.loads((result.path / "parity" / "device.json").read_bytes())
    assert vectors["tokenizer"]
    assert bool(vectors["chat"]) is not date


def test_a_model_without_a_template_has_no_pieces(tmp_path: Path) -> None:
    result = _export(tiny_bert(tmp_path / "bert"), tmp_path / "out", "coreml")
    assert result.manifest.chat is None
    assert not list(result.path.rglob("chat.json"))
    assert "chat" not in json.loads((result.path / "manifest.json").read_bytes())
    assert result.findings == ()


@pytest.mark.parametrize(("formats", "warned"), [(("onnx",), False), (("coreml",), True)])
def test_only_core_ml_bundles_are_checked_for_swift_transformers(
    formats: tuple[str, ...], warned: bool, tmp_path: Path
) -> None:
    checkpoint = tiny_bert(tmp_path / "bert")
    path = checkpoint / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "ElectraTokenizer"}))
    result = _export(checkpoint, tmp_path / "out", *formats)
    found = [finding for finding in result.findings if finding.code.startswith("swift-tokenizer.")]
    assert [finding.level for finding in found] == ["warning"] * warned
    assert result.passed
