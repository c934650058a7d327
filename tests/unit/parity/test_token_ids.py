"""The row "tokenizer": it passes on the same tokenizer, and fails on every kind of difference."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.sentencepiece_models import trained
from support.tokenizer_fixtures import named, write_tokenizer
from transformers import AutoTokenizer

from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.formats import Form
from exporter.parity.results import ParityReport
from exporter.parity.token_ids import tokenizer_row, with_tokenizer
from exporter.runners.reference_tokenizer import ReferenceTokenizer

SAMPLE = Path(__file__).parents[3] / "samples" / "home_intents" / "checkpoint"
ONNX = Form("onnx", "portable")


def changed(source: Path, place: Path, **settings: Any) -> Path:
    """A copy whose tokenizer_config.json states other settings."""
    shutil.copytree(source, place)
    stated = json.loads((source / "tokenizer_config.json").read_text())
    (place / "tokenizer_config.json").write_text(json.dumps({**stated, **settings}))
    return place


def test_a_real_checkpoint_passes_with_its_chats() -> None:
    row = tokenizer_row(load_tokenizer(SAMPLE), SAMPLE, (ONNX,), pairs=False)
    assert row.verdict == "passed"
    assert row.artifacts == (ONNX,)
    assert row.metrics["texts"] > 150
    assert "transformers" in row.runners[0]
    assert "tokenizers" in row.runners[1]


@pytest.mark.parametrize(
    ("build", "name", "settings", "metric"),
    [
        ("word piece", "BertTokenizer", {"do_lower_case": False}, "ids_differ"),
        ("byte fallback", "LlamaTokenizer", {"add_bos_token": False}, "ids_differ"),
        ("unigram", "AlbertTokenizer", {"mask_token": named("[MASK]", normalized=False), "x": 1}, "ids_differ"),
        ("byte level", "GPT2Tokenizer", {"eos_token": "<eos>"}, "special_differ"),
    ],
)
def test_differences_fail_the_artifacts(
    build: str, name: str, settings: dict[str, Any], metric: str, tmp_path: Path
) -> None:
    folder = write_tokenizer(tmp_path / "source", build, {"tokenizer_class": name})
    if name == "AlbertTokenizer":  # the class's mask takes the space before it, where no list of tokens says otherwise
        whole = json.loads((folder / "tokenizer.json").read_text())
        whole["added_tokens"] = [token for token in whole["added_tokens"] if token["content"] != "[MASK]"]
        (folder / "tokenizer.json").write_text(json.dumps(whole))
    other = load_tokenizer(changed(folder, tmp_path / "other", **settings))
    row = tokenizer_row(other, folder, (ONNX,))
    assert row.verdict == "failed"
    assert row.metrics[metric] > 0
    assert row.note
    report = with_tokenizer(ParityReport("quick", 16, 1, "built-in", ()), row)
    assert report.artifact_verdict(ONNX) == report.verdict == "failed"
    (finding,) = report.findings
    assert finding.code == "parity.tokenizer"
    assert row.note in finding.message


@pytest.mark.parametrize(
    ("clock", "passes"),
    [
        ("{{ strftime_now('%d %b %Y') }}", True),
        ("{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}2024{% endif %}", True),
    ],
)
def test_chats_are_compared_on_the_same_day(clock: str, passes: bool, tmp_path: Path) -> None:
    template = clock + "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    settings = {"tokenizer_class": "LlamaTokenizer", "chat_template": template}
    folder = write_tokenizer(tmp_path / "source", "byte fallback", settings)
    row = tokenizer_row(load_tokenizer(folder), folder, (ONNX,), pairs=False)
    assert (row.verdict == "passed") is passes
    other = load_tokenizer(changed(folder, tmp_path / "other", chat_template=template.replace("</s>", "")))
    assert tokenizer_row(other, folder, (ONNX,), pairs=False).verdict == "passed"  # the template is not the tokenizer's


def test_the_reference_renders_chats_as_apply_chat_template_does() -> None:
    """The child process renders; transformers' tokenizer, in this process, is the judge."""
    messages = [{"role": "user", "content": "Dim the lamp 🙂"}]
    judge, template = AutoTokenizer.from_pretrained(SAMPLE), load_tokenizer(SAMPLE).chat_template
    assert template is not None
    right = judge.apply_chat_template(messages, add_generation_prompt=True)
    assert ReferenceTokenizer(SAMPLE).encode_chat(messages, template) == (tuple(right),)


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "verdict"),
    [
        (ENDLESS, "passed"),
        ("{{ '%9999999999d' % 1 }}", "passed"),
        # only where transformers renders, which states more tokens than the settings have
        ("{% if unk_token is defined and pad_token is not defined %}" + ENDLESS + "{% endif %}", "failed"),
    ],
)
def test_a_template_without_end_ends(template: str, verdict: str, tmp_path: Path) -> None:
    """One conversation finds it out; the others aren't tried. A template that only transformers can't render fails."""
    folder = write_tokenizer(tmp_path, "byte level", {"tokenizer_class": "GPT2Tokenizer", "chat_template": template})
    own = load_tokenizer(folder)
    if verdict == "failed":
        own = replace(own, tokens={})
    started = time.monotonic()
    row = tokenizer_row(own, folder, (ONNX,), pairs=False)
    assert time.monotonic() - started < 30
    assert row.verdict == verdict


