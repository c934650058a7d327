"""What an app developer should know about a bundle's tokenizer: no gate hangs on it."""

from __future__ import annotations

from collections.abc import Collection

from exporter.checkpoint.tokens.chat_pieces import NotReducible
from exporter.checkpoint.tokens.swift_lint import swift_findings
from exporter.errors import Diagnostic
from exporter.formats import Format
from exporter.graph.model import Hub
from exporter.pipeline.opened import OpenModel

_GENERATING = ("text-generation", "text2text-generation", "automatic-speech-recognition", "image-to-text")


def app_notes(model: OpenModel, hubs: Collection[Hub], formats: Collection[Format]) -> list[Diagnostic]:
    """Notes on the tokenizer, the chat template, and for Core ML what swift-transformers makes of the tokenizer.

    Notes on where answers end are left out unless the model writes any.
    """
    if model.tokenizer is None:
        return []
    writes = any(hub.task in _GENERATING for hub in hubs)
    notes = [note for note in model.tokenizer.notes if writes or note.code != "checkpoint.eos"]
    if any(hub.task == "text-generation" for hub in hubs):
        notes += _chat_notes(model)
    if "coreml" in formats:
        files, model_type = model.shipped_tokenizer.files, str(model.checkpoint.config.get("model_type", ""))
        notes += swift_findings(files, model_type, model.tokenizer.eos_ids, writes=writes)
    return notes


def _chat_notes(model: OpenModel) -> list[Diagnostic]:
    chat = model.chat
    if not isinstance(chat, NotReducible):
        return []
    message = f"the chat template can't be stated as pieces of text: {chat.reason}"
    hint = "an app needs a Jinja engine for this template, such as swift-transformers'"
    return [Diagnostic("chat.pieces", message, "tokenizer/chat.json", hint, "note")]
