"""Write Sources/KogataTokenizer/UnicodeData.swift: what Python's `tokenizers` holds to be true of every code point.

Each table of `tokenizers` comes from another crate with another version of Unicode, and the version of Foundation
differs by system. Token ids must not, so the tables are read out of `tokenizers` itself: one probe per property over
all code points. Run it again when the pinned `tokenizers` changes (it takes some minutes):
`python ios-demo/tools/unicode_tables.py`
"""

import base64
import struct
import textwrap
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import regex
from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizers import __version__ as tokenizers_version

OUTPUT = Path(__file__).parents[1] / "KogataKit/Sources/KogataTokenizer/UnicodeData.swift"
POINTS = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
CATEGORIES = [
    "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
    "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn",
]  # fmt: skip
SCRIPTS = [
    "Han", "Hiragana", "Katakana", "Hangul", "Latin", "Greek", "Cyrillic", "Arabic", "Hebrew", "Devanagari", "Thai",
    "Bopomofo",
]  # fmt: skip
HANGUL = range(0xAC00, 0xD7A4)  # decomposed and composed by arithmetic, not by a table


def matches(pattern: str) -> set[int]:
    """The code points that the regular expression engine of `tokenizers` (Oniguruma) matches."""
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    rest = {ord(char) for piece, _ in split.pre_tokenize_str("".join(map(chr, POINTS))) for char in piece}
    return set(POINTS) - rest


def where(holds: Callable[[str], bool]) -> set[int]:
    """The code points for which a probe holds."""
    return {point for point in POINTS if holds(chr(point))}


def charsmap(key: bytes, replacement: str) -> str:
    """A sentencepiece charsmap (Darts double array) that knows one rule: `key` becomes `replacement`."""
    units = [0] * (1 << 14)
    position, offset = 0, 256
    units[0] = offset << 10
    for index, byte in enumerate(key):
        position ^= offset ^ byte
        offset = (index + 2) * 1024
        units[position] = byte | offset << 10 | (256 if index == len(key) - 1 else 0)
    position ^= offset
    units[position] = 0
    trie = struct.pack(f"<{len(units)}I", *units)
    return base64.b64encode(struct.pack("<I", len(trie)) + trie + replacement.encode() + b"\0").decode()


def precompiled(key: str) -> normalizers.Normalizer:
    """A normalizer that shows grapheme boundaries: a short grapheme that starts with `key` becomes "X" as a whole."""
    return normalizers.Precompiled(base64.b64decode(charsmap(key.encode(), "X")))


def grapheme_sets() -> dict[str, set[int]]:
    """Joins of extended grapheme clusters, as far as a cluster shorter than six bytes can show them."""
    letter, sign, arabic = precompiled("a"), precompiled("\xa9"), precompiled("\u0600")
    prefixes = {ord(c) for c in map(chr, POINTS) if regex.match(r"\p{GCB=Prepend}", c)}
    return {
        "graphemeExtend": where(lambda c: c != "\n" and letter.normalize_str("a" + c) == "X"),
        "graphemePrepend": {p for p in prefixes if precompiled(chr(p)).normalize_str(chr(p) + "b") == "X"},
        "graphemeControl": where(lambda c: len(c.encode()) < 4 and arabic.normalize_str("\u0600" + c) != "X"),
        "pictographic": where(lambda c: sign.normalize_str("\xa9\u200d" + c) != "X" + c),
    }


def sets() -> dict[str, set[int]]:
    """Name of a property → its code points."""
    bert = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    accents = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False
    )
    nfd, strip = normalizers.NFD(), normalizers.StripAccents()
    word, punctuation = pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("isolated")
    digits = pre_tokenizers.Digits(individual_digits=True)
    whitespace = where(str.isspace) - {0x1C, 0x1D, 0x1E, 0x1F}
    return {
        "wordOfRust": where(lambda c: len(word.pre_tokenize_str("a" + c)) == 1) - whitespace,
        "wordOfOniguruma": matches(r"\w"),
        "bertControl": where(lambda c: c not in "\0\ufffd" and bert.normalize_str("a" + c + "b") == "ab"),
        "bertPunctuation": where(lambda c: len(punctuation.pre_tokenize_str("a" + c)) == 2),
        "bertNonspacing": where(lambda c: nfd.normalize_str(c) == c and accents.normalize_str(c) == ""),
        "combiningMark": where(lambda c: strip.normalize_str(c) == ""),
        "numeric": where(lambda c: len(digits.pre_tokenize_str("a" + c)) == 2),
        **grapheme_sets(),
        **{f"script{name}": matches(rf"\p{{{name}}}") for name in SCRIPTS},
    }


