"""Converts text to token ids and back, with a checkpoint's or a bundle's tokenizer and without transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.checkpoint import Checkpoint
from exporter.checkpoint.folder import MAX_JSON_BYTES, Folder, parse_json
from exporter.checkpoint.tokens import rules
from exporter.checkpoint.tokens.chat import Message, find_template, render
from exporter.checkpoint.tokens.encoded import EncodedText
from exporter.checkpoint.tokens.files import TOKENIZER, TOKENIZER_CONFIG, find_tokenizer_files, no_tokenizer
from exporter.checkpoint.tokens.rust_errors import rust_errors
from exporter.checkpoint.tokens.settings import read_settings
from exporter.checkpoint.tokens.source import conversion_of
from exporter.checkpoint.tokens.special import FLAGS, SPECIAL_KEYS
from exporter.checkpoint.tokens.vocabulary import Vocabulary, compare_vocabulary
from exporter.errors import Diagnostic, InputError

if TYPE_CHECKING:
    import tokenizers

_CLEAN_UP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"),
    (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


@dataclass(frozen=True)
class Tokenizer:
    """A fast tokenizer with the settings that transformers would use. Make it with `load_tokenizer`.

    tokens: special token name ("eos_token") → text, as chat templates see them.
    eos_ids: the ids that end a generation, from generation_config.json, else config.json, else the tokenizer;
        bos_id and pad_id likewise. unk_id: the tokenizer's.
    chat_template: None without one.
    eos_stated: whether eos_ids come from a configuration, not from the tokenizer.
    notes: facts that a user should know, though they are no errors.
    """

    tokens: Mapping[str, Any]
    eos_ids: tuple[int, ...]
    bos_id: int | None
    pad_id: int | None
    unk_id: int | None
    chat_template: str | None
    _backend: tokenizers.Tokenizer = field(repr=False)
    _vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary(None, {}), repr=False)
    _truncate_left: bool = False
    _clean_up: bool = False
    eos_stated: bool = True
    notes: tuple[Diagnostic, ...] = ()

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included."""
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    @property
    def cleans_up(self) -> bool:
        """Whether `decode` removes spaces, such as those before punctuation."""
        return self._clean_up

    @property
    def named(self) -> dict[str, int | None]:
        """`bos_token` … `mask_token` → the tokenizer's own id, None where it has no such token."""
        return {key: _own_id(self._backend, self.tokens, key) for key in SPECIAL_KEYS}

    @property
    def special_texts(self) -> tuple[str, ...]:
        """The texts of all tokens that a text is split at, by id; `bos_token` … `mask_token` come first."""
        named = [self.tokens[key] for key in SPECIAL_KEYS if key in self.tokens]
        added = sorted(self._backend.get_added_tokens_decoder().items())
        return tuple(dict.fromkeys([*named, *(token.content for _, token in added)]))

    @property
    def added_flags(self) -> dict[str, dict[str, bool]]:
        """Text → flags of each added token: lstrip, normalized, rstrip, single_word, special."""
        added = self._backend.get_added_tokens_decoder().values()
        return {token.content: {flag: bool(getattr(token, flag)) for flag in FLAGS} for token in added}

    def encode(self, text: str, *, max_length: int | None = None, special_tokens: bool = True) -> list[int]:
        """Token ids of `text`, with the special tokens that the model expects around it.

        max_length: the largest number of ids, special tokens included; a longer text is cut. `InputError` when it is
        smaller than the number of special tokens.
        """
        if max_length is not None:
            room = max_length - (self._backend.num_special_tokens_to_add(is_pair=False) if special_tokens else 0)
            if room < 0 or max_length < 1:
                raise InputError.of("tokenizer.max_length", f"max_length {max_length} is too short for any text")
            ids = self._ids(text, special_tokens=False)
            if len(ids) > room:
                return self._cut(text, max_length, special_tokens)
        return self._ids(text, special_tokens)

    def encode_text(self, text: str, second: str | None = None, *, max_length: int | None = None) -> EncodedText:
        """The tokens of `text`, or of a pair of texts, with the special tokens that the model expects around them.

        max_length: as in `encode`; of a pair, the longer text is cut first. Raises InputError as `encode` does.
        """
        import numpy as np

        if max_length is not None:
            with rust_errors("the tokenizer can't cut this text"):
                side = "left" if self._truncate_left else "right"
                self._backend.enable_truncation(max_length, strategy="longest_first", direction=side)
        try:
            encoding = self._encoding(text, second, special_tokens=True)
        finally:
            self._backend.no_truncation()
        return EncodedText(
            np.asarray(encoding.ids, np.int64),
            np.asarray(encoding.type_ids, np.int64),
            np.asarray(encoding.special_tokens_mask, np.bool_),
            tuple((int(start), int(end)) for start, end in encoding.offsets),
            tuple(encoding.sequence_ids),
        )

    def render_chat(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """`messages` (`role`, `content`) as the chat template writes them. `InputError` without one or if it fails."""
        if self.chat_template is None:
            raise InputError.of("tokenizer.chat_template", "the checkpoint has no chat template")
        return render(self.chat_template, messages, self.tokens, add_generation_prompt)

    def encode_chat(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> list[int]:
        """Token ids of the rendered chat; the template itself writes the special tokens."""
        text = self.render_chat(messages, add_generation_prompt=add_generation_prompt)
        return self.encode(text, special_tokens=False)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of `ids`; unknown ids are left out."""
        with rust_errors("the tokenizer can't decode these ids"):
            text = str(self._backend.decode([int(i) for i in ids], skip_special_tokens=skip_special_tokens))
        if self._clean_up:
            for spaced, joined in _CLEAN_UP:
                text = text.replace(spaced, joined)
        return text

    def token_to_id(self, token: str) -> int | None:
        """The id of the token with exactly this text, None when there is no such token."""
        token_id: int | None = self._backend.token_to_id(token)
        return token_id

    def to_json(self) -> str:
        """tokenizer.json's text. It holds the whole tokenizer except the ids that configurations state."""
        return str(self._backend.to_str())

    def _ids(self, text: str, special_tokens: bool) -> list[int]:
        return list(self._encoding(text, None, special_tokens).ids)

    def _encoding(self, text: str, second: str | None, special_tokens: bool) -> tokenizers.Encoding:
        try:
            (text + (second or "")).encode()
        except UnicodeEncodeError:
            raise InputError.of(
                "tokenizer.text", "the text is not valid Unicode: it holds half a surrogate pair"
            ) from None
        with rust_errors("the tokenizer can't encode this text"):
            encoding = self._backend.encode(text, second, add_special_tokens=special_tokens)
        self._vocabulary.check(encoding.ids)
        return encoding

    def _cut(self, text: str, max_length: int, special_tokens: bool) -> list[int]:
        with rust_errors("the tokenizer can't cut this text"):
            self._backend.enable_truncation(max_length, direction="left" if self._truncate_left else "right")
        try:
            return self._ids(text, special_tokens)
        finally:
            self._backend.no_truncation()


def load_tokenizer(source: Checkpoint | Path | str) -> Tokenizer:
    """The tokenizer of an opened checkpoint, or of a folder with `tokenizer.json` and its settings. Without that file,
    it is converted from the older files (`convert`).

    The ids that end a generation come from config.json and generation_config.json where the folder has them.
    Raises `InputError` when files are missing, malformed or contradict each other, `UnsupportedError` for a tokenizer
    that can't be converted.
    """
    folder = Folder.at(source.root if isinstance(source, Checkpoint) else Path(source))
    if isinstance(source, Checkpoint):
        config, generation_config = source.config, source.generation_config
    else:
        config = folder.read_object("config.json", small_integers=True) or {}
        generation_config = folder.read_object("generation_config.json", small_integers=True) or {}
    settings = read_settings(folder)
    template = find_template(folder, settings)
    conversion = source.conversion if isinstance(source, Checkpoint) else conversion_of(folder, settings, config)
    if conversion is None:
        text = folder.read_text(TOKENIZER, MAX_JSON_BYTES)
    else:
        text, settings = conversion.text, {**conversion.defaults, **settings}
    if text is None:
        raise no_tokenizer(find_tokenizer_files(folder), config)
    backend = _backend(text)
    direction = (backend.truncation or {}).get("direction", "right")
    with rust_errors(f"{TOKENIZER} and {TOKENIZER_CONFIG} don't go together"):
        tokens = rules.apply(backend, rules.class_name(settings, config), settings, converted=conversion is not None)
    backend.no_truncation()
    backend.no_padding()
    ids = {key: _own_id(backend, tokens, f"{key}_token") for key in ("eos", "bos", "pad", "unk")}
    vocabulary, notes = compare_vocabulary(backend, tokens, config)
    stated = {key: _stated_ids(key, generation_config, config) for key in ("eos", "bos", "pad")}
    return Tokenizer(
        tokens=tokens,
        eos_ids=stated["eos"] or _as_ids(ids["eos"]),
        bos_id=next(iter(stated["bos"]), ids["bos"]),
        pad_id=next(iter(stated["pad"]), ids["pad"]),
        unk_id=ids["unk"],
        chat_template=template,
        eos_stated=bool(stated["eos"]),
        notes=(*notes, *_end_notes(stated["eos"], tokens, ids["eos"])),
        _backend=backend,
        _vocabulary=vocabulary,
        _truncate_left=settings.get("truncation_side", direction) == "left",
        _clean_up=bool(settings.get("clean_up_tokenization_spaces", False)),
    )


def _backend(text: str) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer as Backend

    parse_json(text, TOKENIZER)
    with rust_errors(f"{TOKENIZER} is not a tokenizer"):
        return Backend.from_str(text)


def _own_id(backend: tokenizers.Tokenizer, tokens: Mapping[str, Any], key: str) -> int | None:
    return backend.token_to_id(tokens[key]) if key in tokens else None


def _end_notes(stated: Sequence[int], tokens: Mapping[str, Any], own: int | None) -> tuple[Diagnostic, ...]:
    if not stated or own is None or own in stated:
        return ()
    message = (
        f"texts end with token {', '.join(map(str, stated))}; the tokenizer's {tokens['eos_token']!r} ({own}) isn't one"
    )
    hint = "if answers don't stop, add that id to eos_token_id in generation_config.json"
    return (Diagnostic("checkpoint.eos", message, "generation_config.json", hint, "note"),)


def _as_ids(token_id: int | None) -> tuple[int, ...]:
    return () if token_id is None else (token_id,)


def _stated_ids(key: str, *configs: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids under `<key>_token_id` in the first of `configs` that has any."""
    for config in configs:
        value = config.get(f"{key}_token_id")
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(token_id) is int for token_id in ids):
            raise InputError.of(
                "checkpoint.tokenizer", f"{key}_token_id is {str(value)[:80]}, not an id", where=f"{key}_token_id"
            )
        ids = [token_id for token_id in ids if token_id >= 0]  # -1 is an old spelling of "none"
        if ids:
            return tuple(dict.fromkeys(ids))
    return ()
