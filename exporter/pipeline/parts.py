"""Adapters: a graph becomes candidates for compression, and what a stage made of it becomes a part of the export."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.bundle import FitFacts
from exporter.checkpoint import Checkpoint
from exporter.compress import Candidate, Compression
from exporter.formats import Form
from exporter.graph.model import DecoderSpec, GraphSpec, Hub
from exporter.lower.forms import WriteOptions
from exporter.lower.onnx import OnnxWeights
from exporter.machine import tool_versions
from exporter.parity import ParityReport


@dataclass(frozen=True)
class Part:
    """A model's graph, or one of them: as imported and as compressed, its files in the work area, how they compare.

    artifacts: form → `….onnx` or `.mlpackage`. parity: of this part alone; None where nothing was compared. fit: how
    its palettes do on calibration text; None where there was none.
    """

    hub: Hub
    compressed: Hub
    compression: Compression
    artifacts: Mapping[Form, Path]
    parity: ParityReport | None = None
    fit: FitFacts | None = None

    @property
    def component(self) -> str:
        """Its name among the model's graphs, "model" where it is the only one."""
        return component_of(self.hub)


def component_of(hub: Hub) -> str:
    """The graph's name among those of its model; "model" where it is the only one."""
    return hub.spec.component if isinstance(hub.spec, GraphSpec) else "model"


def candidates(hub: Hub) -> list[Candidate]:
    """Everything in the graph that comes from the checkpoint; what the graph calls weights is open to compression."""
    weights = {weight.name for weight in hub.weights}
    found = []
    for name, value in hub.model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and name in hub.stored:
            shape = tuple(int(n) for n in tensor.shape.numpy())
            found.append(Candidate(name, shape, tensor.nbytes, name in weights, _loader(tensor)))
    return found


def _loader(tensor: ir.TensorProtocol) -> Callable[[slice], NDArray[np.float32]]:
    return lambda rows: tensor.numpy()[rows].astype(np.float32)


def write_options(name: str, checkpoint: Checkpoint, hub: Hub, weights: OnnxWeights) -> WriteOptions:
    """How the files of a graph are written. name: the bundle's. weights: how ONNX files store matrices."""
    spec = hub.spec
    metadata = artifact_metadata(name, checkpoint, () if isinstance(spec, DecoderSpec) else spec.labels)
    return WriteOptions(metadata, checkpoint.source.license, weights)


def artifact_metadata(name: str, checkpoint: Checkpoint, labels: Sequence[str] = ()) -> dict[str, str]:
    """What every artifact says of itself. labels: of a classifier, as a JSON list in the order of its logits."""
    source = checkpoint.source
    entries = {
        "co.huggingface.exporters.name": source.repo or name,  # swift-transformers looks for a tokenizer by this name
        "kogata.labels": json.dumps(list(labels), ensure_ascii=False) if labels else "",
        "kogata.version": tool_versions()["kogata"],
        "kogata.source.digest": source.digest,
        "kogata.source.repo": source.repo or "",
        "kogata.source.revision": source.revision or "",
        "kogata.source.license": source.license or "",
    }
    return {key: value for key, value in entries.items() if value}
