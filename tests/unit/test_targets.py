"""The shipped profiles are complete and honest; a broken one is refused with everything that is wrong in it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from exporter.errors import ExitCode, InputError, UsageError
from exporter.targets import PALETTE_BITS, STANDINGS, Fact, Hardware, Limits, load_target, load_targets

ROOT = Path(__file__).parents[2]
CHANNEL = """
title = "any phone"
platform = "ios"
formats = ["coreml"]
min_os = "iOS 18"
bits = [4, 8]
group_size = 16
[reasons]
formats = "a"
min_os = "b"
bits = "c"
group_size = "d"
[limits]
mlpackage = { value = 1_400_000_000, unit = "bytes", standing = "measured", source = "users" }
"""


def folder(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / f"{name.replace('_', '-')}.toml").write_text(text, "utf-8")
    return tmp_path


def messages(tmp_path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_targets(tmp_path)
    return [f"{d.where} {d.message}" for d in caught.value.diagnostics]


def test_every_file_in_targets_is_a_target() -> None:
    assert set(load_targets()) == {path.stem for path in (ROOT / "targets").iterdir()}
    assert list(load_targets()) == sorted(load_targets())


@pytest.mark.parametrize("name", ["iphone", "android", "iphone-15-pro", "pixel-9", "snapdragon-8-elite"])
def test_the_first_set_is_there(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.group_size == 16
    assert set(target.bits) <= set(PALETTE_BITS)
    assert target.formats == (("onnx",) if target.platform == "android" else ("coreml",))


def test_every_number_has_unit_standing_and_source() -> None:
    for target in load_targets().values():
        held = [getattr(part, f.name) for part in (target.hardware, target.limits) for f in fields(part)]
        for fact in (fact for fact in held if fact is not None):
            assert isinstance(fact, Fact)
            assert fact.standing in STANDINGS
            assert fact.source.strip()
            assert isinstance(fact.value, str) != bool(fact.unit)
        assert all(target.reasons.values())


def test_both_platforms_share_bits_and_groups_so_that_they_share_palettes() -> None:
    assert load_target("iphone").bits == load_target("android").bits
    assert len({target.group_size for target in load_targets().values()}) == 1


def test_a_device_inherits_its_channel_and_adds_what_is_known() -> None:
    phone, channel = load_target("iphone-15-pro"), load_target("iphone")
    assert (phone.limits, phone.min_os, phone.reasons) == (channel.limits, channel.min_os, channel.reasons)
    assert phone.models == ("iPhone16,1", "iPhone16,2")
    assert phone.title != channel.title
    assert phone.hardware.memory_bandwidth is not None
    assert channel.hardware == Hardware()


def test_what_is_unknown_is_absent() -> None:
    assert load_target("iphone-18-pro").hardware.memory_bandwidth is None
    assert load_target("pixel-9").hardware.memory_bandwidth is None
    assert load_target("iphone-17").hardware.neural_engine is None


def test_no_model_identifier_belongs_to_two_phones() -> None:
    models = [model for target in load_targets().values() for model in target.models]
    assert len(models) == len(set(models))


@pytest.mark.parametrize(
    ("asked", "meant"), [("iphone15pro", "iphone-15-pro"), ("Pixel 9", "pixel-9"), ("iphone_16_pro", "iphone-16-pro")]
)
def test_an_unknown_name_brings_the_nearest_and_the_list(asked: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_target(asked)
    assert caught.value.exit_code == ExitCode.INPUT
    assert f"did you mean {meant}?" in caught.value.diagnostics[0].hint
    assert "android, iphone, iphone-12" in caught.value.diagnostics[0].hint


def test_a_name_like_no_other_brings_the_list_only() -> None:
    with pytest.raises(UsageError) as caught:
        load_target("工場")
    assert "did you mean" not in caught.value.diagnostics[0].hint


def test_a_device_overrides_one_limit_and_keeps_the_others(tmp_path: Path) -> None:
    own = (
        'extends = "base"\ntitle = "one phone"\n'
        '[limits]\napp = { value = 5, unit = "bytes", standing = "press", source = "x" }'
    )
    targets = load_targets(folder(tmp_path, base=CHANNEL, one=own))
    assert targets["one"].limits == Limits(
        mlpackage=Fact(1_400_000_000, "bytes", "measured", "users"), app=Fact(5, "bytes", "press", "x")
    )
    assert targets["base"].limits.app is None


def test_all_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    wrong = CHANNEL.replace("group_size = 16", 'group_size = "16"').replace("bits = [4, 8]", "bits = [8, 4, 5]")
    wrong = wrong.replace('formats = ["coreml"]', 'formats = ["tflite"]\nspeed = 3').replace("1_400_000_000", "0")
    found = messages(folder(tmp_path, wrong=wrong, broken="title = ", Name="", orphan='extends = "nobody"'))
    text = "\n".join(found)
    for expected in (
        "wrong.toml: group_size",
        "wrong.toml: bits",
        "wrong.toml: formats[0]",
        "wrong.toml: speed",
        "wrong.toml: limits.mlpackage.value",
        "broken.toml can't be read as TOML",
        "Name.toml: file name",
        "orphan.toml: extends",
    ):
        assert expected in text


TOLD = "standing = 'vendor', source = 'a test'"


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('standing = "measured"', 'standing = "sure"', "limits.mlpackage.standing"),
        ('unit = "bytes"', 'unit = "MB"', "limits.mlpackage.unit"),
        ('source = "users"', 'source = " "', "limits.mlpackage.source"),
        ("value = 1_400_000_000", "value = true", "limits.mlpackage.value"),
        ("value = 1_400_000_000", "value = inf", "limits.mlpackage.value"),
        ('bits = "c"', "", "reasons"),
        ("mlpackage =", "package =", "limits.package"),
        ("[limits]", "[hardware]\nram = 8\n[limits]", "hardware.ram"),
        (
            "[limits]",
            f"[hardware]\nandroid_soc = {{ value = 'SM8750', {TOLD} }}\n[limits]",
            "hardware.android_soc.value",
        ),
        (
            "[limits]",
            f"[hardware]\nandroid_soc = {{ value = 'QTI A,B', {TOLD} }}\n[limits]",
            "hardware.android_soc.value",
        ),
        ('min_os = "iOS 18"', "min_os = 18", "min_os"),
        ('platform = "ios"', 'platform = "symbian"', "platform"),
        ("group_size = 16", "group_size = 0", "group_size"),
        ("group_size = 16", "group_size = true", "group_size"),
        ("bits = [4, 8]", "bits = []", "bits"),
        ("bits = [4, 8]", "bits = [4.0, 8]", "bits[0]"),
        ("bits = [4, 8]", "bits = [4, true]", "bits[1]"),
        ("bits = [4, 8]", "bits = [4, 4]", "bits"),
        ('source = "users"', "source = 1979-05-27", "limits.mlpackage.source"),
        ("[reasons]", 'models = "iPhone1,1"\n[reasons]', "models"),
    ],
)
def test_each_field_is_checked(tmp_path: Path, old: str, new: str, where: str) -> None:
    assert old in CHANNEL
    found = messages(folder(tmp_path, one=CHANNEL.replace(old, new, 1)))
    assert any(message.startswith(f"one.toml: {where} ") for message in found), found


def test_a_chain_of_three_is_refused(tmp_path: Path) -> None:
    own = 'extends = "base"\ntitle = "x"'
    found = messages(folder(tmp_path, base=CHANNEL, one=own, two='extends = "one"\ntitle = "y"'))
    assert any("two.toml: extends" in message for message in found)


def test_an_installation_without_profiles_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="incomplete"):
        load_targets(tmp_path)


def test_a_wheel_finds_its_own_copy(tmp_path: Path) -> None:
    """The layout that pyproject's force-include makes: `exporter/_targets`, no `targets` beside `exporter`."""
    package = tmp_path / "exporter"
    (package / "_targets").mkdir(parents=True)
    for file in ("__init__.py", "errors.py", "formats.py", "targets.py", "validation.py"):
        (package / file).write_bytes((ROOT / "exporter" / file).read_bytes())
    (package / "_targets" / "base.toml").write_text(CHANNEL)
    code = "import exporter.targets as t; print(t.__file__, *t.load_targets())"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [str(package / "targets.py"), "base"]
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert included["force-include"]["targets"] == "exporter/_targets"


def test_loading_needs_nothing_heavy() -> None:
    code = "import sys, exporter.targets as t; t.load_targets(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "onnx", "onnx_ir", "torch", "jinja2"} & set(run.stdout.split())
