"""Keys in PEM files: ECDSA on P-256, P-384 and P-521, the kinds that model-signing takes."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from exporter.bundle.tree import printable
from exporter.errors import Diagnostic, InputError, file_problem

PASSWORD_VARIABLE = "KOGATA_KEY_PASSWORD"
MAX_KEY_BYTES = 64 << 10  # an encrypted P-521 key has some 500
_HASHES: dict[str, type[hashes.HashAlgorithm]] = {  # by curve, as Sigstore's specification pairs them
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
_KINDS = "ECDSA keys on P-256, P-384 and P-521"
_MAKE = "make one: `openssl ecparam -name prime256v1 -genkey -noout -out key.pem`"
_PUBLIC = "the public key of key.pem: `openssl ec -in key.pem -pubout -out key.pub`"


@dataclass(frozen=True)
class PublicKey:
    """A key that checks signatures."""

    key: ec.EllipticCurvePublicKey

    @property
    def id(self) -> str:
        """SHA-256 of the key's PEM text in lower-case hex. model-signing writes it into a signature as a hint."""
        return hashlib.sha256(self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()

    def accepts(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` (DER) was made of `message` with this key's private half."""
        try:
            self.key.verify(signature, message, ec.ECDSA(_HASHES[self.key.curve.name]()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """A private key. warnings: what its owner should know about its file."""

    key: ec.EllipticCurvePrivateKey
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def public(self) -> PublicKey:
        """The half that checks signatures."""
        return PublicKey(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        """The signature in DER. The same key and message give the same bytes (RFC 6979), as far as OpenSSL can."""
        algorithm = _HASHES[self.key.curve.name]()
        try:
            return self.key.sign(message, ec.ECDSA(algorithm, deterministic_signing=True))
        except UnsupportedAlgorithm:  # OpenSSL before 3.2: a random number is as safe, but the bytes differ each time
            return self.key.sign(message, ec.ECDSA(algorithm))


def read_signing_key(path: Path, ask: Callable[[], str] | None = None) -> SigningKey:
    """The private key in the PEM file `path`.

    ask: reads the password of an encrypted key from the user, where KOGATA_KEY_PASSWORD is not set; None where nobody
    can be asked. Raises InputError.
    """
    raw = _read(path)
    try:
        try:
            key = load_pem_private_key(raw, None)
        except TypeError:  # it is encrypted
            key = load_pem_private_key(raw, _password(path, ask).encode())
    except (ValueError, UnsupportedAlgorithm, TypeError):
        raise _unreadable(path, raw) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
        raise _problem("kind", path, f"is of another kind; --key takes {_KINDS}", _MAKE)
    return SigningKey(key, tuple(_permissions(path)))


def read_public_key(path: Path) -> PublicKey:
    """The public key in the PEM file `path`. Raises InputError."""
    raw = _read(path)
    if b"PRIVATE KEY-----" in raw:
        raise _problem("private", path, "is a private key; who verifies needs only the public key", _PUBLIC)
    try:
        key = load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm, TypeError):
        raise _problem("format", path, "is not a public key in PEM format", _PUBLIC) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise _problem("kind", path, f"is of another kind; --public-key takes {_KINDS}")
    return PublicKey(key)


def _read(path: Path) -> bytes:
    """At most MAX_KEY_BYTES."""
    try:
        problem = file_problem(path)
        if not problem:
            with path.open("rb") as file:
                raw = file.read(MAX_KEY_BYTES + 1)
            if len(raw) <= MAX_KEY_BYTES:
                return raw
            problem = f"is larger than {MAX_KEY_BYTES >> 10} KiB, so it is not a key"
    except (OSError, ValueError) as error:
        problem = f"can't be read: {getattr(error, 'strerror', None) or error}"
    raise _problem("unreadable", path, problem)


def _password(path: Path, ask: Callable[[], str] | None) -> str:
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None and ask is not None:
        password = ask()
    if not password:
        message = "is encrypted, and no password was given"
        raise _problem("password", path, message, f"put the password into the environment variable {PASSWORD_VARIABLE}")
    return password


def _unreadable(path: Path, raw: bytes) -> InputError:
    """Why cryptography can't read a private key. Its own messages differ by version."""
    if b"BEGIN PUBLIC KEY" in raw:
        return _problem("public", path, "is a public key; --key takes the private one")
    if b"ENCRYPTED" in raw:
        return _problem("password", path, "the password is wrong, or the file is damaged")
    return _problem("format", path, "is not a private key in PEM format", _MAKE)


def _permissions(path: Path) -> list[Diagnostic]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name != "posix" or not mode & 0o077:
        return []
    message = f"other users of this machine have access to this private key (mode {mode:04o})"
    return [Diagnostic("key.permissions", message, printable(str(path)), "chmod 600 it", "warning")]


def _problem(slug: str, path: Path, message: str, hint: str = "") -> InputError:
    return InputError(Diagnostic(f"key.{slug}", message, printable(str(path)), hint))
