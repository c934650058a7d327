"""What a written bundle holds, and that equal plans give equal bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from support.bundles import write_bundle
from support.paths import PYTHONPATH

from exporter.bundle import (
    ArtifactPlan,
    BundlePlan,
    Interface,
    Staging,
    finish_bundle,
    read_manifest,
    verify_bundle,
)
from exporter.bundle.sbom import sbom
from exporter.bundle.tree import sha256
from exporter.errors import InputError, KogataError
from exporter.formats import PORTABLE

Snapshot = Callable[[Path], dict[str, bytes]]


def test_layout(decoder_plan: BundlePlan, tmp_path: Path, snapshot: Snapshot) -> None:
    held = snapshot(write_bundle(decoder_plan, tmp_path / "out"))
    configs = {"config.json", "generation_config.json"}
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", *configs}
    assert {name for name in held if not name.endswith("/")} == {
        "manifest.json",
        "SHA256SUMS",
        "README.md",
        "bom.cdx.json",
        "parity/report.json",
        "parity/report.html",
        "licenses/LICENSE",
        "coreml/tiny.mlpackage/Manifest.json",
        "coreml/tiny.mlpackage/Data/com.apple.CoreML/model.mlmodel",
        "coreml/tiny.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
        *(f"tokenizer/{name}" for name in tokenizer),
        *(f"onnx/{name}" for name in tokenizer),
        *(f"onnx/{name}" for name in ("model.onnx", "model.onnx.data", "genai_config.json")),
    }
    assert held["onnx/model.onnx.data"] == bytes(range(256))
    assert held["onnx/tokenizer.json"] == held["tokenizer/tokenizer.json"] == b'{"version": "1.0"}'
    assert held["tokenizer/chat_template.jinja"] == b"{{ messages }}"


def test_an_encoder_has_no_generation_files(encoder_plan: BundlePlan, tmp_path: Path, snapshot: Snapshot) -> None:
    held = snapshot(write_bundle(encoder_plan, tmp_path / "out"))
    assert not [name for name in held if "generation" in name or "genai" in name or "chat_template" in name]
    assert "onnx/config.json" in held


def test_the_checkpoints_own_template_file_is_kept(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text("theirs")
    files = {**decoder_plan.tokenizer_files, "chat_template.jinja": template}
    out = write_bundle(replace(decoder_plan, tokenizer_files=files), tmp_path / "out")
    assert (out / "tokenizer" / "chat_template.jinja").read_text() == "theirs"


def test_one_artifact_alone(decoder_plan: BundlePlan, tmp_path: Path, snapshot: Snapshot) -> None:
    onnx, coreml = decoder_plan.artifacts
    held = snapshot(write_bundle(replace(decoder_plan, artifacts=(coreml,)), tmp_path / "a"))
    assert not [name for name in held if name.startswith("onnx")]
    held = snapshot(write_bundle(replace(decoder_plan, artifacts=(onnx,)), tmp_path / "b"))
    assert not [name for name in held if name.startswith("coreml")]


def test_without_parity_there_is_no_report_and_no_claim(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    artifacts = tuple(ArtifactPlan(a.form, a.path, a.interface) for a in decoder_plan.artifacts)
    out = write_bundle(
        replace(decoder_plan, artifacts=artifacts, parity_report=None, parity_html=None), tmp_path / "out"
    )
    assert not (out / "parity").exists()
    assert {p.verdict for p in read_manifest(out / "manifest.json").parity.values()} == {"unchecked"}


def test_artifacts_written_in_place_are_taken_as_they_are(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    copied = write_bundle(decoder_plan, tmp_path / "copied")
    with Staging(tmp_path / "out") as staging:
        onnx, coreml = decoder_plan.artifacts
        place = staging.path / "coreml" / "tiny.mlpackage"
        place.parent.mkdir()
        coreml.path.rename(place)
        onnx.path.parent.rename(staging.path / "onnx")
        inode = (place / "Manifest.json").stat().st_ino
        artifacts = (replace(onnx, path=staging.path / "onnx" / "model.onnx"), replace(coreml, path=place))
        finish_bundle(replace(decoder_plan, artifacts=artifacts), staging.path)
        assert (place / "Manifest.json").stat().st_ino == inode
        staging.commit()
    assert (tmp_path / "out" / "SHA256SUMS").read_bytes() == (copied / "SHA256SUMS").read_bytes()


def test_the_produced_files_stay_where_they_are(decoder_plan: BundlePlan, tmp_path: Path, snapshot: Snapshot) -> None:
    before = snapshot(tmp_path / "made")
    write_bundle(decoder_plan, tmp_path / "out")
    assert snapshot(tmp_path / "made") == before


def test_manifest_says_what_is_on_disk(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    out = write_bundle(decoder_plan, tmp_path / "out")
    manifest = read_manifest(out / "manifest.json")
    assert {a.path for a in manifest.artifacts} == {"onnx/model.onnx", "coreml/tiny.mlpackage"}
    for artifact in manifest.artifacts:
        assert artifact.files == {f: (out / f).stat().st_size for f in artifact.files}
        folder = artifact.path if artifact.kind == "coreml" else "onnx"
        on_disk = {str(p.relative_to(out)) for p in (out / folder).rglob("*") if p.is_file()}
        assert set(artifact.files) == on_disk
    assert manifest.source == decoder_plan.source
    assert manifest.io["coreml/tiny.mlpackage"] == decoder_plan.artifacts[1].interface
    assert manifest.compression == decoder_plan.compression
    assert manifest.compression.bpw == pytest.approx(8 * 562 / 1000)
    parity = manifest.parity["coreml/tiny.mlpackage"]
    assert parity.thresholds == decoder_plan.artifacts[1].parity.thresholds
    assert parity.metrics == {"kl": 0.0123, "top1": 0.98, "psnr_db": None}


def test_sums_are_right_by_sha256sum_itself(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    out = write_bundle(decoder_plan, tmp_path / "out put")
    run = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=out, capture_output=True, text=True, check=True
    )
    files = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} - {"SHA256SUMS"}
    assert {line.removesuffix(": OK") for line in run.stdout.splitlines()} == files


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_files_and_folders_get_the_modes_that_the_umask_allows(
    decoder_plan: BundlePlan, tmp_path: Path, mask: int
) -> None:
    """Also those that were made with other modes, as libraries do with temporary files."""
    decoder_plan.artifacts[0].path.chmod(0o600)
    old = os.umask(mask)
    try:
        out = write_bundle(decoder_plan, tmp_path / "out")
    finally:
        os.umask(old)
    modes = {(p.is_dir(), p.stat().st_mode & 0o7777) for p in (out, *out.rglob("*"))}
    assert modes == {(True, 0o777 & ~mask), (False, 0o666 & ~mask)}


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    """Different working folder, umask, hash seed, time zone, locale and place; same SOURCE_DATE_EPOCH."""
    code = (
        "import sys, os; from pathlib import Path; here = Path(sys.argv[1]); os.umask(int(sys.argv[2]))\n"
        "from support.bundle_plans import make_decoder_plan; from support.bundles import write_bundle\n"
        "write_bundle(make_decoder_plan(here / 'made'), here / 'out')"
    )
    for name, umask, seed, zone in (("one", "18", "1", "UTC"), ("two words", "63", "2", "Asia/Tokyo")):
        folder = tmp_path / name
        folder.mkdir()
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "TZ": zone,
            "SOURCE_DATE_EPOCH": "1700000000",
            "LC_ALL": "C",
            "PYTHONPATH": PYTHONPATH,
        }
        command = [sys.executable, "-c", code, str(folder), umask]
        subprocess.run(command, cwd=folder, env=environment, check=True)
    subprocess.run(["diff", "-r", tmp_path / "one" / "out", tmp_path / "two words" / "out"], check=True)
    texts = b"".join(p.read_bytes() for p in (tmp_path / "one" / "out").rglob("*") if p.is_file())
    assert os.fsencode(tmp_path) not in texts
    assert b"2023-11-14T22:13:20+00:00" in texts


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", " x", "x ", "a\nb", "a\\b", "x" * 201, "\ud800"])
def test_names_that_can_not_be_files(decoder_plan: BundlePlan, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        write_bundle(replace(decoder_plan, name=name), tmp_path / "out")
    assert caught.value.diagnostics[0].code == "bundle.name"
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_a_name_is_composed_unicode(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    out = write_bundle(replace(decoder_plan, name="modèle"), tmp_path / "out")
    assert [p.name for p in (out / "coreml").iterdir()] == ["mod\u00e8le.mlpackage"]


@pytest.mark.parametrize("what", ["link", "pipe", "empty folder"])
def test_an_artifact_with_anything_but_files_is_refused(decoder_plan: BundlePlan, tmp_path: Path, what: str) -> None:
    strange = decoder_plan.artifacts[1].path / "Data" / "strange"
    if what == "link":
        strange.symlink_to("/etc/passwd")
    elif what == "pipe":
        os.mkfifo(strange)
    else:
        strange.mkdir()
    with pytest.raises(InputError) as caught:
        write_bundle(decoder_plan, tmp_path / "out")
    assert caught.value.diagnostics[0].where.endswith("Data/strange")
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/b", "..", "x\ny"])
def test_a_tokenizer_file_stays_in_its_folder(decoder_plan: BundlePlan, tmp_path: Path, name: str) -> None:
    files = {name: next(iter(decoder_plan.tokenizer_files.values()))}
    with pytest.raises(InputError):
        write_bundle(replace(decoder_plan, tokenizer_files=files), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_a_tokenizer_file_that_vanished_is_named(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    decoder_plan.tokenizer_files["tokenizer.json"].unlink()
    with pytest.raises(InputError) as caught:
        write_bundle(decoder_plan, tmp_path / "out")
    assert caught.value.diagnostics[0].where == "tokenizer.json"
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_a_plan_that_makes_no_sense_is_a_bug_not_a_bundle(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    onnx, coreml = decoder_plan.artifacts
    (tmp_path / "empty").mkdir()
    missing = ArtifactPlan(PORTABLE, tmp_path / "empty" / "model.onnx", Interface((), ()))
    for artifacts in ((), (onnx, onnx), (missing, coreml)):
        with pytest.raises(ValueError, match="artifact"):
            write_bundle(replace(decoder_plan, artifacts=artifacts), tmp_path / "out")
    with pytest.raises(RuntimeError, match="manifest would be invalid"):
        write_bundle(replace(decoder_plan, context=0), tmp_path / "out")
    with Staging(tmp_path / "out") as staging:
        (staging.path / "coreml").mkdir()
        (staging.path / "coreml" / "left.over").touch()
        with pytest.raises(ValueError, match=r"left\.over"):
            finish_bundle(decoder_plan, staging.path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "made"]


def test_config_carries_no_path_and_no_remote_code(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    config = {**decoder_plan.config, "auto_map": {"AutoModel": "evil.py"}, "x": float("inf"), "y": "\ud800"}
    out = write_bundle(replace(decoder_plan, config=config), tmp_path / "out")
    assert json.loads((out / "onnx" / "config.json").read_bytes()) == {
        "model_type": "llama",
        "eos_token_id": 2,
        "x": None,
        "y": "\ud800",
    }


def test_bom_lists_each_artifact_file_with_its_hash(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    out = write_bundle(decoder_plan, tmp_path / "out")
    bom = json.loads((out / "bom.cdx.json").read_bytes())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    listed = {c["name"]: c["hashes"][0]["content"] for c in bom["components"]}
    artifacts = read_manifest(out / "manifest.json").artifacts
    assert listed == {file: sha256(out / file) for artifact in artifacts for file in artifact.files}
    component = bom["metadata"]["component"]
    assert component["type"] == "machine-learning-model"
    assert component["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert component["pedigree"]["ancestors"][0]["version"] == "0123456789abcdef"
    assert {t["name"]: t["version"] for t in bom["metadata"]["tools"]["components"]} == dict(decoder_plan.tools)
    assert "timestamp" not in bom["metadata"]


@pytest.mark.parametrize("name", ["tiny", "\ud800"])
def test_bom_meets_cyclonedx_s_own_schema(decoder_plan: BundlePlan, tmp_path: Path, name: str) -> None:
    source = replace(decoder_plan.source, repo=name, license="llama3.2")
    out = write_bundle(replace(decoder_plan, source=source), tmp_path / "out")
    text = (out / "bom.cdx.json").read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert json.loads(text)["metadata"]["component"]["pedigree"]["ancestors"][0]["name"] == name


def test_bom_serial_number_is_the_contents(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    def serial(plan: BundlePlan, name: str) -> str:
        return str(json.loads((write_bundle(plan, tmp_path / name) / "bom.cdx.json").read_bytes())["serialNumber"])

    first = serial(decoder_plan, "a")
    assert first == serial(decoder_plan, "b")
    decoder_plan.artifacts[0].path.write_bytes(b"other")
    assert first != serial(decoder_plan, "c")


def test_bom_names_a_file_once_that_two_components_share(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    """Two graphs of a model share the tokenizer in `onnx/`: twins would get random names."""
    manifest = read_manifest(write_bundle(decoder_plan, tmp_path / "out") / "manifest.json")
    first = manifest.artifacts[-1]
    shared = replace(manifest, artifacts=(first, replace(first, path="onnx/second.onnx", component="second")))
    hashes = dict.fromkeys(first.files, "0" * 64)
    components = json.loads(sbom(shared, hashes))["components"]
    assert [c["bom-ref"] for c in components] == sorted(f"file:{path}" for path in first.files)
    assert {len(c["properties"]) for c in components} == {2}
    assert sbom(shared, hashes) == sbom(shared, hashes)


def test_a_licence_outside_spdx_is_a_name(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    plan = replace(decoder_plan, source=replace(decoder_plan.source, license="llama3.2"))
    bom = json.loads((write_bundle(plan, tmp_path / "out") / "bom.cdx.json").read_bytes())
    assert bom["metadata"]["component"]["licenses"] == [{"license": {"name": "llama3.2"}}]
    plan = replace(decoder_plan, source=replace(decoder_plan.source, license=None))
    bom = json.loads((write_bundle(plan, tmp_path / "none") / "bom.cdx.json").read_bytes())
    assert "licenses" not in bom["metadata"]["component"]


@pytest.mark.parametrize("value", ["yesterday", "1e9", "9" * 40])
def test_a_malformed_source_date_is_an_error(
    decoder_plan: BundlePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    with pytest.raises(KogataError) as caught:
        write_bundle(decoder_plan, tmp_path / "out")
    assert caught.value.diagnostics[0].where == "SOURCE_DATE_EPOCH"
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_mixed_bits_travel_with_their_plan(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    """plan.json is hashed like any other file; the manifest says what asked for it, and the mean of the bits."""
    tensors = (
        *decoder_plan.compression.tensors,
        dict(decoder_plan.compression.tensors[0], name="v", bits=2, shape=[500]),
    )
    mixed = replace(decoder_plan.compression, bits=None, group_size=None, mixed="--bpw 3.7", tensors=tensors)
    plan = replace(decoder_plan, compression=mixed, bits_plan=b"{}\n")
    bundle = write_bundle(plan, tmp_path / "out")
    assert (bundle / "plan.json").read_bytes() == b"{}\n"
    assert "  plan.json\n" in (bundle / "SHA256SUMS").read_text()
    assert verify_bundle(bundle).ok
    facts = read_manifest(bundle / "manifest.json").compression
    assert facts == mixed
    assert facts.palette_bits == (4 * 1000 + 2 * 500) / 1500
    assert "--bpw 3.7" in (bundle / "README.md").read_text()
    uniform = write_bundle(decoder_plan, tmp_path / "uniform")
    assert not (uniform / "plan.json").exists()
    assert "mixed" not in (uniform / "manifest.json").read_text()
    assert read_manifest(uniform / "manifest.json").compression.palette_bits == 4


def test_transformers_js_cuts_where_sentence_transformers_does(encoder_plan: BundlePlan, tmp_path: Path) -> None:
    files = {"tokenizer.json": b"{}", "tokenizer_config.json": b'{"model_max_length": 512}'}
    plan = replace(
        encoder_plan, tokenizer_files=files, client_files={"sentence_bert_config.json": b'{"max_seq_length": 32}'}
    )
    out = write_bundle(plan, tmp_path / "out")
    assert json.loads((out / "onnx" / "tokenizer_config.json").read_text()) == {"model_max_length": 32}
    assert json.loads((out / "tokenizer" / "tokenizer_config.json").read_text()) == {"model_max_length": 512}


def test_transformers_js_finds_the_chat_template_in_tokenizer_config(decoder_plan: BundlePlan, tmp_path: Path) -> None:
    """It reads no chat_template.jinja, and no folder without tokenizer_config.json. Other settings stay."""
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text('{"model_max_length": 64}')
    cases = {
        "stated": ({"tokenizer_config.json": settings}, {"model_max_length": 64, "chat_template": "{{ messages }}"}),
        "absent": ({}, {"chat_template": "{{ messages }}"}),
    }
    for name, (files, wanted) in cases.items():
        tokenizer = {"tokenizer.json": b"{}", **files}
        out = write_bundle(replace(decoder_plan, tokenizer_files=tokenizer), tmp_path / name)
        assert json.loads((out / "onnx" / "tokenizer_config.json").read_text()) == wanted
        assert (out / "onnx" / "chat_template.jinja").read_text() == "{{ messages }}"
        if files:
            assert (out / "tokenizer" / "tokenizer_config.json").read_bytes() == settings.read_bytes()
