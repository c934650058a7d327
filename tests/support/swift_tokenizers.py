"""Small tokenizers in the shape of known families, for comparing the Swift package with Python's `tokenizers`."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from support.sentencepiece_models import trained
from support.swift_texts import texts

ROOT = Path(__file__).parents[2]
_ALPHABET = pre_tokenizers.ByteLevel.alphabet()
GPT4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = GPT4 % r"\p{N}{1,3}"
QWEN2 = GPT4 % r"\p{N}"
O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+",
])  # fmt: skip
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KIMI = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}&&[^\p{Han}]]+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+"


@cache
def corpus() -> tuple[str, ...]:
    return tuple(texts(3000, seed=5))


def _byte_level(pre_tokenizer: Any, normalizer: Any = None, **settings: Any) -> Tokenizer:
    made = Tokenizer(models.BPE(**settings))
    made.pre_tokenizer, made.decoder = pre_tokenizer, decoders.ByteLevel()
    if normalizer:
        made.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=_ALPHABET, special_tokens=["<|endoftext|>", "<|end|>"], show_progress=False
    )
    made.train_from_iterator(corpus(), trainer)
    return made


def _split(pattern: str, behavior: str = "isolated", invert: bool = False) -> Any:
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def _then_bytes(*splits: Any) -> Any:
    return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def llama3() -> Tokenizer:
    made = _byte_level(_then_bytes(_split(LLAMA3)), ignore_merges=True)
    template = processors.TemplateProcessing("<|end|> $A", "<|end|> $A <|end|> $B:1", [("<|end|>", 1)])
    made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return made


def qwen2() -> Tokenizer:
    made = _byte_level(_then_bytes(_split(QWEN2)), normalizers.NFC())
    made.add_special_tokens(["<|user|>"])
    made.add_tokens(["<tool>", AddedToken("lamp", single_word=True), AddedToken("Ｋ", normalized=True)])
    return made


def gpt2() -> Tokenizer:
    return _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))


def roberta() -> Tokenizer:
    made = _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), unk_token="<unk>")
    made.add_special_tokens([AddedToken("<mask>", lstrip=True), "<s>", "</s>", AddedToken("<unk>", rstrip=True)])
    ids = [(token, made.token_to_id(token)) for token in ("</s>", "<s>")]
    made.post_processor = processors.RobertaProcessing(*ids)
    return made


def o200k() -> Tokenizer:
    return _byte_level(_then_bytes(_split(O200K)))


def deepseek() -> Tokenizer:
    cjk = _split("[一-龥\u3040-ゟ゠-ヿ]+")
    return _byte_level(_then_bytes(_split(r"\p{N}{1,3}"), cjk, _split(DEEPSEEK)))


def kimi() -> Tokenizer:
    return _byte_level(_then_bytes(_split(KIMI)))


def clip() -> Tokenizer:
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    made = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix="", unk_token="<|endoftext|>"))
    made.normalizer = normalizers.Sequence([
        normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()
    ])  # fmt: skip
    made.pre_tokenizer = _then_bytes(_split(pattern, "removed", invert=True))
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=_ALPHABET, end_of_word_suffix="</w>", show_progress=False,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
    )  # fmt: skip
    made.train_from_iterator(corpus(), trainer)
    whole = json.loads(made.to_str())
    vocabulary = whole["model"]["vocab"]
    for char in sorted(_ALPHABET):
        vocabulary.setdefault(char + "</w>", len(vocabulary))
    made = Tokenizer.from_str(json.dumps(whole))
    made.post_processor = processors.RobertaProcessing(
        ("<|endoftext|>", 1), ("<|startoftext|>", 0), trim_offsets=False, add_prefix_space=False
    )
    return made


def bert_cased() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(cleanup=False)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=3000, special_tokens=special, show_progress=False)
    made.train_from_iterator(corpus(), trainer)
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.enable_truncation(24, direction="left")
    made.enable_padding(direction="left", pad_to_multiple_of=8)
    return made


def word_level() -> Tokenizer:
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Strip()])
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Punctuation("contiguous"),
    ])  # fmt: skip
    trainer = trainers.WordLevelTrainer(vocab_size=4000, special_tokens=["[UNK]"], show_progress=False)
    made.train_from_iterator(corpus(), trainer)
    return made


def old_bpe() -> Tokenizer:
    """OpenAI's first GPT: words end with </w>, and nothing falls back to bytes."""
    made = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=1500, limit_alphabet=400, end_of_word_suffix="</w>", special_tokens=["<unk>"], show_progress=False
    )
    made.train_from_iterator(corpus(), trainer)
    return made


