"""The task gate: teacher forcing must give exactly what greedy generation would give."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import InputError
from exporter.formats import PORTABLE
from exporter.lower.onnx import OnnxOptions, lower_onnx
from exporter.parity.results import TaskScore
from exporter.parity.task import TaskFile, TaskItem, _parted, answer_tasks, encode_tasks, read_tasks
from exporter.runners.reference import TorchDecoder
from exporter.texts import Prompt

EOS = 0
LETTERS = "_abcdefgh"


class Letters:
    """A tokenizer with one token a letter, and two tokens (9, 10) that spell "ab" and "c" another way."""

    eos_ids = (EOS,)
    chat_template = None
    spelled = (*LETTERS, "ab", "c")

    def encode(self, text, *, special_tokens=True):  # noqa: ARG002 the same either way
        return [LETTERS.index(letter) for letter in text]

    def decode(self, ids):
        return "".join(self.spelled[i] for i in ids if i != EOS)


class Scripted:
    """A decoder whose next token depends on all tokens so far, as a table says. Counts what it was fed."""

    name = "scripted"

    def __init__(self, seed, vocab=11):
        self.seed, self.vocab, self.feeds = seed, vocab, 0

    def session(self):
        return ScriptedSession(self)


class ScriptedSession:
    def __init__(self, runner):
        self.runner, self.seen = runner, []

    def feed(self, ids):
        self.runner.feeds += 1
        rows = []
        for token in ids:
            self.seen.append(int(token))
            rng = np.random.default_rng([self.runner.seed, *self.seen])
            row = rng.standard_normal(self.runner.vocab)
            row[EOS] += 0.7  # answers of a few tokens
            rows.append(row)
        return np.array(rows, np.float32)


def greedy(runner, prompt, most):
    """Generation as an app does it, one token at a time; None when it doesn't end."""
    session, ids, tokens = runner.session(), prompt, []
    while len(tokens) < most:
        tokens.append(int(session.feed(ids)[-1].argmax()))
        if tokens[-1] == EOS:
            return tokens[:-1]
        ids = np.array(tokens[-1:])
    return None


def items(*pairs):
    return encode_tasks([TaskItem(Prompt(p), e) for p, e in pairs], Letters(), context=100)


@given(
    seed=st.integers(0, 10_000),
    prompt=st.text("abcdefgh", min_size=1, max_size=5),
    guess=st.text("abcdefgh", max_size=4),
)
@settings(max_examples=300, deadline=None)
def test_an_answer_counts_exactly_when_greedy_generation_spells_it(seed, prompt, guess):
    tokenizer, runner = Letters(), Scripted(seed)
    said = greedy(runner, np.array(tokenizer.encode(prompt)), most=60)
    spoken = None if said is None else tokenizer.decode(said)
    expected = {guess, *([spoken] if spoken is not None and "_" not in spoken and len(spoken) >= len(said) else [])}
    for text in sorted(expected):
        answer = answer_tasks(runner, items((prompt, text)), tokenizer, 100).answers[0]
        if said is None or len(said) < 2 * len(text) + 16:
            assert answer.correct == (spoken == text)
        if answer.correct:
            assert answer.generated == text


def test_a_right_answer_takes_one_feed():
    tokenizer = Letters()
    for seed in range(200):
        runner = Scripted(seed)
        said = greedy(runner, np.array([1, 2]), most=10)
        if said and max(said) < len(LETTERS):
            runner.feeds = 0
            assert answer_tasks(runner, items(("ab", tokenizer.decode(said))), tokenizer, 100).correct == 1
            assert runner.feeds == 1
            return
    pytest.fail("no seed gives a short answer")


