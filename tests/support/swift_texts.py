"""Ten thousand seeded texts of many scripts, for comparing two readers of a tokenizer."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LETTERS = (
    (0x41, 0x5B), (0x61, 0x7B), (0xC0, 0x250), (0x370, 0x400), (0x400, 0x530), (0x531, 0x588), (0x5D0, 0x5EB),
    (0x600, 0x700), (0x780, 0x7B2), (0x900, 0x980), (0x980, 0xA00), (0xB80, 0xC00), (0xE01, 0xE5C), (0xE80, 0xF00),
    (0xF00, 0xFD5), (0x1000, 0x10A0), (0x10A0, 0x1100), (0x1100, 0x1200), (0x1200, 0x1380), (0x13A0, 0x1400),
    (0x1780, 0x1800), (0x1800, 0x18AB), (0x1E00, 0x1F00), (0x1F00, 0x2000), (0x2C00, 0x2C60), (0x3041, 0x3100),
    (0x3100, 0x3130), (0x3130, 0x3190), (0x4E00, 0x5200), (0x9F00, 0xA000), (0xA000, 0xA490), (0xAC00, 0xAD00),
    (0xD700, 0xD7A4), (0xF900, 0xFB00), (0xFB00, 0xFE00), (0xFE70, 0xFF00), (0xFF01, 0xFFE7), (0x10400, 0x10450),
    (0x11000, 0x11080), (0x1D400, 0x1D800), (0x1E900, 0x1E960), (0x20000, 0x20100), (0x2F800, 0x2FA20),
    (0x31350, 0x31400),
)  # fmt: skip
_SIGNS = (
    (0x21, 0x30), (0x3A, 0x41), (0x5B, 0x61), (0x7B, 0x7F), (0xA1, 0xC0), (0x2010, 0x2028), (0x2030, 0x2060),
    (0x20A0, 0x20C1), (0x2100, 0x2150), (0x2190, 0x2400), (0x2500, 0x2600), (0x3001, 0x3020), (0xFE30, 0xFE70),
    (0x1F300, 0x1F650),
)  # fmt: skip
_DIGITS = (0x30, 0x660, 0x966, 0xE50, 0xFF10, 0x1D7CE)
_NUMBERS = "½²③Ⅷ一〇億Ⅻ௰"
_MARKS = ((0x300, 0x370), (0x483, 0x48A), (0x591, 0x5C8), (0x64B, 0x660), (0x93C, 0x950), (0x1AB0, 0x1ACF),
          (0x1DC0, 0x1E00), (0x20D0, 0x20F1), (0x3099, 0x309B), (0xFE00, 0xFE10), (0xFE20, 0xFE30),
          (0x1D165, 0x1D16A), (0x1E8D0, 0x1E8D7))  # fmt: skip
_SPACES = " \u00a0\u1680\u2000\u2003\u2009\u2028\u2029\u202f\u205f\u3000\t\n\r\x0b\x0c\x85"
_CONTROLS = "".join(map(chr, [*range(32), 0x7F, *range(0x80, 0xA0)])) + (
    "\u00ad\u061c\u070f\u180b\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u2060\u2066\ufeff\ufff9\ufffd\ufffe\uffff"
    "\ue000\U000e0001\U000e0100\U0010ffff\u0378\u0600\u06dd\u08e2\U000110bd\ud7ff"
)
_SPECIAL = (
    "<s>", "</s>", "<unk>", "[MASK]", "[CLS]", "<mask>", " <mask> ", "<|end|>", "<|user|>", "<|endoftext|>", "<0x41>",
    "▁", "▁▁a", "<bos>", "##ing", "[UNK]", "[PAD]x", "<extra_id_0>", "Ġthe", "</w>", "</s>x", "  lamp ",
)  # fmt: skip
_EMOJI = (
    "🙂", "👩‍👩‍👧", "👍🏽", "🏳️‍🌈", "🇯🇵🇩🇪", "🇯", "1️⃣", "❤️", "©‍©", "®\ufe0f", "👨🏿‍🚀", "☝🏻",
    "🏴\U000e0067\U000e0062\U000e007f", "‍",
    "❤\u200d🔥", "🫱🏼‍🫲🏿", "a\u200d🙂", "©\u0301\u200d🙂",
)  # fmt: skip
_ENGLISH = (
    "it's", "I'LL", "don't", "we'VE", "'s", "'ſ", "'ST", "isn't.", "do not", "x'm", "Größe,", "naïve",
    "façade!", "İstanbul", "ǅungla", "ﬁne", "ΟΔΟΣ", "ß", "ẞ", "10,000.5", "12345678", "a_b", "foo(bar)[0]",
    "https://example.org/?q=1&x=%20", "C++", "`code`", "...", "--", "明日の朝7時に起こして",
    "部屋の電気を３０％に", "今天天气很好",
    "한국어", "हिन्दी", "क्ष", "ไทย", "مرحبا", "שָׁלוֹם", "Việt", "a\u0323\u0302", "q\u0307\u0323",
    "\u1100\u1161\u11a8", "\uac00\u11a8", "\u0344", "\u1f82", "ﷺ", "㍿", "ｶﾞ", "が", "か\u3099", "K", "Å", "①",
    "ﬀ", "⁵",
)  # fmt: skip


def _from(draw: random.Random, ranges: tuple[tuple[int, int], ...]) -> str:
    return chr(draw.randrange(*draw.choice(ranges)))


def _word(draw: random.Random) -> str:
    low, high = draw.choice(_LETTERS)
    letters = [chr(draw.randrange(low, high)) for _ in range(draw.randint(1, 9))]
    if draw.random() < 0.3:
        letters = [letter + _from(draw, _MARKS) * draw.randint(0, 2) for letter in letters]
    return "".join(letters)


def _any(draw: random.Random) -> str:
    point = draw.randrange(0x110000)
    return chr(point if not 0xD800 <= point < 0xE000 else 0xFFFD)


def _digits(draw: random.Random) -> str:
    return "".join(chr(draw.choice(_DIGITS) + draw.randrange(10)) for _ in range(draw.randint(1, 5)))


_KINDS: dict[Callable[[random.Random], str], int] = {
    lambda draw: draw.choice(_own_words()): 30,
    _word: 20,
    lambda draw: draw.choice(_ENGLISH): 10,
    _digits: 6,
    lambda draw: "".join(_from(draw, _SIGNS) for _ in range(draw.randint(1, 3))): 7,
    lambda draw: draw.choice(_EMOJI): 6,
    lambda draw: draw.choice(_SPACES) * draw.randint(1, 3) + draw.choice(_SPACES): 5,
    lambda draw: draw.choice(_CONTROLS): 5,
    lambda draw: draw.choice(_SPECIAL): 3,
    lambda draw: "".join(_from(draw, _MARKS) for _ in range(draw.randint(1, 4))): 3,
    lambda draw: draw.choice(_NUMBERS): 1,
    _any: 4,
}  # how many of a hundred pieces are of this kind


@cache
def _own_words() -> list[str]:
    return [word for line in _own_texts()[:4000] for word in line.split(" ") if word]


@cache
def _own_texts() -> list[str]:
    """Lines of the repository's prose and code: what the samples were trained for, and English words."""
    files = ("samples/prose/heldout.txt", "LICENSE", "samples/home_intents/test.jsonl")
    return [line for file in files for line in (ROOT / file).read_text().splitlines() if line.strip()]


def texts(count: int = 10_000, seed: int = 17) -> list[str]:
    """Reproducible: the same texts for the same numbers."""
    draw = random.Random(seed)
    own = _own_texts()
    result = ["", " ", "  ", "\n", "\0", "a", "é", "e\u0301", " a", "a "]
    result += ["word " * 300, "x" * 3000, "あ" * 500, " " * 2000]
    result += draw.sample(own, min(1500, len(own)))
    while len(result) < count:
        kinds = draw.choices(list(_KINDS), list(_KINDS.values()), k=draw.choice([1, 2, 3, 5, 8, 13, 30]))
        pieces = [kind(draw) for kind in kinds]
        result.append(draw.choice(["", " ", " ", " "]).join(pieces))
    return [text for text in result[:count] if not any(0xD800 <= ord(char) < 0xE000 for char in text)]
