"""The two bundles of `kogata diff`, verified before anything else of them is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.bundle import Manifest, VerifyResult, verify_bundle
from exporter.bundle.canonical import parse_sums
from exporter.bundle.tree import scan
from exporter.bundle.writer import SUMS
from exporter.errors import Diagnostic, GateError, InputError
from exporter.progress import Progress


@dataclass(frozen=True)
class FileFacts:
    """A file of a bundle. digest: its SHA-256, "" for SHA256SUMS itself."""

    bytes: int
    digest: str


@dataclass(frozen=True)
class Side:
    """A verified bundle. name: "OLD" or "NEW". files: POSIX path → size and hash."""

    name: str
    folder: Path
    manifest: Manifest
    files: Mapping[str, FileFacts]


def open_sides(old: Path, new: Path, progress: Progress) -> tuple[Side, Side]:
    """Both bundles. Raises InputError with the problems of both where one is not a bundle, and GateError with all
    differences where files of them aren't as packed.
    """
    found: list[tuple[str, VerifyResult]] = []
    problems: list[Diagnostic] = []
    for name, folder in (("OLD", old), ("NEW", new)):
        try:
            found.append((name, verify_bundle(folder, progress)))
        except InputError as error:
            problems += error.diagnostics
    InputError.raise_all(problems)
    GateError.raise_all([_of_side(name, d) for name, result in found for d in result.diagnostics])
    first, second = (_side(name, result) for name, result in found)
    return first, second


def _side(name: str, result: VerifyResult) -> Side:
    if result.manifest is None:
        raise RuntimeError("a bundle without findings has a manifest")
    hashes = parse_sums((result.path / SUMS).read_bytes()).hashes
    sizes = {file: size for file, size in scan(result.path).files.items() if file not in result.ignored}
    files = {file: FileFacts(size, hashes.get(file, "")) for file, size in sizes.items()}
    return Side(name, result.path, result.manifest, files)


def _of_side(name: str, diagnostic: Diagnostic) -> Diagnostic:
    return replace(diagnostic, where=f"{name}: {diagnostic.where}" if diagnostic.where else name)
