"""Texts that are longer than the model, cut as transformers cuts them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.checkpoints import tiny_bert, tiny_llama
from transformers import AutoTokenizer

from exporter.checkpoint.tokens.tokenizer import load_tokenizer

LONG = "Wake me up tomorrow morning at seven, please. 明日の朝7時に起こして。 " * 3
PAIRS = ((LONG, None), ("short", None), (LONG, "a short one"), ("a short one", LONG), (LONG, LONG[20:]), (LONG, LONG))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("make", [tiny_bert, tiny_llama])
def test_ids_and_types_are_those_of_transformers(make, side, tmp_path: Path) -> None:
    folder = make(tmp_path / "checkpoint")
    theirs = AutoTokenizer.from_pretrained(folder, truncation_side=side)
    theirs.save_pretrained(folder)
    ours = load_tokenizer(folder)
    for first, second in PAIRS:
        for length in (7, 8, 16, 31):
            made = ours.encode_text(first, second, max_length=length)
            wanted = theirs(first, second, truncation=True, max_length=length)
            assert made.ids.tolist() == wanted["input_ids"]
            assert made.types.tolist() == wanted["token_type_ids"]
