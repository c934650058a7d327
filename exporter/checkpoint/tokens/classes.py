"""The settings of transformers' tokenizer classes that change token ids: an entry for each class with its own rules.

The table follows the fast classes of transformers 4.57. A test compares each with transformers, from a `tokenizer.json`
and settings that contradict the class's defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from exporter.checkpoint.tokens.special import Flags

Language = Literal["language first", "language last", "language first unless legacy"]


@dataclass(frozen=True)
class TokenizerClass:
    """What a class changes in a `tokenizer.json`.

    tokens: default special tokens. flags: the flags of special tokens that are stated as text alone.
    additional: special tokens that the class adds; stated_additional: whether stated ones replace them.
    named: setting → default text of a token that joins the additional ones.
    normalizer: the settings that override a BertNormalizer's, with their defaults; None where the class overrides
    none. template: default (add_bos_token, add_eos_token) of a class that builds its own post-processor.
    prefix_space: default add_prefix_space, None where the class overrides none; states_prefix: whether the setting
    counts; nested_prefix: whether it reaches into a sequence of pre-tokenizers, and only to switch it on.
    extra_ids: whether it has T5's sentinels.
    rebuilds: whether a stated add_prefix_space makes the class convert its sentencepiece model again.
    language: default language code of a class that puts the code around a text, and on which side.
    unusable: why text can't be tokenized as the class does it, from its `tokenizer.json` alone.
    """

    tokens: Mapping[str, str]
    flags: Mapping[str, Flags] = field(default_factory=dict)
    additional: tuple[str, ...] = ()
    stated_additional: bool = True
    named: Mapping[str, str] = field(default_factory=dict)
    normalizer: Mapping[str, Any] | None = None
    template: tuple[bool, bool] | None = None
    prefix_space: bool | None = False
    states_prefix: bool = True
    nested_prefix: bool = False
    extra_ids: bool = False
    rebuilds: bool = False
    language: tuple[str, Language] | None = None
    unusable: str = ""


_NO_FLAGS: Flags = {}
_LSTRIP: Flags = {"lstrip": True}
_PLAIN: Flags = {"lstrip": True, "normalized": False}
_SPECIAL: Flags = {"special": True, "normalized": False}
_NORMALIZED: Flags = {"lstrip": True, "normalized": True, "special": True}
_JIEBA = "it cuts Chinese words with rjieba, which no tokenizer.json can do"

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
_ALBERT_TOKENS = {
    "bos_token": "[CLS]", "eos_token": "[SEP]", "unk_token": "<unk>", "sep_token": "[SEP]", "pad_token": "<pad>",
    "cls_token": "[CLS]", "mask_token": "[MASK]",
}  # fmt: skip
_XLNET_TOKENS = {
    "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "<sep>", "pad_token": "<pad>",
    "cls_token": "<cls>", "mask_token": "<mask>",
}  # fmt: skip
_LLAMA_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_BLOOM_TOKENS = {**_LLAMA_TOKENS, "pad_token": "<pad>"}
_T5_TOKENS = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
_GEMMA_TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
_COHERE_TOKENS = {"bos_token": "<BOS_TOKEN>", "eos_token": "<|END_OF_TURN_TOKEN|>", "unk_token": "<UNK>"}
_GPT2_TOKENS = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
_QWEN_TOKENS = dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>")
_CLIP_TOKENS = {**_QWEN_TOKENS, "bos_token": "<|startoftext|>"}
_SEAMLESS_TOKENS = {key: text for key, text in _ROBERTA_TOKENS.items() if key != "mask_token"}
_CODE_LLAMA_TOKENS = {
    "prefix_token": "▁<PRE>", "middle_token": "▁<MID>", "suffix_token": "▁<SUF>", "eot_token": "▁<EOT>"
}  # fmt: skip

NORMALIZER_FIELDS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_NORMALIZER = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
_CASE_AND_ACCENTS = {"do_lower_case": True, "strip_accents": None}

_UNMARKED = dict.fromkeys(_ROBERTA_TOKENS, _NO_FLAGS) | {"mask_token": _LSTRIP}
_BERT = TokenizerClass(_BERT_TOKENS, normalizer=_NORMALIZER)
_ROBERTA = TokenizerClass(_ROBERTA_TOKENS, {"mask_token": _PLAIN})
_BART = TokenizerClass(_ROBERTA_TOKENS, {"mask_token": _NORMALIZED})
_XLM_ROBERTA = TokenizerClass(_ROBERTA_TOKENS, {"mask_token": _LSTRIP})
_XLNET = TokenizerClass(_XLNET_TOKENS, {"mask_token": _LSTRIP}, additional=("<eop>", "<eod>"))
_LLAMA = TokenizerClass(_LLAMA_TOKENS, template=(True, False), prefix_space=None, rebuilds=True)
_INTERNLM = replace(_LLAMA, rebuilds=False)
_T5 = TokenizerClass(_T5_TOKENS, extra_ids=True, prefix_space=None, rebuilds=True)

CLASSES: Mapping[str, TokenizerClass] = {
    **dict.fromkeys(
        (
            "BertTokenizer",
            "ConvBertTokenizer",
            "DistilBertTokenizer",
            "ElectraTokenizer",
            "MobileBertTokenizer",
            "SqueezeBertTokenizer",
            "LayoutLMTokenizer",
            "LxmertTokenizer",
            "RealmTokenizer",
            "RetriBertTokenizer",
            "DPRQuestionEncoderTokenizer",
            "DPRContextEncoderTokenizer",
            "DPRReaderTokenizer",
        ),
        _BERT,
    ),
    "FunnelTokenizer": TokenizerClass(_XLNET_TOKENS, normalizer=_NORMALIZER),
    "LayoutLMv2Tokenizer": TokenizerClass(_BERT_TOKENS, normalizer=_CASE_AND_ACCENTS),
    "SplinterTokenizer": TokenizerClass(
        _BERT_TOKENS, normalizer=_CASE_AND_ACCENTS, named={"question_token": "[QUESTION]"}
    ),
    "RoFormerTokenizer": TokenizerClass(_BERT_TOKENS, normalizer=_CASE_AND_ACCENTS, unusable=_JIEBA),
    "MPNetTokenizer": TokenizerClass(
        {**_ROBERTA_TOKENS, "unk_token": "[UNK]"}, _UNMARKED, normalizer=_CASE_AND_ACCENTS
    ),
    **dict.fromkeys(("RobertaTokenizer", "BlenderbotTokenizer", "LongformerTokenizer"), _ROBERTA),
    **dict.fromkeys(("BartTokenizer", "LEDTokenizer"), _BART),
    **dict.fromkeys(("MvpTokenizer", "MarkupLMTokenizer"), TokenizerClass(_ROBERTA_TOKENS, _UNMARKED)),
    "LayoutLMv3Tokenizer": TokenizerClass(_ROBERTA_TOKENS, prefix_space=True),
    **dict.fromkeys(("XLMRobertaTokenizer", "BarthezTokenizer", "LayoutXLMTokenizer"), _XLM_ROBERTA),
    "CamembertTokenizer": TokenizerClass(
        _ROBERTA_TOKENS,
        {"mask_token": {"lstrip": True, "special": True}},
        additional=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
    ),
    "AlbertTokenizer": TokenizerClass(_ALBERT_TOKENS, {"mask_token": _PLAIN}),
    "RemBertTokenizer": TokenizerClass(_ALBERT_TOKENS, {"mask_token": _LSTRIP}),
    "BigBirdTokenizer": TokenizerClass({**_ALBERT_TOKENS, "bos_token": "<s>", "eos_token": "</s>"}, _UNMARKED),
    "FNetTokenizer": TokenizerClass(
        {key: text for key, text in _ALBERT_TOKENS.items() if key not in ("bos_token", "eos_token")},
        {"mask_token": _LSTRIP, "cls_token": _NO_FLAGS, "sep_token": _NO_FLAGS},
    ),
    "XLNetTokenizer": _XLNET,
    "CpmTokenizer": replace(_XLNET, unusable=_JIEBA),
    "HerbertTokenizer": TokenizerClass(
        {key: text for key, text in _ROBERTA_TOKENS.items() if key not in ("bos_token", "eos_token")}
    ),
    **dict.fromkeys(
        ("DebertaTokenizer", "DebertaV2Tokenizer"),
        TokenizerClass({**_BERT_TOKENS, "bos_token": "[CLS]", "eos_token": "[SEP]"}),
    ),
    "LlamaTokenizer": _LLAMA,
    **dict.fromkeys(("InternLMTokenizer", "InternLM2Tokenizer", "InternLM3Tokenizer"), _INTERNLM),
    "CodeLlamaTokenizer": replace(_INTERNLM, named=_CODE_LLAMA_TOKENS),
    "GemmaTokenizer": TokenizerClass(_GEMMA_TOKENS, template=(True, False)),
    "CohereTokenizer": TokenizerClass(_COHERE_TOKENS, template=(True, False), nested_prefix=True),
    "GPTNeoXTokenizer": TokenizerClass(_GPT2_TOKENS, template=(False, False)),
    **dict.fromkeys(("GPT2Tokenizer", "CodeGenTokenizer"), TokenizerClass(_GPT2_TOKENS)),
    "WhisperTokenizer": TokenizerClass(_GPT2_TOKENS, dict.fromkeys(_GPT2_TOKENS, _SPECIAL)),
    "OpenAIGPTTokenizer": TokenizerClass({"unk_token": "<unk>"}),
    "CLIPTokenizer": TokenizerClass(_CLIP_TOKENS),
    "BloomTokenizer": TokenizerClass(_BLOOM_TOKENS, nested_prefix=True),
    "BlenderbotSmallTokenizer": TokenizerClass(_GPT2_TOKENS, states_prefix=False),
    "NougatTokenizer": TokenizerClass(_BLOOM_TOKENS),
    "Qwen2Tokenizer": TokenizerClass(_QWEN_TOKENS, dict.fromkeys(("bos_token", *_QWEN_TOKENS), _SPECIAL)),
    **dict.fromkeys(("T5Tokenizer", "MT5Tokenizer"), _T5),
    "UdopTokenizer": TokenizerClass({**_T5_TOKENS, "sep_token": "</s>"}),
    "ReformerTokenizer": TokenizerClass({"eos_token": "</s>", "unk_token": "<unk>"}),
    "PegasusTokenizer": TokenizerClass(
        {**_T5_TOKENS, "mask_token": "<mask_2>"}, additional=("<mask_1>", *(f"<unk_{i}>" for i in range(2, 103)))
    ),
    "XGLMTokenizer": TokenizerClass(
        _SEAMLESS_TOKENS, additional=tuple(f"<madeupword{i}>" for i in range(7)), stated_additional=False
    ),
    "MBartTokenizer": TokenizerClass(_ROBERTA_TOKENS, {"mask_token": _LSTRIP}, language=("en_XX", "language last")),
    "MBart50Tokenizer": TokenizerClass(
        {key: text for key, text in _ROBERTA_TOKENS.items() if key != "bos_token"},
        {"mask_token": _LSTRIP},
        language=("en_XX", "language first"),
    ),
    "NllbTokenizer": TokenizerClass(
        _ROBERTA_TOKENS, {"mask_token": _NORMALIZED}, language=("eng_Latn", "language first unless legacy")
    ),
    "SeamlessM4TTokenizer": TokenizerClass(_SEAMLESS_TOKENS, language=("__eng__", "language first")),
}
