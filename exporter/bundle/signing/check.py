"""Compares a bundle with the signatures beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from exporter.bundle.signing.envelope import open_envelope
from exporter.bundle.signing.keys import PublicKey
from exporter.bundle.signing.statement import MODEL, PROVENANCE, signed_files
from exporter.bundle.tree import printable, scan, sha256
from exporter.bundle.verify import VerifyResult
from exporter.errors import Diagnostic, GateError

Status = Literal["valid", "invalid", "unchecked", "absent"]


@dataclass(frozen=True)
class Checked:
    """One signature file. what: what it is. problems: why it is invalid."""

    what: Literal["signature", "provenance"]
    file: Path
    status: Status
    problems: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True)
class Signatures:
    """The signature of a bundle, its provenance, and the id of the key they were checked with; None: not checked."""

    signature: Checked
    provenance: Checked
    key: str | None = None


def signature_path(bundle: Path) -> Path:
    """Where the signature of `bundle` lies by default: beside it, with `.sig` after its name."""
    whole = bundle if bundle.name not in ("", "..") else Path(os.path.realpath(bundle))
    return whole.with_name(f"{whole.name}.sig")


def provenance_path(signature: Path) -> Path:
    """Where the provenance lies: beside the signature."""
    return signature.with_name(f"{signature.name.removesuffix('.sig')}.provenance.json")


def check_signatures(found: VerifyResult, key: PublicKey | None, signature: Path | None = None) -> Signatures:
    """Compare a bundle that was verified with its signature, and with its provenance where it has one.

    key: None checks nothing and says what lies there. signature: its file, where it is not in its usual place.
    """
    place = signature or signature_path(found.path)
    both = Checked("signature", place, "unchecked"), Checked("provenance", provenance_path(place), "unchecked")
    there = [os.path.lexists(checked.file) for checked in both]
    if key is None:
        one, two = (c if exists else replace(c, status="absent") for c, exists in zip(both, there, strict=True))
        return Signatures(one, two)
    files = _Files(found.path, dict(found.hashes))
    provenance = _checked(both[1], PROVENANCE, key, files) if there[1] else replace(both[1], status="absent")
    return Signatures(_checked(both[0], MODEL, key, files), provenance, key.id)


def _checked(checked: Checked, kind: str, key: PublicKey, files: _Files) -> Checked:
    try:
        signed = signed_files(open_envelope(checked.file, key), kind, checked.file)
    except GateError as error:
        return replace(checked, status="invalid", problems=error.diagnostics)
    problems = tuple(files.differences(signed, printable(checked.file.name)))
    return replace(checked, status="invalid" if problems else "valid", problems=problems)


@dataclass(frozen=True)
class _Files:
    """The files of a bundle. hashes: path → SHA-256 of those that were read; it grows."""

    root: Path
    hashes: dict[str, str]

    def differences(self, signed: Mapping[str, str], where: str) -> list[Diagnostic]:
        """Each file that is not as signed. where: the name of the file with the signature."""
        present = scan(self.root).files
        found = [
            Diagnostic("signature.extra", f"is not one of the files that {where} is about", file)
            for file in present
            if file not in signed and file.rsplit("/", 1)[-1] != ".DS_Store"  # Finder's, which `verify` names
        ]
        for file, digest in sorted(signed.items()):
            if file not in present:
                found.append(
                    Diagnostic("signature.missing", f"is missing, or not a regular file; {where} has it", file)
                )
            elif self._hash(file) != digest:
                found.append(Diagnostic("signature.changed", f"its SHA-256 differs from the one in {where}", file))
        return found

    def _hash(self, file: str) -> str:
        """ "" where it can't be read, which `verify` has said."""
        if file not in self.hashes:
            try:
                self.hashes[file] = sha256(self.root / file)
            except OSError:
                return ""
        return self.hashes[file]
