"""`kogata pack`: the bundle's own bytes, only what the target needs, whole or absent."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.bundle_plans import PASSED, make_decoder_plan
from support.bundles import write_bundle
from support.command import kogata

from exporter.bundle.xcode import module_name
from exporter.errors import GateError
from exporter.pipeline.deliver import pack_bundle
from exporter.pipeline.delivery import PackOptions
from exporter.progress import NoProgress
from exporter.targets import load_target


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(make_decoder_plan(tmp_path / "made"), tmp_path / "bundle")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_keep_their_bytes_and_only_those_of_an_iphone_are_there(bundle: Path, tmp_path: Path) -> None:
    assert kogata("pack", bundle, "--for", "iphone-16", "-o", tmp_path / "x", "-q") == 0
    packed, whole = files(tmp_path / "x" / "Sources" / "Model"), files(bundle)
    assert packed == {path: whole[path] for path in packed}
    assert {path for path in whole if path.startswith(("coreml/", "tokenizer/", "licenses/"))} <= set(packed)
    assert {"manifest.json", "SHA256SUMS"} <= set(packed)
    assert not [path for path in packed if path.startswith("onnx/")]


def test_the_asset_pack_names_the_files(bundle: Path, tmp_path: Path) -> None:
    kogata("pack", bundle, "--for", "iphone", "-o", tmp_path / "x", "--download", "prefetch", "-q")
    manifest = json.loads((tmp_path / "x" / "background-assets.json").read_text())
    assert manifest["downloadPolicy"] == {
        "prefetch": {"installationEventTypes": ["firstInstallation", "subsequentUpdate"]}
    }
    (selected,) = manifest["fileSelectors"]
    assert (tmp_path / "x" / selected["directory"] / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("name", "module"),
    [("home-intents", "HomeIntentsModel"), ("Qwen2.5-0.5B", "Qwen2_5_0_5BModel"), ("小型", "KogataModel"),
     ("3b", "Kogata3bModel")],
)  # fmt: skip
def test_modules_have_names_that_swift_takes(name: str, module: str) -> None:
    assert module_name(name) == module


def test_a_changed_file_is_refused(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = next(bundle.glob("coreml/*/Manifest.json"))
    weights.write_bytes(b"x" * weights.stat().st_size)
    assert kogata("pack", bundle, "--for", "iphone", "-o", tmp_path / "x", "-q") == 1
    assert "Manifest.json" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_bundle_that_failed_a_gate_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_decoder_plan(tmp_path / "made")
    failed = replace(PASSED, verdict="failed")
    plan = replace(plan, artifacts=tuple(replace(a, parity=failed) for a in plan.artifacts))
    rejected = write_bundle(plan, tmp_path / "bundle")
    assert kogata("pack", rejected, "--for", "iphone", "-o", tmp_path / "x", "-q") == 1
    assert "failed a gate" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_bundle_without_the_format_is_refused(bundle: Path, tmp_path: Path) -> None:
    plan = make_decoder_plan(tmp_path / "made2")
    onnx = write_bundle(
        replace(plan, artifacts=tuple(a for a in plan.artifacts if a.form.format == "onnx")), tmp_path / "onnx"
    )
    coreml = write_bundle(
        replace(plan, artifacts=tuple(a for a in plan.artifacts if a.form.format == "coreml")), tmp_path / "coreml"
    )
    assert kogata("pack", coreml, "--for", "pixel-9", "-o", tmp_path / "x", "-q") == 3
    assert kogata("pack", onnx, "--for", "iphone", "-o", tmp_path / "x", "-q") == 3
    assert kogata("pack", tmp_path / "nothing", "--for", "iphone", "-o", tmp_path / "x", "-q") == 2
    assert not (tmp_path / "x").exists()


def test_options_of_the_other_platform_are_named_together(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ("--download", "fast-follow", "--min-ram", "6GB")
    assert kogata("pack", bundle, "--for", "iphone", "-o", tmp_path / "x", "-q", *wrong) == 2
    told = capsys.readouterr().err
    assert "--download fast-follow" in told
    assert "no device groups" in told
    assert kogata("pack", bundle, "--for", "android", "-o", tmp_path / "x", "-q", "--download", "essential") == 2
    assert "install-time, fast-follow, on-demand" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_only_a_packed_folder_is_replaced(bundle: Path, tmp_path: Path) -> None:
    arguments = ("pack", bundle, "--for", "iphone", "-q", "-o")
    assert kogata(*arguments, tmp_path / "x") == 0
    assert kogata(*arguments, tmp_path / "x") == 2
    assert kogata(*arguments, tmp_path / "x", "--force") == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    assert kogata(*arguments, tmp_path / "mine", "--force") == 2
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
    assert kogata(*arguments, bundle / "inside") == 2


def test_sizes_are_compared_with_the_channel(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("iphone")
    assert target.limits.app is not None
    small = replace(target.limits.app, value=10)

    def packed(**limits: object) -> tuple[str, ...]:
        limited = replace(target, limits=replace(target.limits, **limits))
        monkeypatch.setattr("exporter.pipeline.deliver.load_target", lambda _: limited)
        made = pack_bundle(bundle, "iphone", tmp_path / "x", PackOptions(force=True), NoProgress())
        return tuple(finding.where for finding in made.findings)

    assert packed() == ()
    assert packed(app=small) == ("all files, inside the app",)
    assert len(packed(mlpackage=small)) == 1
    with pytest.raises(GateError, match="the limit is 10"):
        packed(pack=small)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("fp32", "model.onnx"), ("q8", "model_quantized.onnx"), ("q4", "model_q4.onnx"), ("fp16", "model_fp16.onnx"),
     ("q4f16", "model_q4f16.onnx")],
)  # fmt: skip
def test_the_layout_of_transformers_js(dtype: str, name: str, bundle: Path, tmp_path: Path) -> None:
    """The model has the name of the dtype; its weights keep the name by which it refers to them."""
    assert kogata("pack", bundle, "--for", "transformers.js", "--dtype", dtype, "-o", tmp_path / "x", "-q") == 0
    packed, whole = files(tmp_path / "x"), files(bundle)
    assert packed[f"onnx/{name}"] == whole["onnx/model.onnx"]
    assert packed["onnx/model.onnx.data"] == whole["onnx/model.onnx.data"]
    assert {path for path in packed if path.startswith("onnx/")} == {f"onnx/{name}", "onnx/model.onnx.data"}
    for path in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert packed[path] == whole[f"onnx/{path}"]
    assert packed["kogata/manifest.json"] == whole["manifest.json"]
    assert packed["licenses/LICENSE"] == whole["licenses/LICENSE"]
    assert not {"genai_config.json", "chat.json"} & set(packed)
    sums = dict(reversed(line.split("  ")) for line in packed["SHA256SUMS"].decode().splitlines())
    assert sums == {
        path: hashlib.sha256(content).hexdigest() for path, content in packed.items() if path != "SHA256SUMS"
    }


def test_only_a_packed_folder_for_transformers_js_is_replaced(bundle: Path, tmp_path: Path) -> None:
    arguments = ("pack", bundle, "--for", "transformers.js", "-q", "-o")
    assert kogata(*arguments, tmp_path / "x") == 0
    assert kogata(*arguments, tmp_path / "x") == 2
    assert kogata(*arguments, tmp_path / "x", "--force") == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    assert kogata(*arguments, tmp_path / "mine", "--force") == 2
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_transformers_js_needs_an_onnx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_decoder_plan(tmp_path / "made")
    coreml = write_bundle(
        replace(plan, artifacts=tuple(a for a in plan.artifacts if a.form.format == "coreml")), tmp_path / "coreml"
    )
    assert kogata("pack", coreml, "--for", "transformers.js", "-o", tmp_path / "x", "-q") == 3
    assert "no ONNX file" in capsys.readouterr().err
