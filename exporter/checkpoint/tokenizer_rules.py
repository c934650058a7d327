"""What transformers changes in a `tokenizer.json` when it loads one, so that token ids come out the same.

Its tokenizer classes let `tokenizer_config.json` (and their own defaults) win over `tokenizer.json`: case folding of
BERT's, the bos/eos template of Llama's, the prefix space, special tokens. Read off transformers 4.57,
`PreTrainedTokenizerFast` and its subclasses; here it is a table of settings per class.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.errors import InputError

if TYPE_CHECKING:
    import tokenizers

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
ADDITIONAL = "additional_special_tokens"
_EXTRA = "extra_special_tokens"  # further named tokens: {"image_token": "<image>"}


@dataclass(frozen=True)
class TokenizerClass:
    """A transformers tokenizer class, as far as it changes token ids.

    tokens: its default special tokens. normalizer: the settings that it forces upon a BertNormalizer, with their
    defaults (None: it leaves the normalizer alone). template: default (add_bos_token, add_eos_token) of a class that
    builds its own post-processor. prefix_space: its default add_prefix_space, None where it doesn't force one.
    """

    tokens: Mapping[str, str]
    normalizer: Mapping[str, Any] | None = None
    template: tuple[bool, bool] | None = None
    prefix_space: bool | None = False


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

_PLAIN = TokenizerClass({})
_BERT = TokenizerClass(_BERT_TOKENS, normalizer=_BERT_NORMALIZER)
_CLASSES: Mapping[str, TokenizerClass] = {
    "BertTokenizer": _BERT,
    "ConvBertTokenizer": _BERT,
    "DistilBertTokenizer": _BERT,
    "ElectraTokenizer": _BERT,
    "MobileBertTokenizer": _BERT,
    "SqueezeBertTokenizer": _BERT,
    "MPNetTokenizer": TokenizerClass({**_ROBERTA_TOKENS, "unk_token": "[UNK]"}, normalizer=_MPNET_NORMALIZER),
    "RobertaTokenizer": TokenizerClass(_ROBERTA_TOKENS),
    "XLMRobertaTokenizer": TokenizerClass(_ROBERTA_TOKENS),
    "LlamaTokenizer": TokenizerClass(_LLAMA_TOKENS, template=(True, False), prefix_space=None),
    "GemmaTokenizer": TokenizerClass(_GEMMA_TOKENS, template=(True, False)),
    "GPTNeoXTokenizer": TokenizerClass(_GPT2_TOKENS, template=(False, False)),
    "GPT2Tokenizer": TokenizerClass(_GPT2_TOKENS),
    "CodeGenTokenizer": TokenizerClass(_GPT2_TOKENS),
    "Qwen2Tokenizer": TokenizerClass(_QWEN_TOKENS),
}
# The class where tokenizer_config.json names none: transformers goes by the model type.
_BY_MODEL_TYPE = {
    "bert": "BertTokenizer", "distilbert": "DistilBertTokenizer", "electra": "ElectraTokenizer",
    "mobilebert": "MobileBertTokenizer", "mpnet": "MPNetTokenizer", "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer", "llama": "LlamaTokenizer", "mistral": "LlamaTokenizer",
    "phi3": "LlamaTokenizer", "gemma": "GemmaTokenizer", "gemma2": "GemmaTokenizer", "gemma3_text": "GemmaTokenizer",
    "gpt2": "GPT2Tokenizer", "opt": "GPT2Tokenizer", "granite": "GPT2Tokenizer", "phi": "CodeGenTokenizer",
    "olmo2": "GPTNeoXTokenizer", "qwen2": "Qwen2Tokenizer", "qwen3": "Qwen2Tokenizer",
}  # fmt: skip


def tokenizer_class(settings: Mapping[str, Any], config: Mapping[str, Any]) -> TokenizerClass:
    """The class that AutoTokenizer would take: by `tokenizer_class` in either file, else by the model type."""
    name = settings.get("tokenizer_class") or config.get("tokenizer_class")
    if not isinstance(name, str):
        name = _BY_MODEL_TYPE.get(str(config.get("model_type")), "")
    return _CLASSES.get(name.removesuffix("Fast"), _PLAIN)


def special_tokens(settings: Mapping[str, Any], default: Mapping[str, str]) -> dict[str, Any]:
    """`bos_token` … `mask_token` → text, and `additional_special_tokens` → list of texts, as templates see them."""
    tokens: dict[str, Any] = {}
    for key in SPECIAL:
        text = content(settings[key], key) if key in settings else default.get(key)
        if text is not None:
            tokens[key] = text
    extra = settings.get(_EXTRA)
    for key, token in sorted(extra.items()) if isinstance(extra, dict) else ():
        if (text := content(token, key)) is not None:
            tokens.setdefault(key, text)
    additional = settings.get(ADDITIONAL)
    if isinstance(additional, list) and additional:
        tokens[ADDITIONAL] = [text for entry in additional if (text := content(entry, ADDITIONAL)) is not None]
    return tokens


def content(token: Any, where: str) -> str | None:
    """The text of a token, which the files write as a string or as an object with `content`."""
    text = token.get("content") if isinstance(token, dict) else token
    if text is None or isinstance(text, str):
        return text
    raise InputError.of("checkpoint.tokenizer", f"{where} is {str(token)[:80]!r}, not a token", where=where)


def apply(
    tokenizer: tokenizers.Tokenizer, kind: TokenizerClass, settings: Mapping[str, Any], tokens: Mapping[str, Any]
) -> None:
    """Changes `tokenizer` in place the way transformers does."""
    _add_tokens(tokenizer, settings, tokens)
    _prefix_space(tokenizer, settings.get("add_prefix_space", kind.prefix_space))
    if kind.normalizer is not None:
        _normalize(tokenizer, {key: settings.get(key, value) for key, value in kind.normalizer.items()})
    if kind.template is not None:
        _template(tokenizer, settings, tokens, kind.template)


def _add_tokens(tokenizer: tokenizers.Tokenizer, settings: Mapping[str, Any], tokens: Mapping[str, Any]) -> None:
    """Tokens that only the settings know become added tokens: text is split at them."""
    from tokenizers import AddedToken

    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    special = {key: value for key, value in tokens.items() if key != ADDITIONAL}
    every_special = dict.fromkeys([*special.values(), *tokens.get(ADDITIONAL, [])])
    flags: dict[str, Mapping[str, Any]] = {}
    decoder = settings.get("added_tokens_decoder")
    for _, entry in sorted((decoder if isinstance(decoder, dict) else {}).items(), key=_by_id):
        text = content(entry, "added_tokens_decoder")
        if text is not None and isinstance(entry, dict):
            flags[text] = entry
    for key, text in special.items():
        if isinstance(settings.get(key), dict):
            flags.setdefault(text, settings[key])
    new = []
    for text in dict.fromkeys([*flags, *every_special]):
        if text in known or not text:
            continue
        entry = flags.get(text, {})
        is_special = text in every_special or bool(entry.get("special"))
        new.append(
            AddedToken(
                text,
                single_word=bool(entry.get("single_word")),
                lstrip=bool(entry.get("lstrip")),
                rstrip=bool(entry.get("rstrip")),
                normalized=bool(entry.get("normalized", not is_special)),
                special=is_special,
            )
        )
    if new:
        tokenizer.add_tokens(new)


def _by_id(item: tuple[str, Any]) -> int:
    try:
        return int(item[0])
    except ValueError:
        raise InputError.of(
            "checkpoint.tokenizer", f"added_tokens_decoder has the id {item[0][:40]!r}", where="tokenizer_config.json"
        ) from None


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
