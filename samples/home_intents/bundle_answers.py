"""Answers requests with an exported bundle, like ``kogata run``, but loads the model once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from exporter.bundle.opened import open_bundle
from exporter.runners.greedy import greedy
from exporter.runners.shipped import Conditions, shipped_file
from exporter.texts import Prompt

MAX_NEW_TOKENS = 96


def answer_all(folder: Path, texts: Sequence[str]) -> list[str]:
    """Answer each request greedily with the ONNX file of a bundle."""
    bundle = open_bundle(folder)
    tokenizer = bundle.require_tokenizer()
    form = next(form for form in bundle.artifacts() if form.format == "onnx")
    runner = shipped_file(
        form, bundle.artifacts()[form], Conditions(1, tokenizer.pad_id or 0)
    ).decoder()
    answers = []
    for text in texts:
        ids = Prompt(text).tokens(tokenizer, chat=True)
        said = greedy(runner, ids, MAX_NEW_TOKENS, tokenizer.eos_ids)
        answers.append(
            tokenizer.decode([token for token in said if token not in tokenizer.eos_ids])
        )
    return answers
