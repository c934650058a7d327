"""Whatever is changed in a bundle, `verify_bundle` says so and names it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.bundles import write_bundle

from exporter.bundle import BundlePlan, VerifyResult, verify_bundle
from exporter.bundle.canonical import canonical_json, render_sums
from exporter.bundle.tree import scan, sha256
from exporter.errors import ExitCode, GateError, InputError


@pytest.fixture
def bundle(decoder_plan: BundlePlan, tmp_path: Path) -> Path:
    return write_bundle(decoder_plan, tmp_path / "out")


def where(result: VerifyResult) -> set[str]:
    return {diagnostic.where for diagnostic in result.diagnostics}


def names(result: VerifyResult, file: str) -> bool:
    """Whether a finding names `file`. A wrong hash in SHA256SUMS shows at the hashed file; the message names both."""
    return any(d.where == file or (file == "SHA256SUMS" and file in d.message) for d in result.diagnostics)


def reseal(bundle: Path) -> None:
    """Make SHA256SUMS right again, as an attacker would."""
    hashes = {path: sha256(bundle / path) for path in scan(bundle).files if path != "SHA256SUMS"}
    (bundle / "SHA256SUMS").write_bytes(render_sums(hashes))


def test_an_untouched_bundle_is_fine(bundle: Path) -> None:
    result = verify_bundle(bundle)
    assert result.ok
    result.require_ok()
    files = [p for p in bundle.rglob("*") if p.is_file()]
    assert (result.files, result.bytes) == (len(files), sum(p.stat().st_size for p in files))


def test_a_copy_elsewhere_is_fine(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "copy", copy_function=shutil.copyfile)
    assert verify_bundle(tmp_path / "copy").ok


def test_every_byte_of_every_file_counts(bundle: Path) -> None:
    """Every byte of the small files and, evenly spread, some 40 of each larger one."""
    for file in (p for p in bundle.rglob("*") if p.is_file()):
        original, name = file.read_bytes(), str(file.relative_to(bundle))
        for position in range(0, len(original), max(1, len(original) // 40)):
            file.write_bytes(original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :])
            result = verify_bundle(bundle)
            assert names(result, name), position
        file.write_bytes(original)
    assert verify_bundle(bundle).ok


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flip_in_any_file_is_found_and_named(bundle: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(scan(bundle).files)))
    original = (bundle / name).read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    value = data.draw(st.integers(1, 255))
    try:
        (bundle / name).write_bytes(
            original[:position] + bytes([original[position] ^ value]) + original[position + 1 :]
        )
        result = verify_bundle(bundle)
    finally:
        (bundle / name).write_bytes(original)
    assert not result.ok
    assert names(result, name)
    with pytest.raises(GateError) as caught:
        result.require_ok()
    assert caught.value.exit_code == ExitCode.GATE


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=200))
@example(b"")
@example(b"\n")
@example(b"\xff\xfe")
def test_any_other_list_of_hashes_is_found(bundle: Path, raw: bytes) -> None:
    original = (bundle / "SHA256SUMS").read_bytes()
    try:
        (bundle / "SHA256SUMS").write_bytes(raw)
        assert not verify_bundle(bundle).ok
    finally:
        (bundle / "SHA256SUMS").write_bytes(original)


def test_truncated_and_lengthened_files(bundle: Path) -> None:
    for name in ("onnx/model.onnx.data", "manifest.json", "SHA256SUMS"):
        original = (bundle / name).read_bytes()
        for changed in (original[:-1], original + b"\n", b""):
            (bundle / name).write_bytes(changed)
            assert names(verify_bundle(bundle), name)
        (bundle / name).write_bytes(original)


def test_each_missing_extra_and_changed_file_is_named_once(bundle: Path) -> None:
    (bundle / "README.md").unlink()
    (bundle / "tokenizer" / "extra.txt").write_text("x")
    (bundle / "parity" / "report.html").write_text("x")
    (bundle / "empty").mkdir()
    found = {(d.code, d.where) for d in verify_bundle(bundle).diagnostics}
    assert found == {
        ("bundle.missing", "README.md"),
        ("bundle.extra", "tokenizer/extra.txt"),
        ("bundle.changed", "parity/report.html"),
        ("bundle.extra", "empty"),
    }


def test_a_renamed_file_is_missing_and_extra(bundle: Path) -> None:
    (bundle / "README.md").rename(bundle / "README.txt")
    assert where(verify_bundle(bundle)) == {"README.md", "README.txt"}


@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS", "bom.cdx.json"])
def test_each_of_our_own_files_is_missed(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    result = verify_bundle(bundle)
    assert name in where(result)
    assert any(d.code == "bundle.missing" for d in result.diagnostics)


def test_links_are_findings_and_not_followed(bundle: Path, tmp_path: Path) -> None:
    same = tmp_path / "same"
    (bundle / "README.md").rename(same)
    (bundle / "README.md").symlink_to(same)  # the very same content, but outside
    (bundle / "tokenizer" / "loop").symlink_to(bundle)
    (bundle / "dangling").symlink_to(tmp_path / "nowhere")
    found = {(d.code, d.where) for d in verify_bundle(bundle).diagnostics}
    assert found == {("bundle.link", name) for name in ("README.md", "tokenizer/loop", "dangling")}


def test_a_linked_manifest_and_list_are_findings(bundle: Path, tmp_path: Path) -> None:
    for name in ("manifest.json", "SHA256SUMS"):
        (bundle / name).rename(tmp_path / name)
        (bundle / name).symlink_to(tmp_path / name)
    result = verify_bundle(bundle)
    assert {"manifest.json", "SHA256SUMS"} <= {d.where for d in result.diagnostics if d.code == "bundle.link"}


def test_a_pipe_does_not_hang_it(bundle: Path) -> None:
    os.mkfifo(bundle / "tokenizer" / "pipe")
    assert {(d.code, d.where) for d in verify_bundle(bundle).diagnostics} == {("bundle.special", "tokenizer/pipe")}


def test_names_that_no_bundle_holds(bundle: Path) -> None:
    for name in (b"new\nline", b"back\\slash", b"latin1-\xe9", b"esc\x1b[31m"):
        with open(os.path.join(os.fsencode(bundle), name), "wb"):
            pass
    result = verify_bundle(bundle)
    assert len(result.diagnostics) == 4
    for diagnostic in result.diagnostics:
        diagnostic.where.encode("utf-8")
        assert diagnostic.where.isprintable()


def test_two_names_that_fall_together_on_a_phone(bundle: Path) -> None:
    (bundle / "Readme.md").write_text("x")
    if len(list(bundle.glob("[Rr]*.md"))) < 2:
        pytest.skip("this file system ignores case")
    reseal(bundle)
    assert [(d.code, d.where) for d in verify_bundle(bundle).diagnostics] == [("bundle.path", "Readme.md")]


def test_a_path_that_leads_outside_is_not_read(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    lines = (bundle / "SHA256SUMS").read_text() + f"{sha256(tmp_path / 'secret')}  ../secret\n"
    (bundle / "SHA256SUMS").write_text(lines)
    (problem,) = verify_bundle(bundle).diagnostics
    assert problem.where == "SHA256SUMS"
    assert "../secret" in problem.message


def test_a_list_that_lists_itself(bundle: Path) -> None:
    lines = [*(bundle / "SHA256SUMS").read_text().splitlines(), f"{'0' * 64}  SHA256SUMS"]
    (bundle / "SHA256SUMS").write_text("".join(f"{line}\n" for line in sorted(lines, key=lambda x: x[66:])))
    assert where(verify_bundle(bundle)) == {"SHA256SUMS"}


def edit(bundle: Path, change: Callable[[dict], object]) -> VerifyResult:
    """Change the manifest and make the hashes right again: only the manifest's own rules can notice."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    change(manifest)
    (bundle / "manifest.json").write_bytes(canonical_json(manifest))
    reseal(bundle)
    return verify_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda m: m.pop("source"), "source"),
        (lambda m: m.update(schema_version=2), "schema_version"),
        (lambda m: m.update(schema_version=True), "schema_version"),
        (lambda m: m.update(artifacts=[]), "artifacts"),
        (lambda m: m["parity"].pop("onnx/model.onnx"), "parity"),
        (lambda m: m["io"].update(x={"inputs": [], "outputs": [], "states": []}), "io"),
        (lambda m: m["artifacts"][0].update(path="../../etc"), "artifacts[0]"),
        (lambda m: m["artifacts"][0]["files"][0].update(path="/etc/passwd"), "artifacts[0]"),
        (lambda m: m["artifacts"][0].update(bytes=1), "artifacts[0].bytes"),
        (lambda m: m["artifacts"][0]["files"].reverse(), "artifacts[0].files"),
        (lambda m: m["artifacts"].append(m["artifacts"][0]), "artifacts"),
        (lambda m: m["parity"]["onnx/model.onnx"].update(thresholds={"kl": {"max": 1}}), "parity.onnx/model.onnx"),
    ],
)
def test_a_resealed_manifest_must_still_make_sense(bundle: Path, change: Callable[[dict], object], place: str) -> None:
    result = edit(bundle, change)
    assert f"manifest.json: {place}" in where(result)


