"""Makes a checked tokenizer of a tokenizer class and its vocabulary files.

The ids of a class and the tokens that it puts around a text follow transformers 4.57; the tests compare both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens.convert import check, word_lists
from exporter.checkpoint.tokens.convert.sentencepiece_backend import Layout, Spacing, build
from exporter.checkpoint.tokens.convert.sentencepiece_file import Kind, Piece, SentencePieceModel, read_sentencepiece
from exporter.checkpoint.tokens.files import MERGES, SENTENCEPIECE, TOKENIZER_CONFIG, VOCAB_JSON, VOCAB_TXT
from exporter.checkpoint.tokens.special import listed_tokens, stated_tokens, str_of, token_of
from exporter.errors import InputError, KogataError, UnsupportedError

if TYPE_CHECKING:
    import tokenizers

_FAIRSEQ = Layout(("<s>", "<pad>", "</s>", "<unk>"), ("<mask>",), before=("<s>",), after=("</s>",), between=("</s>",))
_DEBERTA = Layout(before=("[CLS]",), after=("[SEP]",), type_of_pair=1)
_NO_TEMPLATE = Layout()  # `rules` adds the tokens around a text when the tokenizer is loaded
_SENTENCEPIECE: Mapping[str, Layout] = {
    "LlamaTokenizer": _NO_TEMPLATE,
    "GemmaTokenizer": _NO_TEMPLATE,
    "InternLMTokenizer": _NO_TEMPLATE,
    "InternLM2Tokenizer": _NO_TEMPLATE,
    "InternLM3Tokenizer": _NO_TEMPLATE,
    "T5Tokenizer": Layout(after=("</s>",)),
    "MT5Tokenizer": Layout(after=("</s>",)),
    "XLMRobertaTokenizer": _FAIRSEQ,
    "DebertaV2Tokenizer": _DEBERTA,
}
_T5 = ("T5Tokenizer", "MT5Tokenizer")
_BYTE_LEVEL = ("GPT2Tokenizer", "CodeGenTokenizer", "Qwen2Tokenizer", "RobertaTokenizer", "BartTokenizer")
_ROBERTA = ("RobertaTokenizer", "BartTokenizer")
_WORD_PIECE = (
    "BertTokenizer", "ConvBertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer",
    "SqueezeBertTokenizer", "MPNetTokenizer",
)  # fmt: skip
_CLASS_SETTING = "tokenizer_class in tokenizer_config.json"


@dataclass(frozen=True)
class Request:
    """The input of a conversion.

    class_name: transformers' tokenizer class without `Fast`, "" where no file names one. settings: as `read_settings`
    gives them. tokens: the class's default special tokens, "eos_token" → text.
    """

    folder: Folder
    class_name: str
    settings: Mapping[str, Any]
    tokens: Mapping[str, str]

    def token(self, key: str) -> str | None:
        """The text of a special token: from the settings, else the class's default."""
        stated = token_of(self.settings[key], key) if key in self.settings else self.tokens.get(key)
        return None if stated is None else str_of(stated)

    def flag(self, key: str, default: bool) -> bool:
        """A setting that must be true or false; `default` where it is absent or null."""
        value = self.settings.get(key)
        if value is not None and not isinstance(value, bool):
            raise InputError.of(
                "checkpoint.tokenizer", f"{key} is {str(value)[:40]!r}, not true or false", where=TOKENIZER_CONFIG
            )
        return default if value is None else value


@dataclass(frozen=True)
class Conversion:
    """A converted tokenizer.

    text: the tokenizer.json, before the changes of `rules.apply`. source: the files that it was converted from.
    checked: in words, how it was compared with them. defaults: settings that the class uses with older files only.
    """

    text: str = field(repr=False)
    source: tuple[str, ...]
    checked: str
    defaults: Mapping[str, Any] = field(default_factory=dict)


