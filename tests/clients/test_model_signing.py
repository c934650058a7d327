"""Signatures against the `model_signing` command (OpenSSF), both ways.

Its environment is made once, in the user's cache folder. Where it can't be had, the tests fail: they'd prove nothing.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from support.bundle_plans import make_decoder_plan
from support.bundles import write_bundle
from support.command import kogata
from support.keys import write_keys

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from peer_environment import environment

REQUIREMENTS = ("model-signing==1.1.1", "pyOpenSSL==26.4.0")  # which 1.1.1 imports and doesn't ask for
CURVES = (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())
ModelSigning = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def model_signing() -> ModelSigning:
    """Runs the command. Raises UnavailableError where it can't be installed."""
    python = environment("model-signing", "model_signing, OpenSSL", REQUIREMENTS, torch=False)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [python.with_name("model_signing"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.fixture(params=CURVES, ids=lambda curve: curve.name)
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A bundle beside key.pem and key.pub."""
    write_keys(tmp_path, ec.generate_private_key(request.param))
    return write_bundle(make_decoder_plan(tmp_path / "made"), tmp_path / "out")


def flip(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def test_both_accept_each_other_s_signatures_and_notice_a_changed_byte(
    bundle: Path, model_signing: ModelSigning
) -> None:
    folder = bundle.parent
    private, public = folder / "key.pem", folder / "key.pub"
    assert kogata("sign", bundle, "--key", private) == 0
    signed = model_signing("sign", "key", bundle, "--private_key", private, "--signature", folder / "theirs.sig")
    assert signed.returncode == 0, signed.stderr
    both = (folder / "out.sig", folder / "theirs.sig")

    def results() -> list[tuple[int, int]]:
        """Exit codes of ours and theirs for each signature."""
        theirs = ("verify", "key", bundle, "--public_key", public, "--signature")
        ours = ("verify", bundle, "--public-key", public, "--signature")
        return [(kogata(*ours, file), model_signing(*theirs, file).returncode) for file in both]

    assert results() == [(0, 0), (0, 0)]
    weights = bundle / "onnx" / "model.onnx.data"
    flip(weights)
    assert results() == [(1, 1), (1, 1)]
    flip(weights)
    (bundle / "onnx" / "added").write_bytes(b"x")
    assert results() == [(1, 1), (1, 1)]


def test_the_statements_are_the_same(tmp_path: Path, model_signing: ModelSigning) -> None:
    """Subject and files, in the same order; theirs also lists the paths of git that it skips."""
    private, _ = write_keys(tmp_path)
    bundle = write_bundle(make_decoder_plan(tmp_path / "made"), tmp_path / "out")
    assert kogata("sign", bundle, "--key", private) == 0
    theirs = tmp_path / "theirs.sig"
    assert model_signing("sign", "key", bundle, "--private_key", private, "--signature", theirs).returncode == 0
    files = [json.loads(path.read_bytes()) for path in (tmp_path / "out.sig", theirs)]
    one, two = (json.loads(base64.b64decode(file["dsseEnvelope"]["payload"])) for file in files)
    two["predicate"]["serialization"].pop("ignore_paths")
    assert one == two
    assert files[0]["verificationMaterial"] == files[1]["verificationMaterial"]


def test_an_encrypted_key_and_another_key(
    tmp_path: Path, model_signing: ModelSigning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours signs: `model_signing sign key --password` of 1.1.1 fails over the type of its own option."""
    private, public = write_keys(tmp_path, password="open sesame")
    _, other = write_keys(tmp_path / "other")
    bundle = write_bundle(make_decoder_plan(tmp_path / "made"), tmp_path / "out")
    monkeypatch.setenv("KOGATA_KEY_PASSWORD", "open sesame")
    assert kogata("sign", bundle, "--key", private) == 0
    for key, code in ((public, 0), (other, 1)):
        theirs = model_signing("verify", "key", bundle, "--public_key", key, "--signature", tmp_path / "out.sig")
        assert (kogata("verify", bundle, "--public-key", key), theirs.returncode) == (code, code)
