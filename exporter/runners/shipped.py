"""Shipped files, by form: the one place that knows which runtime executes which form.

A new form needs an entry in `RUNTIMES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from exporter.formats import FLEXIBLE, MOBILE, PORTABLE, Form
from exporter.runners import coreml
from exporter.runners.base import DecoderRunner, EncoderRunner, MaskConvention
from exporter.runners.graphs import CoreMLGraph, GraphRunner, MilGraph, OnnxGraph
from exporter.runners.mil_texts import MilDecoder, MilEncoder, Observe, encoder_lengths, takes_types
from exporter.runners.ort import OnnxDecoder, OnnxEncoder, OnnxSource

if TYPE_CHECKING:
    from exporter.graph.model import GraphSpec
    from exporter.runners.mil import MilModel

CoreMLRunner = Literal["auto", "reference", "system"]
Rounding = Literal["float16", "int8"]


@dataclass(frozen=True)
class Conditions:
    """How files are executed.

    threads: of onnxruntime. pad_id: the token that fills a program's fixed length. mask: what the caller of a decoder
    program sends. coreml: "system" is Core ML itself (macOS), "reference" Kogata's executor, "auto" Core ML on macOS
    and the executor elsewhere.
    """

    threads: int = 1
    pad_id: int = 0
    mask: MaskConvention = "swift-transformers"
    coreml: CoreMLRunner = "auto"


class ModelFile(Protocol):
    """A model that can be opened as a runner. Each call loads it anew; the model must be of that kind."""

    def decoder(self) -> DecoderRunner:
        """As a text decoder with a KV cache."""

    def encoder(self) -> EncoderRunner:
        """As a text encoder, with or without a head."""

    def graph(self, spec: GraphSpec) -> GraphRunner:
        """As a graph of any inputs and outputs."""


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file, or a graph in memory, in onnxruntime."""

    source: OnnxSource
    threads: int

    def decoder(self) -> DecoderRunner:
        """As a text decoder with a KV cache."""
        return OnnxDecoder(self.source, self.threads)

    def encoder(self) -> EncoderRunner:
        """As a text encoder, with or without a head."""
        return OnnxEncoder(self.source, self.threads)

    def graph(self, spec: GraphSpec) -> GraphRunner:  # noqa: ARG002 - an ONNX graph states its own inputs
        """As a graph of any inputs and outputs."""
        return OnnxGraph(self.source, self.threads)


@dataclass(frozen=True)
class MilFile:
    """A Core ML program in Kogata's reference executor. observe: is shown every tensor before it is rounded."""

    model: MilModel
    pad_id: int
    mask: MaskConvention
    rounding: bool
    observe: Observe | None = None

    def decoder(self) -> DecoderRunner:
        """As a text decoder with a KV cache."""
        return MilDecoder(self.model, rounding=self.rounding, mask=self.mask, observe=self.observe)

    def encoder(self) -> MilEncoder:
        """As a text encoder, with or without a head."""
        return MilEncoder(self.model, rounding=self.rounding, pad_id=self.pad_id, observe=self.observe)

    def graph(self, spec: GraphSpec) -> GraphRunner:
        """As a graph of any inputs and outputs."""
        return MilGraph(self.model, spec, self.rounding, self.observe)


@dataclass(frozen=True)
class CoreMLFile:
    """A Core ML program: in Core ML itself where `conditions` say so, else in the reference executor."""

    path: Path
    conditions: Conditions

    @cached_property
    def model(self) -> MilModel:
        """The program, read from disk once."""
        from exporter.runners.mil import load_mlpackage

        return load_mlpackage(self.path)

    @property
    def on_system(self) -> bool:
        """Whether Core ML itself executes it."""
        asked = self.conditions.coreml
        return asked == "system" or (asked == "auto" and coreml.available())

    def executed(
        self, *, rounding: bool, mask: MaskConvention | None = None, observe: Observe | None = None
    ) -> MilFile:
        """The program in the reference executor. rounding: to float16 after every op, as devices do."""
        return MilFile(self.model, self.conditions.pad_id, mask or self.conditions.mask, rounding, observe)

    def decoder(self) -> DecoderRunner:
        """As a text decoder with a KV cache."""
        if not self.on_system:
            return self.executed(rounding=True).decoder()
        return coreml.CoreMLDecoder(self.path, self.conditions.mask)

    def encoder(self) -> EncoderRunner:
        """As a text encoder, with or without a head."""
        if not self.on_system:
            return self.executed(rounding=True).encoder()
        lengths, typed = encoder_lengths(self.model), takes_types(self.model)
        return coreml.CoreMLEncoder(self.path, lengths, self.conditions.pad_id, typed=typed)

    def graph(self, spec: GraphSpec) -> GraphRunner:
        """As a graph of any inputs and outputs."""
        return CoreMLGraph(self.path, spec) if self.on_system else self.executed(rounding=True).graph(spec)


@dataclass(frozen=True)
class Runtime:
    """open: the file at a path. rounds: what it rounds numbers to while it computes; parity also executes such files
    without rounding. Files that round to float16 are `CoreMLFile`s.
    """

    open: Callable[[Path, Conditions], OnnxFile | CoreMLFile]
    rounds: Rounding | None = None


ONNXRUNTIME = Runtime(lambda path, conditions: OnnxFile(OnnxSource(path=path), conditions.threads))
INTEGERS = replace(ONNXRUNTIME, rounds="int8")
CORE_ML = Runtime(CoreMLFile, rounds="float16")
RUNTIMES: Mapping[Form, Runtime] = {PORTABLE: ONNXRUNTIME, MOBILE: INTEGERS, FLEXIBLE: CORE_ML}


def shipped_file(form: Form, path: Path, conditions: Conditions) -> OnnxFile | CoreMLFile:
    """The file of a form, ready to be opened as a runner."""
    return RUNTIMES[form].open(path, conditions)


def rounds(form: Form) -> Rounding | None:
    """What the form's runtime rounds numbers to while it computes."""
    return RUNTIMES[form].rounds
