"""Write Tests/KogataTokenizerTests/Resources/components.json: what `tokenizers` does with each component.

Each case is a whole tokenizer.json around one component, with texts and what `tokenizers` makes of them. The vocabulary
is made of the very pieces that the component gives, so that the ids show each normalization and each split.
Run `PYTHONPATH=tests python -m support.swift_resources` after a change here.
"""

import json
from collections.abc import Iterator
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from support.swift_tokenizers import KIMI, LLAMA3, O200K, ROOT

OUTPUT = ROOT / "ios-demo/KogataKit/Tests/KogataTokenizerTests/Resources/components.json"
TEXTS = (
    "", " ", "Hello, World! It's 9:30", "  two  spaces,\ta tab\r\n\n ", "naïve Ǆ İSTANBUL ſ'S 'ſ we'LL",
    "a\u0301\u0323 ﬁ ½ Å ㍿ ｶﾞ か\u3099", "東京タワー2024年", "\x00\x1c\x85\u180e\u200b\ufeff\ufffdx",
    "🙂👩‍👩‍👧 ©‍© ❤️ 1️⃣", "हिन्दी क्ष ไทย한글\u1100\u1161\u11a8", "a-b--c_d…¿?", "<s>x <s> y</s>",
    "don't. (foo_bar) 12345 x²", "\u0344\u1f82 ᾂ q\u0307\u0323",
)  # fmt: skip
NORMALIZERS: dict[str, Any] = {
    "NFC": normalizers.NFC(), "NFD": normalizers.NFD(), "NFKC": normalizers.NFKC(), "NFKD": normalizers.NFKD(),
    "Lowercase": normalizers.Lowercase(), "Strip": normalizers.Strip(), "Strip left": normalizers.Strip(True, False),
    "StripAccents": normalizers.StripAccents(), "Prepend": normalizers.Prepend("▁"), "Nmt": normalizers.Nmt(),
    "Replace": normalizers.Replace(" ", "▁"), "Replace Regex": normalizers.Replace(Regex(r"\s{2,}|\d"), "#"),
    "ByteLevel": normalizers.ByteLevel(), "BertNormalizer": normalizers.BertNormalizer(),
    "BertNormalizer cased": normalizers.BertNormalizer(clean_text=False, lowercase=False, strip_accents=True),
    "Sequence": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]),
}  # fmt: skip
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
_BEHAVIORS = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")
PRE_TOKENIZERS: dict[str, Any] = {
    "ByteLevel": pre_tokenizers.ByteLevel(), "ByteLevel plain": pre_tokenizers.ByteLevel(False, use_regex=False),
    "Whitespace": pre_tokenizers.Whitespace(), "WhitespaceSplit": pre_tokenizers.WhitespaceSplit(),
    "BertPreTokenizer": pre_tokenizers.BertPreTokenizer(), "Digits": pre_tokenizers.Digits(),
    "Digits individual": pre_tokenizers.Digits(True), "CharDelimiterSplit": pre_tokenizers.CharDelimiterSplit("-"),
    "FixedLength": pre_tokenizers.FixedLength(3),
    **{f"Split {b}": pre_tokenizers.Split(Regex(r"\s+"), b) for b in _BEHAVIORS},
    **{f"Split inverted {b}": pre_tokenizers.Split(Regex(r"\p{L}+"), b, invert=True) for b in _BEHAVIORS},
    **{f"Punctuation {b}": pre_tokenizers.Punctuation(b) for b in _BEHAVIORS},
    "Split text": pre_tokenizers.Split("--", "isolated"),
    "Split nothing": pre_tokenizers.Split(Regex(r"x*"), "isolated"),
    **{f"Metaspace {s}": pre_tokenizers.Metaspace(prepend_scheme=s) for s in ("first", "always", "never")},
    "Metaspace whole": pre_tokenizers.Metaspace(prepend_scheme="always", split=False),
    "Llama 3": pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
    "GPT-4o": pre_tokenizers.Split(Regex(O200K), "isolated"),
    "Kimi": pre_tokenizers.Split(Regex(KIMI), "isolated"),
    "cl100k": pre_tokenizers.Split(Regex(CL100K), "isolated"),
    "BLOOM": pre_tokenizers.Split(Regex(r" ?[^(\s|[.,!?…。，、।۔،])]+"), "isolated"),
    "Falcon": pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(False), pre_tokenizers.Digits(),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
    ]),
    "Sequence": pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace(prepend_scheme="first")
    ]),
}  # fmt: skip
TOKENS = [
    "▁Hello", "▁▁", "Ġthe", "##ing", "play", " n't", "<0xE3>", "<0x81>", "<0x82>", "<0xFF>", "end</w>", "ĠÐ",
    "Â¿", "é", "<s>", "▁x", ".", "HHH",
]  # fmt: skip
DECODERS: dict[str, Any] = {
    "none": None, "ByteLevel": decoders.ByteLevel(), "WordPiece": decoders.WordPiece(),
    "WordPiece plain": decoders.WordPiece(cleanup=False), "Metaspace": decoders.Metaspace(),
    "Metaspace never": decoders.Metaspace(prepend_scheme="never"), "ByteFallback": decoders.ByteFallback(),
    "Fuse": decoders.Fuse(), "Strip": decoders.Strip("H", 1, 1), "Replace": decoders.Replace("▁", " "),
    "Replace Regex": decoders.Replace(Regex("[▁Ġ]+"), " "), "BPEDecoder": decoders.BPEDecoder(),
    "Llama": decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)
    ]),
    "Fuse, Replace": decoders.Sequence([decoders.Fuse(), decoders.Replace("ello▁", "!")]),
    "ByteLevel, Strip": decoders.Sequence([decoders.ByteLevel(), decoders.Strip(".", 0, 2)]),
}  # fmt: skip


