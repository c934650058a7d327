"""`kogata pack --for android`: the bundle's own bytes, Gradle and XML as Google's documentation has them.

References: https://developer.android.com/google/play/on-device-ai, https://developer.android.com/google/play/device-targeting
and, for the folders of device groups, the AI packs that ai-edge-litert 2.3.0 writes.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.bundle_plans import PASSED, make_decoder_plan, make_encoder_plan, write
from support.bundles import write_bundle
from support.command import kogata

from exporter.bundle import Port, read_manifest
from exporter.bundle.android import Layout, chosen, packs, project_texts, shipped
from exporter.bundle.facts import Artifact
from exporter.errors import GateError
from exporter.formats import Form
from exporter.pipeline.deliver import pack_bundle
from exporter.pipeline.delivery import PackOptions
from exporter.progress import NoProgress
from exporter.targets import load_target

CONFIG = "{http://schemas.android.com/apk/config}"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(make_decoder_plan(tmp_path / "made"), tmp_path / "bundle")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def packed(bundle: Path, place: Path, *options: str) -> Path:
    assert kogata("pack", bundle, "-o", place, "-q", "--force", *(options or ("--for", "android"))) == 0
    return place


def test_the_modules_are_those_of_the_documentation(bundle: Path, tmp_path: Path) -> None:
    place = packed(bundle, tmp_path / "x")
    assert sorted(path.name for path in place.iterdir()) == ["README.md", "bundle", "kotlin", "tiny_model"]
    assert sorted(path.name for path in (place / "kotlin").iterdir()) == ["Kogata.kt", "TinyModel.kt"]
    build = (place / "tiny_model" / "build.gradle.kts").read_text()
    expected = (
        'plugins{id("com.android.ai-pack")}aiPack{packName="tiny_model"dynamicDelivery{deliveryType="install-time"}}'
    )
    assert re.sub(r"\s|//.*", "", build) == expected
    assert not list(place.rglob("AndroidManifest.xml"))  # Gradle makes it


def test_files_keep_their_bytes_and_only_those_of_android_are_there(bundle: Path, tmp_path: Path) -> None:
    place = packed(bundle, tmp_path / "x")
    whole, held = files(bundle), files(place / "tiny_model" / "src" / "main" / "assets" / "tiny_model")
    assert held == {path: whole[path] for path in held}
    assert {path for path in whole if path.startswith(("onnx/", "licenses/"))} <= set(held)
    assert {"manifest.json", "SHA256SUMS"} <= set(held)
    others = ("coreml/", "parity/", "README.md", "bom.cdx.json")
    assert not [path for path in held if path.startswith(others)]
    own = [path for path in held if path.startswith("tokenizer/")]  # the others lie in onnx/ with the same bytes
    assert own == ["tokenizer/tokenizer_config.json"]
    assert (place / "bundle" / "manifest.json").read_bytes() == whole["manifest.json"]


def test_a_tokenizer_that_is_not_beside_the_model_comes_along() -> None:
    mobile = Artifact(Form("onnx", "mobile"), "mobile/m.onnx", {"mobile/m.onnx": 3, "mobile/config.json": 2}, (), None)
    portable = replace(mobile, form=Form("onnx", "portable"), path="onnx/m.onnx", files={"onnx/m.onnx": 3})
    hashes = {"mobile/m.onnx": "a", "mobile/config.json": "b", "onnx/m.onnx": "c", "licenses/LICENSE": "d"}
    hashes |= {"tokenizer/config.json": "b", "tokenizer/tokenizer.json": "e", "parity/device.json": "f"}
    for order in ((portable, mobile), (mobile, portable)):
        assert chosen(order) == (mobile,)
    assert chosen((replace(portable, form=Form("coreml", "flexible")), portable)) == (portable,)
    text_encoder = replace(portable, component="text_encoder")
    assert chosen((portable, text_encoder, mobile)) == (mobile, text_encoder)
    expected = ["SHA256SUMS", "licenses/LICENSE", "manifest.json", "mobile/config.json", "mobile/m.onnx"]
    assert shipped(hashes, (mobile,)) == [*expected, "tokenizer/tokenizer.json"]


def test_the_oldest_system_is_the_artifacts(bundle: Path) -> None:
    manifest = read_manifest(bundle / "manifest.json")
    for stated, level in (("Android 12 (API level 31)", 31), ("Android 5 (API level 21)", 24)):
        artifacts = tuple(replace(artifact, min_os=stated) for artifact in chosen(manifest.artifacts))
        readme = project_texts(Layout(manifest, artifacts, (), "install-time", None, "00"))["README.md"]
        assert f"minSdk = {level} " in readme


def test_kotlin_knows_the_packs_and_the_hash_of_the_hashes(bundle: Path, tmp_path: Path) -> None:
    facts = (packed(bundle, tmp_path / "x") / "kotlin" / "TinyModel.kt").read_text("utf-8")
    assert "val tinyModel = PackedModel(" in facts
    assert hashlib.sha256((bundle / "SHA256SUMS").read_bytes()).hexdigest() in facts
    assert 'models = mapOf("model" to "onnx/model.onnx")' in facts
    assert "context = 128," in facts
    assert 'PackedFile("onnx/model.onnx", listOf("tiny_model/onnx/model.onnx"))' in facts


def test_the_manifest_takes_the_telemetry_of_both_runtimes_out(bundle: Path, tmp_path: Path) -> None:
    """The names are those of onnxruntime-genai's own manifest, and of apps that hold onnxruntime-android's."""
    readme = (packed(bundle, tmp_path / "x") / "README.md").read_text("utf-8")
    (block,) = re.findall(r"```xml\n(.*?)```", readme, re.DOTALL)
    android, tools = (f"{{http://schemas.android.com/{name}}}" for name in ("apk/res/android", "tools"))
    removed = [element for element in ElementTree.fromstring(block).iter() if element.get(f"{tools}node") == "remove"]
    assert {element.get(f"{android}name"): element.get(f"{android}authorities") for element in removed} == {
        "android.permission.INTERNET": None,
        "android.permission.ACCESS_NETWORK_STATE": None,
        "ai.onnxruntime.TelemetryInitializer": "${applicationId}.onnxruntime_telemetry_initializer",
        "ai.onnxruntime.genai.TelemetryInitializer": "${applicationId}.onnxruntime_genai_telemetry_initializer",
    }


def test_encoders_are_run_by_the_plain_runtime(tmp_path: Path) -> None:
    encoder = write_bundle(make_encoder_plan(tmp_path / "made"), tmp_path / "encoder")
    readme = (packed(encoder, tmp_path / "x") / "README.md").read_text("utf-8")
    assert 'OnnxModel(folder, tinyModel, "model")' in readme
    assert "TextModel(folder," not in readme


def test_other_models_are_opened_without_token_ids(bundle: Path) -> None:
    manifest = read_manifest(bundle / "manifest.json")
    artifacts = chosen(manifest.artifacts)
    (path,) = [artifact.path for artifact in artifacts]
    pixels = replace(manifest.io[path], inputs=(Port("pixel_values", "float32", (1, 3, 8, 8)),))
    vision = replace(manifest, io={**manifest.io, path: pixels})
    plain = tuple(
        replace(artifact, files={artifact.path: 1}, component="vision $1", min_os=None) for artifact in artifacts
    )
    readme = project_texts(Layout(vision, plain, (), "install-time", None, "00"))["README.md"]
    assert 'models.getValue("vision \\$1")' in readme
    assert "minSdk = 24 " in readme
    assert "OrtEnvironment.getEnvironment().createSession" in readme
    assert "OnnxModel(folder," not in readme


def test_only_a_packed_folder_is_replaced(bundle: Path, tmp_path: Path) -> None:
    place = packed(bundle, tmp_path / "x", "--for", "android", "--min-ram", "6GB")
    first = files(packed(bundle, place))
    assert files(packed(bundle, place)) == first  # the same bytes, and nothing of the first layout
    assert not (place / "device_targeting_config.xml").exists()
    assert kogata("pack", bundle, "--for", "android", "-o", place, "-q") == 2
    other = write_bundle(make_encoder_plan(tmp_path / "made2"), tmp_path / "other")
    assert kogata("pack", bundle, "--for", "android", "-o", other, "-q", "--force") == 2
    assert (other / "SHA256SUMS").is_file()


@pytest.mark.parametrize("delivery", ["install-time", "fast-follow", "on-demand"])
def test_delivery_is_as_asked(bundle: Path, tmp_path: Path, delivery: str) -> None:
    place = packed(bundle, tmp_path / "x", "--for", "android", "--download", delivery)
    assert f'deliveryType = "{delivery}"' in (place / "tiny_model" / "build.gradle.kts").read_text()
    fetched = "AiPackManagerFactory.getInstance" in (place / "README.md").read_text("utf-8")
    assert fetched == (delivery != "install-time")


def test_large_packs_follow_the_installation(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.pipeline.deliver_android.INSTALL_TIME_BYTES", 100)
    place = packed(bundle, tmp_path / "x")
    assert 'deliveryType = "fast-follow"' in (place / "tiny_model" / "build.gradle.kts").read_text()


def test_a_chip_and_memory_become_a_device_group(bundle: Path, tmp_path: Path) -> None:
    place = packed(bundle, tmp_path / "x", "--for", "snapdragon-8-gen-3", "--min-ram", "6.8GB")
    root = ElementTree.parse(place / "device_targeting_config.xml").getroot()
    assert root.tag == f"{CONFIG}device-targeting-config"
    (group,) = root
    assert (group.tag, group.attrib) == (f"{CONFIG}device-group", {"name": "snapdragon_8_gen_3"})
    (selector,) = group
    assert (selector.tag, selector.attrib) == (f"{CONFIG}device-selector", {"ram-min-bytes": "6800000000"})
    assert {chip.tag for chip in selector} == {f"{CONFIG}system-on-chip"}
    names = {(chip.attrib["manufacturer"], chip.attrib["model"]) for chip in selector}
    assert {("QTI", "SM8650"), ("Qualcomm", "SM8650"), ("QTI", "SM8650-AC")} <= names
    assets = place / "tiny_model" / "src" / "main" / "assets"
    assert sorted(path.name for path in assets.iterdir()) == [
        "tiny_model#group_other",
        "tiny_model#group_snapdragon_8_gen_3",
    ]
    assert list(files(assets / "tiny_model#group_other")) == ["not_for_this_device.txt"]
    assert "onnx/model.onnx" in files(assets / "tiny_model#group_snapdragon_8_gen_3")
    assert '"tiny_model/onnx/model.onnx"' in (place / "kotlin" / "TinyModel.kt").read_text()  # without the suffix
    readme = (place / "README.md").read_text("utf-8")
    assert "enableDeviceTargetingConfigApi=true" in readme
    assert "srcDir" not in readme  # plain assets have no groups


def test_memory_alone_and_a_name_with_a_space(bundle: Path, tmp_path: Path) -> None:
    place = packed(bundle, tmp_path / "x", "--for", "android", "--min-ram", "8GiB")
    (selector,) = ElementTree.parse(place / "device_targeting_config.xml").iter(f"{CONFIG}device-selector")
    assert selector.attrib == {"ram-min-bytes": str(8 * 2**30)}
    assert not list(selector)
    place = packed(bundle, tmp_path / "x", "--for", "pixel-10")
    (chip,) = ElementTree.parse(place / "device_targeting_config.xml").iter(f"{CONFIG}system-on-chip")
    assert chip.attrib == {"manufacturer": "Google", "model": "Tensor G5"}


@pytest.mark.parametrize("size", ["much", "-1GB", "0", "8", "9999TB", "9" * 40])
def test_memory_must_be_a_size(bundle: Path, tmp_path: Path, size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kogata("pack", bundle, "--for", "android", "-o", tmp_path / "x", "-q", f"--min-ram={size}") == 2
    assert "--min-ram" in capsys.readouterr().err


def test_a_large_file_is_divided_and_the_parts_are_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_decoder_plan(tmp_path / "made")
    noise = hashlib.shake_256(b"weights").digest(100_000)  # Deflate can't make it smaller
    write(tmp_path / "made" / "onnx" / "model.onnx.data", noise)
    bundle = write_bundle(plan, tmp_path / "bundle")
    monkeypatch.setattr(packs, "_BLOCK", 4096)
    target = load_target("android")
    assert target.limits.pack is not None
    limited = replace(target, limits=replace(target.limits, pack=replace(target.limits.pack, value=30_000)))
    monkeypatch.setattr("exporter.pipeline.deliver.load_target", lambda _: limited)
    made = pack_bundle(bundle, "android", tmp_path / "x", PackOptions(), NoProgress())
    names = [pack["name"] for pack in made.details["packs"]]
    assert names == [
        "tiny_model",
        *(f"tiny_model_{number}" for number in range(2, 6)),
    ]  # four for it, one more for the rest
    assert all(size.bytes <= 30_000 * 0.95 for size in made.sizes[:-1])
    folders = [tmp_path / "x" / name / "src" / "main" / "assets" / name for name in names]
    parts = [folder / "onnx" / f"model.onnx.data.part{number}" for number, folder in enumerate(folders[:4], 1)]
    assert b"".join(part.read_bytes() for part in parts) == noise
    held = [path for folder in folders for path in files(folder)]
    assert len(held) == len(set(held))
    whole = files(bundle)
    assert {path for path in whole if path.startswith("onnx/")} - set(held) == {"onnx/model.onnx.data"}
    facts = (tmp_path / "x" / "kotlin" / "TinyModel.kt").read_text()
    listed = re.search(r'PackedFile\("onnx/model.onnx.data", listOf\((.*)\)\)', facts)
    assert listed is not None
    assert json.loads(f"[{listed[1]}]") == [
        f"{name}/onnx/model.onnx.data.part{number}" for number, name in enumerate(names[:4], 1)
    ]


def test_sizes_are_those_of_deflate(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Python's zipfile is the reference: the same level 6, plus its headers, which are not counted."""
    import zipfile

    assert kogata("pack", bundle, "--for", "android", "-o", tmp_path / "x", "-q", "--format", "json") == 0
    result = json.loads(capsys.readouterr().out)["result"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content in files(tmp_path / "x" / "tiny_model" / "src").items():
            archive.writestr(name, content)
        expected = sum(entry.compress_size for entry in archive.infolist())
        count = len(archive.infolist())
    (pack,) = result["packs"]
    assert 0 <= pack["compressed"] - expected <= 6 * count  # zlib's own frame around each file
    assert result["files"] == count
    assert [size["limit"] for size in result["sizes"]] == [1_500_000_000, 4_000_000_000]


def test_more_than_google_play_takes_is_refused(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("android")
    assert target.limits.app is not None
    limited = replace(target, limits=replace(target.limits, app=replace(target.limits.app, value=10)))
    monkeypatch.setattr("exporter.pipeline.deliver.load_target", lambda _: limited)
    with pytest.raises(GateError, match="the limit is 10"):
        pack_bundle(bundle, "android", tmp_path / "x", PackOptions(), NoProgress())
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", [".notice", "NOTICE~", "LICENSE.gz", "a#group_b.txt", "Thumbs.db"])
def test_names_that_androids_build_loses_are_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_decoder_plan(tmp_path / "made")
    licences = {name: write(tmp_path / "made" / "licence", "text")}
    bundle = write_bundle(replace(plan, license_files=licences), tmp_path / "bundle")
    assert kogata("pack", bundle, "--for", "android", "-o", tmp_path / "x", "-q") == 3
    assert f"licenses/{name}" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "pack", "value"),
    [
        ("home-intents", "home_intents_model", "homeIntentsModel"),
        ("Qwen2.5-0.5B", "qwen2_5_0_5b_model", "qwen2_5_0_5BModel"),
        ("小型", "kogata_model", "kogataModel"),
        ("3b", "kogata_3b_model", "kogata3bModel"),
        ("base", "base_model", "baseModel"),
        ('a" $b `c` <d>', "a_b_c_d_model", "aBCDModel"),
    ],
)
def test_names_that_google_play_and_kotlin_take(tmp_path: Path, name: str, pack: str, value: str) -> None:
    bundle = write_bundle(replace(make_decoder_plan(tmp_path / "made"), name=name), tmp_path / "bundle")
    place = packed(bundle, tmp_path / "x")
    assert (place / pack / "build.gradle.kts").is_file()
    (facts,) = [path.read_text("utf-8") for path in (place / "kotlin").iterdir() if path.name != "Kogata.kt"]
    assert f"val {value} = " in facts
    literal = re.search(r"^    name = (\".*\"),$", facts, re.MULTILINE)
    assert literal is not None
    assert json.loads(literal[1].replace("\\$", "$")) == name


def test_changed_and_failed_bundles_are_refused(bundle: Path, tmp_path: Path) -> None:
    plan = make_decoder_plan(tmp_path / "made2")
    failed = replace(PASSED, verdict="failed")
    rejected = replace(plan, artifacts=tuple(replace(a, parity=failed) for a in plan.artifacts))
    assert kogata("pack", write_bundle(rejected, tmp_path / "r"), "--for", "android", "-o", tmp_path / "x", "-q") == 1
    (bundle / "onnx" / "config.json").write_text("{}")
    assert kogata("pack", bundle, "--for", "android", "-o", tmp_path / "x", "-q") == 1
    assert not (tmp_path / "x").exists()