def test_another_spelling_of_the_same_text_is_right():
    """The model says token 9 ("ab") where the tokenizer would write "a", "b"."""

    class Spelling(Scripted):
        def session(self):
            return SpellingSession(self)

    class SpellingSession(ScriptedSession):
        answer = (9, 10, EOS)

        def feed(self, ids):
            rows = np.zeros((len(ids), 11), np.float32)
            for row in rows:
                self.seen.append(0)
                row[self.answer[min(max(len(self.seen) - 2, 0), 2)]] = 1
            return rows

    answers = answer_tasks(Spelling(0), items(("de", "abc"), ("de", "abd")), Letters(), 100)
    assert [a.correct for a in answers.answers] == [True, False]
    assert answers.answers[1].generated == "abc"


def test_an_answer_that_goes_on_after_the_expected_text_is_wrong():
    class Babbling(Scripted):
        def session(self):
            return BabblingSession(self)

    class BabblingSession(ScriptedSession):
        def feed(self, ids):
            return np.tile(np.eye(11, dtype=np.float32)[1], (len(ids), 1))  # "a" for ever

    answer = answer_tasks(Babbling(0), items(("b", "aa")), Letters(), 100).answers[0]
    assert not answer.correct
    assert answer.generated.endswith("…")


def test_agrees_with_transformers_generate(llama):
    """The tiny Llama's own greedy answers are right, and each of them with a changed end is wrong."""
    import torch

    runner, tokenizer = TorchDecoder(llama.subjects.checkpoint), llama.tokenizer
    pairs = []
    for text in ("Wake me up", "dim the lamp", "2 + 2", "quick", "日本", "a b c d"):
        ids = torch.tensor([tokenizer.encode_chat([{"role": "user", "content": text}])])
        out = runner.model.generate(
            ids, max_new_tokens=12, do_sample=False, pad_token_id=0, attention_mask=torch.ones_like(ids)
        )
        said = out[0, ids.shape[1] :].tolist()
        if (
            said[-1] in tokenizer.eos_ids
            and list(tokenizer.encode(tokenizer.decode(said), special_tokens=False)) == said[:-1]
        ):
            pairs.append((text, tokenizer.decode(said)))
    wrong = [(text, said + "!") for text, said in pairs] + [("quick", "brown"), ("日本", "")]
    encoded = encode_tasks([TaskItem(Prompt(p), e) for p, e in pairs + wrong], tokenizer, llama.subjects.context)
    answers = answer_tasks(runner, encoded, tokenizer, llama.subjects.context)
    assert [a.correct for a in answers.answers] == [True] * len(pairs) + [False] * len(wrong)


def test_settled_text_parts_but_unsettled_does_not():
    assert not _parted("", "abc")
    assert not _parted("abcdefg�", "abcdefg")  # the last characters may still change
    assert _parted("abXdefghijklm", "abcdefghijklm")
    assert not _parted("abcdefghijklm", "abcdefghijklm")


