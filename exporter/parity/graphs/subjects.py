"""What parity compares of a model that consists of graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.graph.model import GraphSpec

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer
    from exporter.graph.model import Hub
    from exporter.runners.reference_graph import TorchReference


@dataclass(frozen=True)
class GraphSubjects:
    """One component of a model; each thing to compare may be absent, and rows that need it are then absent too.

    hub, compressed: the graph before and after compression; the same object where nothing was compressed. Without
        `compressed`, the files were written from another graph than `hub`, and their lowering can't be judged.
    onnx, coreml: what is shipped. tokenizer, preprocessor: for inputs of real texts, and of normalized images.
    """

    spec: GraphSpec
    hub: Hub | None = None
    compressed: Hub | None = None
    onnx: Path | None = None
    coreml: Path | None = None
    reference: TorchReference | None = None
    tokenizer: Tokenizer | None = None
    preprocessor: Mapping[str, Any] = field(default_factory=dict)
