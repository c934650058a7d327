"""`kogata-swift verify` and `kogata verify` agree about a bundle that `kogata export` wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command import kogata
from support.paths import ROOT


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("swift") / "home-intents"
    checkpoint = ROOT / "samples" / "home_intents" / "checkpoint"
    options = ("--name", "home-intents", "--bits", "4", "--calibrate", "none", "--parity", "none")
    assert kogata("export", checkpoint, "-o", folder, *options) == 0
    return folder


def test_an_intact_bundle_is_accepted(kogata_swift, bundle):
    done = kogata_swift("verify", bundle)
    assert done.returncode == 0, done.stderr
    assert kogata("verify", bundle) == 0


@pytest.mark.parametrize("change", ["changed", "added", "removed", "linked"])
def test_every_difference_is_refused_and_named(kogata_swift, bundle, tmp_path, change):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    weights = next(copy.glob("coreml/*.mlpackage/Data/**/weight.bin"))
    file = copy / "coreml" / "added.txt" if change == "added" else weights
    if change == "added":
        file.write_text("added", "utf-8")
    elif change == "changed":
        data = bytearray(weights.read_bytes())
        data[len(data) // 2] ^= 1
        weights.write_bytes(data)
    else:
        weights.unlink()
        if change == "linked":
            weights.symlink_to(bundle / weights.relative_to(copy))
    done = kogata_swift("verify", copy)
    assert done.returncode == kogata("verify", copy) == 1
    assert str(file.relative_to(copy)) in done.stdout + done.stderr


def test_a_model_inside_a_bundle_is_not_a_bundle(kogata_swift, bundle):
    done = kogata_swift("verify", next(bundle.glob("coreml/*.mlpackage")))
    assert done.returncode == 2
    assert "model inside a bundle" in done.stderr
