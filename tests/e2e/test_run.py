"""`kogata run` as people use it, on tiny models, against transformers and sentence-transformers.

Weights aren't compressed, so that both compute the same tokens.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from support.checkpoints import tiny_bert, tiny_llama, write_json
from support.command import kogata_plain as kogata
from support.paths import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from exporter.report.clean import safe_text

CONTEXT = 200
LONG = "Wake me up tomorrow morning at seven, please. " * 9
EXPORT = ("--bits", 16, "--to", "onnx", "--parity", "none", "-q")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a decoder that states a repetition penalty; greedy answers don't end for long."""
    folder = tiny_llama(tmp_path_factory.mktemp("llama"), max_position_embeddings=CONTEXT)
    stated = {"eos_token_id": 1, "pad_token_id": 2, "repetition_penalty": 1.3, "max_new_tokens": 24}
    write_json(folder / "generation_config.json", stated)
    return folder


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "llama"
    assert kogata("export", checkpoint, "-o", out, *EXPORT) == 0
    return out


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Checkpoint and bundle of an encoder for texts of 16 tokens."""
    root = tmp_path_factory.mktemp("bert")
    folder = tiny_bert(root / "checkpoint", pooling="mean", normalize=True, max_seq_length=16)
    assert kogata("export", folder, "-o", root / "bundle", *EXPORT) == 0
    return folder, root / "bundle"


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Exit code, stdout and stderr of `kogata run`; stdin: what it reads."""

    def call(*arguments: object, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        code = kogata("run", *arguments, "-q")
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def shown(text: str) -> str:
    """A text on stdout: in lines, and with control characters spelled out."""
    return safe_text(text.rstrip("\n")) + "\n"


def results(out: str) -> list[dict[str, Any]]:
    return [json.loads(line)["result"] for line in out.splitlines()]


def by_transformers(checkpoint: Path, messages: list[dict[str, str]], **settings: Any) -> str:
    _, answer = ids_by_transformers(checkpoint, messages, **settings)
    return str(AutoTokenizer.from_pretrained(checkpoint).decode(answer, skip_special_tokens=True))


def ids_by_transformers(
    checkpoint: Path, messages: list[dict[str, str]], **settings: Any
) -> tuple[list[int], list[int]]:
    """The prompt and the answer."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
    with torch.no_grad():
        made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **settings)
    return ids[0].tolist(), made[0, ids.shape[1] :].tolist()


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_text_is_shown_as_transformers_generates_it(bundle: Path, checkpoint: Path, run: Run) -> None:
    """The repetition penalty and the length are those of generation_config.json."""
    expected = by_transformers(checkpoint, [user("Dim the lamp.")])
    assert run(bundle, "Dim the lamp.") == (0, shown(expected), "")
    code, out, _ = run(bundle, "-", "--format", "json", stdin="Dim the lamp.\n")
    answer = json.loads(out)["result"]
    assert (code, answer["text"], answer["stopped"]) == (0, expected, "end token")
    plain = by_transformers(checkpoint, [user("Dim the lamp.")], repetition_penalty=1.0, max_new_tokens=9)
    code, out, _ = run(bundle, "Dim the lamp.", "--repetition-penalty", 1, "--max-tokens", 9, "--format", "json")
    assert json.loads(out)["result"]["text"] == plain


def test_a_system_turn(bundle: Path, checkpoint: Path, run: Run) -> None:
    messages = [{"role": "system", "content": "Be brief."}, user("Dim the lamp.")]
    _, out, _ = run(bundle, "Dim the lamp.", "--system", "Be brief.", "--format", "json")
    assert json.loads(out)["result"]["text"] == by_transformers(checkpoint, messages)


def test_a_conversation_is_that_of_transformers_and_uses_its_cache(bundle: Path, checkpoint: Path, run: Run) -> None:
    turns, messages, expected, reused = ("Dim the lamp.", "and the 明日?", "Why?"), [], [], []
    tokenizer, run_before = AutoTokenizer.from_pretrained(checkpoint), [-1]
    for turn in turns:
        messages.append(user(turn))
        prompt, answer = ids_by_transformers(checkpoint, messages, max_new_tokens=8)
        reused.append(len(run_before) if prompt[: len(run_before)] == run_before else 0)
        run_before = [*prompt, *answer[:-1]]  # the last token isn't run
        expected.append(tokenizer.decode(answer, skip_special_tokens=True))
        messages.append({"role": "assistant", "content": expected[-1]})
    options = ("--chat", "--max-tokens", 8)
    whole = run(bundle, turns[0], *options, stdin="\n\n".join(turns[1:]))
    assert whole[:2] == (0, "".join(map(shown, expected)))
    code, out, _ = run(bundle, *options, "--format", "json", stdin="\n".join(turns))
    answers = results(out)
    assert (code, [answer["text"] for answer in answers]) == (0, expected)
    assert [answer["input"] for answer in answers] == ["turn 1", "turn 2", "turn 3"]
    assert [answer["reused_tokens"] for answer in answers] == reused


@pytest.mark.slow
def test_a_trained_model_answers_turn_by_turn_as_it_answers_the_whole(tmp_path: Path, run: Run) -> None:
    """The home-intents sample ends its answers itself, so that all but the last token of each turn is used again."""
    home = tmp_path / "home"
    assert kogata("export", ROOT / "samples/home_intents/checkpoint", "-o", home, *EXPORT) == 0
    turns, messages, file = (
        ("turn on the lamp in the kitchen", "電気を消して", "wake me at 7"),
        [],
        tmp_path / "t.jsonl",
    )
    code, out, _ = run(home, "--chat", "--format", "json", stdin="\n".join(turns))
    answers, before = results(out), 0
    assert (code, len(answers)) == (0, 3)
    for turn, answer in zip(turns, answers, strict=True):
        assert (answer["reused_tokens"], answer["stopped"]) == (before, "end token")
        before = answer["prompt_tokens"] + answer["tokens"]
        messages.append(user(turn))
        file.write_text(json.dumps({"messages": messages}))
        assert run(home, file)[1] == shown(answer["text"])
        messages.append({"role": "assistant", "content": answer["text"]})
    assert json.loads(answers[0]["text"])["action"] == "turn_on"


def test_a_conversation_that_outgrows_the_context_ends_by_name(bundle: Path, run: Run) -> None:
    code, out, err = run(bundle, "--chat", "--max-tokens", 4, stdin=f"Hello\n{LONG}\n{LONG}\n")
    assert code == 2
    assert out.count("\n") == 1
    assert "error: turn 2: the prompt has" in err
    assert f"the model's context is {CONTEXT}" in err


def test_a_model_without_a_template_continues_texts_only(
    checkpoint: Path, bundle: Path, tmp_path: Path, run: Run
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    for name in ("chat_template.jinja", "chat.json"):
        (copy / "tokenizer" / name).unlink()
    for option in (("--chat",), ("--system", "Be brief."), ("--chat", "--system", "Be brief.")):
        code, out, err = run(copy, "Hello", *option)
        assert (code, out) == (2, "")
        assert f"error: {' and '.join(o for o in option if o[0] == '-')}: this model has no chat template" in err
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "a"}\n{"messages": [{"role": "user", "content": "b"}]}\n')
    assert "error: texts.jsonl:2: a conversation: this model has no chat template" in run(copy, file)[2]
    tokenizer, model = AutoTokenizer.from_pretrained(checkpoint), AutoModelForCausalLM.from_pretrained(checkpoint)
    ids = torch.tensor([tokenizer("Hello")["input_ids"]])
    made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False)[0, ids.shape[1] :]
    answer = json.loads(run(copy, "Hello", "--format", "json")[1])["result"]
    assert answer["text"] == tokenizer.decode(made, skip_special_tokens=True)


def test_the_same_seed_gives_the_same_text(bundle: Path, run: Run) -> None:
    options = ("Hello", "--temperature", "1.5", "--top-k", 0)
    texts = [run(bundle, *options, "--seed", seed)[1] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    _, out, _ = run(bundle, *options, "--seed", 1, "--format", "json")
    answer = json.loads(out)["result"]
    assert shown(answer["text"]) == texts[0]
    assert answer["sampling"] | {"seed": 1, "temperature": 1.5, "repetition_penalty": 1.3} == answer["sampling"]


def test_files_of_texts_are_json_lines(bundle: Path, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "texts.jsonl"
    lines = [{"text": "Hello"}, {"messages": [user("Hello")]}, {"prompt": "Why?"}]
    file.write_text("\n\n".join(map(json.dumps, lines)))
    alone = [run(bundle, text)[1] for text in ("Hello", "Hello", "Why?")]
    assert run(bundle, file) == (0, "\n".join(alone), "")
    code, out, _ = run(bundle, "--input", file, "--format", "json")
    answers = results(out)
    assert (code, [answer["input"] for answer in answers]) == (0, [f"texts.jsonl:{n}" for n in (1, 3, 5)])
    assert [shown(answer["text"]) for answer in answers] == alone
    code, out, _ = run(bundle, file, "-o", tmp_path / "out.jsonl")
    assert (code, out) == (0, f"3 answers: {tmp_path / 'out.jsonl'}\n")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == answers
    code, out, _ = run(bundle, file, "--format", "junit")
    assert 'tests="3" failures="0"' in out


def test_every_text_that_does_not_fit_is_named_before_any_is_run(bundle: Path, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "texts.jsonl"
    system = {"messages": [{"role": "system", "content": "x"}, user("y")]}
    lines = [{"text": "a"}, {"text": LONG}, {"text": "a", "second": "b"}, system]
    file.write_text("\n".join(map(json.dumps, lines)))
    code, out, err = run(bundle, file, "--system", "Be brief.")
    assert (code, out) == (2, "")
    for number, words in ((2, "the prompt has"), (3, "takes one text"), (4, "system turn of its own")):
        assert f"error: texts.jsonl:{number}: " in err
        assert words in err
    code, out, err = run(bundle, file, "--format", "json")
    assert (code, err, len(out.splitlines())) == (2, "", 1)
    assert [d["where"] for d in json.loads(out)["diagnostics"]] == ["texts.jsonl:2", "texts.jsonl:3"]
    code, _, err = run(bundle, LONG)
    assert code == 2
    assert f"the model's context is {CONTEXT}" in err


def test_embeddings_are_those_of_sentence_transformers_also_of_long_texts(
    embedder: tuple[Path, Path], tmp_path: Path, run: Run
) -> None:
    checkpoint, bundle = embedder
    texts = ["Dim the lamp.", LONG.strip(), "A small model."]
    expected = SentenceTransformer(str(checkpoint), device="cpu").encode(texts)
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts))
    code, out, err = run(bundle, file, "-o", tmp_path / "rows.npy")
    assert (code, out) == (0, f"3 embeddings of 36 dimensions: {tmp_path / 'rows.npy'}\n")
    assert "warning: texts.txt:2: the text has" in err
    assert "the model takes 16" in err
    np.testing.assert_allclose(np.load(tmp_path / "rows.npy"), expected, atol=1e-5)
    code, out, err = run(bundle, file, "--format", "json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    np.testing.assert_allclose([line["result"]["embedding"] for line in lines], expected, atol=1e-5)
    assert [[d["code"] for d in line["diagnostics"]] for line in lines] == [[], ["run.truncated"], []]
    code, out, err = run(bundle, LONG)
    assert (code, out.count("\n"), err.count("warning: the text has")) == (0, 1, 1)
    assert run(bundle, file)[1].count("\n") == 3


def test_output_replaces_no_file_unless_forced(embedder: tuple[Path, Path], tmp_path: Path, run: Run) -> None:
    _, bundle = embedder
    file = tmp_path / "rows.npy"
    file.write_text("precious")
    code, _, err = run(bundle, "Hello", "-o", file)
    assert code == 2
    assert "there is already a file" in err
    assert file.read_text() == "precious"
    assert run(bundle, "Hello", "-o", file, "--force")[0] == 0
    assert np.load(file).shape == (1, 36)


def test_options_that_do_not_fit_are_named_at_once(embedder: tuple[Path, Path], run: Run) -> None:
    code, _, err = run(embedder[1], "Hello", "--max-tokens", 3, "--top-p", 0.5, "--system", "x")
    assert code == 2
    for option in ("--max-tokens", "--top-p", "--system"):
        assert f"error: {option} is for models that generate text" in err
    code, _, err = run(embedder[1])
    assert code == 2
    assert "there is no text to run" in err


def process(*arguments: object, **streams: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "exporter", "run", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_PROGRESS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **streams,  # noqa: PLW1509
    )  # fmt: skip


def test_a_reader_that_leaves_ends_the_command_quietly(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("Hello\n" * 300)
    for options in ((), ("--format", "json")):
        with process(bundle, file, *options) as running:
            assert running.stdout is not None
            assert running.stderr is not None
            running.stdout.readline()
            running.stdout.close()
            assert (running.stderr.read(), running.wait(60)) == ("", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the command runs in a child process where processes can fork")
def test_ctrl_c_ends_a_conversation_in_one_line(bundle: Path) -> None:
    with process(bundle, "Hello", "--chat", stdin=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline()  # the answer; now the next turn is awaited
        sent = time.monotonic()
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
        assert time.monotonic() - sent < 2
        assert running.stderr is not None
        assert running.stderr.read() == "error: interrupted\n"
