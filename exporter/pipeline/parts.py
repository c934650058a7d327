"""Adapters: a graph becomes candidates for compression, and what a stage made of it becomes a part of the export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.bundle import FitFacts
from exporter.compress import Candidate, Compression
from exporter.formats import Format
from exporter.graph.model import GraphSpec, Hub
from exporter.parity import ParityReport


@dataclass(frozen=True)
class Part:
    """A model's graph, or one of them: as imported and as compressed, its files in the work area, how they compare.

    artifacts: format → `….onnx` or `.mlpackage`. parity: of this part alone; None where nothing was compared. fit: how
    its palettes do on calibration text; None where there was none.
    """

    hub: Hub
    compressed: Hub
    compression: Compression
    artifacts: Mapping[Format, Path]
    parity: ParityReport | None = None
    fit: FitFacts | None = None

    @property
    def component(self) -> str:
        """Its name among the model's graphs, "model" where it is the only one."""
        return self.hub.spec.component if isinstance(self.hub.spec, GraphSpec) else "model"


def candidates(hub: Hub) -> list[Candidate]:
    """Everything in the graph that comes from the checkpoint; what the graph calls weights is open to compression."""
    roles = {weight.name: weight.roles for weight in hub.weights}
    found = []
    for name, value in hub.model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and name in hub.stored:
            shape = tuple(int(n) for n in tensor.shape.numpy())
            lookup = "embedding" in roles.get(name, ())
            found.append(Candidate(name, shape, tensor.nbytes, name in roles, _loader(tensor), lookup))
    return found


def _loader(tensor: ir.TensorProtocol) -> Callable[[slice], NDArray[np.float32]]:
    return lambda rows: tensor.numpy()[rows].astype(np.float32)
