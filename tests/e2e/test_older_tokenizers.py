"""Checkpoints without a tokenizer.json, exported and run from the bundle as a user would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.checkpoints import tiny_bert, tiny_llama
from support.requests import export_request
from support.sentencepiece_models import processor, trained
from transformers import AutoTokenizer

from exporter.bundle import verify_bundle
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.pipeline.export import ExportResult, export_checkpoint
from exporter.pipeline.run import run_bundle
from exporter.progress import NoProgress

TEXT = "Hello, naïve World! 東京"


def export(checkpoint: Path, out: Path) -> ExportResult:
    request = export_request(checkpoint, out, formats=("onnx",), bits=8, parity="quick")
    return export_checkpoint(request, NoProgress())


@pytest.fixture
def llama2(tmp_path: Path) -> Path:
    """Llama 2's form: tokenizer.model alone, rows that are padded, no template, and the end told by the tokenizer."""
    rows = len(processor("llama")) + 56
    folder = tiny_llama(
        tmp_path / "llama2", vocab_size=rows, bos_token_id=1, eos_token_id=None, pad_token_id=None, dtype="bfloat16"
    )
    for name in ("tokenizer.json", "special_tokens_map.json", "chat_template.jinja"):
        (folder / name).unlink(missing_ok=True)
    (folder / "tokenizer.model").write_bytes(trained("llama"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    return folder


def test_a_decoder_with_sentencepiece_alone(llama2: Path, tmp_path: Path) -> None:
    result = export(llama2, tmp_path / "out")
    assert result.passed
    assert verify_bundle(result.path).ok
    origin = "converted from tokenizer.model by kogata; ids equal on 30 texts"
    assert result.manifest.source.tokenizer == origin
    assert "converted from tokenizer.model by kogata" in (result.path / "README.md").read_text()
    assert not list(result.path.rglob("tokenizer.model"))
    for place in ("tokenizer", "onnx"):
        ids = [1, *processor("llama").encode(TEXT)]
        assert AutoTokenizer.from_pretrained(result.path / place)(TEXT)["input_ids"] == ids
        assert load_tokenizer(result.path / place).encode(TEXT) == ids
    genai = json.loads((result.path / "onnx" / "genai_config.json").read_text())
    assert genai["model"]["eos_token_id"] == 2
    assert isinstance(run_bundle(result.path, "Hello", None, 8).text, str)


def test_an_encoder_with_a_word_list_alone(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert")
    reference = load_tokenizer(folder).encode(TEXT)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.get)))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    result = export(folder, tmp_path / "out")
    assert result.passed
    assert load_tokenizer(result.path / "tokenizer").encode(TEXT) == reference
