"""The built-in prompts, and files of prompts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from exporter.errors import InputError
from exporter.parity.options import ParityOptions, Subjects
from exporter.parity.prompts import builtin_prompts
from exporter.parity.texts import GREEDY_TOKENS, encode_texts
from exporter.texts import Prompt, choose, read_prompts


def test_builtin_sets():
    sentences, prompts = builtin_prompts("feature-extraction"), builtin_prompts("text-generation")
    assert (len(sentences), len(prompts)) == (100, 24)
    assert len({p.text for p in sentences}) == 100
    assert sum(bool(p.messages) for p in prompts) == 11
    assert len({chr(ord(letter) >> 7 << 7) for p in sentences for letter in p.text}) > 20  # blocks of 128 characters
    scripts = "".join(p.text for p in sentences)
    for letter in "zß¿ЗД明请오कว0😍{":
        assert letter in scripts, letter
    lengths = [len(p.text) for p in sentences]
    assert min(lengths) == 1
    assert max(lengths) > 600


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


def subjects(built, **changes):
    s = built.subjects
    return Subjects(task=s.task, context=changes.get("context", s.context), tokenizer=s.tokenizer)


def test_decoder_prompts_go_through_the_chat_template(llama):
    tokenizer = llama.tokenizer
    expected = tokenizer.encode_chat([{"role": "user", "content": "hello"}])
    assert Prompt("hello").tokens(tokenizer, chat=True).tolist() == expected
    assert Prompt("", ({"role": "user", "content": "hello"},)).tokens(tokenizer, chat=True).tolist() == expected
    assert Prompt("hello").tokens(tokenizer, chat=False).tolist() == tokenizer.encode("hello")


def test_texts_fit_the_context_and_say_how_many_were_cut(llama, bert):
    texts = encode_texts(subjects(llama, context=40), ParityOptions())
    assert max(len(ids) for ids in texts.ids) == 40 - GREEDY_TOKENS
    assert texts.cut > 0
    encoded = encode_texts(subjects(bert, context=12), ParityOptions())
    assert max(len(ids) for ids in encoded.ids) == 12
    assert all(ids[-1] == bert.tokenizer.encode("a")[-1] for ids in encoded.ids)  # [SEP] stays
    assert all(ids.dtype == np.int64 for ids in encoded.ids)


def test_quick_takes_a_quarter_and_max_prompts_thins_out(bert):
    assert len(encode_texts(subjects(bert), ParityOptions()).ids) == 100
    assert len(encode_texts(subjects(bert), ParityOptions(depth="quick")).ids) == 25
    assert len(encode_texts(subjects(bert), ParityOptions(max_prompts=10)).ids) == 10


def test_continuations_are_appended_without_their_last_token(llama):
    texts = encode_texts(subjects(llama), ParityOptions(max_prompts=2))
    tails = [np.array([7, 8, 9]), np.array([3])]
    continued = texts.continued(tails)
    assert continued.ids[0].tolist() == [*texts.ids[0].tolist(), 7, 8]
    assert continued.ids[1].tolist() == texts.ids[1].tolist()
    assert continued.greedy_from == (len(texts.ids[0]) - 1, len(texts.ids[1]) - 1)
