"""Files of texts, and texts as tokens."""

from __future__ import annotations

import json

import pytest

from exporter.errors import InputError
from exporter.texts import Prompt, choose, read_prompts


def test_text_file(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\ufeffone\n\n  two\u2028still two  \r\n", encoding="utf-8")
    assert [p.text for p in read_prompts(path)] == ["one", "two\u2028still two"]


def test_json_file(tmp_path):
    path = tmp_path / "prompts.jsonl"
    chat = [{"role": "system", "content": "s", "name": "dropped"}, {"role": "user", "content": "u " * 60}]
    path.write_text(
        "\n".join(json.dumps(v) for v in ({"text": "a"}, {"prompt": "b", "expected": "c"}, {"messages": chat}))
    )
    one, two, three = read_prompts(path)
    assert (one.text, two.text) == ("a", "b")
    assert [m["role"] for m in three.messages] == ["system", "user"]
    assert len(three.shown) == 80


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("p.txt", b"\n \n", "prompts.empty"),
        ("p.txt", b"caf\xe9", "prompts.encoding"),
        ("p.jsonl", b"", "prompts.empty"),
        ("p.jsonl", b'{"text": "a"}\n{"text": ""}', "prompts.text"),
        ("p.jsonl", b'{"text": "a"}\nnull', "prompts.json"),
        ("p.jsonl", b'{"text": "a"}\n{"messages": []}', "prompts.messages"),
    ],
)
def test_bad_files(tmp_path, name, content, code):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_prompts(path)
    diagnostic = caught.value.diagnostics[0]
    assert diagnostic.code == code
    assert diagnostic.where.startswith(name)
    assert str(tmp_path) not in diagnostic.message + diagnostic.where


def test_missing_and_huge_files(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_prompts(tmp_path / "none.txt")
    huge = tmp_path / "huge.txt"
    with huge.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(InputError, match="larger than 64 MiB"):
        read_prompts(huge)


def test_many_bad_lines_are_reported_up_to_twenty(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(["{"] * 50))
    with pytest.raises(InputError) as caught:
        read_prompts(path)
    assert [d.where for d in caught.value.diagnostics] == [f"p.jsonl:{n}" for n in range(1, 21)]


def test_choose_spreads_evenly():
    assert choose(range(10), 20) == tuple(range(10))
    assert choose(range(10), 4) == (0, 2, 5, 7)


def test_decoder_prompts_go_through_the_chat_template(llama):
    tokenizer = llama.tokenizer
    expected = tokenizer.encode_chat([{"role": "user", "content": "hello"}])
    assert Prompt("hello").tokens(tokenizer, chat=True).tolist() == expected
    assert Prompt("", ({"role": "user", "content": "hello"},)).tokens(tokenizer, chat=True).tolist() == expected
    assert Prompt("hello").tokens(tokenizer, chat=False).tolist() == tokenizer.encode("hello")
