"""A graph in each runtime: feeds by input name → outputs by output name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError
from exporter.graph.model import GraphSpec
from exporter.graph.names import identifier
from exporter.runners import coreml
from exporter.runners.mil_texts import executor_name
from exporter.runners.ort import OnnxSession, OnnxSource

if TYPE_CHECKING:
    import torch

    from exporter.runners.mil import MilModel

Array = NDArray[Any]
Observe = Callable[[str, "torch.Tensor"], None]


class GraphRunner(Protocol):
    """A graph in some runtime."""

    @property
    def name(self) -> str:
        """The runner's name in reports."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, for one sample."""


class OnnxGraph:
    """A hub graph or a shipped file in onnxruntime."""

    def __init__(self, source: OnnxSource, threads: int) -> None:
        self._session = OnnxSession(source, threads)
        self.name = self._session.name

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Raises InputError where the graph lacks an input, or refuses the values."""
        missing = sorted(self._session.inputs.keys() - feeds.keys())
        if missing:
            raise InputError.of("parity.onnx-inputs", f"the graph has another input: {missing[0]}", where=missing[0])
        return self._session.run({name: feeds[name] for name in self._session.inputs})


@dataclass
class MilGraph:
    """The shipped Core ML program in the reference executor. Outputs carry the graph's names again."""

    model: MilModel
    spec: GraphSpec
    rounding: bool = True
    observe: Observe | None = None

    @property
    def name(self) -> str:
        """The runner's name in reports."""
        return executor_name(self.rounding)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Floats as float16, all else as int32, which is what the program declares."""
        made = self.model.predict(program_feeds(self.spec, feeds), fp16_rounding=self.rounding, observe=self.observe)
        return graph_outputs(self.spec, made)


class CoreMLGraph:
    """The shipped Core ML program in Core ML itself, on macOS."""

    def __init__(self, path: Path, spec: GraphSpec) -> None:
        self._model, self.name = coreml.load(path)
        self._spec = spec

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """One prediction."""
        return graph_outputs(self._spec, coreml.predict(self._model, program_feeds(self._spec, feeds), None))


def program_feeds(spec: GraphSpec, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The feeds with the names and types that the Core ML lowering gives the inputs. A scalar has shape `[1]`."""
    made = {}
    for port in spec.inputs:
        array = feeds[port.name]
        dtype = np.float16 if array.dtype.kind not in "iub" else np.int32
        made[identifier(port.name)] = np.atleast_1d(array.astype(dtype))
    return made


def graph_outputs(spec: GraphSpec, made: Mapping[str, Array]) -> dict[str, Array]:
    """A program's outputs under the graph's names. Raises InputError where one is missing."""
    lacking = [name for name in spec.outputs if identifier(name) not in made]
    if lacking:
        raise InputError.of("parity.outputs", f"the program has no output {lacking[0]}", where=lacking[0])
    return {name: made[identifier(name)] for name in spec.outputs}
