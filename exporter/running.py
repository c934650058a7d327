"""An answer or an embedding from the files of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from exporter.bundle import Manifest, read_manifest
from exporter.bundle.tree import printable, scan
from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokenizer import Tokenizer, load_tokenizer
from exporter.errors import InputError
from exporter.parity import ParityOptions, Subjects
from exporter.parity.prompts import Prompt
from exporter.parity.runners.base import DecoderRunner, EncoderRunner
from exporter.parity.runners.greedy import greedy
from exporter.parity.subjects import Opener
from exporter.targets import Format

MAX_TOKENS = 128  # where neither the user nor the model's generation_config says how long an answer may be
SHOWN = 8  # elements of an embedding that text output shows


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose manifest was read. folder: where it lies; tokenizer: the one that it ships."""

    folder: Path
    manifest: Manifest
    tokenizer: Tokenizer

    def artifact(self, kind: Format) -> Path | None:
        """The file or package that an app would open, None where the bundle has none of this kind."""
        return next((self.folder / a.path for a in self.manifest.artifacts if a.kind == kind), None)


def open_bundle(folder: Path) -> OpenBundle:
    """Reads manifest and tokenizer. Raises InputError when this is no bundle, or one that holds links or devices."""
    if not (folder / "manifest.json").is_file():
        raise InputError.of(
            "bundle.none",
            "this is no bundle: it has no manifest.json",
            where=printable(str(folder)),
            hint="`kogata export` makes one",
        )
    # Runtimes follow a link out of the bundle, and wait for ever at a pipe: neither gets to see one.
    InputError.raise_all([p for p in scan(folder).problems if p.code in ("bundle.link", "bundle.special")])
    return OpenBundle(folder, read_manifest(folder / "manifest.json"), load_tokenizer(folder / "tokenizer"))


@dataclass(frozen=True)
class Answer:
    """What the model gave. text: a decoder's; embedding: an encoder's, float32 `[hidden]`; runner: what ran it."""

    artifact: Format
    runner: str
    tokens: int
    text: str | None = None
    embedding: np.ndarray | None = None

    def as_json(self) -> Mapping[str, Any]:
        """All of it."""
        facts: dict[str, Any] = {"artifact": self.artifact, "runner": self.runner, "tokens": self.tokens}
        if self.text is not None:
            facts["text"] = self.text
        if self.embedding is not None:
            facts["embedding"] = [float(f"{x:.7g}") for x in self.embedding]
        return facts

    def as_text(self) -> str:
        """The answer alone, or the beginning of the embedding."""
        if self.embedding is None:
            return self.text or ""
        shown = " ".join(f"{x:+.4f}" for x in self.embedding[:SHOWN])
        norm = float(np.linalg.norm(self.embedding))
        return f"[{shown} …]  {self.embedding.size} dimensions, norm {norm:.4f}  (all of them: --format json)"


def run_bundle(folder: Path, text: str, kind: Format | None, max_tokens: int | None) -> Answer:
    """Runs one text. Raises InputError for an artifact that isn't in the bundle, and for a text that doesn't fit."""
    bundle = open_bundle(folder)
    manifest = bundle.manifest
    kinds = [artifact.kind for artifact in manifest.artifacts]
    chosen: Format = kind or ("onnx" if "onnx" in kinds else kinds[0])
    if chosen not in kinds:
        message, hint = f"the bundle has no {chosen} artifact", f"it has {', '.join(kinds)}"
        raise InputError.of("run.artifact", message, where=str(folder), hint=hint)
    paths = {chosen: bundle.artifact(chosen)}
    subjects = Subjects(
        task=manifest.task,
        context=manifest.context,
        tokenizer=bundle.tokenizer,
        onnx=paths.get("onnx"),
        coreml=paths.get("coreml"),
    )
    ids = Prompt(text).tokens(bundle.tokenizer, chat=manifest.task == "text-generation")
    if not 0 < len(ids) <= manifest.context:
        message = f"the text has {len(ids)} tokens; the model takes 1 to {manifest.context}"
        raise InputError.of("run.length", message, hint="give a shorter text" if len(ids) else "give a text")
    runner = Opener(subjects, ParityOptions()).open(chosen)
    if manifest.task == "text-generation":
        return _generate(cast(DecoderRunner, runner), bundle, ids, chosen, max_tokens)
    return _embed(cast(EncoderRunner, runner), ids, chosen)


def _embed(runner: EncoderRunner, ids: NDArray[np.int64], kind: Format) -> Answer:
    """The sentence embedding, or where the model has no pooling, that of its first token."""
    found = runner.encode(ids)
    vector = found.tokens[0] if found.sentence is None else found.sentence
    return Answer(kind, runner.name, len(ids), embedding=vector)


def _generate(
    runner: DecoderRunner, bundle: OpenBundle, prompt: NDArray[np.int64], kind: Format, max_tokens: int | None
) -> Answer:
    """Greedy decoding with the cache, until an end token or the bound."""
    tokenizer = bundle.tokenizer
    bound = min(max_tokens or _stated_length(bundle.folder) or MAX_TOKENS, bundle.manifest.context - len(prompt) + 1)
    answer = [token for token in greedy(runner, prompt, bound, tokenizer.eos_ids) if token not in tokenizer.eos_ids]
    return Answer(kind, runner.name, len(answer), text=tokenizer.decode(answer))


def _stated_length(folder: Path) -> int | None:
    """`max_new_tokens` of the bundle's generation_config.json."""
    stated = (Folder.at(folder / "tokenizer").read_object("generation_config.json") or {}).get("max_new_tokens")
    return stated if isinstance(stated, int) and not isinstance(stated, bool) and stated > 0 else None
