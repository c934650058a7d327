"""`kogata verify`: compare every byte of a bundle with its hashes. No model is loaded or run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.bundle.canonical import Sums, parse_sums
from exporter.bundle.manifest import MANIFEST, Manifest, load_manifest, manifest_of
from exporter.bundle.tree import printable, scan, sha256
from exporter.bundle.writer import SUMS
from exporter.errors import Diagnostic, GateError, InputError
from exporter.progress import NoProgress, Progress

MAX_SUMS_BYTES = 16 << 20  # some 100,000 files


@dataclass(frozen=True)
class VerifyResult:
    """The result of a verification.

    files: number of regular files; bytes: the sum of their sizes. diagnostics: what differs. ignored: files that a file
    manager left, which aren't the bundle's. manifest: None where it can't be read. hashes: path → SHA-256 of the files
    that were compared.
    """

    path: Path
    files: int
    bytes: int
    diagnostics: tuple[Diagnostic, ...]
    ignored: tuple[str, ...] = ()
    manifest: Manifest | None = None
    hashes: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        """Whether every file is as it was packed. The manifest's verdict is another matter."""
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
    ignored = tuple(file for file in tree.files if _left_by_finder(file) and file not in sums.hashes)
    files = {file: size for file, size in tree.files.items() if file not in ignored}
    named = {diagnostic.where for diagnostic in found}
    hashes: dict[str, str] = {}
    progress.stage("verify", len(files))
    for file in files:
        problem = _compare(path, file, sums, hashes) if file != SUMS else None
        if problem:
            found.append(problem)
        progress.advance(file)
    found += [
        Diagnostic("bundle.missing", f"is listed in {SUMS} but missing", file)
        for file in sums.hashes
        if file not in files and file not in named
    ]
    manifest, problems = _manifest_findings(path, files)
    return VerifyResult(path, len(files), sum(files.values()), (*found, *problems), ignored, manifest, hashes)


def _left_by_finder(file: str) -> bool:
    """Whether macOS' Finder wrote this file, with the position of icons, when somebody opened the folder."""
    return file.rsplit("/", 1)[-1] == ".DS_Store"


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


def _compare(path: Path, file: str, sums: Sums, hashes: dict[str, str]) -> Diagnostic | None:
    """What is wrong with a file. hashes: gets its SHA-256."""
    if file not in sums.hashes:
        return Diagnostic("bundle.extra", f"is not listed in {SUMS}", file)
    try:
        digest = hashes[file] = sha256(path / file)
    except OSError as error:
        return Diagnostic("bundle.unreadable", f"can't be read: {error.strerror or error}", file)
    if digest != sums.hashes[file]:
        return Diagnostic(
            "bundle.changed", f"its SHA-256 differs from the one in {SUMS}", file, "copy or export the bundle again"
        )
    return None


def _manifest_findings(path: Path, files: Mapping[str, int]) -> tuple[Manifest | None, list[Diagnostic]]:
    """The manifest, and how it differs from its schema and its artifacts from the files."""
    if MANIFEST not in files:
        return None, [Diagnostic("bundle.missing", "the manifest is missing", MANIFEST)]
    data, problems = load_manifest(path / MANIFEST)
    if problems:
        return None, problems
    manifest, found = manifest_of(data), []
    for artifact in manifest.artifacts:
        for file, size in artifact.files.items():
            found += _artifact_file(file, size, files)
        found += [
            Diagnostic("bundle.manifest", f"is in {artifact.path} but not listed in {MANIFEST}", file)
            for file in files
            if file.startswith(f"{artifact.path}/") and file not in artifact.files
        ]
    return manifest, found


def _artifact_file(file: str, size: int, files: Mapping[str, int]) -> list[Diagnostic]:
    if file not in files:
        return [Diagnostic("bundle.missing", f"is listed in {MANIFEST} but missing", printable(file))]
    if files[file] != size:
        return [Diagnostic("bundle.size", f"has {files[file]} bytes, {MANIFEST} says {size}", file)]
    return []
