"""A bundle whose manifest was read, for `check` and `run`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from exporter.bundle.manifest import Manifest, read_manifest
from exporter.bundle.tree import printable, scan
from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens.tokenizer import Tokenizer, load_tokenizer
from exporter.errors import InputError
from exporter.formats import Form
from exporter.graph.model import Scores


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose manifest was read.

    tokenizer: the bundle's, None for a model without text. preprocessor: the bundle's preprocessor_config.json, empty
    where there is none.
    """

    folder: Path
    manifest: Manifest
    tokenizer: Tokenizer | None
    preprocessor: Mapping[str, Any] = field(default_factory=dict)

    def artifacts(self, component: str = "model") -> dict[Form, Path]:
        """Form → the file or package that an app opens."""
        return {a.form: self.folder / a.path for a in self.manifest.artifacts if a.component == component}

    def require_tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises InputError where the bundle has none."""
        if self.tokenizer is None:
            raise InputError.of("bundle.tokenizer", "the bundle has no tokenizer", where=printable(str(self.folder)))
        return self.tokenizer


def open_bundle(folder: Path) -> OpenBundle:
    """Read manifest and tokenizer. InputError for a folder that is not a bundle or has links in it."""
    if not (folder / "manifest.json").is_file():
        raise InputError.of(
            "bundle.none",
            "this is not a bundle: it has no manifest.json",
            where=printable(str(folder)),
            hint="`kogata export` makes one",
        )
    # A runtime would follow a link out of the bundle, and wait for ever at a pipe.
    InputError.raise_all([p for p in scan(folder).problems if p.code in ("bundle.link", "bundle.special")])
    manifest = read_manifest(folder / "manifest.json")
    graphs = "inputs" in manifest.model  # a model that wasn't imported natively may have no text
    tokenizer = load_tokenizer(folder / "tokenizer") if not graphs or (folder / "tokenizer").is_dir() else None
    beside = Folder.at(folder / ("preprocessor" if tokenizer is None else "tokenizer"))
    return OpenBundle(folder, manifest, tokenizer, beside.read_object("preprocessor_config.json") or {})


def stated_scores(value: object) -> Scores | None:
    """`model.scores` of a manifest, None where it has none."""
    return cast(Scores, value) if value in get_args(Scores) else None
