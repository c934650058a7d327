"""What parity compares of a model that consists of graphs."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.graph.model import GraphSpec
from exporter.parity.keys import Key
from exporter.parity.options import Compared
from exporter.parity.subjects import Opener
from exporter.runners.graphs import GraphRunner
from exporter.runners.mil_texts import Observe
from exporter.runners.ort import OnnxSource
from exporter.runners.reference_graph import TorchGraph, TorchReference
from exporter.runners.shipped import ModelFile, OnnxFile

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class GraphSubjects(Compared):
    """One component of a model. tokenizer: for inputs of real texts. preprocessor: for normalized images and sounds.
    source: the `.onnx` file that it was imported from, where a user gave one.
    """

    spec: GraphSpec
    reference: TorchReference | None = None
    tokenizer: Tokenizer | None = None
    preprocessor: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None

    @property
    def folder(self) -> Path | None:
        """The folder of `reference`."""
        return None if self.reference is None else self.reference.folder


@dataclass
class GraphOpener(Opener):
    """Opens a component's subjects as graphs."""

    subjects: GraphSubjects

    def keys(self) -> tuple[Key, ...]:
        """Everything there is to compare, the source file first."""
        first: tuple[Key, ...] = () if self.subjects.source is None else ("source",)
        return (*first, *super().keys())

    @cached_property
    def dequantizes(self) -> bool:
        """Whether the source file has DequantizeLinear. onnxruntime fuses it with the ops behind it, which then round
        their inputs to 8 bits as well: 0.3 % off the graph's own numbers."""
        path = self.subjects.source
        if path is None or not path.stat().st_size:
            return False
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(b"DequantizeLinear") >= 0  # op names stand in the file as text

    def file(self, key: Key, observe: Observe | None = None) -> ModelFile:
        """Anything but the checkpoint."""
        if key == "source":
            return OnnxFile(OnnxSource(path=self.subjects.source, optimize=not self.dequantizes), self.threads)
        return super().file(key, observe)

    def open(self, key: Key, observe: Observe | None = None) -> GraphRunner:
        """Loads the subject; the caller lets go of it before the next one is opened."""
        if key != "checkpoint":
            return self.file(key, observe).graph(self.subjects.spec)
        assert self.subjects.reference is not None
        return TorchGraph(self.subjects.reference, self.subjects.spec)