def combining_classes() -> dict[int, int]:
    """The canonical combining class of each code point, from the order in which NFD puts two marks."""
    nfd = normalizers.NFD()

    def swapped(left: str, right: str) -> bool:
        return left != right and nfd.normalize_str("a" + left + right) == "a" + right + left

    first = {240: "\u0345", 1: "\u0334"}  # one mark of each class that `tokenizers` knows as a mark
    for char in map(chr, POINTS):
        if unicodedata.combining(char) and nfd.normalize_str(char) == char and swapped(first[240], char):
            first.setdefault(unicodedata.combining(char), char)
    known = sorted(first)

    classes = {}
    for point in POINTS:
        char = chr(point)
        if point in HANGUL or nfd.normalize_str(char) != char:
            continue
        if not (swapped(first[240], char) or swapped(char, first[1])):
            if char in first.values():
                classes[point] = unicodedata.combining(char)
            continue
        classes[point] = max(value for value in known if not swapped(first[value], char))
    return classes


def decompositions(form: normalizers.Normalizer) -> dict[int, list[int]]:
    """Code points that a normal form takes apart, with all their parts."""
    found = {p: [ord(c) for c in form.normalize_str(chr(p))] for p in POINTS if p not in HANGUL}
    return {point: target for point, target in found.items() if target != [point]}


def compositions(canonical: dict[int, list[int]]) -> dict[int, list[int]]:
    """code point → the pair that composes to it."""
    nfc = normalizers.NFC()
    pairs = {}
    for point, target in canonical.items():
        text = "".join(map(chr, target))
        if len(target) > 1 and nfc.normalize_str(text) == chr(point):
            first = nfc.normalize_str(text[:-1])
            if len(first) == 1:
                pairs[point] = [ord(first), target[-1]]
            else:
                raise SystemExit(f"U+{point:04X} composes in a way that this script doesn't know")
    return pairs


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def runs(values: Iterable[int]) -> bytes:
    """(length, value) pairs that cover all code points from 0."""
    out, length, last = bytearray(), 0, -1
    for value in [*values, -1]:
        if value != last and length:
            out += varint(length) + varint(last)
            length = 0
        last = value
        length += 1
    return bytes(out)


def mapping(table: dict[int, list[int]]) -> bytes:
    """(step from the last code point, length, code points) triples."""
    out, last = bytearray(), 0
    for point, target in sorted(table.items()):
        out += varint(point - last) + varint(len(target)) + b"".join(map(varint, target))
        last = point
    return bytes(out)


def tables() -> dict[str, bytes]:
    """Name of a table → its bytes."""
    category = dict.fromkeys(range(0x110000), CATEGORIES.index("Cs"))
    for index, name in enumerate(CATEGORIES):
        if name != "Cs":
            category.update(dict.fromkeys(matches(rf"\p{{{name}}}"), index))
    canonical = decompositions(normalizers.NFD())
    compatible = {p: t for p, t in decompositions(normalizers.NFKD()).items() if canonical.get(p) != t}
    lower = normalizers.Lowercase()
    lowered = {p: [ord(c) for c in lower.normalize_str(chr(p))] for p in POINTS}
    found = {
        "categories": runs(category[point] for point in range(0x110000)),
        "canonical": mapping(canonical),
        "compatible": mapping(compatible),
        "composed": mapping(compositions(canonical)),
        "combining": mapping({point: [value] for point, value in combining_classes().items()}),
        "lowercase": mapping({point: target for point, target in lowered.items() if target != [point]}),
    }
    for name, members in sets().items():
        found[name] = runs(int(point in members) for point in range(0x110000))
    return found


def main() -> None:
    """Write the Swift file."""
    lines = [
        f"// Written by ios-demo/tools/unicode_tables.py from tokenizers {tokenizers_version}. Don't edit.",
        "",
        "/// Tables over all code points, as base64 of variable-length integers. `UnicodeTables` reads them.",
        "enum UnicodeData {",
    ]
    for name, data in tables().items():
        print(name, len(data), "bytes")
        lines.append(f'    static let {name} = """')
        encoded = textwrap.wrap(base64.b64encode(data).decode(), 108)
        lines += [f"        {part}\\" for part in encoded[:-1]] + [f"        {encoded[-1]}", '        """']
    OUTPUT.write_text("\n".join([*lines, "}", ""]))


if __name__ == "__main__":
    main()
