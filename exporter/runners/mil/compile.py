"""Turns a function into steps over numbered slots, with everything constant decoded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from exporter.errors import InputError
from exporter.runners.mil.constants import LUT_TO_DENSE
from exporter.runners.mil.datatypes import DataType, TensorType
from exporter.runners.mil.ops import REGISTRY, Op
from exporter.runners.mil.ops.registry import Parameter
from exporter.runners.mil.pool import ConstantPool, torch_type
from exporter.runners.mil.program import Function, NamedType, Operand, Operation

Slots = list[Any]
Round = Callable[[Tensor], Tensor]
STATE_OPS = frozenset({"read_state", "write_state"})


@dataclass(frozen=True)
class Result:
    """One output of a step.

    round: brings it into the precision of its type, None where it is exact; wrap: the same for all types but fp16.
    """

    name: str
    slot: int
    type: TensorType
    held: torch.dtype
    fixed: tuple[tuple[int, int], ...]  # (axis, size) that the program declares
    round: Round | None
    wrap: Round | None

    def check(self, tensor: Tensor) -> None:
        """Raises ValueError where `tensor` is not what the program declares: Core ML plans memory by it."""
        if tensor.dtype is not self.held:
            raise ValueError(f"gives {tensor.dtype}, declared {self.type}")
        shape = tensor.shape
        if self.type.shape is None or shape == self.type.shape:
            return
        if len(shape) != len(self.type.shape) or any(shape[axis] != size for axis, size in self.fixed):
            raise ValueError(f"gives shape {list(shape)}, declared {self.type}")


@dataclass(frozen=True)
class Step:
    """One op at run time.

    run: computes the result from the slots (a tuple where the op gives several). dead: slots that nobody reads later.
    """

    label: str
    run: Callable[[Slots], Any]
    results: tuple[Result, ...]
    dead: tuple[int, ...] = ()


@dataclass(frozen=True)
class Executable:
    """A function ready to run. template: every constant in its slot, None in the others; the rest: name → slot."""

    template: tuple[Any, ...]
    steps: tuple[Step, ...]
    inputs: Mapping[str, int]
    states: Mapping[str, int]
    outputs: Mapping[str, int]


def knows(kind: str) -> bool:
    """Whether the runtime has ops of this kind."""
    return kind in REGISTRY or kind in STATE_OPS or is_constant(kind)


def is_constant(kind: str) -> bool:
    """Whether ops of this kind only hold a stored value."""
    return kind in ("const", LUT_TO_DENSE)


def rounding(dtype: DataType) -> Round | None:
    """The function that rounds a held value to `dtype`: fp16 to nearest even, with overflow to infinity."""
    if dtype.name == "fp16":
        return _round_half
    if dtype.name in ("int8", "uint8", "int16"):
        narrow = {"int8": torch.int8, "uint8": torch.uint8, "int16": torch.int16}[dtype.name]
        return lambda x: x.to(narrow).to(torch.int32)
    if dtype.name == "uint16":
        return lambda x: x & 0xFFFF
    return None


def _round_half(x: Tensor) -> Tensor:
    return x.half().float()


def compile_function(function: Function) -> Executable:
    """Decodes the constants of `function` and resolves each op. Raises InputError where ops and operands don't fit."""
    return _Compiler(function).compile()


