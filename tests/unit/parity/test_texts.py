"""The built-in prompts, and how texts are cut, chosen and continued."""

from __future__ import annotations

import numpy as np

from exporter.parity.options import ParityOptions, Subjects
from exporter.parity.prompts import builtin_prompts
from exporter.parity.texts import GREEDY_TOKENS, encode_texts


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


def subjects(built, **changes):
    s = built.subjects
    return Subjects(task=s.task, context=changes.get("context", s.context), tokenizer=s.tokenizer)


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
