"""What a bundle is made of, before it is one."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.bundle.facts import UNCHECKED, CompressionFacts, Interface, ParityFacts, SourceFacts
from exporter.bundle.tree import path_problem, printable
from exporter.errors import InputError
from exporter.formats import Form

if TYPE_CHECKING:
    from exporter.graph.model import DecoderSpec, EncoderSpec, GraphSpec, Task


@dataclass(frozen=True)
class ArtifactPlan:
    """A produced artifact.

    path: the `.mlpackage`, or the `COMPONENT.onnx`, whose whole folder belongs to it; copied into the bundle unless it
        lies at its place there already. component: of the model, "model" where it has no others.
    target: names of the targets it is for; min_os: "iOS 18", say.
    parity: left out, the manifest says "unchecked", never "passed".
    """

    form: Form
    path: Path
    interface: Interface
    target: tuple[str, ...] = ()
    min_os: str | None = None
    parity: ParityFacts = UNCHECKED
    component: str = "model"


@dataclass(frozen=True)
class BundlePlan:
    """Everything that goes into a bundle, as plain data and files to copy.

    name: of the bundle and its `.mlpackage`. family: `model_type` of the checkpoint.
    spec: of the graph that we drew, or of each component of a model that we didn't draw.
    context: longest sequence in tokens that the artifacts were made for; None for a model without text.
    config, generation_config: the checkpoint's; empty where it has none.
    tokenizer_files: file name → path, or what the file holds.
    chat_template: Jinja source, None where the checkpoint has none.
    tools: name → version of what made the artifacts; must name "kogata".
    parity_report: JSON-able; parity_html: the same for people; both None where nothing was compared.
    license_files: file name → path, of licence and notice texts that must go along; they come into `licenses/`.
    scoring: `logit_scale` and `logit_bias`, which make a score of two towers' embeddings; empty for other models.
    preprocessor: preprocessor_config.json, which says how images or sounds become inputs; empty where there is none.
    bits_plan: plan.json, which replays mixed bits; None where all matrices were asked for alike.
    """

    name: str
    task: Task
    family: str
    spec: DecoderSpec | EncoderSpec | tuple[GraphSpec, ...]
    context: int | None
    source: SourceFacts
    languages: tuple[str, ...]
    compression: CompressionFacts
    artifacts: tuple[ArtifactPlan, ...]
    config: Mapping[str, Any]
    generation_config: Mapping[str, Any]
    tokenizer_files: Mapping[str, Path | bytes]
    chat_template: str | None
    tools: Mapping[str, str]
    parity_report: Mapping[str, Any] | None = None
    parity_html: bytes | None = None
    license_files: Mapping[str, Path] = field(default_factory=dict)
    preprocessor: Mapping[str, Any] = field(default_factory=dict)
    scoring: Mapping[str, float] = field(default_factory=dict)
    bits_plan: bytes | None = None


def bundle_name(name: str) -> str:
    """`name` in composed Unicode; InputError when it can't be a file name on every system."""
    composed = unicodedata.normalize("NFC", name)
    reason = path_problem(composed)
    if not reason and ("/" in composed or composed.startswith(".") or composed != composed.strip()):
        reason = "holds a slash, or begins with a dot or a space, or ends with one"
    if not reason and len(composed.encode()) > 200:  # file names end at 255 bytes; ".mlpackage" and more comes on top
        reason = "is longer than 200 bytes"
    if reason:
        raise InputError.of("bundle.name", f"the name {reason}", where=printable(name), hint="choose another: --name")
    return composed
