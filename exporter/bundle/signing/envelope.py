"""A signed statement in a file: a Sigstore bundle v0.3 with a DSSE envelope, signed with a key.

https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md,
https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from exporter.bundle.signing.keys import PublicKey, SigningKey
from exporter.bundle.tree import printable
from exporter.errors import Diagnostic, GateError, file_problem
from exporter.strict_json import parse_json
from exporter.validation import explain

T = TypeVar("T", bound=BaseModel)
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 64 << 20  # some 200,000 files


class Part(BaseModel):
    """A table of a signed file. Keys that aren't known are ignored, as the specifications demand."""

    model_config = ConfigDict(strict=True, frozen=True)


class _Part(Part):
    model_config = ConfigDict(strict=True, frozen=True, alias_generator=to_camel)


class _Hint(_Part):
    hint: str | None = None


class _Material(_Part):
    public_key: _Hint | None = None


class _Signature(_Part):
    sig: str


class _Envelope(_Part):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _File(_Part):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


def seal(statement: Mapping[str, Any], key: SigningKey) -> bytes:
    """The file with `statement`, signed with `key`. Equal arguments give equal bytes."""
    payload = json.dumps(statement, ensure_ascii=False, indent=1, sort_keys=True).encode()
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(key.sign(_signed_bytes(payload))).decode(), "keyid": ""}],
    }
    material = {"publicKey": {"hint": key.public.id}, "tlogEntries": []}
    file = {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}
    return json.dumps(file, separators=(",", ":")).encode() + b"\n"


def is_envelope(path: Path) -> bool:
    """Whether `path` is a Sigstore bundle of any version; nothing in it is checked."""
    try:
        data = parse_json(_read(path))
    except (GateError, ValueError):
        return False
    return isinstance(data, dict) and str(data.get("mediaType")).startswith("application/vnd.dev.sigstore.bundle")


def open_envelope(path: Path, key: PublicKey) -> Any:
    """The statement in the file `path`, whose signature `key` accepts: JSON of any shape.

    Nothing of the statement is parsed before its signature was checked. Raises GateError with a `signature.…` code.
    """
    try:
        raw = parse_json(_read(path))
    except ValueError as error:
        raise broken("format", path, f"is not JSON, or was cut off: {printable(str(error))[:200]}") from None
    file = parsed(_File, raw, path)
    _require_supported(file, path)
    hint = file.verification_material.public_key and file.verification_material.public_key.hint
    if hint and hint != key.id:
        message = f"was made with another key, whose id is {printable(hint)[:64]}; the public key's id is {key.id}"
        raise broken("key", path, message, "verify with the public key of whoever signed")
    envelope = file.dsse_envelope
    payload, signature = _decoded(envelope.payload, path), _decoded(envelope.signatures[0].sig, path)
    if not key.accepts(signature, _signed_bytes(payload)):
        message = "the signature in it is not of its content: the file was changed, or another key signed it"
        raise broken("invalid", path, message, "don't use the bundle before you know why")
    try:
        return parse_json(payload)
    except ValueError as error:
        raise broken("format", path, f"its statement is not JSON: {printable(str(error))[:200]}") from None


def parsed(kind: type[T], data: Any, path: Path) -> T:
    """`data` as a `kind`. GateError with everything that is wrong with it."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        found = [f"{printable(key)[:100] or 'the file'} {printable(message)}" for key, message in explain(error)]
        raise broken("format", path, f"is not a signature: {'; '.join(found[:5])}") from None


def broken(slug: str, path: Path, message: str, hint: str = "") -> GateError:
    """The error for a signature file that can't be trusted."""
    return GateError(Diagnostic(f"signature.{slug}", message, printable(str(path)), hint))


def _signed_bytes(payload: bytes) -> bytes:
    """What is signed in place of the payload: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _require_supported(file: _File, path: Path) -> None:
    """Raise GateError for what another tool may have signed and this one can't check."""
    problems = {
        f"its type is {printable(file.media_type)[:100]!r}; only Sigstore bundles v0.3 are checked": (
            file.media_type != MEDIA_TYPE
        ),
        "it was made with a certificate or without a key of one's own (keyless); only keys are checked": (
            file.verification_material.public_key is None
        ),
        f"its payload is {printable(file.dsse_envelope.payload_type)[:100]!r}, not an in-toto statement": (
            file.dsse_envelope.payload_type != PAYLOAD_TYPE
        ),
        f"it has {len(file.dsse_envelope.signatures)} signatures; exactly one is checked": (
            len(file.dsse_envelope.signatures) != 1
        ),
    }
    for message, found in problems.items():
        if found:
            raise broken("unsupported", path, message, "`model_signing verify` may know it")


def _decoded(text: str, path: Path) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise broken("format", path, "a part of it is not base64") from None


def _read(path: Path) -> bytes:
    problem = ""
    try:
        problem = file_problem(path)
        if not problem:
            with path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
            if len(raw) <= MAX_BYTES:
                return raw
            raise broken("format", path, f"is larger than {MAX_BYTES >> 20} MiB")
    except (OSError, ValueError) as error:
        problem = f"can't be read: {getattr(error, 'strerror', None) or error}"
    raise broken("absent" if problem == "there is no such file" else "unreadable", path, problem)
