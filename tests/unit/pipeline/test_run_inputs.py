"""Where texts come from, and the files that answers go to."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from exporter.errors import InputError
from exporter.formats import PORTABLE
from exporter.pipeline import run_inputs
from exporter.pipeline.run_answer import Answer
from exporter.pipeline.run_files import AnswerFile
from exporter.pipeline.run_inputs import RunInputs


def codes(inputs: RunInputs) -> list[str]:
    return [problem.code for problem in inputs.problems()]


@pytest.mark.parametrize(
    "raw", [b"Dim the lamp.\n", b"Dim the lamp.", b"Dim the lamp.\r\n", b"\xef\xbb\xbfDim the lamp."]
)
def test_standard_input_is_one_text_without_its_last_line_end(raw: bytes) -> None:
    assert [prompt.text for prompt in RunInputs("-").prompts(io.BytesIO(raw))] == ["Dim the lamp."]


def test_other_line_ends_of_standard_input_stay() -> None:
    assert RunInputs("-").prompts(io.BytesIO(b"\n a\nb\n\n"))[0].text == "\n a\nb\n"
    assert RunInputs("-").prompts(None)[0].text == ""


def test_standard_input_is_bounded_and_must_be_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="not UTF-8: byte 1"):
        RunInputs("-").prompts(io.BytesIO(b"a\xff"))
    monkeypatch.setattr(run_inputs, "_MAX_BYTES", 8)
    assert RunInputs("-").prompts(io.BytesIO(b"a" * 8))[0].text == "a" * 8
    with pytest.raises(InputError, match="larger than"):
        RunInputs("-").prompts(io.BytesIO(b"a" * 9))


def test_a_text_that_is_the_name_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("one\n\n two \n")
    for inputs in (RunInputs(str(file)), RunInputs(None, file=file)):
        assert codes(inputs) == []
        assert inputs.are_several
        assert [(p.text, p.where) for p in inputs.prompts(None)] == [("one", "texts.txt:1"), ("two", "texts.txt:3")]
    assert codes(RunInputs(str(tmp_path / "missing.txt"))) == ["run.input"]
    assert codes(RunInputs(str(tmp_path))) == []  # a text
    sentence = RunInputs("Please read notes.txt")
    assert (codes(sentence), sentence.are_several) == ([], False)


def test_lines_of_a_jsonl_file_keep_their_place(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "a", "second": "b"}\n\n{"messages": [{"role": "user", "content": "c"}]}\n')
    first, second = RunInputs(str(file)).prompts(None)
    assert (first.text, first.second, first.where) == ("a", "b", "texts.jsonl:1")
    assert (second.messages[0]["content"], second.where) == ("c", "texts.jsonl:3")
    file.write_text('{"text": "a"}\n{"text": 3}\nno JSON\n')
    with pytest.raises(InputError) as caught:
        RunInputs(str(file)).prompts(None)
    assert [d.where for d in caught.value.diagnostics] == ["texts.jsonl:2", "texts.jsonl:3"]


def test_a_file_has_a_bounded_number_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_inputs, "_MAX_TEXTS", 2)
    file = tmp_path / "texts.txt"
    file.write_text("a\nb\n")
    assert len(RunInputs(str(file)).prompts(None)) == 2
    file.write_text("a\nb\nc\n")
    with pytest.raises(InputError, match="3 texts; at most 2"):
        RunInputs(str(file)).prompts(None)


def test_what_contradicts_is_named_at_once(tmp_path: Path) -> None:
    assert codes(RunInputs(None)) == ["run.text"]
    missing = RunInputs("a", "b", tmp_path / "missing", chat=True)
    assert codes(missing) == ["run.text", "run.chat", "run.second", "run.input"]
    assert codes(RunInputs(None, chat=True)) == []
    os.mkfifo(tmp_path / "pipe")
    assert codes(RunInputs(None, file=tmp_path / "pipe")) == ["run.input"]


def test_turns_are_lines_with_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    lines = io.BytesIO(b" two \r\n\n \nthree")
    turns = RunInputs("one", chat=True).turns(lines, lambda: asked.append(None))
    assert next(turns) == "one"
    assert not asked  # the first turn is there
    assert list(turns) == ["two", "three"]
    assert len(asked) == 5
    assert list(RunInputs("-", chat=True).turns(io.BytesIO(b"a\n"), lambda: None)) == ["a"]
    assert list(RunInputs(None, chat=True).turns(None, lambda: None)) == []
    monkeypatch.setattr(run_inputs, "_MAX_TURN_BYTES", 4)
    with pytest.raises(InputError, match="line may have") as caught:
        list(RunInputs(None, chat=True).turns(io.BytesIO(b"abc\nabcde\n"), lambda: None))
    assert caught.value.diagnostics[0].where == "standard input, line 2"
    with pytest.raises(InputError, match="not UTF-8"):
        list(RunInputs(None, chat=True).turns(io.BytesIO(b"\xff\n"), lambda: None))


def answers() -> list[Answer]:
    rows = np.array([[0.1, np.nan], [1 / 3, -2e-8]], np.float32)
    return [Answer(PORTABLE, "a runner", 3, embedding=row, where=f"a.txt:{n}") for n, row in enumerate(rows, 1)]


def test_embeddings_as_an_array_and_as_json_lines(tmp_path: Path) -> None:
    AnswerFile(tmp_path / "a.npy").write(answers())
    found = np.load(tmp_path / "a.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [row.embedding for row in answers()])
    AnswerFile(tmp_path / "a.jsonl").write(answers())
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["input"] for line in lines] == ["a.txt:1", "a.txt:2"]
    assert lines[0]["embedding"] == [0.1, None]  # JSON has no NaN
    assert np.float32(lines[1]["embedding"][0]) == np.float32(1 / 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "a.npy"]


def test_files_that_may_not_be_written(tmp_path: Path) -> None:
    bundle, texts, there = tmp_path / "bundle", tmp_path / "texts.jsonl", tmp_path / "there.npy"
    bundle.mkdir()
    texts.write_text("")
    there.write_text("precious")
    (tmp_path / "link.npy").symlink_to(there)
    (tmp_path / "folder.npy").mkdir()

    def code(name: str, *, force: bool = False) -> list[str]:
        return [problem.code for problem in AnswerFile(tmp_path / name, force).problems(bundle, texts)]

    assert code("there.npy") == ["output.exists"]
    assert code("there.npy", force=True) == []
    assert code("new.npy") == code("new.jsonl") == []
    assert code("new.csv") == code("none/new.npy") == code("bundle/new.npy") == ["run.output"]
    assert code("texts.jsonl", force=True) == ["run.output"]
    for name in ("link.npy", "folder.npy"):
        assert code(name, force=True) == ["output.exists"]
    assert AnswerFile(tmp_path / "new.npy").task_problem("text-generation") is not None
    assert AnswerFile(tmp_path / "new.npy").task_problem("feature-extraction") is None
    assert AnswerFile(tmp_path / "new.jsonl").task_problem("text-generation") is None


def test_a_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "there.jsonl"
    there.write_text("precious")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError) as caught:
        AnswerFile(there, force=True).write(answers())
    assert [d.code for d in caught.value.diagnostics] == ["output.full"]
    assert there.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["there.jsonl"]