def write(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


def test_task_file_with_groups_and_messages(tmp_path):
    path = write(
        tmp_path / "tasks.jsonl",
        {"prompt": "a", "expected": "b", "language": "en"},
        {"messages": [{"role": "user", "content": "c"}], "expected": "", "group": "chat", "language": "ja"},
        "",
        {"prompt": "d", "expected": "e"},
    )
    assert [item.group for item in read_tasks(path)] == ["en", "chat", ""]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"prompt": "a"', "prompts.json"),
        ("[1, 2]", "prompts.json"),
        ("[" * 100_000, "prompts.json"),
        ({"expected": "b"}, "prompts.text"),
        ({"prompt": 3, "expected": "b"}, "prompts.text"),
        ({"prompt": "a"}, "task.expected"),
        ({"prompt": "a", "expected": 7}, "task.expected"),
        ({"messages": "a", "expected": "b"}, "prompts.messages"),
        ({"messages": [{"role": "user"}], "expected": "b"}, "prompts.messages"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, code):
    path = write(tmp_path / "tasks.jsonl", {"prompt": "a", "expected": "b"}, line)
    with pytest.raises(InputError) as caught:
        read_tasks(path)
    assert [(d.code, d.where) for d in caught.value.diagnostics] == [(code, "tasks.jsonl:2")]


def test_empty_task_file_and_too_long_items(tmp_path, llama):
    with pytest.raises(InputError, match="holds no tasks"):
        read_tasks(write(tmp_path / "tasks.jsonl", ""))
    long = [TaskItem(Prompt("a"), "b " * 100), TaskItem(Prompt("a"), "b")]
    with pytest.raises(InputError) as caught:
        encode_tasks(long, llama.tokenizer, llama.subjects.context)
    assert [d.where for d in caught.value.diagnostics] == ["item 1: a"]


@pytest.fixture(scope="module")
def talkative(llama, tmp_path_factory):
    """The tiny Llama with 66 end tokens instead of one, so that its answers end, and a task file of its own answers."""
    tokenizer = replace(llama.tokenizer, eos_ids=tuple(range(0, 331, 5)))
    runner = TorchDecoder(llama.subjects.checkpoint)
    lines = []
    for number in range(40):
        ids = np.array(tokenizer.encode_chat([{"role": "user", "content": f"task {number}"}]))
        session, said, step = runner.session(), [], ids
        while not said or said[-1] not in tokenizer.eos_ids:
            said.append(int(session.feed(step)[-1].argmax()))
            step = np.array(said[-1:])
        lines.append(
            {"prompt": f"task {number}", "expected": tokenizer.decode(said[:-1]), "group": ["ja", "en"][number % 2]}
        )
    path = write(tmp_path_factory.mktemp("tasks") / "tasks.jsonl", *lines)
    return replace(llama.only("checkpoint"), tokenizer=tokenizer), path


def test_a_sound_artifact_answers_as_the_checkpoint_does(llama, quick, talkative, tmp_path):
    subjects, tasks = talkative
    path = lower_onnx(llama.hub, tmp_path, OnnxOptions()).path
    report = quick(replace(subjects, artifacts={PORTABLE: path}), tasks=TaskFile(tasks), depth="full", bits=16)
    reference, shipped = report.tasks
    assert (reference.correct, reference.total, reference.verdict) == (40, 40, "unchecked")
    assert dict(shipped.groups) == {"en": (20, 20), "ja": (20, 20)}
    assert (shipped.drop, shipped.allowed_drop, shipped.verdict) == (0, 1, "passed")
    assert quick(replace(subjects, artifacts={PORTABLE: path}), tasks=TaskFile(tasks), bits=16).tasks[0].total == 10


def test_a_broken_artifact_fails_by_its_answers(llama, quick, talkative, breaking, tmp_path):
    subjects, tasks = talkative
    with_tensor, _ = breaking
    broken = with_tensor(llama.hub, "model.norm.weight", lambda w: w[::-1])
    path = lower_onnx(broken, tmp_path, OnnxOptions()).path
    report = quick(replace(subjects, artifacts={PORTABLE: path}), tasks=TaskFile(tasks), depth="full", bits=16)
    shipped = report.tasks[1]
    assert (shipped.verdict, report.artifact_verdict(PORTABLE)) == ("failed", "failed")
    assert shipped.drop > 50
    assert len(shipped.wrong) == 5
    assert "parity.task" in [finding.code for finding in report.findings]
    lenient = quick(
        replace(subjects, artifacts={PORTABLE: path}), tasks=TaskFile(tasks), depth="full", bits=16, max_task_drop=100
    )
    assert lenient.tasks[1].verdict == "passed"


def score(**changes):
    base = TaskScore(
        "shipped ONNX file", (PORTABLE,), "onnxruntime", 990, 1000, reference_correct=995, allowed_drop=0.5
    )
    return replace(base, **changes)


def test_verdict_of_a_task():
    assert score().verdict == "passed"
    assert score(correct=989).verdict == "failed"
    assert score(correct=0, allowed_drop=None).verdict == "unchecked"
    assert score(correct=0, reference_correct=None).verdict == "unchecked"
    assert score(correct=999).drop == pytest.approx(-0.4)