def continuing_bpe() -> Tokenizer:
    """BPE with ## on what continues a word, unknown characters in a row as one."""
    made = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    made.pre_tokenizer, made.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, limit_alphabet=300, continuing_subword_prefix="##", special_tokens=["<unk>"],
        show_progress=False,
    )  # fmt: skip
    made.train_from_iterator(corpus(), trainer)
    return made


def unigram_plain() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(prepend_scheme="first"), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=1500, special_tokens=["<unk>", "<s>"], unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(corpus()[14:1000], trainer)
    return made


def _from_sentencepiece(model: str, make: Callable[[str], Any]) -> Tokenizer:
    from transformers.convert_slow_tokenizer import convert_slow_tokenizer

    with TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.model"
        path.write_bytes(trained(model))
        return convert_slow_tokenizer(make(str(path)))


def llama2(model: str = "llama", **settings: Any) -> Tokenizer:
    from transformers import LlamaTokenizer

    return _from_sentencepiece(model, lambda path: LlamaTokenizer(path, **settings))


def gemma() -> Tokenizer:
    from transformers import GemmaTokenizer

    return _from_sentencepiece("gemma", GemmaTokenizer)


def t5(**settings: Any) -> Tokenizer:
    from transformers import T5Tokenizer

    return _from_sentencepiece("t5", lambda path: T5Tokenizer(path, **settings))


def xlm_roberta() -> Tokenizer:
    from transformers import XLMRobertaTokenizer

    return _from_sentencepiece("xlm-roberta", XLMRobertaTokenizer)


def albert() -> Tokenizer:
    from transformers import AlbertTokenizer

    return _from_sentencepiece("deberta", AlbertTokenizer)


def deberta() -> Tokenizer:
    from transformers import DebertaV2Tokenizer

    return _from_sentencepiece("deberta", DebertaV2Tokenizer)


def unigram_bytes() -> Tokenizer:
    """nmt_nfkc_cf's character map, byte fallback, Strip and a first-only Metaspace: all that moves positions."""
    from transformers import T5Tokenizer

    made = _from_sentencepiece("unigram bytes", lambda path: T5Tokenizer(path, extra_ids=0))
    whole = json.loads(made.to_str())
    whole["model"]["byte_fallback"] = True
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    whole["normalizer"] = {"type": "Sequence", "normalizers": [whole["normalizer"], strip]}
    whole["pre_tokenizer"] = {
        "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False
    }  # fmt: skip
    tail = [{"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    whole["decoder"] = {"type": "Sequence", "decoders": [replace, *tail]}
    return Tokenizer.from_str(json.dumps(whole))


BUILDS: dict[str, Callable[[], Tokenizer]] = {
    "llama3": llama3, "qwen2": qwen2, "gpt2": gpt2, "roberta": roberta, "o200k": o200k, "deepseek": deepseek,
    "kimi": kimi, "clip": clip, "bert-cased": bert_cased, "word-level": word_level, "old-bpe": old_bpe,
    "continuing-bpe": continuing_bpe, "unigram": unigram_plain, "llama2-legacy": lambda: llama2(legacy=True),
    "llama2": lambda: llama2(legacy=False), "llama2-nfkc": lambda: llama2("bpe nfkc", legacy=True), "gemma": gemma,
    "t5": t5, "t5-new": lambda: t5(legacy=False), "xlm-roberta": xlm_roberta, "albert": albert, "deberta": deberta,
    "unigram-bytes": unigram_bytes,
}  # fmt: skip
