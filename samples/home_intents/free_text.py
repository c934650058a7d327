"""Free text that an answer copies from the request: shopping items, timer labels, reminder tasks.

Unlike rooms or devices these stay in the language of the request, in lower case. Most come from
``lexicon.py``. The rest are made up of syllables or random kanji, so that the model learns to copy
any word instead of the words of a list.
"""

from __future__ import annotations

import random

import lexicon

INVENTED = 0.45  # share of the free texts with an invented word
UNSEEN = 0.03  # share with a word that only the test set may contain

_ONSETS = (
    *"bcdfghjklmnprstvwyz",
    "",
    "",
    "bl",
    "br",
    "ch",
    "cl",
    "cr",
    "dr",
    "fl",
    "fr",
    "gl",
    "gr",
)
_MORE_ONSETS = (
    "ph",
    "pl",
    "pr",
    "qu",
    "sc",
    "sh",
    "sl",
    "sp",
    "st",
    "str",
    "sv",
    "th",
    "tr",
    "tw",
    "x",
)
_VOWELS = (*"aaeeiioouuy", "ai", "au", "ea", "ee", "ia", "ie", "io", "oa", "oo", "ou")
_CODAS = (
    "",
    "",
    "",
    *"bdgklmnprstxz",
    "ck",
    "ff",
    "ll",
    "lt",
    "nd",
    "ng",
    "nk",
    "nt",
    "rd",
    "rk",
    "ss",
    "tt",
)
_ENDINGS = (
    "",
    "",
    "",
    "",
    "s",
    "s",
    "es",
    "er",
    "ing",
    "a",
    "o",
    "ini",
    "elle",
    "son",
    "berg",
    "ov",
)
_HIRAGANA = "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわがぎぐげござじずぜぞだでどばびぶべぼぱぴぷぺぽ"
_KATAKANA = (
    *(chr(ord(char) + 0x60) for char in _HIRAGANA),
    *("ー", "ン", "ッ", "シャ", "ジュ", "ティ", "フェ"),
)
_SMALL = ("ゃ", "ゅ", "ょ", "っ", "ん", "ん")
# The everyday kanji: level 1 of JIS X 0208, without the numerals, which mean numbers elsewhere.
_KANJI = tuple(
    char
    for lead in range(0x88, 0x98)
    for trail in (*range(0x40, 0x7F), *range(0x80, 0xFD))
    for char in bytes((lead, trail)).decode("shift_jis", errors="ignore")
    if "\u4e00" <= char <= "\u9fff" and char not in "零一二三四五六七八九十百千万半点時分秒度後前"
)
_KANJI_TAILS = ("", "", "", "さん", "さん", "くん", "ちゃん", "屋", "先生", "用品", "定食")


def latin_word(rng: random.Random) -> str:
    """Make up a word of Latin letters that sounds like a word or a name."""
    if rng.random() < 0.08:
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 8)))
    syllables = rng.choice((1, 2, 2, 2, 3, 3, 4))
    parts = (
        rng.choice(_ONSETS + _MORE_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
        for _ in range(syllables)
    )
    word = "".join(parts) + rng.choice(_ENDINGS)
    return word if len(word) > 2 else word + rng.choice(("ton", "mar", "lo"))


def japanese_word(rng: random.Random) -> str:
    """Make up a word in kanji, katakana or hiragana."""
    kind = rng.choices(("kanji", "katakana", "hiragana", "latin"), (45, 32, 20, 3))[0]
    if kind == "kanji":
        word = "".join(rng.choice(_KANJI) for _ in range(rng.choice((1, 2, 2, 2, 3, 4))))
        return word + rng.choice(_KANJI_TAILS)
    if kind == "latin":
        return latin_word(rng)
    if kind == "katakana":
        return (
            "".join(rng.choice(_KATAKANA) for _ in range(rng.randint(2, 7))).lstrip("ーンッ") + "ン"
        )
    letters = [rng.choice(_HIRAGANA) for _ in range(rng.randint(2, 5))]
    if rng.random() < 0.4:
        letters.insert(rng.randint(1, len(letters)), rng.choice(_SMALL))
    return "".join(letters)


def invented(rng: random.Random, language: str) -> str:
    """Make up a word of a language."""
    return latin_word(rng) if language == "en" else japanese_word(rng)


def _word(rng: random.Random, language: str, known: tuple[str, ...]) -> str:
    """Draw a word of a list, an invented one, or rarely one that training never contains."""
    dice = rng.random()
    if dice < UNSEEN:
        return rng.choice(lexicon.UNSEEN[language])
    if dice < UNSEEN + INVENTED:
        word = invented(rng, language)
        if language == "en" and rng.random() < 0.3:
            return f"{rng.choice(known).split()[0]} {word}"
        return f"{word} {latin_word(rng)}" if language == "en" and rng.random() < 0.2 else word
    return rng.choice(known)


def item(rng: random.Random, language: str) -> str:
    """Draw a thing for the shopping list, sometimes two things joined by "and"."""
    first = _word(rng, language, lexicon.GOODS[language])
    if rng.random() < 0.06:
        second = _word(rng, language, lexicon.GOODS[language])
        return f"{first}{' and ' if language == 'en' else 'と'}{second}"
    return first


def label(rng: random.Random, language: str) -> str:
    """Draw the name of a timer."""
    return _word(rng, language, lexicon.LABELS[language])


def _object(rng: random.Random, language: str, kind: str | tuple[str, ...]) -> str:
    if kind == "who":
        return _word(rng, language, lexicon.PEOPLE[language])
    if kind == "what":
        return _word(rng, language, lexicon.GOODS[language])
    if rng.random() < 0.75 or kind == ("",):
        return rng.choice(kind)
    article = rng.choice(("the ", "my ", "")) if language == "en" else ""
    return article + _word(rng, language, lexicon.GOODS[language])


def _details(rng: random.Random, language: str) -> str:
    """Return an optional addition to an English task ("about the contract", "with anna")."""
    if language != "en" or rng.random() < 0.75:
        return ""
    who, what = _object(rng, language, "who"), _object(rng, language, "what")
    return rng.choice(
        (f" with {who}", f" for {who}", f" about the {what}", f" and {what}", f" from {who}")
    )


def reminder_task(rng: random.Random, language: str) -> str:
    """Compose the free text of a reminder from a verb and one of its objects."""
    tasks = lexicon.TASKS_EN if language == "en" else lexicon.TASKS_JA
    verb = rng.choice(tuple(tasks))
    thing = _object(rng, language, tasks[verb])
    if language == "ja":
        return f"{thing}{verb}"
    if rng.random() < 0.04:
        verb = latin_word(rng)
    return f"{verb} {thing}".strip() + _details(rng, language)


def spoken(text: str, rng: random.Random) -> str:
    """Write a free text as a request may: with capitals, which the answer drops."""
    style = rng.random()
    if style < 0.72 or not text.isascii():
        return text
    if style < 0.96:
        return " ".join(w[:1].upper() + w[1:] if rng.random() < 0.6 else w for w in text.split(" "))
    return text.upper()
