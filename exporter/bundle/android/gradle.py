"""The texts around the files: Gradle modules, device groups, Kotlin, and instructions."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import quoteattr

from exporter.bundle.android.packs import Pack
from exporter.bundle.facts import Artifact
from exporter.bundle.manifest import Manifest
from exporter.bundle.xcode import module_name

Delivery = Literal["install-time", "fast-follow", "on-demand"]
KOTLIN = "kotlin"
ROOT = "bundle"  # the folder with a copy of the manifest, by which a later `--force` knows what it may replace
TARGETING = "device_targeting_config.xml"

_MIN_SDK = 24  # of the runtimes' packages
_TOKEN_INPUTS = ("input_ids", "attention_mask", "position_ids", "token_type_ids")

_BUILD = """\
// Written by `kogata pack`: an AI pack for Google Play. It holds files only; Gradle makes its manifest.
plugins {{
    id("com.android.ai-pack")
}}

aiPack {{
    packName = "{pack}"
    dynamicDelivery {{
        deliveryType = "{delivery}"
    }}
}}
"""

_FACTS = """\
// Written by `kogata pack` for the bundle {bundle}. `Kogata.kt` says how to use it.
package kogata

val {name} = PackedModel(
    name = {text},
    packs = listOf({packs}),
    context = {context},
    sumsSha256 = "{sums}",
    models = mapOf({models}),
    files = listOf(
{files}
    ),
)
"""


@dataclass(frozen=True)
class DeviceGroup:
    """The phones that get the packs: those with at least `min_ram` bytes of memory and one of the chips `socs`.

    name: letters, digits and underscores. min_ram: None where any memory is right. socs: what Android 12 and newer
    report as `Build.SOC_MANUFACTURER` and `Build.SOC_MODEL`; empty where any chip is right.
    """

    name: str
    min_ram: int | None
    socs: tuple[tuple[str, str], ...]

    def config(self) -> str:
        """The device targeting configuration of Google Play (beta)."""
        ram = "" if self.min_ram is None else f' ram-min-bytes="{self.min_ram}"'
        chips = "".join(
            f"            <config:system-on-chip manufacturer={quoteattr(maker)} model={quoteattr(model)}/>\n"
            for maker, model in self.socs
        )
        return (
            '<config:device-targeting-config xmlns:config="http://schemas.android.com/apk/config">\n'
            f'    <config:device-group name="{self.name}">\n'
            f"        <config:device-selector{ram}>\n{chips}        </config:device-selector>\n"
            "    </config:device-group>\n"
            "</config:device-targeting-config>\n"
        )


@dataclass(frozen=True)
class Layout:
    """Everything that is decided about a bundle's packs. artifacts: those in them; sums: SHA-256 of SHA256SUMS."""

    manifest: Manifest
    artifacts: Sequence[Artifact]
    packs: Sequence[Pack]
    delivery: Delivery
    group: DeviceGroup | None
    sums: str

    @property
    def names(self) -> list[str]:
        """The packs' names."""
        first = pack_name(self.manifest.name)
        return [first if number == 1 else f"{first}_{number}" for number in range(1, len(self.packs) + 1)]

    @property
    def generates(self) -> bool:
        """Whether onnxruntime-genai runs the model."""
        return any(file.endswith("/genai_config.json") for artifact in self.artifacts for file in artifact.files)

    @property
    def min_sdk(self) -> int:
        """The oldest API level: what artifacts state ("Android 7.0 (API level 24)") and the runtimes need."""
        stated = (re.search(r"API level (\d{1,3})", artifact.min_os or "") for artifact in self.artifacts)
        return max([_MIN_SDK, *(int(found[1]) for found in stated if found)])

    @property
    def reads_tokens(self) -> bool:
        """Whether every input of the first component is one that `OnnxModel` fills from token ids."""
        ports = self.manifest.io[self.artifacts[0].path].inputs
        return all(port.name in _TOKEN_INPUTS or port.name.startswith("past_key_values.") for port in ports)

    @property
    def component(self) -> str:
        """The component that runs first, as a text of Kotlin."""
        return _literal(self.artifacts[0].component)

    def folder(self, pack: str) -> str:
        """Where the pack's files are in the layout. Android's build cuts the group's name off."""
        return f"{pack}/src/main/assets/{pack}" + ("" if self.group is None else f"#group_{self.group.name}")


def pack_name(name: str) -> str:
    """The bundle's name as that of an AI pack: "home-intents" is home_intents_model.

    Google Play takes letters, digits and underscores, and a letter first.
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    return "_".join([*(["kogata"] if not words or words[0][0].isdigit() else []), *words, "model"])


def kotlin_name(name: str) -> str:
    """The bundle's name as that of a value in Kotlin: "home-intents" is homeIntentsModel."""
    module = module_name(name)
    return module[0].lower() + module[1:]


def placeholders(layout: Layout) -> dict[str, str]:
    """Path → text of the files that phones outside the group get instead: an empty pack is an error of Play's."""
    if layout.group is None:
        return {}
    text = "Google Play delivers this pack to other devices.\n"
    return {f"{pack}/src/main/assets/{pack}#group_other/not_for_this_device.txt": text for pack in layout.names}


def project_texts(layout: Layout) -> dict[str, str]:
    """Path → text of the files beside the bundle's."""
    loader = (importlib.resources.files("exporter.bundle.android") / "Kogata.kt").read_text("utf-8")
    module = module_name(layout.manifest.name)
    texts = {
        "README.md": _readme(layout),
        f"{KOTLIN}/Kogata.kt": loader,
        f"{KOTLIN}/{module}.kt": _facts(layout),
        **{f"{pack}/build.gradle.kts": _BUILD.format(pack=pack, delivery=layout.delivery) for pack in layout.names},
        **placeholders(layout),
    }
    return texts if layout.group is None else {**texts, TARGETING: layout.group.config()}


def _facts(layout: Layout) -> str:
    places: dict[str, list[str]] = {}
    for name, pack in zip(layout.names, layout.packs, strict=True):
        for piece in pack.pieces:
            places.setdefault(piece.path, []).append(f"{name}/{piece.name}")
    files = [
        f"        PackedFile({_literal(path)}, listOf({', '.join(map(_literal, parts))})),"
        for path, parts in sorted(places.items())
    ]
    models = [f"{_literal(a.component)} to {_literal(a.path)}" for a in layout.artifacts]
    context = layout.manifest.context
    return _FACTS.format(
        bundle=json.dumps(layout.manifest.name),
        name=kotlin_name(layout.manifest.name),
        text=_literal(layout.manifest.name),
        packs=", ".join(map(_literal, layout.names)),
        context="null" if context is None else context,
        sums=layout.sums,
        models=", ".join(models),
        files="\n".join(files),
    )


def _literal(text: str) -> str:
    """A string of Kotlin, in which "$" would begin a template."""
    return json.dumps(text).replace("$", "\\$")


def _readme(layout: Layout) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("exporter.bundle.android", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown; of the bundle it holds only names made of letters, digits and underscores
    )
    return environment.get_template("README.md.jinja").render(
        layout=layout, model=kotlin_name(layout.manifest.name), module=module_name(layout.manifest.name)
    )
