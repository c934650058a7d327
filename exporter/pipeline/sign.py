"""`kogata sign`: a signature of a bundle and its provenance, in files beside it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exporter.bundle import Manifest, verify_bundle
from exporter.bundle.signing import is_envelope, model_statement, provenance_statement, read_signing_key, seal
from exporter.bundle.signing.check import provenance_path, signature_path
from exporter.bundle.tree import printable, sha256
from exporter.bundle.writer import SUMS
from exporter.errors import Diagnostic, InputError, UsageError
from exporter.pipeline.shippable import require_shippable
from exporter.progress import Progress


@dataclass(frozen=True)
class SignRequest:
    """What to sign. signature: the file to write; None for its usual place. provenance: whether to write that too.

    ask: reads the password of an encrypted key from the user; None where nobody can be asked.
    """

    bundle: Path
    key: Path
    signature: Path | None = None
    provenance: bool = True
    ask: Callable[[], str] | None = None


@dataclass(frozen=True)
class SignResult:
    """What was signed. written: the files, the signature first. key: the id of the public key. files: how many."""

    manifest: Manifest
    written: tuple[Path, ...]
    key: str
    files: int
    warnings: tuple[Diagnostic, ...]


def sign_bundle(request: SignRequest, progress: Progress) -> SignResult:
    """Verify the bundle, then write its signature and its provenance.

    Raises GateError for a bundle with changed files or a failed verdict, InputError for a key that can't be used, and
    UsageError for a place where no signature may lie.
    """
    signature = request.signature or signature_path(request.bundle)
    places = (signature, provenance_path(signature)) if request.provenance else (signature,)
    _require_places(places, request.bundle)
    key = read_signing_key(request.key, request.ask)
    found = verify_bundle(request.bundle, progress)
    manifest = require_shippable(found)
    hashes = {**found.hashes, SUMS: sha256(request.bundle / SUMS)}
    statements = (
        model_statement(Path(os.path.realpath(request.bundle)).name, hashes),
        provenance_statement(manifest, hashes),
    )
    for place, statement in zip(places, statements, strict=False):
        _write(place, seal(statement, key))
    left = [
        Diagnostic(
            "bundle.ignored", "was not signed: Finder left it, and other tools may refuse it", file, level="note"
        )
        for file in found.ignored
    ]
    return SignResult(manifest, places, key.public.id, len(hashes), (*key.warnings, *left))


def _require_places(places: tuple[Path, ...], bundle: Path) -> None:
    """Raise UsageError for places inside the bundle and files that aren't signatures."""
    inside = Path(os.path.realpath(bundle))
    problems = []
    for place in places:
        where, real = printable(str(place)), Path(os.path.realpath(place))
        if inside in (real, *real.parents):
            message = "a signature can't lie inside the bundle: its files are those in SHA256SUMS"
            problems.append(Diagnostic("sign.inside", message, where, "name a file beside the bundle"))
        elif os.path.exists(place) and not is_envelope(place):
            message = "there is something here that is not a signature, and it stays"
            problems.append(Diagnostic("sign.occupied", message, where, "name another file with --output"))
    UsageError.raise_all(problems)


def _write(place: Path, content: bytes) -> None:
    """Write a file that is whole or absent. InputError where that can't be done."""
    beside = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        try:
            with open(beside, "xb") as file:
                file.write(content)
            os.replace(beside, place)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        code = "output.full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "output.unwritable"
        message = f"can't be written: {error.strerror}"
        raise InputError.of(code, message, where=printable(str(place)), hint="choose another place") from error
