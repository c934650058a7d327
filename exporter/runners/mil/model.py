"""The reference runtime for ML Programs: reads a saved `.mlpackage` back and runs it op by op in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exporter.errors import InputError, UnsupportedError
from exporter.runners.mil.classifier import Classifier
from exporter.runners.mil.compile import Executable, Slots, Step, compile_function, is_constant, knows
from exporter.runners.mil.description import Feature, Interface, check_interface, default_function, read_interface
from exporter.runners.mil.package import read_package
from exporter.runners.mil.pool import ConstantPool, hold
from exporter.runners.mil.program import Function, read_function
from exporter.runners.mil.proto import parse_model

Observe = Callable[[str, Tensor], None]
_OP_ERRORS = (
    RuntimeError,
    ValueError,
    IndexError,
    TypeError,
    OverflowError,
    MemoryError,
)  # what torch answers misuse with


def load_mlpackage(path: Path, function: str | None = None, *, any_op: bool = False) -> MilModel:
    """Reads the model in the package folder `path`; its function `function`, or the default one.

    any_op: read ops that the runtime can't run, too: the model can then be looked at.
    Raises InputError where the package is damaged or its parts disagree (missing or truncated files, paths that leave
    it, values of other sizes than declared, …), UnsupportedError with one diagnostic per op that the runtime lacks.
    Weights are checked here and decoded by the first `predict`.
    """
    package = read_package(path)
    model = parse_model(package.model_bytes(), package.model.name)
    kind = model.WhichOneof("Type")
    if kind != "mlProgram":
        raise UnsupportedError.of(
            "mil.kind", f"not an ML Program but a {kind or 'model without type'}", where=path.name
        )
    name = function or default_function(model.description)
    interface = read_interface(model.description, name)
    program = read_function(model.mlProgram, name, package, None if any_op else knows)
    check_interface(interface, program)
    return MilModel(interface, program)


class MilState:
    """The states of a model between predictions; zero at first, as in Core ML."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    def read(self, name: str) -> NDArray[np.float32]:
        """A copy of one state."""
        array: NDArray[np.float32] = self.tensors[name].clone().numpy()
        return array

    def copy(self) -> MilState:
        """An independent copy. It is cheap: predictions replace tensors and never write into them."""
        return MilState(self.tensors)


class MilModel:
    """One function of a model, ready to run."""

    def __init__(self, interface: Interface, function: Function) -> None:
        self._interface = interface
        self._function = function
        self._compiled: Executable | None = None

    @property
    def inputs(self) -> tuple[Feature, ...]:
        """The inputs, as the model description has them."""
        return self._interface.inputs

    @property
    def outputs(self) -> tuple[Feature, ...]:
        """The outputs, as the model description has them."""
        return self._interface.outputs

    @property
    def states(self) -> tuple[Feature, ...]:
        """The states, as the model description has them."""
        return self._interface.states

    @property
    def classifier(self) -> Classifier | None:
        """The labels, and the names of the outputs that carry them; None for a model that isn't a classifier."""
        return self._function.classifier

    @property
    def function(self) -> Function:
        """The program that runs."""
        return self._function

    def constant(self, name: str) -> NDArray[Any]:
        """The stored value `name` of the program, decoded (palettes: dense), in its own type.

        Raises InputError where the program stores no value of that name.
        """
        pool = ConstantPool()
        for operation in self._function.operations:
            if is_constant(operation.kind):
                pool.define(operation)
        return pool.array(name, name)[0]

    def new_state(self) -> MilState:
        """States that hold zeros."""
        return MilState({feature.name: torch.zeros(feature.shape) for feature in self.states})

    def predict(
        self,
        inputs: Mapping[str, NDArray[Any]],
        state: MilState | None = None,
        *,
        fp16_rounding: bool = True,
        observe: Observe | None = None,
    ) -> dict[str, NDArray[Any]]:
        """The outputs by name; `state`, which a stateful model needs, is advanced once the whole program has run.

        fp16_rounding: round every result whose type is fp16, once per op; outputs then have the types of the program.
        Without it all floats are computed, kept and returned in float32 (the weights as stored). observe: is given each
        result, by name, before it is rounded. Raises InputError where Core ML would refuse the inputs, and where an op
        meets values that it isn't defined for.
        """
        self._interface.check_inputs(inputs)
        self._check_state(state)
        executable = self._executable()
        slots: Slots = list(executable.template)
        for value in self._function.inputs:
            if not value.state:
                array = inputs[value.name]
                scalar = value.type.shape == ()  # which the description calls an array of one element
                slots[executable.inputs[value.name]] = hold(array.reshape(()) if scalar else array, value.type.dtype)
        for name, slot in executable.states.items():
            assert state is not None
            slots[slot] = state.tensors[name]
        with torch.inference_mode():
            _run(executable.steps, slots, fp16_rounding, observe)
            results = {name: slots[executable.outputs[name]] for name in self._function.outputs}
            outputs = {f.name: _give_out(results[f.name], f, fp16_rounding) for f in self.outputs}
        if state is not None:
            state.tensors.update({name: slots[slot] for name, slot in executable.states.items()})
        return outputs

    def _check_state(self, state: MilState | None) -> None:
        if state is None and not self.states:
            return
        expected = {feature.name: feature.shape for feature in self.states}
        found = {name: tuple(tensor.shape) for name, tensor in state.tensors.items()} if state else {}
        if found != expected:
            hint = "pass the model's own new_state() to predict"
            raise InputError.of("mil.state", f"the model needs states {expected}, got {found}", hint=hint)

    def _executable(self) -> Executable:
        if self._compiled is None:
            with torch.inference_mode():
                self._compiled = compile_function(self._function)
        return self._compiled


def _run(steps: tuple[Step, ...], slots: Slots, fp16_rounding: bool, observe: Observe | None) -> None:
    for step in steps:
        for result, tensor in zip(step.results, _compute(step, slots), strict=True):
            if observe is not None:
                observe(result.name, tensor)
            bring = result.round if fp16_rounding else result.wrap
            slots[result.slot] = tensor if bring is None else bring(tensor)
        for slot in step.dead:
            slots[slot] = None


def _compute(step: Step, slots: Slots) -> tuple[Tensor, ...]:
    try:
        given = step.run(slots)
        tensors: tuple[Tensor, ...] = given if isinstance(given, tuple) else (given,)
        if len(tensors) != len(step.results):
            raise ValueError(f"gives {len(tensors)} results, the program takes {len(step.results)}")
        for result, tensor in zip(step.results, tensors, strict=True):
            result.check(tensor)
    except _OP_ERRORS as error:
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError.of("mil.run", message, where=step.label) from error
    return tensors


def _give_out(tensor: Tensor, feature: Feature, fp16_rounding: bool) -> NDArray[Any]:
    dtype = np.dtype(feature.dtype)
    if dtype == np.float16 and not fp16_rounding:
        dtype = np.dtype(np.float32)
    array: NDArray[Any] = tensor.numpy().astype(dtype, copy=True)
    return array
