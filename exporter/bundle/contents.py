"""Everything that `writer` makes a bundle of."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.bundle.facts import UNCHECKED, ChatFacts, CompressionFacts, Example, Interface, ParityFacts, SourceFacts
from exporter.bundle.tree import path_problem, printable
from exporter.errors import InputError
from exporter.formats import Form

if TYPE_CHECKING:
    from exporter.graph.model import DecoderSpec, EncoderSpec, GraphSpec, Task


@dataclass(frozen=True)
class ArtifactPlan:
    """An artifact that was written.

    path: the `.mlpackage`, or the `COMPONENT.onnx`, whose whole folder belongs to it; it is copied into the bundle
        unless it is at its place there already. component: which part of the model it is; "model" where there is only
        one.
    target: names of the targets it is for; min_os: such as "iOS 18".
    parity: without it, the manifest says "unchecked", never "passed".
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
    """The content of a bundle, as plain data and files to copy.

    name: of the bundle and its `.mlpackage`. family: `model_type` of the checkpoint.
    spec: of a graph that was imported natively, or of each component of any other model.
    context: longest sequence in tokens that the artifacts accept; None for a model without text.
    config, generation_config: the checkpoint's; empty where it has none.
    tokenizer_files: file name → path, or the file's content.
    chat_template: Jinja source, None where the checkpoint has none.
    tools: name → version of what made the artifacts; must name "kogata".
    parity_report: JSON-able; parity_html: the same for people; both None where nothing was compared.
    license_files: file name → path, of licence and notice texts that must be shipped too; they go to `licenses/`.
    scoring: `logit_scale` and `logit_bias`, which turn two towers' embeddings into a score; empty for other models.
    sentence: what sentence-transformers' modules state (see `sentence_facts`); empty for other models.
    preprocessor: preprocessor_config.json, which says how images or sounds become inputs; empty where there is none.
    chat: about the chat template of a decoder; its pieces are among the tokenizer's files. None where there is none.
    device_vectors: parity/device.json; None for a model without text, and where nothing was compared.
    client_files: path → content, of further files beside the model in those forms whose clients look for them there.
    example: a prompt and the checkpoint's answer, for the card; None for models whose answers aren't texts.
    bits_plan: plan.json, which replays mixed bits; None where all matrices have the same bits.
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
    sentence: Mapping[str, Any] = field(default_factory=dict)
    client_files: Mapping[str, bytes] = field(default_factory=dict)
    bits_plan: bytes | None = None
    chat: ChatFacts | None = None
    device_vectors: bytes | None = None
    example: Example | None = None


def bundle_name(name: str) -> str:
    """`name` in composed Unicode; InputError when it can't be a file name on every system."""
    composed = unicodedata.normalize("NFC", name)
    reason = path_problem(composed)
    if not reason and ("/" in composed or composed.startswith(".") or composed != composed.strip()):
        reason = "has a slash in it, or begins or ends with a dot or a space"
    if not reason and len(composed.encode()) > 200:  # a file name has at most 255 bytes, with ".mlpackage" and more
        reason = "is longer than 200 bytes"
    if reason:
        raise InputError.of("bundle.name", f"the name {reason}", where=printable(name), hint="choose another: --name")
    return composed