def convert_tokenizer(request: Request) -> Conversion:
    """The tokenizer that the class and the folder's vocabulary files describe.

    Raises `UnsupportedError` for a class or a model that can't be converted, and for a result that gives other ids than
    the original; `InputError` for files that are missing, damaged or contradict each other.
    """
    folder, name = request.folder, request.class_name
    if name in _SENTENCEPIECE:
        file = next((file for file in SENTENCEPIECE if folder.find(file) is not None), None)
        if file is None:
            raise _needs(name, " or ".join(SENTENCEPIECE))
        return _from_sentencepiece(request, file)
    if name in _BYTE_LEVEL:
        if folder.find(VOCAB_JSON) is None:
            raise _needs(name, f"{VOCAB_JSON} and {MERGES}")
        return _from_vocabulary(request)
    if name in _WORD_PIECE:
        if folder.find(VOCAB_TXT) is None:
            raise _needs(name, VOCAB_TXT)
        return _from_word_list(request)
    known = ", ".join(sorted((*_SENTENCEPIECE, *_BYTE_LEVEL, *_WORD_PIECE)))
    what = f"the tokenizer class {name[:60]!r} is not known" if name else "no file names the tokenizer's class"
    raise UnsupportedError.of(
        "checkpoint.tokenizer",
        f"there is no tokenizer.json, and {what}",
        where=TOKENIZER_CONFIG,
        hint=f"put a tokenizer.json beside config.json, or set {_CLASS_SETTING} to one of {known}",
    )


def _needs(name: str, files: str) -> KogataError:
    message = f"there is no tokenizer.json, and a {name} needs {files}"
    hint = f"check that {_CLASS_SETTING} names the right class"
    return InputError.of("checkpoint.tokenizer", message, where=TOKENIZER_CONFIG, hint=hint)


def _from_sentencepiece(request: Request, file: str) -> Conversion:
    name = request.class_name
    model = read_sentencepiece(request.folder, file)
    layout = _SENTENCEPIECE[name]
    if layout.leading and (len(model.pieces) < 3 or any(p.kind is Kind.NORMAL for p in model.pieces[:3])):
        message = f"the first three pieces are not the special ones that a {name} replaces"
        raise InputError.of("checkpoint.tokenizer", message, where=file)
    if name in _T5:
        layout = Layout(trailing=_extra_ids(request), after=layout.after)
    if name == "DebertaV2Tokenizer" and request.flag("split_by_punct", default=False):
        raise UnsupportedError.of("checkpoint.tokenizer", "split_by_punct is not supported", where=TOKENIZER_CONFIG)
    spacing = Spacing(
        prefix=request.flag("add_prefix_space", model.prefix),
        everywhere=request.flag("legacy", default=True),
        lowercase=name == "DebertaV2Tokenizer" and request.flag("do_lower_case", default=False),
    )
    if spacing.prefix != model.prefix:
        model = model.with_prefix(spacing.prefix)
    stated = stated_tokens(request.settings)
    backend = build(model, layout, spacing, _renamed(model, layout, stated, file))
    checked = check.check_against_model(backend, model, layout, spacing, file)
    _add(backend, request.settings)
    places = _places(model, layout)
    # A byte piece may have become its character (Gemma's tab).
    own = {i: p.text for i, p in places.items() if p.kind is not Kind.BYTE or backend.token_to_id(p.text) is not None}
    check.check_ids(backend, {**own, **stated}, file)
    return Conversion(backend.to_str(), (file,), checked)


def _extra_ids(request: Request) -> tuple[str, ...]:
    """T5's sentinels, which follow the vocabulary, the highest number first."""
    count = request.settings.get("extra_ids", 100)
    if type(count) is not int or not 0 <= count <= 10_000:
        message = f"extra_ids is {str(count)[:40]!r}, not a number from 0 to 10,000"
        raise InputError.of("checkpoint.tokenizer", message, where=TOKENIZER_CONFIG)
    return tuple(f"<extra_id_{i}>" for i in range(count - 1, -1, -1))