def _case(name: str, made: Tokenizer, texts: tuple[str, ...] = TEXTS) -> dict[str, Any]:
    made = Tokenizer.from_str(made.to_str())  # added tokens are normalized when a file is read
    ids = [made.encode(text).ids for text in texts]
    return {
        "name": name, "tokenizer": json.loads(made.to_str()), "texts": texts, "ids": ids,
        "bare": [made.encode(text, add_special_tokens=False).ids for text in texts],
        "text": [made.decode(one, skip_special_tokens=False) for one in ids],
        "plain": [made.decode(one, skip_special_tokens=True) for one in ids],
    }  # fmt: skip


def _words(pre_tokenizer: Any, normalizer: Any = None) -> Tokenizer:
    """A WordLevel model of the pieces that come out for TEXTS."""
    made = Tokenizer(models.WordLevel({"[UNK]": 0}, "[UNK]"))
    if normalizer:
        made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizer
    pieces: dict[str, int] = {"[UNK]": 0}
    for text in TEXTS:
        normal = normalizer.normalize_str(text) if normalizer else text
        for piece, _ in pre_tokenizer.pre_tokenize_str(normal):
            if piece:
                pieces.setdefault(piece, len(pieces))
    made.model = models.WordLevel(pieces, "[UNK]")
    return made


def _decoding(decoder: Any) -> tuple[Tokenizer, tuple[str, ...]]:
    made = Tokenizer(models.WordLevel({token: index for index, token in enumerate(TOKENS)}, "."))
    made.pre_tokenizer = pre_tokenizers.Split("|", "removed")
    made.add_special_tokens(["<s>"])
    if decoder:
        made.decoder = decoder
    texts = ("|".join(TOKENS[:-1]), "<0xE3>|<0x81>|<0x82>|é", "<0xE3>|<0x81>", "▁x|end</w>",
             "end</w>|end</w>", "HHH|HHH")  # fmt: skip
    return made, texts


def _whole() -> Iterator[tuple[str, Tokenizer]]:
    made = _words(pre_tokenizers.Split(Regex("."), "isolated"))
    made.add_special_tokens([AddedToken("<s>", lstrip=True), AddedToken("</s>", rstrip=True, normalized=True)])
    made.add_tokens([AddedToken("two", single_word=True), AddedToken("foo", single_word=True), "two  s", "HELLO"])
    made.post_processor = processors.TemplateProcessing("</s> $A <s>:1 <s>", special_tokens=[("<s>", 7), ("</s>", 8)])
    yield "added tokens, template", made
    made = Tokenizer.from_str(made.to_str())
    made.normalizer = normalizers.Lowercase()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.enable_truncation(6)
    made.enable_padding(length=8, pad_id=5)
    yield "normalized added tokens, truncation, padding", made
    made = Tokenizer.from_str(made.to_str())
    made.enable_truncation(5, direction="left")
    made.enable_padding(direction="left", pad_to_multiple_of=4, pad_id=5)
    yield "truncation and padding on the left", made
    two = {"é": 0, "e\u0301": 1, "<unk>": 2, "e": 3}
    yield "canonically equivalent tokens", Tokenizer(models.WordLevel(two, "<unk>"))
    vocabulary = {"l": 0, "o": 1, "lo": 2, "lol": 3, "<unk>": 4}
    yield "BPE", Tokenizer(models.BPE(vocabulary, [("l", "o"), ("lo", "l")], unk_token="<unk>"))
    scores = [("<unk>", 0.0), ("l", -1.0), ("o", -1.5), ("lo", -1.2), ("olo", -2.0)]
    yield "Unigram", Tokenizer(models.Unigram(scores, 0))
    yield "WordPiece", Tokenizer(models.WordPiece({"[UNK]": 0, "l": 1, "##ol": 2, "##o": 3}, unk_token="[UNK]"))


def cases() -> list[dict[str, Any]]:
    scalars = pre_tokenizers.Split(Regex("(?m:.)"), "isolated")
    made = [_case(f"normalizer {n}", _words(scalars, normalizer=c)) for n, c in NORMALIZERS.items()]
    made += [_case(f"pre-tokenizer {n}", _words(c)) for n, c in PRE_TOKENIZERS.items()]
    made += [_case(f"decoder {name}", *_decoding(decoder)) for name, decoder in DECODERS.items()]
    more = ("lololol", "olol lo", "é", "e\u0301", "xx", "lxo", *TEXTS)
    made += [_case(name, one, more) for name, one in _whole()]
    return made


def dumped() -> str:
    lines = ",\n".join(json.dumps(case, ensure_ascii=True, sort_keys=True, separators=(",", ":")) for case in cases())
    return f"[\n{lines}\n]\n"


if __name__ == "__main__":
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(dumped())
