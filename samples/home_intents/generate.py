"""Seeded generator of smart-home requests with their JSON actions, in English and Japanese.

    python samples/home_intents/generate.py            # rewrites test.jsonl, then proves the split
    python samples/home_intents/generate.py --check    # only checks that test.jsonl is up to date

The test set uses semantic tuples (action plus slots) that never occur in training: the split is a
hash of the tuple. ``verify`` proves it on the very examples that ``train.py`` uses, and also that
no text has two labels.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grammar_en
import grammar_ja
from semantics import ACTIONS, LANGUAGES, sample_intent

TEST_COUNT = 1_000
TRAIN_COUNT = 400_000
# Small families of meanings ("lock" has five doors) would otherwise repeat hundreds of times, and
# the model would learn that the member held out for the test is never the answer.
TRAIN_REPEATS = 8
TEST_FILE = Path(__file__).resolve().parent / "test.jsonl"

_REALISE = {"en": grammar_en.realise, "ja": grammar_ja.realise}


@dataclass(frozen=True)
class Example:
    """One request with its label."""

    prompt: str
    expected: str
    language: str

    @property
    def action(self) -> str:
        """The action of the label."""
        return str(json.loads(self.expected)["action"])

    def to_line(self) -> str:
        """Return the JSONL line of this example."""
        record = {"prompt": self.prompt, "expected": self.expected, "language": self.language}
        return json.dumps(record, ensure_ascii=False)


def examples(split: str, count: int, repeats: int = 1) -> list[Example]:
    """Generate ``count`` examples of a split with pairwise different texts.

    The languages alternate. No semantic tuple occurs more than ``repeats`` times.
    """
    rng = random.Random(split)
    found: list[Example] = []
    texts: set[str] = set()
    meanings: Counter[str] = Counter()
    while len(found) < count:
        language = LANGUAGES[len(found) % len(LANGUAGES)]
        intent = sample_intent(rng, language)
        expected = intent.to_json()
        if intent.split() != split or meanings[expected] >= repeats:
            continue
        prompt = _REALISE[language](intent, rng)
        if prompt in texts:
            continue
        texts.add(prompt)
        meanings[expected] += 1
        found.append(Example(prompt, expected, language))
    return found


def test_examples() -> list[Example]:
    """Return the held-out test set."""
    return examples("test", TEST_COUNT)


def training_examples(count: int = TRAIN_COUNT) -> list[Example]:
    """Return the training set."""
    return examples("train", count, TRAIN_REPEATS)


def normalise(text: str) -> str:
    """Fold case, width and spacing, so that near-identical texts compare equal."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def verify(train: Iterable[Example], test: Iterable[Example]) -> None:
    """Raise ValueError unless train and test are disjoint and every text has one label."""
    train, test = list(train), list(test)
    shared_meanings = {e.expected for e in train} & {e.expected for e in test}
    if shared_meanings:
        raise ValueError(f"{len(shared_meanings)} semantic tuples are in both train and test")
    shared_texts = {normalise(e.prompt) for e in train} & {normalise(e.prompt) for e in test}
    if shared_texts:
        raise ValueError(f"{len(shared_texts)} texts are in both train and test")
    labels: dict[str, str] = {}
    for example in (*train, *test):
        known = labels.setdefault(normalise(example.prompt), example.expected)
        if known != example.expected:
            raise ValueError(f"{example.prompt!r} has two labels: {known} and {example.expected}")
    missing = set(ACTIONS) - {example.action for example in test}
    if missing:
        raise ValueError(f"the test set lacks the actions {sorted(missing)}")


def read_jsonl(path: Path) -> list[Example]:
    """Read examples from a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        return [Example(**json.loads(line)) for line in lines if line.strip()]


def write_jsonl(path: Path, rows: Iterable[Example]) -> None:
    """Write examples to a JSONL file."""
    text = "".join(f"{row.to_line()}\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")


def main() -> int:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="do not write test.jsonl, compare it")
    parser.add_argument("--train-out", type=Path, help="also write the training set as JSONL")
    parser.add_argument("--train-count", type=int, default=TRAIN_COUNT, help="training examples")
    args = parser.parse_args()

    test = test_examples()
    if args.check and read_jsonl(TEST_FILE) != test:
        print(f"{TEST_FILE.name} differs from what the generator makes", file=sys.stderr)
        return 1
    train = training_examples(args.train_count)
    verify(train, test)
    if not args.check:
        write_jsonl(TEST_FILE, test)
    if args.train_out:
        write_jsonl(args.train_out, train)
    languages = Counter(example.language for example in test)
    print(
        f"{len(test)} test examples ({dict(languages)}), {len(train)} training examples: "
        "no semantic tuple and no text in common, one label per text",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
