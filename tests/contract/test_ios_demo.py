"""What can be checked of the demo app's project without Xcode or Swift."""

from __future__ import annotations

import json
import plistlib
import re
import subprocess

import pytest
from support.paths import ROOT

DEMO = ROOT / "ios-demo" / "Demo"
PROJECT = (DEMO / "Kogata.xcodeproj" / "project.pbxproj").read_text("utf-8")
SCREENS = "".join(path.read_text("utf-8") for path in sorted((DEMO / "Kogata").glob("*.swift")))


def test_the_project_refers_only_to_objects_and_folders_that_exist():
    plain = re.sub(r'/\*.*?\*/|"[^"]*"', "", PROJECT)
    assert plain.count("{") == plain.count("}")
    assert plain.count("(") == plain.count(")")
    defined = re.findall(r"^\s*([0-9A-F]{24})\s*=", plain, re.MULTILINE)
    assert len(defined) == len(set(defined))
    assert set(re.findall(r"[0-9A-F]{24}", plain)) == set(defined)
    paths = re.findall(r"(?:path|relativePath) = ([^;]+);", PROJECT)
    missing = [path for path in paths if path != "Kogata.app" and not (DEMO / path).exists()]
    assert not missing
    package = (ROOT / "ios-demo" / "KogataKit" / "Package.swift").read_text("utf-8")
    for product in re.findall(r"productName = (Kogata\w+);", PROJECT):
        assert f'"{product}"' in package
    settings = (DEMO / "Config" / "Kogata.xcconfig").read_text("utf-8")
    entitlements = re.search(r"CODE_SIGN_ENTITLEMENTS = (.+)", settings)
    assert entitlements is not None
    rights = plistlib.loads((DEMO / entitlements[1]).read_bytes())
    assert rights == {"com.apple.developer.kernel.increased-memory-limit": True}


def test_every_text_of_the_screens_is_translated():
    strings = json.loads((DEMO / "Kogata" / "Localizable.xcstrings").read_text("utf-8"))["strings"]
    for key, entry in strings.items():
        assert entry["localizations"]["ja"]["stringUnit"]["value"], key
        places = entry["localizations"]["ja"]["stringUnit"]["value"].count("%")
        assert places == key.count("%@"), key
    views = r"(?:Text|Label|Button|Tab|Section|Toggle|TextField|LabeledContent|ShareLink|ProgressView|navigationTitle)"
    interpolation = re.compile(r"\\\((?:[^()]|\([^()]*\))*\)")
    shown = [interpolation.sub("%@", text) for text in re.findall(views + r'\(\s*"((?:[^"\\]|\\.)*)"', SCREENS)]
    shown = [text for text in shown if re.search("[A-Za-z]{2}", text.replace("%@", ""))]
    assert len(shown) > 25
    assert not [text for text in shown if text not in strings]


def test_the_sentences_are_a_few_hundred_in_two_languages():
    sentences = json.loads((DEMO / "Kogata" / "sentences.json").read_text("utf-8"))
    texts = [sentence["text"] for sentence in sentences]
    assert len(texts) == len(set(texts)) > 200
    counts = [sum(sentence["language"] == language for sentence in sentences) for language in ("en", "ja")]
    assert min(counts) > 100
    assert sum(counts) == len(sentences)


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        ("Swift version 6.0.3 (swift-6.0.3-RELEASE)", True),
        ("swift-driver version: 1.127 Apple Swift version 6.2 (swiftlang-6.2)", True),
        ("Swift version 5.10.1 (swift-5.10.1-RELEASE)", False),
        (None, False),
    ],
)
def test_only_swift_6_and_newer_is_taken_from_path(tmp_path, version, accepted):
    if version is not None:
        (tmp_path / "swift").write_text(f"#!/bin/sh\necho '{version}'\n", "utf-8")
        (tmp_path / "swift").chmod(0o755)
    command = [ROOT / "ios-demo" / "scripts" / "toolchain.sh", "--on-path"]
    done = subprocess.run(
        command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == ((0, f"{tmp_path}\n") if accepted else (4, ""))
