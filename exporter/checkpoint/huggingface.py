"""Downloads a hub id to the hub's local cache with huggingface_hub. Cached repositories work offline."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.checkpoint.folder import Folder
from exporter.errors import InputError

# The files of a checkpoint, without pickles and code. fnmatch's * also matches "/", hence the second list.
_DOWNLOADED = (
    "config.json", "generation_config.json", "model.safetensors", "model-*.safetensors", "model.safetensors.index.json",
    "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model",
    "chat_template.*", "preprocessor_config.json", "modules.json", "sentence_*_config.json",
    "config_sentence_transformers.json", "*_*/config.json", "[0-9]_Dense/model.safetensors",
    "adapter_config.json", "model_index.json", "README.md", "LICENSE*", "LICENCE*", "COPYING", "NOTICE*",
    "USE_POLICY*",
)  # fmt: skip
_NOT_DOWNLOADED = (
    "[!0-9]*/*.safetensors",
    "*/*.model",
    "onnx/*",
    "openvino/*",
    "original/*",
    "*.bin",
    "*.py",
    "*.pt",
    "*.pth",
)

_REPO = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?/[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9_][\w.+/-]*", re.ASCII)

# Models without published weights, with or without the maker's name. Open models of the same makers
# (openai/gpt-oss-20b, google/gemma-3-1b-it) don't match.
_CLOSED_MODELS = re.compile(
    r"(?:openai/)?(?:chatgpt|gpt-?(?:3\.5|[45]))[\w.-]*"
    r"|(?:openai/)?o[1345](?:-(?:mini|pro|preview|high))?"
    r"|(?:google/)?gemini(?:-[\w.-]+)?"
    r"|(?:anthropic/)?claude(?:-[\w.-]+)?"
    r"|(?:sensetime/)?sense(?:chat|nova)[\w.-]*",
    re.ASCII | re.IGNORECASE,
)


def is_hub_id(reference: str) -> bool:
    """Whether `reference` has the form `org/name` that the hub allows."""
    legal = _REPO.fullmatch(reference) and len(reference) <= 96 and "--" not in reference and ".." not in reference
    return bool(legal) and not reference.endswith(".git")


def is_closed_model(reference: str) -> bool:
    """Whether `reference` names a model whose weights were never published."""
    return _CLOSED_MODELS.fullmatch(reference) is not None


def download(repo: str, revision: str | None) -> Folder:
    """The snapshot of `repo` at `revision` (branch, tag or commit; default: main), downloaded if needed.
    The folder's `commit` is the commit that `revision` names.

    Raises `InputError`: not found, gated, no such revision, offline and not cached, disk full.
    """
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise InputError.of(
            "checkpoint.revision",
            f"{revision!r} is not a valid name of a branch, tag or commit",
            where="--revision",
            hint="use a name from the repository: main, v1.0, or a 40-digit commit",
        )
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    where = f"{repo}@{revision}" if revision else repo
    try:
        with _quiet_bars():
            path = snapshot_download(
                repo, revision=revision, allow_patterns=list(_DOWNLOADED), ignore_patterns=list(_NOT_DOWNLOADED)
            )
    except hub.GatedRepoError:
        code, message = "checkpoint.gated", f"{repo} is gated: its licence must be accepted first"
        hint = "accept it on the model's page, then `huggingface-cli login` or set HF_TOKEN"
    except hub.RepositoryNotFoundError:
        code, message = "checkpoint.not_found", f"there is no folder {repo!r}, and no such repository on the hub"
        hint = "check the spelling; a private repository needs `huggingface-cli login` or HF_TOKEN"
    except hub.RevisionNotFoundError:
        code, message = "checkpoint.revision", f"{repo} has no revision {revision!r}"
        hint = "see the list of commits on the model's page"
    except hub.LocalEntryNotFoundError:
        code = "checkpoint.offline"
        message = f"there is no folder {repo!r}; the hub can't be reached, and its local cache doesn't hold {where}"
        hint = "check the path or the connection (unset HF_HUB_OFFLINE), or pass a local folder"
    except (hub.HfHubHTTPError, hub.HFValidationError, OSError) as error:
        code, message = "checkpoint.hub", f"{where} can't be downloaded: {_first_line(error)}"
        hint = "try again, or download the folder and pass its path"
    else:
        folder = Folder.at(Path(path))
        if folder.commit is not None:
            return folder
        code, message = "checkpoint.hub", f"the hub's local cache is damaged: {where} names no commit"
        hint = "remove the repository from the cache and download it again"
    raise InputError.of(code, message, where=where, hint=hint)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet_bars() -> Iterator[None]:
    """Hides huggingface_hub's progress bars unless stderr is a terminal and NO_PROGRESS isn't set."""
    from huggingface_hub import utils

    hide = (not sys.stderr.isatty() or bool(os.environ.get("NO_PROGRESS"))) and not utils.are_progress_bars_disabled()
    if hide:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            utils.enable_progress_bars()
