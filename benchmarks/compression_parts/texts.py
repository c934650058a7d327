"""Texts for evaluation and calibration: from files, and sentences from the Python installation."""

from __future__ import annotations

import ast
import json
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedTokenizerBase

SAMPLES = Path(__file__).parents[2] / "samples"
DECODERS = {  # name → checkpoint and held-out text
    "home-intents": (SAMPLES / "home_intents/checkpoint", SAMPLES / "home_intents/test.jsonl"),
    "prose": (SAMPLES / "prose/checkpoint", SAMPLES / "prose/heldout.txt"),
}
END_OF_SENTENCE = re.compile(r"(?<=[.!?])\s")
WORDS = (4, 40)  # words in a sentence; shorter ones are usually labels, longer ones lists


def token_windows(path: Path, tokenizer: PreTrainedTokenizerBase, length: int, tokens: int) -> list[list[int]]:
    """Sequences of at most `length` token ids, about `tokens` in total (the last sequence isn't cut).

    A `.jsonl` file has `prompt` and `expected` on each line; both go through the chat template and make one sequence.
    Any other file is one text, which is cut into windows.
    """
    windows = conversations(path, tokenizer) if path.suffix == ".jsonl" else slices(path, tokenizer, length)
    taken: list[list[int]] = []
    for window in windows:
        if sum(map(len, taken)) >= tokens:
            break
        if len(window) > 1:
            taken.append(window[:length])
    return taken


def builtin_texts() -> list[str]:
    """Kogata's built-in calibration texts, for other tools that use texts."""
    from exporter.calibration.corpus import TEXTS_FOLDER

    files = [TEXTS_FOLDER / name for name in ("prose.jsonl", "short.jsonl")]
    return [json.loads(line)["text"] for file in files for line in file.read_text("utf-8").splitlines()]


def builtin_windows(tokenizer: PreTrainedTokenizerBase, length: int, count: int) -> list[list[int]]:
    """At most `count` sequences of at most `length` token ids, from each text in turn."""
    windows = [tokenizer(text, verbose=False)["input_ids"][:length] for text in builtin_texts()]
    return [window for window in windows if len(window) > 1][:count]


def conversations(path: Path, tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["expected"]}]
        yield tokenizer.apply_chat_template(turns, tokenize=True)


def slices(path: Path, tokenizer: PreTrainedTokenizerBase, length: int) -> Iterator[list[int]]:
    ids = tokenizer(path.read_text("utf-8"), verbose=False)["input_ids"]
    yield from (ids[start : start + length] for start in range(0, len(ids), length))


def docstring_sentences(count: int, skip: int = 0) -> list[str]:
    """First sentences of docstrings in this Python's standard library, without duplicates.

    `count` sentences are chosen evenly from all files in sorted order. skip: shifts the choice.
    """
    found: dict[str, None] = {}
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if "site-packages" in parts or "test" in parts or "tests" in parts or "idle_test" in parts:
            continue
        found.update(dict.fromkeys(sentences(path)))
    step = max(len(found) // count, 1)
    return list(found)[skip::step][:count]


def sentences(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old code has invalid escape sequences
            tree = ast.parse(path.read_bytes())
    except SyntaxError:  # lib2to3 contains examples of Python 2
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = END_OF_SENTENCE.split(" ".join((ast.get_docstring(node) or "").split()))[0]
            if WORDS[0] <= len(first.split()) <= WORDS[1]:
                yield first
