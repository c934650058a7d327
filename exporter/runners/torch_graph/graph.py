"""Runs a hub's graph in torch: differentiable, on any device, with weights that are read when they are used.

All floats are computed in one dtype, whatever the graph stores or casts them to. Integers that come from shapes stay
on the CPU. A weight matrix is in memory while the node that uses it runs, also under autograd, which reads it again
for the gradient; unless it is given as a tensor that requires one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from exporter.graph.model import Hub
from exporter.runners.torch_graph.compiler import Compiler, Slots, Step
from exporter.runners.torch_graph.matrices import Given, Matrix
from exporter.runners.torch_graph.products import WeightUse
from exporter.runners.torch_graph.stored import from_array

Feeds = Mapping[str, Tensor | NDArray[Any]]
Weights = Mapping[str, Tensor] | Given
Tap = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True)
class Planned:
    """A step of a plan. runs: whether its results are wanted; dead: slots that nobody reads after it."""

    step: Step
    runs: bool
    dead: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """The steps that some values need, in order. inputs: those of the graph that they read."""

    steps: tuple[Planned, ...]
    inputs: tuple[str, ...]


class TorchGraph:
    """A hub's graph, or any ONNX graph of opset 18 or newer.

    dtype: of all floats. products: of products with weights and of attention, `dtype` unless given; bfloat16 is
    several times as fast on machines that have units for it.

    Raises UnsupportedError with every op and tensor that can't be computed.
    """

    def __init__(
        self,
        graph: Hub | ir.Model,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        products: torch.dtype | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self.products = products or dtype
        compiled = Compiler(graph, self.device, dtype, self.products)
        compiled.compile()
        self.steps: tuple[Step, ...] = tuple(compiled.steps)
        self.uses: tuple[WeightUse, ...] = tuple(step.use for step in self.steps if step.use is not None)
        self.inputs = tuple(str(value.name) for value in compiled.graph.inputs if not value.is_initializer())
        self.outputs = tuple(str(value.name) for value in compiled.graph.outputs)
        self._stored = compiled.stored
        self._slots = {str(value.name): slot for value, slot in compiled.slots.items()}
        self._constants = {name: slot for name, (slot, _) in compiled.constants.items()}
        self._empty: Slots = [None] * (len(compiled.slots) + 1)
        for slot, tensor in compiled.constants.values():
            self._empty[slot] = tensor
        self._plans: dict[tuple[tuple[str, ...], bool], Plan] = {}

    def run(
        self,
        feeds: Feeds,
        wanted: Sequence[str] | None = None,
        *,
        weights: Weights | None = None,
        taps: Mapping[str, Tap] | None = None,
    ) -> dict[str, Tensor]:
        """The values `wanted`, by name: any of the graph, all outputs unless given. Only what they need is computed.

        feeds: input → tensor. weights: name → the matrix `[out, in]` to use wherever the graph uses that weight; it
            may require a gradient. A mapping may name any other stored tensor, too. A function is asked for weights
            each time that they are used, so that nothing needs to be kept, and answers None for what stays as it is.
        taps: value → what is called with it when it is made (an input of the graph: before all else); a tensor that
            it returns takes the value's place.

        Raises ValueError for names that the graph doesn't have, for feeds that are missing, for other shapes.
        """
        names = tuple(self.outputs if wanted is None else wanted)
        plan = self.plan(names)
        slots = self.filled(feeds, plan.inputs, weights)
        give = weights if weights is None or callable(weights) else weights.get
        watched = {self.slot(name): tap for name, tap in (taps or {}).items()}
        _tap(slots, watched, [self._slots[name] for name in plan.inputs])
        for planned in plan.steps:
            step = planned.step
            step.execute(slots, None if step.weight is None else self.matrix(step.weight, give))
            _tap(slots, watched, step.outputs)
            for slot in planned.dead:
                slots[slot] = None
        return {name: slots[self.slot(name)] for name in names}

    def weight(self, name: str) -> Tensor:
        """A stored tensor, read now. Raises KeyError for another name."""
        return self._stored[name].read()

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a stored tensor. Raises KeyError for another name."""
        return self._stored[name].shape

    def slot(self, name: str) -> int:
        """The slot of a value while the graph runs. Raises ValueError for a name that the graph doesn't have."""
        if name not in self._slots:
            raise ValueError(f"the graph has no value {name!r}")
        return self._slots[name]

    def matrix(self, name: str, give: Given | None) -> Matrix:
        """The weight as one step uses it."""
        return Matrix(name, self._stored[name], give)

    def placed(self, tensor: Tensor) -> Tensor:
        """On the graph's device, and in its dtype if it is a float of up to 32 bits."""
        floats = tensor.is_floating_point() and tensor.dtype != torch.float64
        return tensor.to(self.device, self.dtype if floats else tensor.dtype)

    def filled(self, feeds: Feeds, inputs: Sequence[str], weights: Weights | None) -> Slots:
        """Slots with constants and feeds, of which `inputs` must be there."""
        slots = self._empty.copy()
        given = {} if weights is None or callable(weights) else weights
        for name in given.keys() - self._stored.keys():
            raise ValueError(f"the graph stores no tensor {name!r}")
        for name in given.keys() & self._constants.keys():
            stored = slots[self._constants[name]]
            if given[name].shape != stored.shape:
                raise ValueError(f"{name} has shape {tuple(stored.shape)}, its replacement {tuple(given[name].shape)}")
            slots[self._constants[name]] = given[name].to(stored.device, stored.dtype)
        for name, value in feeds.items():
            if name not in self.inputs:
                raise ValueError(f"the graph has no input {name!r}, but {', '.join(self.inputs)}")
            slots[self._slots[name]] = self.placed(
                value if isinstance(value, Tensor) else from_array(np.asarray(value))
            )
        missing = [name for name in inputs if name not in feeds]
        if missing:
            raise ValueError(f"no feed for {', '.join(missing)}")
        return slots

    def plan(self, wanted: tuple[str, ...], *, visits: bool = False) -> Plan:
        """The steps that the values need. visits: also the uses of weights, with the steps that their inputs need."""
        key = (wanted, visits)
        if key not in self._plans:
            steps = self._planned({self.slot(name) for name in wanted}, visits)
            read = {slot for planned in steps for slot in planned.step.inputs}
            read |= {self.slot(name) for name in wanted}
            inputs = tuple(name for name in self.inputs if self._slots[name] in read)
            self._plans[key] = Plan(tuple(steps), inputs)
        return self._plans[key]

    def _planned(self, kept: set[int], visits: bool) -> list[Planned]:
        """Backwards from the end: a step runs where a later one reads what it makes; the last reader frees it."""
        needed, alive = set(kept), set(kept)
        plan: list[Planned] = []
        for step in reversed(self.steps):
            runs = not needed.isdisjoint(step.outputs)
            visited = visits and step.use is not None
            if not runs and not visited:
                continue
            read = set(step.inputs if runs else step.inputs[:1]) - {0}
            made = set(step.outputs) if runs else set()
            dead = (read | made) - alive - {0}  # what nobody reads at all is dead at once
            plan.append(Planned(step, runs, tuple(sorted(dead))))
            needed |= read
            alive |= read
        return plan[::-1]


def _tap(slots: Slots, watched: Mapping[int, Tap], made: Sequence[int]) -> None:
    for slot in watched.keys() & set(made) if watched else ():
        replaced = watched[slot](slots[slot])
        slots[slot] = slots[slot] if replaced is None else replaced
