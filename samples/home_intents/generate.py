"""Seeded generator of smart-home requests with their JSON actions, in English and Japanese.

    python samples/home_intents/generate.py            # rewrites test.jsonl, then proves the split
    python samples/home_intents/generate.py --check    # only checks that test.jsonl is up to date

The test set uses semantic tuples (action plus slots) that never occur in training: the split is a
hash of the tuple. A quarter of it has words that no training text contains. Two more sets,
``out_of_scope.jsonl`` and ``paraphrases.jsonl``, were written by hand. ``verify`` proves on the
very examples that ``train.py`` uses that all three are held out, and that no text has two labels.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grammar_en
import grammar_ja
import noise
from out_of_scope import sample_out_of_scope
from semantics import (
    ACTIONS,
    DECLINE,
    FREE_TEXT_SLOTS,
    LANGUAGES,
    REASONS,
    Intent,
    has_unseen_word,
    sample_intent,
)
from wishes import sample_wish

TEST_COUNT = 1_000
TRAIN_COUNT = 400_000
# Small families of meanings ("lock" has five doors) would otherwise repeat hundreds of times, and
# the model would learn that the member held out for the test is never the answer. The shortest
# meanings, which are never held out, may repeat more.
TRAIN_REPEATS = 8
SHORT_REPEATS = 400
OUT_OF_SCOPE_SHARE = 0.28
WISH_SHARE = 0.04
UNSEEN_EVERY = 4  # one test example in so many has a word that training never contains
FOLDER = Path(__file__).resolve().parent
TEST_FILE = FOLDER / "test.jsonl"
# Both written by hand: requests to decline, and requests in other words than the grammar's.
OUT_OF_SCOPE_FILE = FOLDER / "out_of_scope.jsonl"
PARAPHRASES_FILE = FOLDER / "paraphrases.jsonl"
HAND_WRITTEN = (OUT_OF_SCOPE_FILE, PARAPHRASES_FILE)

_REALISE = {"en": grammar_en.realise, "ja": grammar_ja.realise}
_TYPOS, _BARE = 0.14, 0.15  # shares of the requests


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


def _noisy(prompt: str, intent: Intent, language: str, rng: random.Random) -> str:
    """Add a typo or drop punctuation in some requests."""
    copied = " ".join(str(intent.slots[key]) for key in FREE_TEXT_SLOTS & intent.slots.keys())
    if rng.random() < _TYPOS:
        if language == "en":
            prompt = noise.typos(prompt, copied, rng)
        elif not copied:
            prompt = noise.particles(prompt, rng)
    if not copied and rng.random() < _BARE:
        prompt = noise.bare(prompt)
    return prompt


def _draw(rng: random.Random, language: str, split: str) -> tuple[str, Intent, str]:
    """Draw one request with its meaning, and say which split it belongs to."""
    dice = rng.random()
    if split != "test" and dice < OUT_OF_SCOPE_SHARE:
        prompt, intent = sample_out_of_scope(rng, language, _REALISE[language])
        if has_unseen_word(prompt):
            return prompt, intent, "none"
        # Three answers can't be split by meaning; the text decides, and the test is hand-written.
        held_out = zlib.crc32(normalise(prompt).encode()) % 100 < 3
        return prompt, intent, "dev" if held_out else "train"
    if dice < OUT_OF_SCOPE_SHARE + WISH_SHARE:
        wish = sample_wish(rng, language)
        return wish.text, wish.intent, wish.intent.split()
    intent = sample_intent(rng, language)
    own = intent.split()
    if own != split:
        return "", intent, own
    prompt = _noisy(_REALISE[language](intent, rng), intent, language, rng)
    return prompt, intent, "none" if own != "test" and has_unseen_word(prompt) else own


def _allowed(intent: Intent, repeats: int) -> int:
    """How often a meaning may occur."""
    if repeats == 1 and intent.action != DECLINE:
        return 1
    if intent.action == DECLINE:
        return TRAIN_COUNT
    return SHORT_REPEATS if len(intent.slots) < 2 else repeats


def examples(split: str, count: int, repeats: int = 1) -> list[Example]:
    """Generate ``count`` examples of a split with pairwise different texts.

    The languages alternate. No semantic tuple occurs more than ``repeats`` times, but for the
    shortest ones and "decline".
    """
    rng = random.Random(split)
    found: list[Example] = []
    texts: set[str] = set()
    meanings: Counter[str] = Counter()
    while len(found) < count:
        language = LANGUAGES[len(found) % len(LANGUAGES)]
        prompt, intent, own = _draw(rng, language, split)
        expected = intent.to_json()
        if own != split or meanings[expected] >= _allowed(intent, repeats):
            continue
        wants_unseen = split == "test" and len(found) // len(LANGUAGES) % UNSEEN_EVERY == 0
        if split == "test" and has_unseen_word(expected) != wants_unseen:
            continue
        key = normalise(prompt)
        if not key or key in texts:
            continue
        texts.add(key)
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
    """Raise ValueError unless training and every held-out set are disjoint, one label per text."""
    train, test = list(train), list(test)
    hand_written = [row for path in HAND_WRITTEN for row in read_jsonl(path)]
    shared_meanings = {e.expected for e in train} & {e.expected for e in test}
    if shared_meanings:
        raise ValueError(f"{len(shared_meanings)} semantic tuples are in both train and test")
    held_out = {normalise(e.prompt) for e in (*test, *hand_written)}
    shared_texts = {normalise(e.prompt) for e in train} & held_out
    if shared_texts:
        raise ValueError(f"training has held-out texts: {sorted(shared_texts)}")
    leaks = [e.prompt for e in train if has_unseen_word(e.prompt) or has_unseen_word(e.expected)]
    if leaks:
        raise ValueError(f"{len(leaks)} training texts have words of the test set: {leaks[:3]}")
    labels: dict[str, str] = {}
    for example in (*train, *test, *hand_written):
        known = labels.setdefault(normalise(example.prompt), example.expected)
        if known != example.expected:
            raise ValueError(f"{example.prompt!r} has two labels: {known} and {example.expected}")
    missing = set(ACTIONS) - {example.action for example in test}
    if missing:
        raise ValueError(f"the test set lacks the actions {sorted(missing)}")
    check_answers(hand_written)


def check_answers(rows: Iterable[Example]) -> None:
    """Raise ValueError unless every hand-written answer is in canonical form."""
    for row in rows:
        answer = json.loads(row.expected)
        action = answer.pop("action")
        if action not in (*ACTIONS, DECLINE) or Intent(action, answer).to_json() != row.expected:
            raise ValueError(f"{row.prompt!r} has an answer that is not canonical: {row.expected}")
        if action == DECLINE and answer.get("reason") not in REASONS:
            raise ValueError(f"{row.prompt!r} has an unknown reason")


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
