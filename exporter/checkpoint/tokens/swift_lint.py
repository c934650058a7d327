"""Warns where swift-transformers refuses a bundle's tokenizer, crashes at it, or gives other ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.checkpoint.tokens.files import TOKENIZER, TOKENIZER_CONFIG
from exporter.checkpoint.tokens.swift_transformers import (
    FITTING,
    IMPLEMENTATIONS,
    KNOWN,
    OWN_WAYS,
    ShippedJson,
    read_json,
)
from exporter.errors import Diagnostic

_OWN_TOKENIZER = "use KogataKit's tokenizer"


def swift_findings(
    files: Mapping[str, Path | bytes], model_type: str, eos_ids: Sequence[int], *, writes: bool
) -> list[Diagnostic]:
    """Warnings on the shipped tokenizer files; empty where swift-transformers takes them as they are.

    model_type: of config.json. eos_ids: all ids that end a text; compared where the model `writes` texts.
    """
    if TOKENIZER not in files:
        return []
    settings = read_json(files[TOKENIZER_CONFIG]) if TOKENIZER_CONFIG in files else {}
    shipped = ShippedJson(read_json(files[TOKENIZER]), settings, model_type)
    rules = (_class, _components, _own_ways, _unknown, _llama, _word_pieces)
    written = (*_ends(shipped, eos_ids), *_clean_up(shipped)) if writes else ()
    return [*(finding for rule in rules for finding in rule(shipped)), *written]


def _warning(code: str, message: str, file: str, hint: str) -> Diagnostic:
    return Diagnostic(f"swift-tokenizer.{code}", message, f"tokenizer/{file}", hint, "warning")


def _class(shipped: ShippedJson) -> Iterable[Diagnostic]:
    name, kind = shipped.class_name, shipped.kind
    reads = IMPLEMENTATIONS.get(name)
    if reads == kind:
        return
    if kind not in FITTING:
        message, hint = f"swift-transformers has no tokenizer of the kind {kind} and crashes", _OWN_TOKENIZER
        yield _warning("model", message, TOKENIZER, hint)
        return
    fits = f"in the app, give AutoTokenizer.from(tokenizerConfig:tokenizerData:) the tokenizer_class {FITTING[kind]}"
    if reads is None:
        message = f"swift-transformers refuses the tokenizer class {name} (unsupportedTokenizer)"
        yield _warning("class", message, TOKENIZER_CONFIG, f"{_OWN_TOKENIZER}; or {fits}")
        return
    fate = "crashes ('BPETokenizer requires merges')" if reads == "BPE" else "can't load it"
    message = f"swift-transformers takes the class {name} for {reads}, but the tokenizer is {kind}: it {fate}"
    yield _warning("model", message, TOKENIZER_CONFIG, f"{_OWN_TOKENIZER}; or {fits}")


def _components(shipped: ShippedJson) -> Iterable[Diagnostic]:
    for section, known in KNOWN.items():
        strange = sorted({str(part.get("type")) for part in shipped.parts(section)} - known)
        if strange:
            message = f"swift-transformers doesn't know the {section} {', '.join(strange)} and crashes"
            yield _warning("component", message, TOKENIZER, _OWN_TOKENIZER)


def _own_ways(shipped: ShippedJson) -> Iterable[Diagnostic]:
    """Components that swift-transformers reads and then treats in a way of its own."""
    for section in ("normalizer", "pre_tokenizer"):
        for part in shipped.parts(section):
            kind = str(part.get("type"))
            way = OWN_WAYS.get(kind) or _split_way(part) or _prefix_way(part)
            if way:
                message = f"swift-transformers gives other ids for some texts: for the {section} {kind} {way}"
                yield _warning("differs", message, TOKENIZER, _OWN_TOKENIZER)
    marks = [key for key in ("continuing_subword_prefix", "end_of_word_suffix") if shipped.model.get(key)]
    if shipped.kind == "BPE" and marks:
        message = f"swift-transformers gives other ids: it ignores the BPE model's {' and '.join(marks)}"
        yield _warning("differs", message, TOKENIZER, _OWN_TOKENIZER)


def _split_way(part: Mapping[str, Any]) -> str:
    """Of a Split at a pattern, swift-transformers keeps what lies between and makes each match a part of its own."""
    behavior, invert = part.get("behavior"), bool(part.get("invert"))
    isolates = behavior == "Isolated" or (behavior == "Removed" and invert)
    if part.get("type") != "Split" or isolates or "Regex" not in (part.get("pattern") or {}):
        return ""
    return f"it ignores the behavior {behavior}"


def _prefix_way(part: Mapping[str, Any]) -> str:
    prefixed = part.get("type") == "ByteLevel" and part.get("add_prefix_space") and part.get("use_regex", True)
    return "it puts a space before every word that has none, not before the text alone" if prefixed else ""


def _unknown(shipped: ShippedJson) -> Iterable[Diagnostic]:
    """What happens to a character that the vocabulary lacks."""
    if shipped.kind == "Unigram":
        lost = sorted(token for token, index in shipped.added.items() if shipped.vocabulary.get(token) != index)
        if shipped.model.get("unk_id") is None:
            yield _warning(
                "unknown", "swift-transformers can't load a Unigram model without unk_id", TOKENIZER, _OWN_TOKENIZER
            )
        elif lost:
            shown = ", ".join(lost[:3]) + (" …" if len(lost) > 3 else "")
            message = f"swift-transformers reads added tokens outside of the vocabulary as unknown: {shown}"
            yield _warning("unknown", message, TOKENIZER, _OWN_TOKENIZER)
    elif shipped.kind == "BPE" and not _covers_bytes(shipped):
        known = shipped.named("unk_token")
        fate = "crashes at" if known is None else "gives one unknown token for each byte of"
        message = f"swift-transformers {fate} a character that the vocabulary lacks"
        yield _warning("unknown", message, TOKENIZER, _OWN_TOKENIZER)


def _covers_bytes(shipped: ShippedJson) -> bool:
    """Whether every text can be written with the vocabulary: a token for each byte."""
    if all(f"<0x{byte:02X}>" in shipped.vocabulary for byte in range(256)):
        return True
    from tokenizers.pre_tokenizers import ByteLevel

    by_bytes = any(part.get("type") == "ByteLevel" for part in shipped.parts("pre_tokenizer"))
    return by_bytes and all(character in shipped.vocabulary for character in ByteLevel.alphabet())


def _llama(shipped: ShippedJson) -> Iterable[Diagnostic]:
    """Its class for Llama puts components of its own in the place of those in the file."""
    if shipped.class_name != "LlamaTokenizer":
        return
    spaces = {str(part.get("type")) for section in ("normalizer", "pre_tokenizer") for part in shipped.parts(section)}
    hint = f"load it with AutoTokenizer.from(modelFolder:), which doesn't do so, or {_OWN_TOKENIZER}"
    if shipped.settings.get("legacy") is False and not spaces & {"Metaspace", "Prepend"}:
        message = "for Llama's class with legacy false, swift-transformers splits at spaces instead of as the file says"
        yield _warning("llama", message, TOKENIZER_CONFIG, hint)
    after = [part.get("type") for part in shipped.parts("post_processor")]
    if "TemplateProcessing" in after[1:] and not shipped.settings.get("add_bos_token"):
        message = "for Llama's class without add_bos_token, swift-transformers leaves out the tokens around a text"
        yield _warning("llama", message, TOKENIZER_CONFIG, hint)


def _word_pieces(shipped: ShippedJson) -> Iterable[Diagnostic]:
    """Its WordPiece has marks of its own, and makes letters small as tokenizer_config.json says."""
    if shipped.kind != "WordPiece":
        return
    for key, own in (("unk_token", "[UNK]"), ("continuing_subword_prefix", "##")):
        stated = shipped.model.get(key, own)
        if stated != own:
            message = f"swift-transformers gives other ids: it expects the {key} {own}, and this tokenizer has {stated}"
            yield _warning("differs", message, TOKENIZER, _OWN_TOKENIZER)
    lowers = any(
        part.get("type") == "Lowercase" or (part.get("type") == "BertNormalizer" and part.get("lowercase", True))
        for part in shipped.parts("normalizer")
    )
    if shipped.settings.get("do_lower_case", True) and not lowers:
        message = "swift-transformers gives other ids: it makes all letters small, because do_lower_case isn't false"
        hint = f"state do_lower_case false in the checkpoint's {TOKENIZER_CONFIG}, or {_OWN_TOKENIZER}"
        yield _warning("differs", message, TOKENIZER_CONFIG, hint)


def _ends(shipped: ShippedJson, eos_ids: Sequence[int]) -> Iterable[Diagnostic]:
    """Its generation ends at the tokenizer's one end token."""
    text = shipped.named("eos_token")
    own = None if text is None else shipped.added.get(text, shipped.vocabulary.get(text))
    missed = [index for index in eos_ids if index != own]
    if missed:
        seen = "at no token" if own is None else f"only at {text} ({own})"
        ids = ", ".join(map(str, missed))
        message = f"swift-transformers' generate ends an answer {seen}; the model also ends one with {ids}"
        yield _warning(
            "ends",
            message,
            TOKENIZER_CONFIG,
            "stop at every id of stop_ids in tokenizer/chat.json, or of "
            "eos_token_id in tokenizer/generation_config.json",
        )


def _clean_up(shipped: ShippedJson) -> Iterable[Diagnostic]:
    """Its default for a setting that transformers takes for false."""
    if shipped.settings.get("clean_up_tokenization_spaces") is None:
        message = "swift-transformers takes spaces before . , ? ! out of decoded texts, since no setting forbids it"
        hint = f"state clean_up_tokenization_spaces false in the checkpoint's {TOKENIZER_CONFIG}, or {_OWN_TOKENIZER}"
        yield _warning("clean-up", message, TOKENIZER_CONFIG, hint)
