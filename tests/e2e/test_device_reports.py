"""Test vectors in a bundle, and the judgement of what a device made of them.

`support.device_reports` stands for the app: it runs the bundle's ONNX file with onnxruntime, tokenizers and
transformers. The vectors themselves are compared with the checkpoint in transformers.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from support.checkpoints import tiny_bert, tiny_llama
from support.command import kogata
from support.decoder_checkpoints import DECODERS, tiny_decoder
from support.device_reports import device_report
from support.encoder_checkpoints import tiny_encoder
from transformers import AutoModelForCausalLM, AutoTokenizer

Report = dict[str, Any]
PALETTES = ("--onnx-form", "portable")
FAST = ("--to", "onnx", "--calibrate", "none", "-q")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("checkpoints") / "llama")


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    tasks = folder / "tasks.jsonl"
    tasks.write_text("".join(f'{{"prompt": "lamp {i}", "expected": "on {i}"}}\n' for i in range(20)))
    assert kogata("export", checkpoint, "-o", folder / "llama", "--bits", 8, "--task", tasks, *PALETTES, *FAST) == 0
    return folder / "llama"


@pytest.fixture(scope="module")
def report(bundle: Path) -> Report:
    return device_report(bundle)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedder")
    made = tiny_bert(folder / "bert")
    assert kogata("export", made, "-o", folder / "bundle", "--bits", 8, "--parity", "quick", *FAST) == 0
    return folder / "bundle"


def vectors_of(bundle: Path) -> dict[str, Any]:
    return dict(json.loads((bundle / "parity/device.json").read_text("utf-8")))


def check(bundle: Path, report: Report | bytes, folder: Path, *options: object) -> int:
    path = folder / "report.json"
    path.write_bytes(report if isinstance(report, bytes) else json.dumps(report).encode())
    return kogata("check", bundle, "--device-report", path, *options)


def test_ids_are_those_of_transformers(checkpoint: Path, bundle: Path) -> None:
    vectors, tokenizer = vectors_of(bundle), AutoTokenizer.from_pretrained(checkpoint)
    assert len(vectors["tokenizer"]) >= 55
    for vector in vectors["tokenizer"]:
        assert vector["ids"] == tokenizer(vector["text"])["input_ids"], vector["text"]
    assert {turn["role"] for vector in vectors["chat"] for turn in vector["messages"]} == {
        "system",
        "user",
        "assistant",
    }
    for vector in vectors["chat"]:
        assert vector["ids"] == list(tokenizer.apply_chat_template(vector["messages"], add_generation_prompt=True))


def test_answers_are_the_checkpoints_own(checkpoint: Path, bundle: Path) -> None:
    """torch's log-softmax over the whole vocabulary; 1e-5 is what the file's digits leave, and float32 adds as much."""
    vectors, model = vectors_of(bundle), AutoModelForCausalLM.from_pretrained(checkpoint)
    assert any(vector["text"].startswith("lamp") for vector in vectors["decode"])
    assert len(vectors["decode"]) == 16
    for vector in vectors["decode"]:
        ids, first = torch.tensor([vector["ids"]]), vector["first"]
        with torch.inference_mode():
            logprobs = model(ids).logits[0, first:].log_softmax(-1)
        assert len(logprobs) == len(vector["top"]) <= 16
        for row, top in zip(logprobs, vector["top"], strict=True):
            assert np.abs(row[top["ids"]].numpy() - top["logprobs"]).max() < 2e-5
            assert np.abs(row.topk(64).values.numpy() - top["logprobs"]).max() < 2e-5
            assert top["ids"][0] == row.argmax()
        prompt = ids[:, : first + 1]
        count, mask = len(vector["continuation"]), torch.ones_like(prompt)
        said = model.generate(prompt, attention_mask=mask, max_new_tokens=count, do_sample=False)
        assert said[0, first + 1 :].tolist() == vector["continuation"]


def test_limits_are_those_of_parity(bundle: Path) -> None:
    vectors, manifest = vectors_of(bundle), json.loads((bundle / "manifest.json").read_text())
    for path, facts in manifest["parity"].items():
        gates = {gate["metric"]: gate for gate in vectors["gates"][path]}
        assert facts["thresholds"].keys() <= gates.keys()
        for metric, bound in facts["thresholds"].items():
            assert {key: gates[metric][key] for key in bound} == bound
        assert gates["vectors_beyond"]["allowed"].keys() == {vector["id"] for vector in vectors["decode"]}
    assert "parity/device.json" in (bundle / "SHA256SUMS").read_text()
    assert (bundle / "parity/device.json").stat().st_size <= 400_000


def test_the_same_export_gives_the_same_vectors(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        out = tmp_path / name / "x"
        assert kogata("export", checkpoint, "-o", out, "--bits", 8, "--parity", "quick", *FAST) == 0
    first, second = ((tmp_path / name / "x/parity/device.json").read_bytes() for name in ("a", "b"))
    assert first == second
    vectors = json.loads(first)
    assert all(vector["continuation"] and len(vector["top"]) <= 16 for vector in vectors["decode"])


def test_a_good_report_passes(bundle: Path, report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    for form in ("text", "json", "junit", "github"):
        capsys.readouterr()
        assert check(bundle, report, tmp_path, "--format", form, "--html", page) == 0
        told = capsys.readouterr().out
        assert "measured on iPhone17,1, iOS 26.1, compute units cpuOnly: passed" in " ".join(told.split())
        if form == "json":
            device = json.loads(told)["result"]["device"]
            assert device["speed"] == report["speed"]
            assert device["device"] == report["device"]
        if form == "junit":
            assert ElementTree.fromstring(told)[0].get("failures") == "0"
    html = page.read_text()
    assert "Measured on a device" in html
    assert "61.25 tokens/s" in html
    assert "Nothing in this report was measured on a phone" not in html


def swap_ids(report: Report) -> None:
    report["results"]["tokenizer"][5]["ids"] = [1, 2, 3]


def other_chat(report: Report) -> None:
    report["results"]["chat"][2]["ids"].pop()


def shuffle_logprobs(report: Report) -> None:
    vector = report["results"]["decode"][3]
    vector["logprobs"] = [row[::-1] for row in vector["logprobs"]]


def one_nan(report: Report) -> None:
    report["results"]["decode"][3]["logprobs"][0][7] = None


def leave_out(report: Report) -> None:
    del report["results"]["decode"][3]


def refuse(report: Report) -> None:
    leave_out(report)
    report["results"]["errors"].append({"id": "decode-3", "message": "the model ran out of memory"})


def raw_logits(report: Report) -> None:
    vector = report["results"]["decode"][3]
    vector["logprobs"] = [[value + 4 for value in row] for row in vector["logprobs"]]


def torn_cache(report: Report) -> None:
    said = report["results"]["decode"][3]["continuation"]
    said[0] = (said[0] + 1) % 200


def ends_early(report: Report) -> None:
    report["results"]["decode"][3]["continuation"] = []


def fewer_positions(report: Report) -> None:
    report["results"]["decode"][3]["logprobs"].pop()


def other_top1(report: Report) -> None:
    report["results"]["decode"][3]["top1"][0] = 0


FAULTS: list[tuple[Callable[[Report], None], str, str]] = [
    (swap_ids, "tokenizer-5", "has other ids from token 0 on"),
    (other_chat, "chat-2", "has other ids"),
    (shuffle_logprobs, "decode-3", "KL"),
    (one_nan, "decode-3", "NaN"),
    (leave_out, "decode-3", "is missing from the report"),
    (refuse, "decode-3", "was not run: the model ran out of memory"),
    (raw_logits, "decode-3", "add up to"),
    (torn_cache, "decode-3", "its logits of the text say"),
    (ends_early, "decode-3", "ends its continuation after 0 of"),
    (fewer_positions, "decode-3", "log-probabilities and a top1 at"),
    (other_top1, "decode-3", "its logits of the text say 0"),
]


@pytest.mark.parametrize(("tamper", "vector", "words"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_a_fault_fails_and_names_its_vector(
    tamper: Callable[[Report], None],
    vector: str,
    words: str,
    bundle: Path,
    report: Report,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed = copy.deepcopy(report)
    tamper(changed)
    capsys.readouterr()
    assert check(bundle, changed, tmp_path, "--format", "json") == 1
    told = json.loads(capsys.readouterr().out)
    errors = [d for d in told["diagnostics"] if d["level"] == "error"]
    assert [error["where"] for error in errors] == [vector]
    assert words in errors[0]["message"]
    assert told["result"]["device"]["verdict"] == told["verdict"] == "failed"


def test_the_weights_of_another_file_fail(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One LUT of one matrix in reverse, in the file that the device ran."""
    other = tmp_path / "bundle"
    shutil.copytree(bundle, other)
    model = onnx.load(str(other / "onnx/model.onnx"))
    luts = [i for i in model.graph.initializer if "lut" in i.name.lower()]
    lut = max(luts, key=lambda i: int(np.prod(i.dims)))
    lut.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(lut)[..., ::-1]), lut.name))
    onnx.save(model, str(other / "onnx/model.onnx"))
    assert check(bundle, device_report(other), tmp_path) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "decode-" in told
    assert "vectors with a larger error than the exported file had" in told


