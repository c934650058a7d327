"""Small tokenizers of every build that transformers' classes expect: WordPiece, byte-level BPE, sentencepiece."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

TEXTS = (
    "", " ", "\n", "Hello, World! It's 9:30 — don't be late.", "  two  spaces, a\ttab\n\nand lines ", " leading",
    "dim the bedroom lamp to thirty percent at nine", "明日の朝7時に起こして。部屋の電気を３０％に", "今天天气很好",
    "Größe, naïve façade, İstanbul, ǅ, ﬁ, a\u0301", "مرحبا שלום हिन्दी ไทย 한국어 Ελληνικά",
    "🙂👩‍👩‍👧 \u200bzero\ufeff width\x00 \x7f",
    "[MASK] [CLS] <mask> <s> </s> <eos> <|endoftext|> <extra> x<extra>y <EXTRA>",
    "dim the [MASK] lamp  [MASK]", "dim the <mask> lamp  <mask>", "lamp <s> the </s>dim <unk>", "lamp " * 30,
)  # fmt: skip
PAIRS = (("dim the lamp", "Lampe dimmen"), ("", "second"), (" first ", " second "))
_LANGUAGES = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP nl_XX "
    "ro_RO ru_RU si_LK tr_TR vi_VN zh_CN af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN "
    "pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)  # mBART's, which its classes add where they are missing
ALL_SPECIAL = (
    *_LANGUAGES.split(), *(f"<madeupword{i}>" for i in range(7)), "<mask_1>", "<mask_2>",
    *(f"<unk_{i}>" for i in range(2, 103)),
    "<s>", "<pad>", "</s>", "<unk>", "<mask>", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<|endoftext|>",
    "<|startoftext|>", "<bos>", "<eos>", "<cls>", "<sep>", "<eop>", "<eod>", "eng_Latn", "deu_Latn", "__eng__",
    "__deu__",
    "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", "▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>",
)  # fmt: skip


@cache
def _word_piece() -> str:
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=900, special_tokens=list(ALL_SPECIAL), show_progress=False)
    backend.train_from_iterator([*TEXTS, *(t.lower() for t in TEXTS)], trainer)
    cls, sep = backend.token_to_id("[CLS]"), backend.token_to_id("[SEP]")
    backend.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    backend.enable_padding(length=32)
    backend.enable_truncation(16)
    return str(backend.to_str())


@cache
def _byte_level() -> str:
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=list(ALL_SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", backend.token_to_id("</s>")), ("<s>", backend.token_to_id("<s>"))
    )
    return str(backend.to_str())


@cache
def _split_byte_level() -> str:
    """A sequence of a split and byte-level, as CLIP, Bloom and Cohere have it."""
    backend = Tokenizer.from_str(_byte_level())
    split = pre_tokenizers.Split(Regex(r"\s?\p{L}+|\p{N}|\s?[^\s\p{L}\p{N}]+|\s+"), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return str(backend.to_str())


@cache
def _unigram() -> str:
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=list(ALL_SPECIAL), unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(list(TEXTS) * 4, trainer)
    return str(backend.to_str())


@cache
def _byte_fallback() -> str:
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tail = [decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), *tail])
    special = [*ALL_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.train_from_iterator(
        [t.replace(" ", "▁") for t in TEXTS],
        trainers.BpeTrainer(vocab_size=1100, special_tokens=special, show_progress=False),
    )
    whole = json.loads(backend.to_str())
    whole["added_tokens"] = [token for token in whole["added_tokens"] if not token["content"].startswith("<0x")]
    return json.dumps(whole)


BUILDS: Mapping[str, Callable[[], str]] = {
    "word piece": _word_piece,
    "byte level": _byte_level,
    "split byte level": _split_byte_level,
    "unigram": _unigram,
    "byte fallback": _byte_fallback,
}


def write_tokenizer(
    folder: Path, build: str, settings: Mapping[str, Any] | None, config: Mapping[str, Any] | None = None, **files: Any
) -> Path:
    """tokenizer.json of that build; tokenizer_config.json unless `settings` is None; config.json; more JSON files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(BUILDS[build](), encoding="utf-8")
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config or {"model_type": "bert"}), encoding="utf-8")
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def token(text: str, **flags: bool) -> dict[str, Any]:
    """A token with flags, as tokenizer_config.json lists it under an id and special_tokens_map.json names it."""
    made = AddedToken(text, **flags)
    return {
        "content": text, "lstrip": made.lstrip, "rstrip": made.rstrip, "normalized": made.normalized,
        "single_word": made.single_word, "special": made.special,
    }  # fmt: skip


def named(text: str, **flags: bool) -> dict[str, Any]:
    """A token with flags, as tokenizer_config.json names it."""
    return {"__type": "AddedToken", **token(text, **flags)}
