"""Signatures of a bundle in OpenSSF model-signing's format, and its provenance, both made with a key in a file."""

from exporter.bundle.signing.check import Checked, Signatures, check_signatures
from exporter.bundle.signing.envelope import is_envelope, seal
from exporter.bundle.signing.keys import PublicKey, SigningKey, read_public_key, read_signing_key
from exporter.bundle.signing.provenance import provenance_statement
from exporter.bundle.signing.statement import model_statement

__all__ = [
    "Checked",
    "PublicKey",
    "Signatures",
    "SigningKey",
    "check_signatures",
    "is_envelope",
    "model_statement",
    "provenance_statement",
    "read_public_key",
    "read_signing_key",
    "seal",
]
