"""A model whose checkpoint was opened: what later steps need of it, each read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from exporter.checkpoint import Checkpoint
from exporter.checkpoint.folder import Folder
from exporter.checkpoint.licence import license_files
from exporter.checkpoint.tokens.chat_pieces import ChatPieces, NotReducible
from exporter.checkpoint.tokens.chat_reduction import reduce_chat
from exporter.checkpoint.tokens.shipping import ShippedTokenizer, shipped_tokenizer
from exporter.checkpoint.tokens.tokenizer import Tokenizer, load_tokenizer
from exporter.importers.routes import Route, open_model, route_of


@dataclass(frozen=True)
class OpenModel:
    """route: how the model is imported. tokenizer: None for a model without text. license_files: those that a bundle
    passes on.
    """

    checkpoint: Checkpoint
    route: Route
    tokenizer: Tokenizer | None
    license_files: Mapping[str, Path]

    @cached_property
    def shipped_tokenizer(self) -> ShippedTokenizer:
        """The tokenizer files that a bundle ships; none for a model without text."""
        return shipped_tokenizer(self.checkpoint, self.tokenizer)

    @cached_property
    def chat(self) -> ChatPieces | NotReducible | None:
        """The chat template as pieces of text; None for a model without one. Proven at the first access, in less than
        a second.
        """
        return None if self.tokenizer is None else reduce_chat(self.tokenizer)


def open_source(reference: str, revision: str | None) -> OpenModel:
    """reference: a checkpoint folder, a hub id, or an `.onnx` file.

    Raises as `open_model`, `route_of` and `load_tokenizer`. A model that isn't imported natively may lack a tokenizer.
    """
    checkpoint = open_model(reference, revision=revision)
    route = route_of(checkpoint)
    tokenizer = load_tokenizer(checkpoint) if route == "native" or checkpoint.tokenizer_files else None
    beside = checkpoint.root.is_dir()  # what lies beside an .onnx file need not be about it
    return OpenModel(checkpoint, route, tokenizer, license_files(Folder.at(checkpoint.root)) if beside else {})