class _Compiler:
    def __init__(self, function: Function) -> None:
        self._function = function
        self._constants = ConstantPool()
        self._template = self._constants.template
        self._slots: dict[str, int] = {}  # values that are computed: name → slot
        self._types: dict[str, TensorType] = {}

    def compile(self) -> Executable:
        for value in self._function.inputs:
            self._define(value)
        steps: list[Step] = []
        reads: list[tuple[int, ...]] = []
        for operation in self._function.operations:
            if is_constant(operation.kind):
                self._constants.define(operation)
                self._types[operation.outputs[0].name] = operation.outputs[0].type
            else:
                step, read = self._step(operation)
                steps.append(step)
                reads.append(read)
        states = {value.name: self._slots[value.name] for value in self._function.inputs if value.state}
        inputs = {value.name: self._slots[value.name] for value in self._function.inputs if not value.state}
        outputs = {name: self._slot(name, self._function.name) for name in self._function.outputs}
        kept = {*states.values(), *outputs.values()} | {
            i for i, value in enumerate(self._template) if value is not None
        }
        return Executable(tuple(self._template), _with_deaths(steps, reads, kept), inputs, states, outputs)

    def _define(self, value: NamedType) -> int:
        self._template.append(None)
        self._slots[value.name] = len(self._template) - 1
        self._types[value.name] = value.type
        return self._slots[value.name]

    def _slot(self, operand: Operand, where: str) -> int:
        if isinstance(operand, str) and operand in self._slots:
            return self._slots[operand]
        return self._constants.slot(operand, where)

    def _step(self, operation: Operation) -> tuple[Step, tuple[int, ...]]:
        if operation.kind in STATE_OPS:
            run, reads, exact = *self._state_access(operation), True
        else:
            op = REGISTRY[operation.kind]
            run, reads = self._call(op, operation)
            exact = op.exact
            if exact:
                self._check_precision(operation)
        results = tuple(self._result(output, exact) for output in operation.outputs)
        return Step(operation.label, run, results), reads

    def _result(self, output: NamedType, exact: bool) -> Result:
        dtype, shape = output.type.dtype, output.type.shape or ()
        bring = None if exact else rounding(dtype)
        fixed = tuple((axis, size) for axis, size in enumerate(shape) if size is not None)
        wrap = None if dtype.kind == "f" else bring
        return Result(output.name, self._define(output), output.type, torch_type(dtype), fixed, bring, wrap)

    def _check_precision(self, operation: Operation) -> None:
        """An op that computes nothing gives floats of the type that it takes. Raises InputError where it is declared to
        give others: Core ML has no such op, and no rounding would bring them about.
        """
        taken = {self._type(operand) for operands in operation.inputs.values() for operand in operands}
        given = {output.type.dtype for output in operation.outputs}
        floats = sorted(dtype.name for dtype in taken | given if dtype.kind == "f")
        if len(floats) > 1 and any(dtype.kind == "f" for dtype in given):
            raise InputError.of("mil.operand", f"turns {' into '.join(floats)}", where=operation.label)

    def _type(self, operand: Operand) -> DataType:
        return self._types[operand].dtype if isinstance(operand, str) else operand.dtype

    def _state_access(self, operation: Operation) -> tuple[Callable[[Slots], Any], tuple[int, ...]]:
        names = [operand for operand in operation.inputs.get("input", ()) if isinstance(operand, str)]
        states = {value.name: value for value in self._function.inputs if value.state}
        if len(names) != 1 or names[0] not in states:
            raise InputError.of("mil.state", "its input isn't a state", where=operation.label)
        state, slot = states[names[0]], self._slots[names[0]]
        if operation.kind == "read_state":
            if len(operation.outputs) != 1:
                raise InputError.of("mil.state", "read_state must give one value", where=operation.label)
            return (lambda slots: slots[slot]), (slot,)
        data = operation.inputs.get("data", ())
        if len(data) != 1 or operation.outputs:
            raise InputError.of("mil.state", "write_state takes one value and gives none", where=operation.label)
        if self._type(data[0]) != state.type.dtype:
            message = f"writes {self._type(data[0]).name} into the state {state.name}, {state.type}"
            raise InputError.of("mil.state", message, where=operation.label)
        source, shape = self._slot(data[0], operation.label), state.type.static(operation.label)

        def write(slots: Slots) -> tuple[()]:
            if slots[source].shape != shape:
                raise ValueError(f"writes shape {list(slots[source].shape)} into a state of shape {list(shape)}")
            slots[slot] = slots[source]
            return ()

        return write, (source,)

    def _call(self, op: Op, operation: Operation) -> tuple[Callable[[Slots], Any], tuple[int, ...]]:
        """The op bound to its operands, and the slots that it reads."""
        self._check_operands(op, operation)
        given = [i for i, parameter in enumerate(op.parameters) if parameter.name in operation.inputs]
        taken = op.parameters[: max(given, default=-1) + 1]  # the function's own defaults stand for the rest
        fetches = [self._fetch(parameter, operation) for parameter in taken]
        reads = tuple(slot for fetch in fetches for slot in fetch.slots)
        run = op.run
        if all(fetch.get is None for fetch in fetches):
            if len(reads) == 1:
                (only,) = reads
                return (lambda slots: run(slots[only])), reads
            return (lambda slots: run(*[slots[i] for i in reads])), reads
        getters = [fetch.getter() for fetch in fetches]
        return (lambda slots: run(*[get(slots) for get in getters])), reads

    def _check_operands(self, op: Op, operation: Operation) -> None:
        known = {parameter.name for parameter in op.parameters} | set(op.ignores)
        problem = ""
        if unknown := sorted(set(operation.inputs) - known) + sorted(operation.constants):
            problem = f"the reference runtime knows no operand {', '.join(unknown)}"
        elif missing := [p.name for p in op.parameters if p.required and not operation.inputs.get(p.name)]:
            problem = f"lacks its operand {', '.join(missing)}"
        same = [self._type(o).name for name in op.same for o in operation.inputs.get(name, ())]
        if len(set(same)) > 1:
            problem = f"its operands {', '.join(op.same)} have different types: {', '.join(same)}"
        if problem:
            raise InputError.of("mil.operand", problem, where=operation.label)

    def _fetch(self, parameter: Parameter, operation: Operation) -> _Fetch:
        operands = operation.inputs.get(parameter.name, ())
        if not operands:
            return _Fetch((self._constants.keep(parameter.default),))
        if parameter.many:
            slots = tuple(self._slot(operand, operation.label) for operand in operands)
            return _Fetch(slots, lambda values: tuple(values[i] for i in slots))
        if len(operands) != 1:
            message = f"{len(operands)} values for its operand {parameter.name}"
            raise InputError.of("mil.operand", message, where=operation.label)
        if parameter.convert is None:
            return _Fetch((self._slot(operands[0], operation.label),))
        convert, operand = parameter.convert, operands[0]
        if isinstance(operand, str) and operand in self._slots:
            slot = self._slots[operand]
            return _Fetch((slot,), lambda values: convert(values[slot]))
        try:
            return _Fetch((self._constants.keep(convert(self._constants.value(operand, operation.label))),))
        except (ValueError, OverflowError) as error:
            raise InputError.of("mil.operand", f"{parameter.name}: {error}", where=operation.label) from error


@dataclass(frozen=True)
class _Fetch:
    """The source of one argument of a step: its only slot as it is, or `get`."""

    slots: tuple[int, ...]
    get: Callable[[Slots], Any] | None = None

    def getter(self) -> Callable[[Slots], Any]:
        """`get`, or what reads the only slot."""
        if self.get is not None:
            return self.get
        (slot,) = self.slots
        return lambda values: values[slot]


def _with_deaths(steps: Sequence[Step], reads: Sequence[tuple[int, ...]], kept: set[int]) -> tuple[Step, ...]:
    """The steps, each with the slots that it is the last to read or that nobody reads at all."""
    seen = set(kept)
    steps_with: list[Step] = []
    for step, read in zip(reversed(steps), reversed(reads), strict=True):
        dead = tuple(sorted({*read, *(result.slot for result in step.results)} - seen))
        seen.update(dead)
        steps_with.append(replace(step, dead=dead))
    return tuple(reversed(steps_with))
