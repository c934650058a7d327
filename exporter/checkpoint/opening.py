"""Opens a checkpoint: a local folder, or a repository on the Hugging Face hub."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.checkpoint import huggingface
from exporter.checkpoint.checkpoint import PREPROCESSOR, Checkpoint, Source
from exporter.checkpoint.folder import Folder
from exporter.checkpoint.licence import read_licence
from exporter.checkpoint.problems import Problems
from exporter.checkpoint.refusals import no_config, refuse_adapter, refuse_quantized
from exporter.checkpoint.sentence import SentenceModules, read_sentence
from exporter.checkpoint.tensors import TensorStore
from exporter.checkpoint.tokens.chat import find_template
from exporter.checkpoint.tokens.files import TOKENIZER, TOKENIZER_CONFIG, find_tokenizer_files
from exporter.checkpoint.tokens.settings import read_settings
from exporter.checkpoint.tokens.source import lowercases
from exporter.checkpoint.weights import open_weights
from exporter.errors import InputError, UnsupportedError

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
_ACCEPTED_HINT = "accepted: a checkpoint folder (config.json, model.safetensors, tokenizer.json) or a hub id `org/name`"


@dataclass(frozen=True)
class _Place:
    folder: Folder
    repo: str | None = None
    revision: str | None = None


def open_checkpoint(reference: str | Path, *, revision: str | None = None) -> Checkpoint:
    """Opens the folder `reference`, or the hub repository `org/name` at `revision` (branch, tag or commit).

    Reads configuration, tensor headers, tokenizer and licence. Tensors' data and the digest are read at first access.
    No code of the checkpoint is run and no pickle is opened. Raises `InputError` (missing, damaged or hostile files)
    or `UnsupportedError`, with every problem found.
    """
    place = _locate(str(reference), revision)
    folder, problems = place.folder, Problems()
    refuse_adapter(folder)
    config: Mapping[str, Any] = {}
    generation_config: Mapping[str, Any] = {}
    tensors = TensorStore([])
    weight_files: tuple[str, ...] = ()
    tokenizer_files: Mapping[str, Path] = {}
    chat_template: str | None = None
    sentence: SentenceModules | None = None
    licence = read_licence(folder)
    with problems.collecting():
        config = _read_config(folder)
        refuse_quantized(config, licence.base_models)
    with problems.collecting():
        generation_config = folder.read_object(GENERATION_CONFIG, small_integers=True) or {}
    with problems.collecting():
        tensors, weight_files = open_weights(folder)
    lowercase = False
    with problems.collecting():
        tokenizer_files = find_tokenizer_files(folder)
        lowercase = lowercases(folder.read_object(TOKENIZER) or {}, read_settings(folder), config)
    with problems.collecting():
        chat_template = find_template(folder, folder.read_object(TOKENIZER_CONFIG) or {})
    with problems.collecting():
        sentence = read_sentence(folder, tokenizer_lowercases=lowercase)
    problems.raise_any()
    names = {CONFIG, *weight_files, *tokenizer_files, *(sentence.files if sentence else ())}
    names |= {name for name in (GENERATION_CONFIG, PREPROCESSOR) if folder.find(name) is not None}
    source = Source(
        repo=place.repo,
        revision=place.revision,
        license=licence.license,
        license_link=licence.link,
        languages=licence.languages,
        files={name: folder.root / name for name in sorted(names)},
    )
    return Checkpoint(
        folder.root,
        _slug(folder.name),
        config,
        generation_config,
        tensors,
        tokenizer_files,
        chat_template,
        sentence,
        source,
    )


def _locate(reference: str, revision: str | None) -> _Place:
    try:
        path = Path(reference).expanduser()
        exists, is_folder = bool(reference) and path.exists(), bool(reference) and path.is_dir()
    except (OSError, RuntimeError, ValueError):  # too long, no home folder, a null byte
        path, exists, is_folder = Path(), False, False
    if is_folder:
        return _local(Folder.at(path), revision)
    if exists:
        raise InputError.of(
            "checkpoint.not_a_folder",
            f"{reference} is a file; a checkpoint is a folder",
            where=reference,
            hint=_ACCEPTED_HINT,
        )
    if huggingface.is_closed_model(reference):
        raise InputError.of(
            "checkpoint.closed_model",
            f"{reference} is a closed model: its makers publish no weights, so there is nothing to export",
            where=reference,
            hint="take a model with open weights, from the hub or from a folder",
        )
    if not huggingface.is_hub_id(reference):
        raise InputError.of(
            "checkpoint.not_found",
            f"'{_printable(reference)}' is neither an existing folder nor a hub id",
            where=_printable(reference),
            hint=_ACCEPTED_HINT,
        )
    folder = huggingface.download(reference, revision)
    return _Place(folder, reference, folder.commit)


def _local(folder: Folder, revision: str | None) -> _Place:
    if revision is not None:
        raise InputError.of(
            "checkpoint.revision",
            "--revision can be used with a hub id only; this is a local folder",
            where="--revision",
            hint="leave --revision out, or pass the hub id",
        )
    return _Place(folder)


def _read_config(folder: Folder) -> Mapping[str, Any]:
    config = folder.read_object(CONFIG, small_integers=True)
    if config is None:
        raise no_config(folder)
    # MiniCPM's first configurations have no model_type, but `architectures` names their class.
    if "model_type" not in config and "architectures" not in config and "auto_map" in config:
        raise UnsupportedError.of(
            "checkpoint.custom_code",
            "the model is described only by Python code in the checkpoint, which is never run",
            where=CONFIG,
            hint="add the model_type to config.json, if transformers knows the architecture",
        )
    return config


def _slug(name: str) -> str:
    """`name` as a file name that is valid on every system: letters, digits, `.`, `_` and `-`, 64 at most."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._]+", "-", plain).strip("-._")[:64].rstrip("-._") or "model"


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]
