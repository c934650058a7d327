"""A `.mlpackage` on disk: the manifest, and the files that it names. Everything in it may be hostile."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from exporter.errors import InputError

MAX_MANIFEST_BYTES = 1 << 20
MAX_SPEC_BYTES = 1 << 29  # protobuf itself stops at 2 GiB; the program of a model with weights beside it has a few MiB
MODEL_PATH = "@model_path/"  # how a program refers to the folder of its model.mlmodel


@dataclass(frozen=True)
class Package:
    """A package whose manifest was read.

    root: the package folder, resolved; model: the model specification's file; items: the files and folders that the
    manifest lists, resolved. Core ML ignores whatever it doesn't list.
    """

    root: Path
    model: Path
    items: tuple[Path, ...]

    def model_bytes(self) -> bytes:
        """The serialized model specification."""
        return _read(self.model, MAX_SPEC_BYTES)

    def blob_file(self, name: str, where: str) -> Path:
        """The file that the program calls `name` (`@model_path/weights/weight.bin`)."""
        if not name.startswith(MODEL_PATH):
            raise InputError.of("mlpackage.path", f"{name!r} is not relative to the model", where=where)
        path = _inside(self.root, self.model.parent, name.removeprefix(MODEL_PATH), where)
        if not any(path == item or item in path.parents for item in self.items):
            raise InputError.of("mlpackage.unlisted", f"the manifest doesn't list {name!r}", where=where)
        if not _is(path, stat.S_ISREG):
            raise InputError.of("mlpackage.missing", f"the package has no file {name!r}", where=where)
        return path


def read_package(path: Path) -> Package:
    """Reads and checks `path/Manifest.json`.

    Raises InputError: not a package, a manifest that isn't such JSON, a path that leaves the package (also by a
    symbolic link), a listed item or the model specification is absent.
    """
    where = path.name
    try:
        root = path.resolve(strict=True)
        if not _is(root, stat.S_ISDIR):
            raise InputError.of("mlpackage.missing", "a .mlpackage is a folder", where=where)
        manifest = _manifest(_read(root / "Manifest.json", MAX_MANIFEST_BYTES))
        data = _inside(root, root, "Data", where)
        entries = {key: _inside(root, data, entry, where) for key, entry in manifest.entries.items()}
    except OSError as error:
        raise InputError.of("mlpackage.unreadable", f"can't read the package: {error.strerror}", where=where) from error
    except RuntimeError as error:  # pathlib's answer to a loop of symbolic links
        raise InputError.of("mlpackage.unreadable", "the package holds a loop of links", where=where) from error
    for key, entry in manifest.entries.items():
        if not _is(entries[key], lambda mode: stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError.of("mlpackage.missing", f"the manifest lists {entry!r}, which isn't there", where=where)
    model = entries[manifest.root]
    if not _is(model, stat.S_ISREG):
        raise InputError.of("mlpackage.missing", "the model specification is not a file", where=where)
    return Package(root, model, tuple(entries[key] for key in sorted(entries)))


@dataclass(frozen=True)
class _Manifest:
    entries: Mapping[str, str]  # item identifier → path below Data/
    root: str  # identifier of the model specification


def _manifest(data: bytes) -> _Manifest:
    where = "Manifest.json"
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InputError.of("mlpackage.manifest", "the manifest is not JSON", where=where) from error
    if not isinstance(content, dict):
        raise InputError.of("mlpackage.manifest", "the manifest is not a JSON object", where=where)
    version, root, items = (content.get(key) for key in ("fileFormatVersion", "rootModelIdentifier", "itemInfoEntries"))
    if not isinstance(version, str) or not version.startswith("1."):
        raise InputError.of("mlpackage.manifest", f"unknown fileFormatVersion {version!r}", where=where)
    entries: dict[str, str] = {}
    for key, item in items.items() if isinstance(items, dict) else ():
        entry = item.get("path") if isinstance(item, dict) else None
        if not isinstance(entry, str):
            raise InputError.of("mlpackage.manifest", f"item {key!r} has no path", where=where)
        entries[key] = entry
    if not isinstance(root, str) or root not in entries:
        raise InputError.of("mlpackage.manifest", "rootModelIdentifier names no item", where=where)
    return _Manifest(entries, root)


def _inside(root: Path, base: Path, relative: str, where: str) -> Path:
    """`base/relative`, resolved, if it lies inside `root` and follows no way out of it."""
    parts = PurePosixPath(relative).parts
    if not parts or relative.startswith("/") or ".." in parts or "\\" in relative or "\0" in relative:
        raise InputError.of("mlpackage.path", f"{relative!r} is not a path inside the package", where=where)
    try:
        path = base.joinpath(*parts).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, a loop of links, half a surrogate pair
        raise InputError.of("mlpackage.path", f"{relative!r} can't be resolved", where=where) from error
    if root not in path.parents:
        raise InputError.of("mlpackage.path", f"{relative!r} leads out of the package", where=where)
    return path


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether `path` exists and is of that kind; False for a name that no file can have."""
    try:
        return kind(path.stat().st_mode)
    except OSError:
        return False


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError.of("mlpackage.unreadable", f"can't read it: {error.strerror}", where=path.name) from error
    if len(data) > limit:
        raise InputError.of("mlpackage.size", f"larger than {limit} bytes", where=path.name)
    return data
