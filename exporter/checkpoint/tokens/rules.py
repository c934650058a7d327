"""Applies the changes that transformers makes to a `tokenizer.json` when it loads one, so that token ids are the same.

In its tokenizer classes, `tokenizer_config.json` and the class's own defaults override `tokenizer.json`: BERT's case
folding, Llama's bos/eos template, the prefix space, special tokens. The table of settings per class follows
`PreTrainedTokenizerFast` and its subclasses in transformers 4.57.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.tokens.special import ADDITIONAL_TOKENS, Flags, add_tokens, str_of, token_of
from exporter.errors import InputError

if TYPE_CHECKING:
    import tokenizers


@dataclass(frozen=True)
class TokenizerClass:
    """The settings of a transformers tokenizer class that change token ids.

    tokens: default special tokens. flags: the flags of special tokens that are stated as text alone.
    normalizer: the settings that override a BertNormalizer's, with their defaults; None where the class overrides
    none. template: default (add_bos_token, add_eos_token) of a class that builds its own post-processor.
    prefix_space: default add_prefix_space, None where the class overrides none. extra_ids: whether it has T5's
    sentinels.
    """

    tokens: Mapping[str, str]
    flags: Mapping[str, Flags] = field(default_factory=dict)
    normalizer: Mapping[str, Any] | None = None
    template: tuple[bool, bool] | None = None
    prefix_space: bool | None = False
    extra_ids: bool = False


_BERT_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ROBERTA_TOKENS = {
    "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "pad_token": "<pad>",
    "cls_token": "<s>", "mask_token": "<mask>",
}  # fmt: skip
_LLAMA_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_GEMMA_TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
_GPT2_TOKENS = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
_QWEN_TOKENS = dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>")
_BERT_NORMALIZER = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
_MPNET_NORMALIZER = {"do_lower_case": True, "strip_accents": None}
_NORMALIZER_FIELDS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}

_MAX_SENTINELS = 10_000  # T5 and its kin have 100
_NO_FLAGS: Flags = {}
_NOT_NORMALIZED: Flags = {"special": True, "normalized": False}
_NO_RULES = TokenizerClass({})
_BERT = TokenizerClass(_BERT_TOKENS, normalizer=_BERT_NORMALIZER)
_LLAMA = TokenizerClass(_LLAMA_TOKENS, template=(True, False), prefix_space=None)
_T5 = TokenizerClass({"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}, extra_ids=True)
_CLASSES: Mapping[str, TokenizerClass] = {
    "BertTokenizer": _BERT,
    "ConvBertTokenizer": _BERT,
    "DistilBertTokenizer": _BERT,
    "ElectraTokenizer": _BERT,
    "MobileBertTokenizer": _BERT,
    "SqueezeBertTokenizer": _BERT,
    "MPNetTokenizer": TokenizerClass(
        {**_ROBERTA_TOKENS, "unk_token": "[UNK]"},
        flags=dict.fromkeys(_ROBERTA_TOKENS, _NO_FLAGS) | {"mask_token": {"lstrip": True}},
        normalizer=_MPNET_NORMALIZER,
    ),
    "RobertaTokenizer": TokenizerClass(_ROBERTA_TOKENS, {"mask_token": {"lstrip": True, "normalized": False}}),
    "XLMRobertaTokenizer": TokenizerClass(_ROBERTA_TOKENS, {"mask_token": {"lstrip": True}}),
    "BartTokenizer": TokenizerClass(
        _ROBERTA_TOKENS, {"mask_token": {"lstrip": True, "normalized": True, "special": True}}
    ),
    "LlamaTokenizer": _LLAMA,
    "InternLMTokenizer": _LLAMA,
    "InternLM2Tokenizer": _LLAMA,
    "InternLM3Tokenizer": _LLAMA,
    "T5Tokenizer": _T5,
    "MT5Tokenizer": _T5,
    "DebertaV2Tokenizer": TokenizerClass({**_BERT_TOKENS, "bos_token": "[CLS]", "eos_token": "[SEP]"}),
    "GemmaTokenizer": TokenizerClass(_GEMMA_TOKENS, template=(True, False)),
    "GPTNeoXTokenizer": TokenizerClass(_GPT2_TOKENS, template=(False, False)),
    "GPT2Tokenizer": TokenizerClass(_GPT2_TOKENS),
    "CodeGenTokenizer": TokenizerClass(_GPT2_TOKENS),
    "Qwen2Tokenizer": TokenizerClass(_QWEN_TOKENS, dict.fromkeys(("bos_token", *_QWEN_TOKENS), _NOT_NORMALIZED)),
}
# transformers chooses the class by model type where tokenizer_config.json names none.
_MODEL_TYPES = {
    "BertTokenizer": ("bert", "ernie"),
    "DistilBertTokenizer": ("distilbert",),
    "ElectraTokenizer": ("electra",),
    "MobileBertTokenizer": ("mobilebert",),
    "ConvBertTokenizer": ("convbert",),
    "SqueezeBertTokenizer": ("squeezebert",),
    "MPNetTokenizer": ("mpnet",),
    "RobertaTokenizer": ("roberta",),
    "BartTokenizer": ("bart",),
    "XLMRobertaTokenizer": ("xlm-roberta", "xlm-roberta-xl"),
    "DebertaV2Tokenizer": ("deberta-v2",),
    "T5Tokenizer": ("t5", "umt5", "switch_transformers"),
    "MT5Tokenizer": ("mt5",),
    "LlamaTokenizer": ("llama", "mistral", "mixtral", "phi3", "phimoe", "arcee", "ernie4_5", "minicpm", "openelm"),
    "InternLM2Tokenizer": ("internlm2",),
    "InternLM3Tokenizer": ("internlm3",),
    "GemmaTokenizer": ("gemma", "gemma2", "gemma3", "gemma3_text"),
    "GPT2Tokenizer": ("gpt2", "opt", "granite", "gpt_neo", "gptj", "gpt_bigcode", "starcoder2", "olmo3"),
    "CodeGenTokenizer": ("phi", "codegen"),
    "GPTNeoXTokenizer": ("olmo", "olmo2", "olmoe", "gpt_neox", "stablelm", "mpt"),
    "Qwen2Tokenizer": ("qwen2", "qwen3", "qwen2_moe", "qwen3_moe"),
}
_BY_MODEL_TYPE = {model_type: name for name, types in _MODEL_TYPES.items() for model_type in types}


def class_name(settings: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The class that AutoTokenizer takes, without `Fast`: `tokenizer_class` in either file, else the class of the model
    type, else "".
    """
    name = settings.get("tokenizer_class") or config.get("tokenizer_class")
    if not isinstance(name, str):
        name = _BY_MODEL_TYPE.get(str(config.get("model_type")), "")
    return name.removesuffix("Fast")


