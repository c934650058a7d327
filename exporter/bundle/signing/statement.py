"""in-toto statements about the files of a bundle: model-signing's, and reading back what any of ours signs.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. model-signing describes its predicate in
https://github.com/sigstore/model-transparency.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.bundle.signing.envelope import Part, broken, parsed
from exporter.bundle.tree import path_problem, printable

STATEMENT = "https://in-toto.io/Statement/v1"
MODEL = "https://model_signing/signature/v1.0"
PROVENANCE = "https://slsa.dev/provenance/v1"
_DIGEST = re.compile("[0-9a-f]{64}")


class _Subject(Part):
    name: str
    digest: dict[str, str]


class _Statement(Part):
    subject: list[_Subject]
    predicateType: str  # noqa: N815 - the specification's name
    predicate: dict[str, Any]


class _Resource(Part):
    name: str
    algorithm: str
    digest: str


class _Serialization(Part):
    method: str
    hash_type: str


class _Model(Part):
    serialization: _Serialization
    resources: list[_Resource]


def statement(kind: str, subject: Sequence[Mapping[str, Any]], predicate: Mapping[str, Any]) -> dict[str, Any]:
    """A statement of the predicate type `kind`."""
    return {"_type": STATEMENT, "subject": list(subject), "predicateType": kind, "predicate": predicate}


def model_statement(name: str, hashes: Mapping[str, str]) -> dict[str, Any]:
    """What model-signing 1.x signs. name: of the bundle, for people. hashes: path → SHA-256 of each of its files."""
    names = sorted(hashes, key=lambda path: path.split("/"))  # model-signing's order, that of Python's paths
    predicate = {
        "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
        "resources": [{"name": path, "algorithm": "sha256", "digest": hashes[path]} for path in names],
    }
    digest = {"sha256": _root([hashes[path] for path in names])}
    return statement(MODEL, [{"name": name, "digest": digest}], predicate)


def signed_files(data: Any, kind: str, path: Path) -> dict[str, str]:
    """The files that a statement is about: path → SHA-256. GateError where it is not a sound one.

    data: the statement in the signature file `path`. kind: the predicate type that it must have.
    """
    version = data.get("_type") if isinstance(data, dict) else None
    found = parsed(_Statement, data, path)
    for what, value, expected in (("version", version, STATEMENT), ("predicate type", found.predicateType, kind)):
        if value != expected:
            message = f"its statement's {what} is {printable(str(value))[:100]!r}, not {expected!r}"
            raise broken("unsupported", path, message)
    listed = _resources(found, path) if kind == MODEL else [(s.name, s.digest.get("sha256", "")) for s in found.subject]
    files: dict[str, str] = {}
    for name, digest in listed:
        reason = path_problem(name)
        if reason or name in files:
            raise broken("path", path, f"the path {printable(name)[:100]!r} in it {reason or 'is listed twice'}")
        if not _DIGEST.fullmatch(digest):
            message = f"it has no SHA-256 of {printable(name)[:100]}, but {printable(digest)[:70]!r}"
            raise broken("format", path, message)
        files[name] = digest
    return files


def _resources(found: _Statement, path: Path) -> list[tuple[str, str]]:
    """Name and digest of each file in model-signing's predicate, which must agree with the digest of all."""
    model = parsed(_Model, found.predicate, path)
    used = {model.serialization.hash_type, *(resource.algorithm for resource in model.resources)}
    others = sorted(used - {"sha256"})
    if others:
        message = f"its files were hashed with {printable(', '.join(others))[:100]!r}; only 'sha256' is checked"
        raise broken("unsupported", path, message)
    if model.serialization.method != "files":
        message = f"its files were hashed by {printable(model.serialization.method)[:100]!r}; only 'files' is checked"
        raise broken("unsupported", path, message)
    digests = [resource.digest for resource in model.resources]
    whole = [subject.digest.get("sha256") for subject in found.subject]
    if not all(map(_DIGEST.fullmatch, digests)) or whole != [_root(digests)]:
        raise broken("format", path, "the digest of all files in it doesn't agree with those of the files")
    return [(resource.name, resource.digest) for resource in model.resources]


def _root(digests: Sequence[str]) -> str:
    """One digest for all files: SHA-256 over theirs, as bytes, one after the other."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()
