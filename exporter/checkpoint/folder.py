"""Reads files of a folder that may be hostile: only regular files inside the folder, and only up to a size."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from exporter.errors import InputError

MAX_JSON_BYTES = 256 << 20  # Gemma's tokenizer.json, the largest in use, has 33 MB
_INT64 = 1 << 63
_CACHED_REPOSITORY = re.compile(r"models--(?:.+?--)?(.+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Folder:
    """A checkpoint's folder.

    root: where names are looked up (absolute).
    boundary: the folder (resolved) that symbolic links must stay in. It is `root` itself, except for a snapshot in a
        hub cache: its files are links to `blobs` in the same repository's cache folder.
    name: the folder's own name, or the repository's.
    commit: the snapshot's commit; None outside a hub cache.
    """

    root: Path
    boundary: Path
    name: str
    commit: str | None = None

    @classmethod
    def at(cls, path: Path) -> Folder:
        """The folder at `path`, which need not exist. `models--ORG--NAME/snapshots/COMMIT` is a hub cache. Links may
        stay anywhere in such a cache: it comes from one source, as a folder does.
        """
        root = Path(os.path.abspath(path))
        repository = _CACHED_REPOSITORY.fullmatch(root.parent.parent.name)
        if repository and root.parent.name == "snapshots" and _COMMIT.fullmatch(root.name):
            return cls(root, root.parent.parent.resolve(), repository[1], root.name)
        return cls(root, root.resolve(), root.name)

    def find(self, name: str) -> Path | None:
        """The file `name` (relative, `/`-separated), or None when there is none.

        The path is the one inside `root`, links not resolved. Raises `InputError` when it leaves the boundary, is not
        a regular file (reading a FIFO blocks, reading a device never ends) or can't be examined.
        """
        parts = PurePosixPath(name).parts
        if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name or "\0" in name:
            raise InputError.of("checkpoint.path", f"{name!r} is not a path inside the checkpoint folder", where=name)
        path = self.root.joinpath(*parts)
        try:
            if not os.path.lexists(path):
                return None
            target = path.resolve(strict=True)
            mode = target.stat().st_mode
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
            reason = error.strerror if isinstance(error, OSError) else "a loop of symbolic links"
            raise InputError.of(
                "checkpoint.unreadable",
                f"{name} can't be read: {reason}",
                where=name,
                hint="the symbolic link points to nothing: download the checkpoint again" if path.is_symlink() else "",
            ) from None
        if not target.is_relative_to(self.boundary):
            raise InputError.of(
                "checkpoint.symlink",
                f"{name} is a symbolic link to a file outside the checkpoint folder",
                where=name,
                hint="copy the file into the folder",
            )
        if not stat.S_ISREG(mode):
            raise InputError.of("checkpoint.unreadable", f"{name} is not a regular file", where=name)
        return path

    def names(self) -> tuple[str, ...]:
        """The entries of the folder itself, sorted. Raises `InputError` when it can't be listed."""
        try:
            return tuple(sorted(os.listdir(self.root)))
        except OSError as error:
            raise InputError.of(
                "checkpoint.unreadable", f"the folder can't be listed: {error.strerror}", where=self.root.name
            ) from None

    def read_bytes(self, name: str, limit: int) -> bytes | None:
        """The bytes of `name`, or None when there is no such file. `InputError` when it has more than `limit` bytes."""
        path = self.find(name)
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                data = file.read(limit + 1) if size <= limit else b""
        except OSError as error:
            raise InputError.of(
                "checkpoint.unreadable", f"{name} can't be read: {error.strerror}", where=name
            ) from None
        if max(size, len(data)) > limit:
            raise InputError.of("checkpoint.too_large", f"{name} has more than {limit} bytes", where=name)
        if data.startswith(b"version https://git-lfs"):
            message = f"{name} is a Git LFS pointer, not the file itself"
            hint = "run `git lfs pull` in the checkpoint's repository"
            raise InputError.of("checkpoint.git_lfs", message, where=name, hint=hint)
        return data

    def read_text(self, name: str, limit: int) -> str | None:
        """The UTF-8 text of `name`, or None when there is no such file. `InputError` above `limit` bytes."""
        data = self.read_bytes(name, limit)
        try:
            return None if data is None else data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError.of(
                "checkpoint.encoding", f"{name} is not UTF-8 (byte {error.start})", where=name
            ) from None

    def read_json(self, name: str, *, small_integers: bool = False) -> Any | None:
        """The JSON value in `name`, or None when there is no such file.

        small_integers: refuse integers outside int64, and numbers that overflow float64. A model's sizes never need
            them; tokenizers write 1e30 for "no limit".
        """
        text = self.read_text(name, MAX_JSON_BYTES)
        if text is None:
            return None
        return parse_json(text, name, small_integers=small_integers)

    def read_object(self, name: str, *, small_integers: bool = False) -> dict[str, Any] | None:
        """Like `read_json`, for a file that must hold a JSON object."""
        value = self.read_json(name, small_integers=small_integers)
        if value is None and self.find(name) is None:
            return None
        if not isinstance(value, dict):
            raise InputError.of("checkpoint.json", f"{name} does not hold a JSON object", where=name)
        return value


def parse_json(text: str, name: str, *, small_integers: bool = False) -> Any:
    """`text` as JSON. Every failure is an `InputError` that names the file."""
    integer: Callable[[str], Any] | None = _int64 if small_integers else None
    real: Callable[[str], Any] | None = _finite if small_integers else None
    try:
        return json.loads(text, parse_int=integer, parse_float=real)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} (line {error.lineno}, column {error.colno})"
    except ValueError as error:  # a number out of range, or longer than Python converts
        reason = str(error).partition(";")[0]
    except RecursionError:
        reason = "nested too deeply"
    except MemoryError:
        reason = "too large"
    raise InputError.of("checkpoint.json", f"{name} is not readable JSON: {reason}", where=name)


def _int64(digits: str) -> int:
    if len(digits) > 20 or not -_INT64 <= (value := int(digits)) < _INT64:
        raise ValueError(f"the number {digits[:24]}{'…' if len(digits) > 24 else ''} is out of range")
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:24]}{'…' if len(digits) > 24 else ''} is out of range")
    return value
