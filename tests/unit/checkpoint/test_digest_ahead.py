"""The digest on a thread of its own: the same value, and errors for whoever asks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from exporter.checkpoint import Source
from exporter.errors import InputError


def test_a_digest_begun_ahead_is_the_digest_of_sha256sum(tmp_path: Path) -> None:
    files = {}
    for name, content in (("b.bin", b"\0" * 100_000), ("a.json", b"{}")):
        (tmp_path / name).write_bytes(content)
        files[name] = tmp_path / name
    listing = "".join(f"{hashlib.sha256(files[n].read_bytes()).hexdigest()}  {n}\n" for n in sorted(files))
    expected = f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"
    ahead, at_once = Source(files=files), Source(files=files)
    ahead.begin_digest()
    ahead.begin_digest()
    assert ahead.digest == at_once.digest == expected
    files["a.json"].write_bytes(b"[]")  # what was read once is not read again
    assert ahead.digest == expected


def test_a_file_that_is_gone_is_told_to_whoever_asks(tmp_path: Path) -> None:
    source = Source(files={"model.safetensors": tmp_path / "model.safetensors"})
    source.begin_digest()
    for _ in range(2):
        with pytest.raises(InputError, match="can't be read"):
            _ = source.digest
