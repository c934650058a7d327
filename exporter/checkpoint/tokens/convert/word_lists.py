"""Builds tokenizers from vocab.json and merges.txt (GPT-2's byte-level BPE) and from vocab.txt (BERT's WordPiece)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens.files import MERGES, VOCAB_JSON, VOCAB_TXT
from exporter.errors import InputError

if TYPE_CHECKING:
    import tokenizers

_MAX_TOKENS = 1 << 21  # the largest in use have some 256,000
_MAX_LIST_BYTES = 64 << 20
_MAX_ID = (1 << 31) - 1

# Qwen's byte-level BPE never merges across these: contractions, words, single digits, punctuation, line ends, spaces.
_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def read_vocabulary(folder: Folder) -> dict[str, int]:
    """Token → id, from `vocab.json`. `InputError` for any other JSON, and where two tokens share an id."""
    vocabulary = folder.read_object(VOCAB_JSON)
    if not vocabulary:
        raise InputError.of("checkpoint.tokenizer", f"there is no {VOCAB_JSON}, or it is empty", where=VOCAB_JSON)
    _check_size(len(vocabulary), VOCAB_JSON)
    wrong = [token for token, index in vocabulary.items() if type(index) is not int or not 0 <= index <= _MAX_ID]
    if wrong or len(set(vocabulary.values())) != len(vocabulary):
        message = f"{VOCAB_JSON} doesn't map each token to an id of its own"
        where = f"{VOCAB_JSON}: {wrong[0][:40]!r}" if wrong else VOCAB_JSON
        raise InputError.of("checkpoint.tokenizer", message, where=where)
    return vocabulary


def read_merges(folder: Folder) -> list[tuple[str, str]]:
    """The pairs in `merges.txt`, best first. A first line `#version: …` is skipped."""
    text = folder.read_text(MERGES, _MAX_LIST_BYTES)
    if text is None:
        raise InputError.of("checkpoint.tokenizer", f"{MERGES} is missing; {VOCAB_JSON} needs it", where=MERGES)
    lines = text.split("\n")
    _check_size(len(lines), MERGES)
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=1):
        parts = line.rstrip("\r").split(" ")
        if parts == [""] or (number == 1 and line.startswith("#version")):
            continue
        if len(parts) != 2 or not all(parts):
            raise InputError.of(
                "checkpoint.tokenizer", f"line {number} is not a pair of tokens: {line[:60]!r}", where=MERGES
            )
        merges.append((parts[0], parts[1]))
    return merges


def read_word_list(folder: Folder) -> dict[str, int]:
    """Token → line number from 0, from `vocab.txt`. Of a token in two lines, the last counts, as in BERT."""
    text = folder.read_text(VOCAB_TXT, _MAX_LIST_BYTES)
    if not text:
        raise InputError.of("checkpoint.tokenizer", f"{VOCAB_TXT} is empty", where=VOCAB_TXT)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not lines[-1]:
        lines.pop()
    _check_size(len(lines), VOCAB_TXT)
    return {token: index for index, token in enumerate(lines)}


def byte_level(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], *, prefix_space: bool, qwen: bool = False
) -> tokenizers.Tokenizer:
    """Byte-level BPE with GPT-2's words or, with `qwen`, with NFC and Qwen's words."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    core = models.BPE(dict(vocabulary), list(merges), continuing_subword_prefix="", end_of_word_suffix="")
    backend = Tokenizer(core)
    if qwen:
        words = pre_tokenizers.Split(Regex(_QWEN_WORDS), "isolated")
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=False)
        backend.normalizer = normalizers.NFC()
        backend.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])
    else:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return backend


def word_piece(vocabulary: Mapping[str, int], unknown: str, *, chinese: bool) -> tokenizers.Tokenizer:
    """BERT's WordPiece: greedy longest match within words. chinese: each Chinese character is a word."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    core: Any = models.WordPiece(dict(vocabulary), unk_token=unknown)
    backend = Tokenizer(core)
    backend.normalizer = normalizers.BertNormalizer(handle_chinese_chars=chinese)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def _check_size(count: int, name: str) -> None:
    if count > _MAX_TOKENS:
        raise InputError.of(
            "checkpoint.too_large", f"{name} has {count:,} entries; at most {_MAX_TOKENS:,} are read", where=name
        )