def _renamed(model: SentencePieceModel, layout: Layout, stated: Mapping[int, str], file: str) -> dict[int, str]:
    """Id → text of stated tokens that replace a piece: InternLM2's `<|im_start|>` replaces `[UNUSED_TOKEN_146]`.

    `InputError` where the piece is a part of words and not a placeholder.
    """
    places = _places(model, layout)
    renamed = {}
    for index, text in stated.items():
        piece = places.get(index)
        if piece is None or piece.text == text:
            continue
        placeholder = piece.text[0] in "[<" and piece.text[-1] in "]>" and len(piece.text) > 2
        if not placeholder or piece.kind in (Kind.UNKNOWN, Kind.BYTE):
            message = f"token {index} is {piece.text!r} in {file}, but {text!r} in {TOKENIZER_CONFIG}"
            raise InputError.of("checkpoint.tokenizer", message, where=file)
        renamed[index] = text
    return renamed


def _places(model: SentencePieceModel, layout: Layout) -> dict[int, Piece]:
    """Final id → piece, for the model's pieces that keep their text."""
    first = 3 if layout.leading else 0
    return {layout.new_id(i): piece for i, piece in enumerate(model.pieces) if i >= first}


def _from_vocabulary(request: Request) -> Conversion:
    from tokenizers import processors

    folder, name = request.folder, request.class_name
    vocabulary = word_lists.read_vocabulary(folder)
    merges = word_lists.read_merges(folder)
    prefix, qwen = request.flag("add_prefix_space", default=False), name == "Qwen2Tokenizer"
    backend = word_lists.byte_level(vocabulary, merges, prefix_space=prefix, qwen=qwen)
    checked = check.check_byte_level(backend, composes=qwen, where=VOCAB_JSON)
    stated = stated_tokens(request.settings)
    _add(backend, request.settings)
    check.check_ids(backend, {**{index: text for text, index in vocabulary.items()}, **stated}, VOCAB_JSON)
    if name in _ROBERTA:
        sep, cls = (_with_id(request, backend, key) for key in ("sep_token", "cls_token"))
        backend.post_processor = processors.RobertaProcessing(sep, cls, add_prefix_space=prefix)
    elif request.flag("add_bos_token", default=False):  # OPT's
        bos = _with_id(request, backend, "bos_token")
        single = [f"{bos[0]}:0", "$A:0"]
        backend.post_processor = processors.TemplateProcessing(
            single=single, pair=[*single, "$B:1"], special_tokens=[bos]
        )
    return Conversion(backend.to_str(), (MERGES, VOCAB_JSON), checked)


def _from_word_list(request: Request) -> Conversion:
    from tokenizers import processors

    name = request.class_name
    vocabulary = word_lists.read_word_list(request.folder)
    chinese = request.flag("tokenize_chinese_chars", default=True)
    unknown = request.token("unk_token")
    if unknown not in vocabulary:
        raise InputError.of("checkpoint.tokenizer", f"{VOCAB_TXT} has no line {unknown!r}", where=VOCAB_TXT)
    backend = word_lists.word_piece(vocabulary, unknown, chinese=chinese)
    checked = check.check_words(backend, vocabulary, VOCAB_TXT)
    stated = stated_tokens(request.settings)
    _add(backend, request.settings)
    check.check_ids(backend, {**{index: text for text, index in vocabulary.items()}, **stated}, VOCAB_TXT)
    cls, sep = (_with_id(request, backend, key) for key in ("cls_token", "sep_token"))
    single = [f"{cls[0]}:0", "$A:0", f"{sep[0]}:0"]
    between = [f"{sep[0]}:0"] if name == "MPNetTokenizer" else []
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=[*single, *between, "$B:1", f"{sep[0]}:1"], special_tokens=[cls, sep]
    )
    return Conversion(backend.to_str(), (VOCAB_TXT,), checked, {"clean_up_tokenization_spaces": True})


def _add(backend: tokenizers.Tokenizer, settings: Mapping[str, Any]) -> None:
    """Adds the tokens of `added_tokens_decoder` in the order of their ids, so that they follow the vocabulary."""
    backend.add_tokens([token for _, token in listed_tokens(settings)])


def _with_id(request: Request, backend: tokenizers.Tokenizer, key: str) -> tuple[str, int]:
    text = request.token(key)
    index = None if text is None else backend.token_to_id(text)
    if text is None or index is None:
        message = f"{key} is {text!r}, which the vocabulary doesn't have"
        raise InputError.of("checkpoint.tokenizer", message, where=TOKENIZER_CONFIG)
    return text, index
