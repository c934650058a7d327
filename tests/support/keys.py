"""Keys in PEM files, as `openssl ecparam -genkey` and `openssl ec -pubout` write them."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

PEM = serialization.Encoding.PEM


def write_keys(folder: Path, key: PrivateKeyTypes | None = None, password: str = "") -> tuple[Path, Path]:
    """A private key's file and its public key's. key: P-256 where it is None."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    sealed = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    folder.mkdir(exist_ok=True)
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, sealed))
    private.chmod(0o600)
    public.write_bytes(key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public
