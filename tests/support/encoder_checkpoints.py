"""Small random encoder checkpoints of every family and task, with tokenizers that know pairs and a mask token."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from support.checkpoints import SENTENCES, DType, draw_weights, word_pieces, write_json

SMALL: dict[str, Any] = {
    "hidden_size": 36,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 64,
}
ROBERTA_LIKE: dict[str, Any] = {**SMALL, "max_position_embeddings": 66, "type_vocab_size": 1}

# model_type → class names' beginning, and a small configuration
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "albert": ("Albert", {**SMALL, "embedding_size": 20, "num_hidden_layers": 4, "num_hidden_groups": 2}),
    "bert": ("Bert", SMALL),
    "camembert": ("Camembert", ROBERTA_LIKE),
    "data2vec-text": ("Data2VecText", ROBERTA_LIKE),
    "deberta-v2": (
        "DebertaV2",
        {
            **SMALL,
            "relative_attention": True,
            "position_buckets": 8,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
            "type_vocab_size": 0,
            "max_relative_positions": -1,
        },
    ),
    "distilbert": (
        "DistilBert",
        {"dim": 36, "hidden_dim": 56, "n_layers": 2, "n_heads": 3, "max_position_embeddings": 64},
    ),
    "electra": ("Electra", {**SMALL, "embedding_size": 20}),
    "modernbert": (
        "ModernBert",
        {
            **SMALL,
            "num_hidden_layers": 4,
            "local_attention": 12,
            "reference_compile": False,
            "global_rope_theta": 500.0,
            "local_rope_theta": 20.0,
        },
    ),
    "mpnet": ("MPNet", {**SMALL, "max_position_embeddings": 66}),
    "roberta": ("Roberta", ROBERTA_LIKE),
    "xlm-roberta": ("XLMRoberta", ROBERTA_LIKE),
}
HEADS = ("Model", "ForSequenceClassification", "ForTokenClassification", "ForMaskedLM", "ForQuestionAnswering")
_PADDED_FROM_ONE = ("camembert", "data2vec-text", "mpnet", "roberta", "xlm-roberta")


def tiny_encoder(
    folder: Path | str,
    family: str,
    head: str = "Model",
    *,
    seed: int = 0,
    dtype: DType = "float32",
    max_shard_size: str = "5GB",
    **config_overrides: Any,
) -> Path:
    """Saves a random checkpoint of `family` with the class `{Family}{head}`; returns `folder`."""
    prefix, settings = FAMILIES[family]
    tokenizer = copy.copy(encoder_tokenizer(padding_is_one=family in _PADDED_FROM_ONE))
    ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    ids |= {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    config = getattr(transformers, f"{prefix}Config")(**{**settings, **ids, **config_overrides})
    model: PreTrainedModel = getattr(transformers, f"{prefix}{head}")(config)
    typed = getattr(config, "type_vocab_size", 0) > 1
    tokenizer.model_input_names = ["input_ids", "attention_mask", *(["token_type_ids"] if typed else [])]
    tokenizer.init_kwargs = {**tokenizer.init_kwargs, "model_input_names": tokenizer.model_input_names}
    draw_weights(model, seed)
    model.tie_weights()
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=max_shard_size)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def write_pooling(folder: Path, mode: str, *, normalize: bool = False, dense: Sequence[tuple[int, str]] = ()) -> None:
    """sentence-transformers' modules: one pooling mode, `dense` layers of (width, torch activation), a unit norm."""
    width = transformers.AutoConfig.from_pretrained(folder).hidden_size
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": width,
            "pooling_mode_mean_tokens": mode == "mean_tokens",
            f"pooling_mode_{mode}": True,
        },
    )
    generator = torch.Generator().manual_seed(1)
    for out, activation in dense:
        path = f"{len(kinds)}_Dense"
        kinds.append((path, "Dense"))
        settings = {"in_features": width, "out_features": out, "bias": True, "activation_function": activation}
        write_json(folder / path / "config.json", settings)
        from safetensors.torch import save_file

        weight = torch.randn(out, width, generator=generator) / width**0.5
        bias = torch.randn(out, generator=generator)
        save_file({"linear.weight": weight, "linear.bias": bias}, folder / path / "model.safetensors")
        width = out
    if normalize:
        kinds.append((f"{len(kinds)}_Normalize", "Normalize"))
    types = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    write_json(folder / "modules.json", types)


@cache
def encoder_tokenizer(*, padding_is_one: bool) -> PreTrainedTokenizerFast:
    """WordPiece as BERT's, or byte-level BPE as RoBERTa's, whose padding has id 1."""
    return _roberta_like() if padding_is_one else _bert_like()


def _bert_like() -> PreTrainedTokenizerFast:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(word_pieces(specials), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("pad", "unk", "cls", "sep", "mask")
    tokens = {f"{name}_token": token for name, token in zip(names, specials, strict=True)}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)


def _roberta_like() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=311,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(sep=("</s>", 2), cls=("<s>", 0), add_prefix_space=False)
    names = ("cls", "pad", "sep", "unk", "mask")
    tokens = {f"{name}_token": token for name, token in zip(names, specials, strict=True)}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        **tokens,
    )
