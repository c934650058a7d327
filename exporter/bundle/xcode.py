"""The layout that Xcode and the App Store take: a Swift package with the files of a bundle as a resource.

    DIR/
      Package.swift             the library NAMEModel
      Sources/Model.swift       `NAMEModel.url`: the folder below
      Sources/Model/…           the bundle's files that an iPhone needs, byte for byte
      background-assets.json    the manifest of the same files as an asset pack, for Apple's `ba-package`

Format of the asset pack's manifest: https://developer.apple.com/documentation/backgroundassets/creating-managed-asset-packs
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Literal

from exporter.bundle.facts import Artifact
from exporter.bundle.manifest import MANIFEST, Manifest
from exporter.bundle.writer import SUMS

ROOT = "Sources/Model"  # of the bundle's files in the package
ASSET_PACK = "background-assets.json"
Download = Literal["essential", "prefetch", "on-demand"]

_FOLDERS = ("tokenizer/", "preprocessor/", "licenses/")
_FILES = (MANIFEST, SUMS, "parity/device.json")
_EVENTS = ["firstInstallation", "subsequentUpdate"]
_MACOS = {18: 15, 17: 14, 16: 13}  # the system of the same year; from 26 on both have one number

_PACKAGE = """\
// swift-tools-version: 5.9
// Written by `kogata pack`. Add this folder to an Xcode project as a local package, and `import {module}`.
import PackageDescription

let package = Package(
    name: "{module}",
    platforms: [.iOS("{ios}"), .macOS("{macos}")],
    products: [.library(name: "{module}", targets: ["{module}"])],
    targets: [.target(name: "{module}", path: "Sources", resources: [.copy("Model")])]
)
"""

_SOURCE = """\
// Written by `kogata pack`.
import Foundation

/// The bundle `{name}`, as `kogata export` wrote it.
public enum {module} {{
    /// The bundle's folder, with manifest.json and SHA256SUMS in it: what KogataKit opens and verifies.
    public static let url = Bundle.module.url(forResource: "Model", withExtension: nil)!
}}
"""


def shipped(paths: Iterable[str], artifacts: Iterable[Artifact]) -> list[str]:
    """Those of a bundle's `paths` that an app on an iPhone needs: Core ML packages, texts beside them, and sums."""
    models = {file for artifact in artifacts if artifact.kind == "coreml" for file in artifact.files}
    return sorted(path for path in paths if path in models or path in _FILES or path.startswith(_FOLDERS))


def module_name(name: str) -> str:
    """The bundle's name as that of a Swift module: "home-intents" is HomeIntentsModel."""
    module = ""
    for word in re.findall(r"[A-Za-z0-9]+", name):
        module += ("_" if module[-1:].isdigit() and word[0].isdigit() else "") + word[0].upper() + word[1:]
    return ("Kogata" if not module or module[0].isdigit() else "") + module + "Model"


def package_texts(manifest: Manifest, min_os: str, download: Download) -> dict[str, str]:
    """Path → text of the files that Xcode and the App Store need beside the bundle's. min_os: such as "iOS 18"."""
    module = module_name(manifest.name)
    ios = min_os.removeprefix("iOS ")
    version = int(ios.split(".")[0])
    macos = str(_MACOS.get(version, version))
    return {
        "Package.swift": _PACKAGE.format(module=module, ios=_dotted(ios), macos=_dotted(macos)),
        "Sources/Model.swift": _SOURCE.format(module=module, name=manifest.name),
        ASSET_PACK: json.dumps(_asset_pack(module, download), indent=2) + "\n",
    }


def _dotted(version: str) -> str:
    return version if "." in version else f"{version}.0"


def _asset_pack(module: str, download: Download) -> dict[str, Any]:
    """`ba-package` resolves the directory from where it is run: the folder with Package.swift."""
    policy: dict[str, Any] = (
        {"onDemand": {}} if download == "on-demand" else {download: {"installationEventTypes": _EVENTS}}
    )
    return {
        "assetPackID": module,
        "downloadPolicy": policy,
        "fileSelectors": [{"directory": ROOT}],
        "platforms": ["iOS"],
    }