def tokenizer_class(name: str) -> TokenizerClass:
    """The rules of the class `name` (without `Fast`). An unknown class has no rules."""
    return _CLASSES.get(name, _NO_RULES)


def is_known(name: str) -> bool:
    """Whether `tokenizer_class` has rules for the class `name`."""
    return name in _CLASSES


def apply(backend: tokenizers.Tokenizer, kind: TokenizerClass, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Changes `backend` in place as transformers does. Returns the special tokens as chat templates see them."""
    # The padding section of tokenizer.json names the padding token where no setting and no class does.
    padding = {} if backend.padding is None else {"pad_token": backend.padding["pad_token"]}
    if kind.extra_ids:
        settings = {**settings, ADDITIONAL_TOKENS: _with_sentinels(settings)}
    tokens = add_tokens(backend, settings, {**padding, **kind.tokens}, kind.flags)
    _prefix_space(backend, settings.get("add_prefix_space", kind.prefix_space))
    if kind.normalizer is not None:
        _normalize(backend, {key: settings.get(key, value) for key, value in kind.normalizer.items()})
    if kind.template is not None and not _template_is_stored(settings):
        _template(backend, settings, tokens, kind.template)
    return tokens


def _template_is_stored(settings: Mapping[str, Any]) -> bool:
    """Whether tokenizer.json's template is kept. transformers 5, which writes `backend`, replaces it on request."""
    return "backend" in settings and all(settings.get(key) is None for key in ("add_bos_token", "add_eos_token"))


def _with_sentinels(settings: Mapping[str, Any]) -> list[Any]:
    """The stated additional special tokens, with T5's `<extra_id_0>` and so on unless such tokens are among them."""
    stated, count = settings.get(ADDITIONAL_TOKENS), settings.get("extra_ids", 100)
    tokens = list(stated) if isinstance(stated, list) else []
    if type(count) is not int or not 0 <= count <= _MAX_SENTINELS:
        raise InputError.of("checkpoint.tokenizer", f"extra_ids is {str(count)[:40]!r}", where="tokenizer_config.json")
    texts = [str_of(token) for entry in tokens if (token := token_of(entry, ADDITIONAL_TOKENS)) is not None]
    if not any("<extra_id_" in text for text in texts):
        tokens += [f"<extra_id_{i}>" for i in range(count)]
    return tokens


def _prefix_space(tokenizer: tokenizers.Tokenizer, wanted: Any) -> None:
    if wanted is None or tokenizer.pre_tokenizer is None:
        return
    from tokenizers import pre_tokenizers

    state = json.loads(tokenizer.pre_tokenizer.__getstate__())
    if state.get("type") == "ByteLevel" and state["add_prefix_space"] != bool(wanted):
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=bool(wanted), trim_offsets=state["trim_offsets"], use_regex=state["use_regex"]
        )


def _normalize(tokenizer: tokenizers.Tokenizer, wanted: Mapping[str, Any]) -> None:
    if tokenizer.normalizer is None:
        return
    from tokenizers import normalizers

    state = json.loads(tokenizer.normalizer.__getstate__())
    if state.pop("type") != "BertNormalizer":
        return
    for key, value in wanted.items():
        if value is not None and not isinstance(value, bool):
            raise InputError.of(
                "checkpoint.tokenizer",
                f"{key} is {str(value)[:40]!r}, not true or false",
                where="tokenizer_config.json",
            )
        state[_NORMALIZER_FIELDS[key]] = value
    tokenizer.normalizer = normalizers.BertNormalizer(**state)


def _template(
    tokenizer: tokenizers.Tokenizer,
    settings: Mapping[str, Any],
    tokens: Mapping[str, Any],
    default: tuple[bool, bool],
) -> None:
    from tokenizers import processors

    parts, used = ["$A:0"], []
    for key, before, add_default in (("bos_token", True, default[0]), ("eos_token", False, default[1])):
        if not settings.get(f"add_{key}", add_default):
            continue
        text = tokens.get(key)
        token_id = None if text is None else tokenizer.token_to_id(text)
        if token_id is None:
            raise InputError.of(
                "checkpoint.tokenizer", f"add_{key} is set, but there is no {key}", where="tokenizer_config.json"
            )
        parts.insert(0 if before else len(parts), f"{text}:0")
        used.append((text, token_id))
    tokenizer.post_processor = processors.TemplateProcessing(single=parts, pair=[*parts, "$B:1"], special_tokens=used)