@pytest.mark.parametrize(
    ("name", "reason"),
    [("NoSuchTokenizer", "NoSuchTokenizer"), ("LayoutLMv3Tokenizer", "Words must be of type")],
)
def test_what_transformers_cant_load_is_unchecked_with_the_reason(name: str, reason: str, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, "byte level", {"tokenizer_class": name})
    row = tokenizer_row(load_tokenizer(folder), folder, (ONNX,))
    assert row.verdict == "unchecked"
    assert reason in row.note


def test_code_of_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    settings = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}
    folder = write_tokenizer(tmp_path, "byte level", settings)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    row = tokenizer_row(load_tokenizer(folder), folder, (ONNX,))
    assert row.verdict == "unchecked"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("model", "name", "file"),
    [
        ("unigram bytes", "T5Tokenizer", "spiece.model"),  # umT5: the fast class loses the bytes
        ("bpe nfkc", "LlamaTokenizer", "tokenizer.model"),  # the fast class loses the map of characters
        ("deberta", "DebertaV2Tokenizer", "spm.model"),  # the fast class leaves a space behind control characters
        ("xlm-roberta", "XLMRobertaTokenizer", "sentencepiece.bpe.model"),
    ],
)
def test_older_files_agree_with_the_fast_class_or_the_one_in_python(
    model: str, name: str, file: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_bytes(trained(model))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    row = tokenizer_row(load_tokenizer(tmp_path), tmp_path, (ONNX,))
    assert (row.verdict, row.note) == ("passed", "")
    assert f"{name}Fast or {name}" in row.runners[0]


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize(
    ("model", "name", "file"), [("llama", "LlamaTokenizer", "tokenizer.model"), ("t5", "T5Tokenizer", "spiece.model")]
)
def test_a_stated_prefix_space_respaces_tokenizer_json(
    model: str, name: str, file: str, prefix: bool, legacy: bool, tmp_path: Path
) -> None:
    """transformers converts the sentencepiece model again then, whatever tokenizer.json says."""
    (tmp_path / file).write_bytes(trained(model))
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"tokenizer_class": name}))
    AutoTokenizer.from_pretrained(tmp_path)._tokenizer.save(str(tmp_path / "tokenizer.json"))
    config.write_text(json.dumps({"tokenizer_class": name, "add_prefix_space": prefix, "legacy": legacy}))
    row = tokenizer_row(load_tokenizer(tmp_path), tmp_path, (ONNX,))
    assert (row.verdict, row.note) == ("passed", "")
