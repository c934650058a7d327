"""The layout that Android's build and Google Play take: AI packs with a bundle's files, and Kotlin that opens them.

    DIR/
      README.md                         what to add to the app's project
      bundle/manifest.json              the bundle's manifest again, for people and scripts
      device_targeting_config.xml       only where the packs are for some phones
      kotlin/Kogata.kt                  verifies, opens and runs a packed bundle
      kotlin/NAMEModel.kt               what `Kogata.kt` must know of this one
      NAME_model/build.gradle.kts       one AI pack: a Gradle module
      NAME_model/src/main/assets/NAME_model/…   the bundle's files that an Android app needs, byte for byte
      NAME_model_2/…                    only where one pack would be too large

Format of an AI pack: https://developer.android.com/google/play/on-device-ai
"""

from exporter.bundle.android.files import chosen, shipped, unusable
from exporter.bundle.android.gradle import (
    KOTLIN,
    ROOT,
    Delivery,
    DeviceGroup,
    Layout,
    kotlin_name,
    pack_name,
    placeholders,
    project_texts,
)
from exporter.bundle.android.packs import INSTALL_TIME_BYTES, Pack, Piece, measure, place, write_piece

__all__ = [
    "INSTALL_TIME_BYTES",
    "KOTLIN",
    "ROOT",
    "Delivery",
    "DeviceGroup",
    "Layout",
    "Pack",
    "Piece",
    "chosen",
    "kotlin_name",
    "measure",
    "pack_name",
    "place",
    "placeholders",
    "project_texts",
    "shipped",
    "unusable",
    "write_piece",
]
