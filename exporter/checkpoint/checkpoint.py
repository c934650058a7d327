"""The data that an opened checkpoint holds."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.sentence import SentenceModules
from exporter.checkpoint.tensors import TensorStore
from exporter.checkpoint.tokens.convert import Conversion
from exporter.checkpoint.tokens.settings import read_settings
from exporter.checkpoint.tokens.source import conversion_of
from exporter.checkpoint.weights import index_notes
from exporter.errors import Diagnostic, InputError

PREPROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True)
class Source:
    """Where a checkpoint comes from. Every field holds only what the files or the hub state.

    repo: the hub id, None for a local folder; revision: the resolved commit, None for a local folder.
    license: SPDX id where there is one, else the authors' name for it, None when unknown; license_link: address of
        the licence's text; languages: as the model card lists them.
    files: name in the folder → path, for all files that define the model: configuration, weights, tokenizer, modules.
    """

    repo: str | None = None
    revision: str | None = None
    license: str | None = None
    license_link: str | None = None
    languages: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str:
        """`sha256:…` over `sha256sum`'s listing of `files`, sorted by name. Computed at the first access.

        Reads every byte (some 8 s for 14 GB, if the disk can). Raises `InputError` when a file can't be read.
        """
        return self._hashing.result()

    def begin_digest(self) -> None:
        """Starts to compute the digest on its own thread; `digest` waits for it."""
        _ = self._hashing

    @cached_property
    def _hashing(self) -> Future[str]:
        future: Future[str] = Future()

        def run() -> None:
            try:
                future.set_result(_digest(self.files))
            except BaseException as error:  # `digest` raises it
                future.set_exception(error)

        # A daemon thread: an export that fails in the meantime doesn't wait for it.
        threading.Thread(target=run, name="digest", daemon=True).start()
        return future


@dataclass(frozen=True)
class Checkpoint:
    """An opened transformers checkpoint. Everything except the tensors' data was read and checked.

    root: the folder, in the form that transformers loads; name: the folder's name, safe as a file name.
    config: config.json; generation_config: generation_config.json, empty without that file.
    tokenizer_files: file name → path, for the files that exist; empty for a model without text.
    chat_template: the default Jinja template, None where the checkpoint has none.
    sentence: sentence-transformers' modules, None where the folder has no modules.json.
    """

    root: Path
    name: str
    config: Mapping[str, Any]
    generation_config: Mapping[str, Any]
    tensors: TensorStore
    tokenizer_files: Mapping[str, Path]
    chat_template: str | None
    sentence: SentenceModules | None
    source: Source

    @property
    def notes(self) -> tuple[Diagnostic, ...]:
        """What was odd about the files, and didn't matter."""
        return index_notes(self.tensors)

    @cached_property
    def preprocessor(self) -> Mapping[str, Any]:
        """preprocessor_config.json without paths and remote code. It says how images or sounds become inputs.

        Empty for a text model. Raises InputError where the file can't be read.
        """
        stated = Folder.at(self.root).read_object(PREPROCESSOR, small_integers=True) if self.root.is_dir() else None
        return {key: value for key, value in (stated or {}).items() if key not in ("auto_map", "_name_or_path")}

    @cached_property
    def conversion(self) -> Conversion | None:
        """The tokenizer.json made from the checkpoint's older tokenizer files. None where the checkpoint has its own
        tokenizer.json, or no tokenizer.

        Converted and checked at the first access (a second for 256,000 pieces). Raises as `convert_tokenizer` does.
        """
        folder = Folder.at(self.root)
        return conversion_of(folder, read_settings(folder), self.config)


def _digest(files: Mapping[str, Path]) -> str:
    listing = "".join(f"{_sha256(path, name)}  {name}\n" for name, path in sorted(files.items()))
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


def _sha256(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError.of("checkpoint.unreadable", f"{name} can't be read: {error.strerror}", where=name) from None
