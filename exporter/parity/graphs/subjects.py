"""What parity compares of a model that consists of graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.graph.model import GraphSpec
from exporter.parity.keys import Key
from exporter.parity.options import Compared
from exporter.parity.subjects import Opener
from exporter.runners.graphs import GraphRunner
from exporter.runners.mil_texts import Observe
from exporter.runners.reference_graph import TorchGraph, TorchReference

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class GraphSubjects(Compared):
    """One component of a model. tokenizer: for inputs of real texts. preprocessor: for normalized images and sounds."""

    spec: GraphSpec
    reference: TorchReference | None = None
    tokenizer: Tokenizer | None = None
    preprocessor: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path | None:
        """The folder of `reference`."""
        return None if self.reference is None else self.reference.folder


@dataclass
class GraphOpener(Opener):
    """Opens a component's subjects as graphs."""

    subjects: GraphSubjects

    def open(self, key: Key, observe: Observe | None = None) -> GraphRunner:
        """Loads the subject; the caller lets go of it before the next one is opened."""
        if key != "checkpoint":
            return self.file(key, observe).graph(self.subjects.spec)
        assert self.subjects.reference is not None
        return TorchGraph(self.subjects.reference, self.subjects.spec)
