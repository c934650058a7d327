"""Small random checkpoints of real transformers models, with real tokenizers, for every test that needs one.

Weights are drawn much larger than transformers' own initialization (0.02), so that attention is peaked, norms and
biases matter, and a wrong wiring moves the output by far more than any tolerance.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

torch.set_num_threads(1)  # models this small only lose time to a second thread

DType = Literal["float32", "float16", "bfloat16"]

SENTENCES = (
    "Dim the bedroom lamp to thirty percent at nine.",
    "Wake me up tomorrow morning at seven, please.",
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind.",
    "A small model that answers precisely is better than a large one that guesses.",
    "明日の朝7時に起こしてください。",
    "Straße, naïve, façade: text isn't always ASCII.",
    "def add(a, b): return a + b  # 2 + 2 == 4",
)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tiny_llama(
    folder: Path | str,
    *,
    seed: int = 0,
    dtype: DType = "float32",
    max_shard_size: str = "5GB",
    **config_overrides: Any,
) -> Path:
    """Saves a Llama decoder of 2 layers with 4 query heads on 2 key/value heads of 12 (not hidden/heads = 8).

    `config_overrides` go to `LlamaConfig`. The tokenizer is a byte-level BPE with a chat template; the vocabulary of
    the model is the tokenizer's unless overridden. Returns `folder`.
    """
    tokenizer = _bpe_tokenizer()
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 56,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "max_position_embeddings": 64,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = LlamaForCausalLM(LlamaConfig(**(settings | config_overrides)))
    return _save(model, tokenizer, Path(folder), seed=seed, dtype=dtype, max_shard_size=max_shard_size)


def tiny_bert(
    folder: Path | str,
    *,
    pooling: Literal["mean", "cls"] | None = "mean",
    normalize: bool = True,
    max_seq_length: int | None = None,
    seed: int = 0,
    dtype: DType = "float32",
    max_shard_size: str = "5GB",
    **config_overrides: Any,
) -> Path:
    """Saves a BERT encoder of 2 layers with 3 heads of 12, as sentence-transformers does unless `pooling` is None.

    `config_overrides` go to `BertConfig`; `max_seq_length` to `sentence_bert_config.json`. The tokenizer is WordPiece.
    Returns `folder`.
    """
    tokenizer = _wordpiece_tokenizer()
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 36,
        "intermediate_size": 56,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": 64,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = BertModel(BertConfig(**(settings | config_overrides)))
    target = _save(model, tokenizer, Path(folder), seed=seed, dtype=dtype, max_shard_size=max_shard_size)
    if pooling is not None:
        _write_sentence_modules(target, model.config.hidden_size, pooling, normalize, max_seq_length)
    return target


def draw_weights(model: torch.nn.Module, seed: int) -> None:
    """Fills every parameter in sorted order: matrices with std 1.5/√in, norms around 1, biases with std 0.2."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise if "embed" in name else noise * 1.5 / parameter.shape[-1] ** 0.5)
            elif name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            else:
                parameter.copy_(1 + 0.2 * noise)


def _save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    seed: int,
    dtype: DType,
    max_shard_size: str,
) -> Path:
    draw_weights(model, seed)
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    tokenizer.save_pretrained(folder)
    return folder


def _write_sentence_modules(
    folder: Path, width: int, pooling: str, normalize: bool, max_seq_length: int | None
) -> None:
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalize else [])]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})
    write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )


def write_json(path: Path, value: Any) -> None:
    """Writes `value`, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def edit_config(folder: Path, **changes: Any) -> None:
    """Overwrites keys of `config.json`; a value of `...` removes the key."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    write_json(path, {key: value for key, value in config.items() if value is not ...})


@cache
def _bpe_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=331,  # odd, so that nothing divides it
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="left"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def word_pieces(specials: list[str], size: int = 211) -> dict[str, int]:
    """Ids for letters, words and endings; a trainer breaks ties of counts differently in every run."""
    words = Counter(re.findall(r"\w+|[^\w\s]", " ".join(SENTENCES).lower()))
    letters = sorted({letter for word in words for letter in word})
    frequent = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    endings = sorted({f"##{word[-length:]}" for word in frequent for length in (2, 3) if len(word) > length})
    pieces = [*specials, *letters, *(f"##{letter}" for letter in letters), *frequent, *endings]
    return {piece: index for index, piece in enumerate(pieces[:size])}


@cache
def _wordpiece_tokenizer() -> BertTokenizerFast:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(word_pieces(specials), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return BertTokenizerFast(tokenizer_object=tokenizer, do_lower_case=True)
