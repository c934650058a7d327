"""`kogata verify`: compare every byte of a bundle with its hashes. No model is loaded or run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.bundle.canonical import Sums, parse_sums
from exporter.bundle.manifest import MANIFEST, load_manifest
from exporter.bundle.tree import printable, scan, sha256
from exporter.bundle.writer import SUMS
from exporter.errors import Diagnostic, GateError, InputError
from exporter.progress import NoProgress, Progress

MAX_SUMS_BYTES = 16 << 20  # some 100,000 files


@dataclass(frozen=True)
class VerifyResult:
    """The result of a verification. files: number of regular files; bytes: the sum of their sizes."""

    path: Path
    files: int
    bytes: int
    diagnostics: tuple[Diagnostic, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""
        return not self.diagnostics

    def require_ok(self) -> None:
        """Raise GateError with all findings, if there are any."""
        GateError.raise_all(self.diagnostics)


def verify_bundle(path: Path, progress: Progress | None = None) -> VerifyResult:
    """Compare every file with SHA256SUMS and the manifest; each missing, extra or changed file is one finding.

    Nothing outside `path` is read: links, devices and paths that leave the folder are findings.
    Raises InputError when `path` is not a folder, can't be read, or is not a bundle.
    """
    progress = progress or NoProgress()
    _require_bundle(path)
    try:
        tree = scan(path)
    except OSError as error:
        raise InputError.of(
            "bundle.unreadable", f"can't be listed: {error.strerror}", where=printable(str(path))
        ) from None
    found = list(tree.problems)
    sums = _read_sums(path, found) if SUMS in tree.files else Sums({}, ())
    if SUMS not in tree.files:
        found.append(Diagnostic("bundle.missing", "this file with the hashes is missing", SUMS))
    named = {diagnostic.where for diagnostic in found}
    progress.stage("verify", len(tree.files))
    for file in tree.files:
        problem = _compare(path, file, sums) if file != SUMS else None
        if problem:
            found.append(problem)
        progress.advance(file)
    found += [
        Diagnostic("bundle.missing", f"is listed in {SUMS} but missing", file)
        for file in sums.hashes
        if file not in tree.files and file not in named
    ]
    found += _manifest_findings(path, tree.files)
    return VerifyResult(path, len(tree.files), sum(tree.files.values()), tuple(found))


def _require_bundle(path: Path) -> None:
    where = printable(str(path))
    try:
        if not path.exists():
            raise InputError.of("bundle.none", "there is nothing here", where=where)
        if not path.is_dir():
            raise InputError.of("bundle.none", "a bundle is a folder; this is a file", where=where)
        if not any(os.path.lexists(path / name) for name in (MANIFEST, SUMS)):
            raise InputError.of(
                "bundle.none", f"this is not a bundle: it has neither {MANIFEST} nor {SUMS}", where=where
            )
    except (OSError, ValueError) as error:
        raise InputError.of("bundle.unreadable", f"can't be read: {error}", where=where) from None


def _read_sums(path: Path, found: list[Diagnostic]) -> Sums:
    try:
        with (path / SUMS).open("rb") as file:
            raw = file.read(MAX_SUMS_BYTES + 1)
    except OSError as error:
        found.append(Diagnostic("bundle.unreadable", f"can't be read: {error.strerror}", SUMS))
        return Sums({}, ())
    if len(raw) > MAX_SUMS_BYTES:
        found.append(Diagnostic("bundle.sums", f"is larger than {MAX_SUMS_BYTES >> 20} MiB", SUMS))
        return Sums({}, ())
    sums = parse_sums(raw)
    found += [Diagnostic("bundle.sums", problem, SUMS) for problem in sums.problems]
    if SUMS in sums.hashes:
        found.append(Diagnostic("bundle.sums", "lists itself", SUMS))
    return sums


def _compare(path: Path, file: str, sums: Sums) -> Diagnostic | None:
    if file not in sums.hashes:
        return Diagnostic("bundle.extra", f"is not listed in {SUMS}", file)
    try:
        digest = sha256(path / file)
    except OSError as error:
        return Diagnostic("bundle.unreadable", f"can't be read: {error.strerror or error}", file)
    if digest != sums.hashes[file]:
        return Diagnostic(
            "bundle.changed", f"its SHA-256 differs from the one in {SUMS}", file, "copy or export the bundle again"
        )
    return None


def _manifest_findings(path: Path, files: Mapping[str, int]) -> list[Diagnostic]:
    """Compare the manifest with its schema, and its artifacts with the files."""
    if MANIFEST not in files:
        return [Diagnostic("bundle.missing", "the manifest is missing", MANIFEST)]
    data, problems = load_manifest(path / MANIFEST)
    if problems:
        return problems
    found = []
    for artifact in data["artifacts"]:
        listed = {entry["path"]: entry["bytes"] for entry in artifact["files"]}
        for file, size in listed.items():
            found += _artifact_file(file, size, files)
        found += [
            Diagnostic("bundle.manifest", f"is in {artifact['path']} but not listed in {MANIFEST}", file)
            for file in files
            if file.startswith(f"{artifact['path']}/") and file not in listed
        ]
    return found


def _artifact_file(file: str, size: Any, files: Mapping[str, int]) -> list[Diagnostic]:
    if file not in files:
        return [Diagnostic("bundle.missing", f"is listed in {MANIFEST} but missing", printable(file))]
    if files[file] != size:
        return [Diagnostic("bundle.size", f"has {files[file]} bytes, {MANIFEST} says {size}", file)]
    return []
