"""Small sentencepiece models, trained by the sentencepiece package the way the families that ship them train theirs."""

import io
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece

ROOT = Path(__file__).parents[2]
_MORE = (
    "明日の朝7時に起こして。部屋の電気を30%にしてください。",
    "Größe, naïve façade, İstanbul, žluťoučký kůň, señor",
    "مرحبا שלום हिन्दी ไทย 한국어 Ελληνικά Съешь же ещё",
    "今天天气很好，我们去公园散步吧。",
) * 5

_LLAMA: dict[str, Any] = {
    "model_type": "bpe", "vocab_size": 1200, "byte_fallback": True, "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False, "split_digits": True, "allow_whitespace_only_pieces": True,
}  # fmt: skip
_BOS_FIRST = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3}
_GEMMA_SYMBOLS = ["<mask>", "\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁", "<h1>", "\t", "<unused0>"]
SETTINGS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "no prefix": {**_LLAMA, "add_dummy_prefix": False},
    "gemma": {
        **_LLAMA, **_BOS_FIRST, "add_dummy_prefix": False, "user_defined_symbols": _GEMMA_SYMBOLS,
        "control_symbols": ["<start_of_turn>", "<end_of_turn>"], "bos_piece": "<bos>", "eos_piece": "<eos>",
    },
    "internlm2": {**_LLAMA, "control_symbols": [f"[UNUSED_TOKEN_{i}]" for i in range(8)]},
    "bpe nfkc": {"model_type": "bpe", "vocab_size": 1200, "byte_fallback": True},
    "t5": {"vocab_size": 1000, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "xlm-roberta": {"vocab_size": 1000},
    "deberta": {
        "vocab_size": 1000, "pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "pad_piece": "[PAD]",
        "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]", "user_defined_symbols": ["[MASK]"],
    },
    "unigram bytes": {
        "vocab_size": 1200, "byte_fallback": True, "normalization_rule_name": "nmt_nfkc_cf",
        "user_defined_symbols": ["<sep>", "<x>y"], "control_symbols": ["<ctrl>"],
    },
}  # fmt: skip


@cache
def trained(name: str) -> bytes:
    """The model file that `SETTINGS[name]` give, trained on this repository's licence and a few languages. 0.1 s."""
    lines = (ROOT / "LICENSE").read_text().splitlines()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*_MORE, *lines]),
        model_writer=model,
        minloglevel=2,
        num_threads=1,
        hard_vocab_limit=False,
        **SETTINGS[name],
    )
    return model.getvalue()


@cache
def processor(name: str) -> sentencepiece.SentencePieceProcessor:
    """The sentencepiece package's own reader of `trained(name)`."""
    return sentencepiece.SentencePieceProcessor(model_proto=trained(name))
