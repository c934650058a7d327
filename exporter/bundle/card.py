"""`README.md`: the model card, written from the manifest alone."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from exporter.bundle.card_graphs import card_facts, python_name
from exporter.bundle.card_losses import losses, model_index
from exporter.bundle.encoders import task_facts
from exporter.bundle.optimum_decoder import optimum_obstacle
from exporter.formats import DEVICES, MOBILE, TITLES

if TYPE_CHECKING:
    from exporter.bundle.facts import Artifact
    from exporter.bundle.manifest import Manifest

CARD = "README.md"
_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|!"} | {"\n": " ", "\r": " "})


def model_card(
    manifest: Manifest,
    has: Collection[str],
    preprocessor: Mapping[str, Any] | None = None,
    beside: str = "",
) -> bytes:
    """The card. has: "genai": `onnx/` has a `genai_config.json`; "chat": `tokenizer/` has a chat template; "vectors":
    `parity/` has test vectors for devices; "sentence": `onnx/` has the modules of sentence-transformers.

    preprocessor: the content of preprocessor_config.json in the folder `beside`.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("exporter.bundle", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML; texts from a checkpoint go through `md` or `json`
    )
    environment.filters |= {"md": _md, "json": _json, "mb": _mb, "number": _number, "python": python_name}
    graphs = "inputs" in manifest.model
    by_kind = {artifact.kind: artifact for artifact in manifest.artifacts}
    text = environment.get_template("card.md.jinja").render(
        m=manifest,
        **{fact: fact in has for fact in ("genai", "chat", "vectors", "sentence")},
        obstacle=optimum_obstacle(manifest.model) if "kv_heads" in manifest.model else "",
        titles=TITLES,
        devices=DEVICES,
        front=_front_matter(manifest),
        losses={path: losses(parity) for path, parity in manifest.parity.items()},
        tasks=[(path, task) for path, parity in manifest.parity.items() for task in parity.tasks],
        coreml=by_kind.get("coreml"),
        onnx=by_kind.get("onnx"),
        lengths=_lengths(manifest, by_kind.get("coreml")),
        kept=_count(manifest, kept=True),
        phones=any(artifact.form == MOBILE for artifact in manifest.artifacts),
        palettized=_count(manifest, kept=False),
        graphs=graphs,
        beside=beside,
        **({"task": False} | card_facts(manifest, preprocessor or {}) if graphs else task_facts(manifest)),
        checked=any(parity.verdict != "unchecked" for parity in manifest.parity.values()),
    )
    return text.encode("utf-8", "replace")


def _front_matter(manifest: Manifest) -> dict[str, Any]:
    """The hub's metadata, without unknown values."""
    tags = ["kogata", *sorted({artifact.kind for artifact in manifest.artifacts})]
    if _count(manifest, kept=False):
        tags.append("palettized")
    license_ = (manifest.source.license or "").lower()  # the hub's ids are SPDX's in lower case
    coreml = any(artifact.kind == "coreml" for artifact in manifest.artifacts)
    front: dict[str, Any] = {"library_name": "coreml" if coreml else "onnx", "license": license_}
    front |= {"license_link": manifest.source.license_link, "language": list(manifest.languages)}
    if manifest.source.repo:
        front |= {"base_model": manifest.source.repo, "base_model_relation": "quantized"}
    front |= {"pipeline_tag": "" if manifest.task == "other" else manifest.task, "tags": tags}
    front["model-index"] = model_index(manifest)
    return {key: value for key, value in front.items() if value}


def _count(manifest: Manifest, *, kept: bool) -> int:
    return sum((tensor["bits"] is None) == kept for tensor in manifest.compression.tensors)


def _lengths(manifest: Manifest, coreml: Artifact | None) -> list[int]:
    """The sequence lengths that the Core ML encoder accepts; empty for a range or where there is no such artifact."""
    if coreml is None:
        return []
    ports = [port for port in manifest.io[coreml.path].inputs if port.shape and not port.ranges]
    lengths = {shape[-1] for port in ports for shape in port.enumerated or (port.shape,)}
    return sorted(length for length in lengths if isinstance(length, int))


def _md(text: object) -> str:
    """`text` as one line of Markdown without any formatting."""
    return str(text).translate(_MARKDOWN)


def _json(value: object) -> str:
    """JSON scalars and lists are also YAML."""
    return json.dumps(value, ensure_ascii=False)


def _mb(size: int) -> str:
    """Bytes in units of 10^6, as app stores count."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"


def _number(value: float | None) -> str:
    return "not finite" if value is None or not math.isfinite(value) else f"{value:.6g}"