def test_a_report_about_another_bundle_is_refused(
    bundle: Path, embedder: Path, report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(embedder, report, tmp_path) == 2
    told = capsys.readouterr().err
    assert "the report is about another bundle: 'llama'" in told
    assert report["bundle"]["digest"] in told


def test_broken_files_are_refused_with_all_problems(
    bundle: Path, report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = json.dumps(report).encode()
    for raw, words in {
        whole[: len(whole) // 2]: "is not JSON",
        whole.replace(b"0.052", b"NaN"): "NaN is not JSON",
        whole.replace(b"0.052", b"1e999"): "first_token_seconds",
        whole.replace(b'"schema_version": 1', b'"schema_version": 2'): "schema version 2",
        b"[" * 100_000: "nested too deeply",
        b" " * (5 << 20): "larger than 4 MiB",
        b"[]": "",
    }.items():
        assert check(bundle, raw, tmp_path) == 2, words
        assert words in capsys.readouterr().err
    changed = copy.deepcopy(report)
    changed["runtime"]["engine"] = "tflite"
    changed["results"]["decode"][0]["top1"][0] = "a"
    del changed["device"]["model"]
    assert check(bundle, changed, tmp_path) == 2
    told = capsys.readouterr().err
    for words in ("runtime.engine", "results.decode[0].top1[0]", "device.model"):
        assert words in told
    changed = copy.deepcopy(report)
    changed["results"]["chat"][0]["id"] = "chat-99"
    changed["results"]["tokenizer"].append(changed["results"]["tokenizer"][0])
    changed["runtime"]["artifact"] = "onnx/other.onnx"
    assert check(bundle, changed, tmp_path) == 2
    told = capsys.readouterr().err
    for words in ("'chat-99' is not a vector", "'tokenizer-0' appears twice", "'onnx/other.onnx' is not an artifact"):
        assert words in told
    assert check(bundle, {**report, "runtime": {**report["runtime"], "form": "mobile"}}, tmp_path) == 2
    assert kogata("check", bundle, "--device-report", tmp_path / "absent.json") == 2


def test_embeddings_and_heads(embedder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = device_report(embedder)
    assert report["results"]["embed"]
    assert check(embedder, report, tmp_path) == 0
    report["results"]["embed"][1]["values"] = report["results"]["embed"][0]["values"]
    assert check(embedder, report, tmp_path) == 1
    assert "embed-1 has a 1 - cosine of" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"])
def test_heads(head: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tiny_encoder(tmp_path / "made", "bert", head)
    assert kogata("export", made, "-o", tmp_path / "bundle", "--bits", 16, "--parity", "quick", *FAST) == 0
    report = device_report(tmp_path / "bundle")
    assert report["results"]["scores"]
    assert check(tmp_path / "bundle", report, tmp_path) == 0
    values = report["results"]["scores"][2]["values"]
    values[:] = values[::-1]
    assert check(tmp_path / "bundle", report, tmp_path) == 1
    assert "scores-2 has a KL of" in capsys.readouterr().err


def test_a_report_beside_parity(
    checkpoint: Path, bundle: Path, report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--against", checkpoint, "--quick", "--format", "json")
    capsys.readouterr()
    assert check(bundle, report, tmp_path, *options) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)["result"]["rows"]]
    assert {"onnx", "tokenizer", "device tokenizer", "device chat", "device decode"} <= set(names)
    assert check(bundle, report, tmp_path, "--quick") == 2
    assert "add --against" in capsys.readouterr().err


def test_without_parity_there_are_no_vectors(
    checkpoint: Path, report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kogata("export", checkpoint, "-o", tmp_path / "x", "--bits", 8, "--parity", "none", *FAST) == 0
    assert check(tmp_path / "x", report, tmp_path) == 2
    assert "has no test vectors" in capsys.readouterr().err


def test_without_outputs_a_report_leaves_the_bundle_unchecked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logits over a vocabulary at every position of an encoder aren't in the file."""
    made = tiny_encoder(tmp_path / "made", "bert", "ForMaskedLM")
    assert kogata("export", made, "-o", tmp_path / "bundle", "--bits", 16, "--parity", "quick", *FAST) == 0
    report = device_report(tmp_path / "bundle")
    assert report["results"]["tokenizer"]
    assert report["results"]["scores"] == []
    capsys.readouterr()
    assert check(tmp_path / "bundle", report, tmp_path, "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "unchecked"
    assert "device.outputs" in {diagnostic["code"] for diagnostic in told["diagnostics"]}


def test_texts_that_cross_a_rope_switch_are_left_out(tmp_path: Path) -> None:
    """Beyond 16 tokens all tokens of a text have other RoPE factors, so a prefix has other outputs than its text."""
    made = tiny_decoder(tmp_path / "made", "phi3", **DECODERS["phi3"]["longrope"])
    assert kogata("export", made, "-o", tmp_path / "bundle", "--bits", 16, *FAST) == 0
    switch = json.loads((tmp_path / "bundle/manifest.json").read_text())["model"]["rope_switch"]
    decode = vectors_of(tmp_path / "bundle")["decode"]
    assert decode
    for vector in decode:
        assert len(vector["ids"]) <= switch or vector["first"] + 1 > switch
    assert check(tmp_path / "bundle", device_report(tmp_path / "bundle"), tmp_path) == 0
