"""Tokenizers of components put together at random, for comparing the Swift package with Python's `tokenizers`."""

import json
import random
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from support.swift_resources import DECODERS, NORMALIZERS, PRE_TOKENIZERS
from support.swift_tokenizers import corpus

_TOKENS = (
    "<s>", "</s>", "lamp", "the", "é", "Ｋ", "▁a", " b", "[MASK]", "ﬁ", "<|end|>", "東京", "İ", "do", "don", "a  b",
)  # fmt: skip


def _chain(draw: random.Random, known: dict[str, Any], most: int) -> list[Any]:
    return [known[draw.choice(sorted(known))] for _ in range(draw.randint(0, most))]


def _model(draw: random.Random) -> tuple[Any, Any]:
    special = {"special_tokens": ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))], "show_progress": False}
    size = draw.choice([600, 1200, 3000])
    kind = draw.randrange(4)
    if kind == 0:
        settings = {"byte_fallback": draw.random() < 0.5, "fuse_unk": draw.random() < 0.5}
        affixes: dict[str, str] = {}
        if draw.random() < 0.3:
            affixes["end_of_word_suffix"] = "</w>"
        if draw.random() < 0.3:
            affixes["continuing_subword_prefix"] = "##"
        made = models.BPE(unk_token="<unk>", ignore_merges=draw.random() < 0.3, **settings, **affixes)
        limit = draw.choice([50, 300, 5000])
        return made, trainers.BpeTrainer(vocab_size=size, limit_alphabet=limit, **affixes, **special)
    if kind == 1:
        made = models.WordPiece(unk_token="<unk>", max_input_chars_per_word=draw.choice([5, 100]))
        return made, trainers.WordPieceTrainer(vocab_size=size, limit_alphabet=300, **special)
    if kind == 2:
        return models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(vocab_size=size * 3, **special)
    return models.Unigram(), trainers.UnigramTrainer(vocab_size=7000, unk_token="<unk>", **special)


def random_tokenizer(seed: int) -> Tokenizer:
    draw = random.Random(seed)
    model, trainer = _model(draw)
    made = Tokenizer(model)
    made.normalizer = normalizers.Sequence(_chain(draw, NORMALIZERS, 3))
    splits = _chain(draw, PRE_TOKENIZERS, 2) or [pre_tokenizers.Split(Regex(r"\s+"), "merged_with_next")]
    made.pre_tokenizer = pre_tokenizers.Sequence(splits)
    made.train_from_iterator(corpus()[14 : 14 + draw.choice([200, 500])], trainer)
    whole = json.loads(made.to_str())
    whole["added_tokens"] = []
    if whole["model"]["type"] == "Unigram":
        whole["model"]["byte_fallback"] = draw.random() < 0.5
    made = Tokenizer.from_str(json.dumps(whole))
    for token in draw.sample(_TOKENS, draw.randint(0, 8)):
        flags = {name: draw.random() < 0.4 for name in ("lstrip", "rstrip", "single_word", "normalized")}
        add = made.add_special_tokens if draw.random() < 0.5 else made.add_tokens
        add([AddedToken(token, **flags)])
    decoding = _chain(draw, {n: d for n, d in DECODERS.items() if d and "Strip" not in n}, 2)
    if decoding:
        made.decoder = decoders.Sequence(decoding)
    if draw.random() < 0.5:
        made.post_processor = processors.TemplateProcessing("<unk> $A <unk>", special_tokens=[("<unk>", 0)])
    return made
