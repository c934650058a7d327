"""Signatures of a bundle: what is in them, checked with cryptography alone, and what `check_signatures` refuses.

tests/clients/test_model_signing.py compares with the `model_signing` command.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from support.bundle_plans import make_decoder_plan
from support.bundles import write_bundle
from support.keys import write_keys

from exporter.bundle import verify_bundle
from exporter.bundle.signing import Signatures, check_signatures, read_public_key, read_signing_key, seal
from exporter.bundle.signing.keys import PASSWORD_VARIABLE
from exporter.errors import ExitCode, GateError, InputError, UsageError
from exporter.pipeline.sign import SignRequest, SignResult, sign_bundle
from exporter.progress import NoProgress

CURVES = {ec.SECP256R1: hashes.SHA256, ec.SECP384R1: hashes.SHA384, ec.SECP521R1: hashes.SHA512}


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a signed bundle and keys; tests copy it."""
    folder = tmp_path_factory.mktemp("signed")
    write_bundle(make_decoder_plan(folder / "made"), folder / "out")
    shutil.rmtree(folder / "made")
    write_keys(folder)
    sign(folder)
    return folder


@pytest.fixture
def place(signed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(signed, tmp_path / "copy", copy_function=shutil.copy)


def sign(folder: Path, **options: Any) -> SignResult:
    return sign_bundle(SignRequest(folder / "out", folder / "key.pem", **options), NoProgress())


def check(folder: Path, signature: Path | None = None) -> Signatures:
    return check_signatures(verify_bundle(folder / "out"), read_public_key(folder / "key.pub"), signature)


def codes(found: Signatures) -> set[tuple[str, str]]:
    assert found.signature.status == "invalid"
    return {(d.code, Path(d.where).name) for d in found.signature.problems}


def statement(file: Path) -> Any:
    return json.loads(base64.b64decode(json.loads(file.read_bytes())["dsseEnvelope"]["payload"]))


def resign(place: Path, change: Callable[[Any], Any]) -> None:
    """Signs a changed statement with the right key: what its owner could do by mistake, or another tool on purpose."""
    file = place / "out.sig"
    file.write_bytes(seal(change(statement(file)), read_signing_key(place / "key.pem")))


def test_signature_and_provenance_are_valid_for_an_untouched_bundle(place: Path) -> None:
    found = check(place)
    assert (found.signature.status, found.provenance.status) == ("valid", "valid")
    assert found.key == hashlib.sha256((place / "key.pub").read_bytes()).hexdigest()


@pytest.mark.parametrize("curve", CURVES)
def test_the_file_is_a_sigstore_bundle_over_all_files(place: Path, curve: type[ec.EllipticCurve]) -> None:
    """Read as the specifications of Sigstore, DSSE and in-toto say, with cryptography's own functions."""
    write_keys(place, ec.generate_private_key(curve()))
    sign(place)
    for name in ("out.sig", "out.provenance.json"):
        file = json.loads((place / name).read_bytes())
        assert file["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
        assert file["verificationMaterial"]["tlogEntries"] == []
        kind, payload = file["dsseEnvelope"]["payloadType"], base64.b64decode(file["dsseEnvelope"]["payload"])
        assert kind == "application/vnd.in-toto+json"
        (one,) = file["dsseEnvelope"]["signatures"]
        key = serialization.load_pem_public_key((place / "key.pub").read_bytes())
        encoded = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
        key.verify(base64.b64decode(one["sig"]), encoded, ec.ECDSA(CURVES[curve]()))  # type: ignore[union-attr, call-arg, arg-type]
    files = [p for p in (place / "out").rglob("*") if p.is_file()]
    expected = {str(p.relative_to(place / "out")): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    made = statement(place / "out.sig")
    assert {r["name"]: r["digest"] for r in made["predicate"]["resources"]} == expected
    joined = b"".join(bytes.fromhex(r["digest"]) for r in made["predicate"]["resources"])
    assert made["subject"] == [{"name": "out", "digest": {"sha256": hashlib.sha256(joined).hexdigest()}}]
    provenance = statement(place / "out.provenance.json")
    assert {s["name"]: s["digest"] for s in provenance["subject"]} == {n: {"sha256": d} for n, d in expected.items()}


def test_provenance_says_where_the_bundle_came_from(place: Path) -> None:
    made = statement(place / "out.provenance.json")
    assert made["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, details = made["predicate"]["buildDefinition"], made["predicate"]["runDetails"]
    manifest = json.loads((place / "out" / "manifest.json").read_bytes())
    (checkpoint,) = definition["resolvedDependencies"]
    assert checkpoint["uri"] == "pkg:huggingface/org/tiny@0123456789abcdef"
    assert checkpoint["digest"] == {"dirHash": "ab" * 32}
    assert definition["externalParameters"]["bits"] == manifest["compression"]["bits"]
    assert details["builder"]["version"] == manifest["tools"]
    report = hashlib.sha256((place / "out" / "parity" / "report.json").read_bytes()).hexdigest()
    assert {"name": "parity/report.json", "digest": {"sha256": report}} in details["byproducts"]


def test_signing_again_gives_the_same_bytes_and_changes_no_file_of_the_bundle(place: Path) -> None:
    before = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
    sign(place)
    assert {p: p.read_bytes() for p in place.rglob("*") if p.is_file()} == before


def test_a_bundle_may_be_renamed(place: Path) -> None:
    (place / "out").rename(place / "other")
    found = check_signatures(verify_bundle(place / "other"), read_public_key(place / "key.pub"), place / "out.sig")
    assert (found.signature.status, found.provenance.status) == ("valid", "valid")


def test_every_changed_file_is_named_even_where_the_sums_were_renewed(place: Path) -> None:
    sums = place / "out" / "SHA256SUMS"
    for file in ("onnx/model.onnx.data", "tokenizer/tokenizer.json"):
        path = place / "out" / file
        old = hashlib.sha256(path.read_bytes()).hexdigest()
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
        sums.write_text(
            sums.read_text().replace(f"{old}  {file}", f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {file}")
        )
    assert verify_bundle(place / "out").ok
    names = ("SHA256SUMS", "model.onnx.data", "tokenizer.json")
    assert codes(check(place)) == {("signature.changed", name) for name in names}
    assert check(place).provenance.status == "invalid"


def test_added_removed_and_linked_files_are_named(place: Path) -> None:
    bundle = place / "out"
    (bundle / "onnx" / "added").write_bytes(b"")
    (bundle / "onnx" / "model.onnx").unlink()
    real = (bundle / "README.md").rename(place / "README.md")
    (bundle / "README.md").symlink_to(real)
    expected = {("signature.extra", "added"), ("signature.missing", "model.onnx"), ("signature.missing", "README.md")}
    assert expected <= codes(check(place))


def test_another_key_is_named(place: Path) -> None:
    write_keys(place)
    assert codes(check(place)) == {("signature.key", "out.sig")}


def test_any_change_of_the_signature_file_is_noticed(place: Path) -> None:
    """A bit of some bytes, and some lengths. A change of `tlogEntries` leaves the meaning: a key needs no log."""
    file, original = place / "out.sig", (place / "out.sig").read_bytes()
    for position in range(0, len(original), 197):
        file.write_bytes(original[:position])
        assert check(place).signature.status == "invalid"
        file.write_bytes(original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :])
        found = check(place).signature
        assert found.status == "invalid" or b"tlogEntries" in original[position - 20 : position + 20]


def hostile(text: Any) -> Iterator[tuple[str, bytes, str]]:
    """Name, file, code. text: a sound file, parsed."""
    yield "empty", b"", "format"
    yield "deep", b"[" * 100_000, "format"
    yield "twice", b'{"mediaType": "a", "mediaType": "b"}', "format"
    yield "list", b"[]", "format"
    yield "digits", b'{"mediaType": ' + b"9" * 10_000 + b"}", "format"
    yield "binary", bytes(range(256)), "format"
    envelope = text["dsseEnvelope"]
    for name, change, code in [
        ("old", {"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.2"}, "unsupported"),
        ("keyless", {"verificationMaterial": {"certificate": {"rawBytes": "AA=="}, "tlogEntries": []}}, "unsupported"),
        ("no envelope", {"dsseEnvelope": None}, "format"),
        ("other payload", {"dsseEnvelope": {**envelope, "payloadType": "text/plain"}}, "unsupported"),
        ("unsigned", {"dsseEnvelope": {**envelope, "signatures": []}}, "unsupported"),
        (
            "signed twice",
            {"dsseEnvelope": {**envelope, "signatures": [{"sig": "AA=="}] * 2}},
            "unsupported",
        ),
        ("not base64", {"dsseEnvelope": {**envelope, "payload": "%"}}, "format"),
        ("not DER", {"dsseEnvelope": {**envelope, "signatures": [{"sig": "AA=="}]}}, "invalid"),
        ("numbers", {"verificationMaterial": {"publicKey": {"hint": 3}}}, "format"),
    ]:
        yield name, json.dumps({**text, **change}).encode(), code


def test_hostile_files_are_refused(place: Path) -> None:
    file = place / "out.sig"
    for name, content, code in hostile(json.loads(file.read_bytes())):
        file.write_bytes(content)
        assert codes(check(place)) == {(f"signature.{code}", "out.sig")}, name


def test_a_huge_file_is_not_read(place: Path) -> None:
    os.truncate(place / "out.sig", 1 << 40)  # sparse
    assert codes(check(place)) == {("signature.format", "out.sig")}


def test_what_is_not_a_file_is_refused(place: Path) -> None:
    (place / "out.sig").unlink()
    assert codes(check(place)) == {("signature.absent", "out.sig")}
    os.mkfifo(place / "out.sig")
    assert codes(check(place)) == {("signature.unreadable", "out.sig")}


def edited(made: Any, **resource: str) -> Any:
    """The statement with one more file in it, and the digest of all that fits."""
    files = [*made["predicate"]["resources"], {"name": "x", "algorithm": "sha256", "digest": "0" * 64, **resource}]
    digests = b"".join(bytes.fromhex(f["digest"]) for f in files)
    subject = [{"name": "out", "digest": {"sha256": hashlib.sha256(digests).hexdigest()}}]
    return {**made, "subject": subject, "predicate": {**made["predicate"], "resources": files}}


SIGNED = {
    "an escape": (lambda made: edited(made, name="../x"), "path"),
    "an absolute path": (lambda made: edited(made, name="/etc/passwd"), "path"),
    "a duplicate": (lambda made: edited(made, name="manifest.json"), "path"),
    "another algorithm": (lambda made: edited(made, algorithm="blake3"), "unsupported"),
    "a short digest": (lambda made: edited(made, digest="00"), "format"),
    "digests that disagree": (lambda made: {**edited(made), "subject": made["subject"]}, "format"),
    "no files": (lambda made: {**made, "predicate": {}}, "format"),
    "provenance": (lambda made: {**made, "predicateType": "https://slsa.dev/provenance/v1"}, "unsupported"),
    "another version": (lambda made: {**made, "_type": "https://in-toto.io/Statement/v0.1"}, "unsupported"),
    "a list": (lambda _: [], "format"),
}


@pytest.mark.parametrize("name", SIGNED)
def test_signed_statements_are_checked_as_well(place: Path, name: str) -> None:
    change, code = SIGNED[name]
    resign(place, change)
    assert codes(check(place)) == {(f"signature.{code}", "out.sig")}


def test_ignored_paths_of_other_tools_ignore_nothing(place: Path) -> None:
    """model-signing skips the paths that a signature says it skipped; so a file could be left out of it."""

    def skip(made: Any) -> Any:
        kept = [r for r in made["predicate"]["resources"] if r["name"] != "README.md"]
        digest = hashlib.sha256(b"".join(bytes.fromhex(r["digest"]) for r in kept)).hexdigest()
        how = {**made["predicate"]["serialization"], "ignore_paths": ["README.md"]}
        predicate = {"serialization": how, "resources": kept}
        return {**made, "subject": [{"name": "out", "digest": {"sha256": digest}}], "predicate": predicate}

    resign(place, skip)
    assert codes(check(place)) == {("signature.extra", "README.md")}


def test_nothing_is_signed_that_may_not_be_shipped(place: Path) -> None:
    (place / "out" / "README.md").write_bytes(b"changed")
    with pytest.raises(GateError) as caught:
        sign(place)
    assert [d.code for d in caught.value.diagnostics] == ["bundle.changed"]


def test_the_signature_replaces_only_signatures_outside_the_bundle(place: Path) -> None:
    (place / "notes").write_text("{}")
    for path, code in ((place / "out" / "x.sig", "sign.inside"), (place / "notes", "sign.occupied")):
        with pytest.raises(UsageError) as caught:
            sign(place, signature=path, provenance=False)
        assert caught.value.diagnostics[0].code == code
    with pytest.raises(InputError) as unwritable:
        sign(place, signature=place / "none" / "x.sig")
    assert unwritable.value.diagnostics[0].code == "output.unwritable"
    made = sign(place, signature=place / "other.sig")
    assert made.written == (place / "other.sig", place / "other.provenance.json")
    assert check(place, place / "other.sig").signature.status == "valid"


def test_an_encrypted_key_takes_its_password_from_the_environment_or_the_user(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, _ = write_keys(place, password="open sesame")
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    for ask in (None, lambda: "", lambda: "wrong"):
        with pytest.raises(InputError) as caught:
            read_signing_key(private, ask)
        assert caught.value.diagnostics[0].code == "key.password"
    expected = read_public_key(place / "key.pub").id
    assert read_signing_key(private, lambda: "open sesame").public.id == expected
    monkeypatch.setenv(PASSWORD_VARIABLE, "open sesame")
    assert read_signing_key(private).public.id == expected


def test_a_key_that_others_can_read_is_a_warning(place: Path) -> None:
    (place / "key.pem").chmod(0o644)
    (warning,) = sign(place).warnings
    assert (warning.code, warning.level) == ("key.permissions", "warning")


def bad_keys(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """File, and the codes as a private key and as a public one."""
    private, public = write_keys(folder / "good")
    yield private, "", "private"
    yield public, "public", ""
    for name, key in {
        "rsa": rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
        "k1": ec.generate_private_key(ec.SECP256K1()),
    }.items():
        private, public = write_keys(folder / name, key)
        yield private, "kind", "private"
        yield public, "public", "kind"
    (folder / "noise").write_bytes(bytes(100))
    yield folder / "noise", "format", "format"
    yield folder / "none", "unreadable", "unreadable"
    yield folder, "unreadable", "unreadable"
    (folder / "huge").write_bytes(b"-----BEGIN PUBLIC KEY-----\n" * 10_000)
    yield folder / "huge", "unreadable", "unreadable"


def test_keys_that_cannot_be_used_are_refused_with_a_reason(tmp_path: Path) -> None:
    for path, private, public in bad_keys(tmp_path):
        for read, code in ((read_signing_key, private), (read_public_key, public)):
            if code:
                with pytest.raises(InputError) as caught:
                    read(path)
                assert caught.value.diagnostics[0].code == f"key.{code}", path
                assert caught.value.exit_code == ExitCode.INPUT
