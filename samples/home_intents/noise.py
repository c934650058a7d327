"""Slips of the keyboard: typos that leave the meaning of a request readable."""

from __future__ import annotations

import random
import re

_NEAR = {
    **{
        "a": "sq",
        "b": "vn",
        "c": "xv",
        "d": "sf",
        "e": "wr",
        "f": "dg",
        "g": "fh",
        "h": "gj",
        "i": "uo",
    },
    **{
        "j": "hk",
        "k": "jl",
        "l": "k",
        "m": "n",
        "n": "bm",
        "o": "ip",
        "p": "o",
        "q": "w",
        "r": "et",
    },
    **{"s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x"},
}
# A slip in these could turn one meaning into another ("sixteen" into "sixten", "sixty" ...).
_KEEP = re.compile(
    r"one|two|three|four|five|six|seven|eight|nine|ten|eleven|twel|thir|fif|teen|twenty|forty|hundred"
    r"|half|quarter|lock|bolt|open|close|\d"
)
_DROPPED_MARKS = str.maketrans("", "", "',.!?、。！？")


def _slip(word: str, rng: random.Random) -> str:
    """Swap, drop, double or replace one letter of a word, never the first."""
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at] + word[at:]
    return word[:at] + rng.choice(_NEAR[word[at]]) + word[at + 1 :]


def typos(text: str, protected: str, rng: random.Random) -> str:
    """Misspell one or two words of an English request, but none that also is in ``protected``."""
    kept = set(re.findall(r"\w+", protected.lower()))
    words = text.split(" ")
    able = [
        index
        for index, word in enumerate(words)
        if len(word) > 3
        and word.isalpha()
        and word.isascii()
        and word.islower()
        and word not in kept
        and not _KEEP.search(word)
    ]
    for index in rng.sample(able, min(len(able), rng.choice((1, 1, 1, 2)))):
        words[index] = _slip(words[index], rng)
    return " ".join(words)


def particles(text: str, rng: random.Random) -> str:
    """Drop a Japanese object particle, or a comma, as in hasty typing."""
    return text.replace(rng.choice(("を", "、")), "", 1)


def bare(text: str) -> str:
    """Drop all punctuation but what numbers and times need."""
    words = (
        w if any(c.isdigit() for c in w) else w.translate(_DROPPED_MARKS) for w in text.split(" ")
    )
    return " ".join(word for word in words if word)