def test_artifacts_must_list_what_is_on_disk(bundle: Path) -> None:
    def shrink(manifest: dict) -> None:
        coreml, onnx = manifest["artifacts"]
        onnx["files"][0]["bytes"] += 1
        onnx["bytes"] += 1
        onnx["files"].append({"path": "onnx/z", "bytes": 0})
        coreml["bytes"] -= coreml["files"].pop(0)["bytes"]

    found = {(d.code, d.where) for d in edit(bundle, shrink).diagnostics}
    assert found == {
        ("bundle.size", "onnx/chat_template.jinja"),
        ("bundle.missing", "onnx/z"),
        ("bundle.manifest", "coreml/tiny.mlpackage/Data/com.apple.CoreML/model.mlmodel"),
    }


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{}", b"\xff", b"[" * 200_000, b'{"a":1,"a":2}'])
def test_a_manifest_that_is_none(bundle: Path, raw: bytes) -> None:
    (bundle / "manifest.json").write_bytes(raw)
    reseal(bundle)
    assert all(d.where.startswith("manifest.json") for d in verify_bundle(bundle).diagnostics)
    assert not verify_bundle(bundle).ok


def test_what_is_no_bundle_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "file", tmp_path / "empty", tmp_path / "none", tmp_path / "nul\0", tmp_path / ("a" * 300)):
        with pytest.raises(InputError) as caught:
            verify_bundle(path)
        assert caught.value.exit_code == ExitCode.INPUT


def test_an_unreadable_file_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def deny(path: os.PathLike[str], flags: int, *more: object, **others: object) -> int:
        if os.fspath(path).endswith("README.md"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path, flags, *more, **others)

    monkeypatch.setattr(os, "open", deny)
    assert [(d.code, d.where) for d in verify_bundle(bundle).diagnostics] == [("bundle.unreadable", "README.md")]


def test_progress_counts_the_files(bundle: Path) -> None:
    seen: list[str] = []

    class Counting:
        def stage(self, name: str, total: int) -> None:
            seen.append(f"{name} {total}")

        def advance(self, item: str = "") -> None:
            seen.append(item)

    result = verify_bundle(bundle, Counting())
    assert seen[0] == f"verify {result.files}"
    assert len(seen) == result.files + 1
