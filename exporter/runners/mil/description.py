"""A model's description of its inputs, outputs and states, and whether given arrays fit it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import Diagnostic, InputError, UnsupportedError
from exporter.runners.mil.classifier import described_classifier
from exporter.runners.mil.datatypes import FEATURE_TYPES, MAX_RANK, DataType
from exporter.runners.mil.program import Function, NamedType


@dataclass(frozen=True)
class Feature:
    """One input, output or state of a model.

    dtype: numpy's name (`float16`, `float32`, `int32`, `int8`). shape: the required or default shape; empty for an
    output whose shape depends on the input. enumerated: the shapes that are allowed, where the model lists them.
    ranges: `(smallest, largest)` per axis, where the model gives ranges; largest None: no limit.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    enumerated: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether Core ML takes an array of `shape` for this input."""
        if self.enumerated:
            return shape in self.enumerated
        if self.ranges:
            return len(shape) == len(self.ranges) and all(
                low <= size and (high is None or size <= high)
                for size, (low, high) in zip(shape, self.ranges, strict=True)
            )
        return shape == self.shape

    def constraint(self) -> str:
        """The allowed shapes in words."""
        if self.enumerated:
            return "one of " + ", ".join(str(list(shape)) for shape in sorted(self.enumerated))
        if self.ranges:
            sizes = ", ".join(
                str(low) if low == high else f"{low}…{'∞' if high is None else high}" for low, high in self.ranges
            )
            return f"[{sizes}]"
        return str(list(self.shape))

    def problem(self, array: NDArray[Any]) -> Diagnostic | None:
        """The problem with `array` as this input; None when it fits."""
        if array.dtype != np.dtype(self.dtype):
            return Diagnostic("mil.input", f"is {array.dtype}, the model takes {self.dtype}", where=self.name)
        if not self.accepts(array.shape):
            message = f"has shape {list(array.shape)}; the model takes {self.constraint()}"
            return Diagnostic("mil.input", message, where=self.name)
        return None


@dataclass(frozen=True)
class Interface:
    """All features of one function of a model. classifier: the names of the text and the dictionary that it gives."""

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[Feature, ...]
    classifier: tuple[str, str] | None = None

    def check_inputs(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Raises InputError with every problem of `inputs`."""
        known = {feature.name for feature in self.inputs}
        problems = [
            Diagnostic("mil.input", "the model has no such input", where=name)
            for name in sorted(inputs)
            if name not in known
        ]
        for feature in self.inputs:
            if feature.name not in inputs:
                problems.append(Diagnostic("mil.input", "the input is missing", where=feature.name))
            elif found := feature.problem(inputs[feature.name]):
                problems.append(found)
        InputError.raise_all(problems)


def read_interface(description: Any, function: str) -> Interface:
    """The features of `function` in a ModelDescription message (of the model itself where it has only one function)."""
    holder = description
    if description.functions:
        matching = [candidate for candidate in description.functions if candidate.name == function]
        if len(matching) != 1:
            raise InputError.of("mil.function", f"the description doesn't describe '{function}'", where=function)
        holder = matching[0]
    classifier = described_classifier(description)
    return Interface(
        inputs=tuple(_feature(message) for message in holder.input),
        outputs=tuple(_feature(message) for message in holder.output if message.name not in (classifier or ())),
        states=tuple(_feature(message) for message in holder.state),
        classifier=classifier,
    )


def default_function(description: Any) -> str:
    """The function that runs when none is asked for."""
    return str(description.defaultFunctionName) or "main"


def check_interface(interface: Interface, function: Function) -> None:
    """Raises InputError where the description and the program's function disagree on names, types or shapes."""
    problems: list[Diagnostic] = []
    tensors = [value for value in function.inputs if not value.state]
    states = [value for value in function.inputs if value.state]
    for kind, features, values in (("input", interface.inputs, tensors), ("state", interface.states, states)):
        described, declared = sorted(f.name for f in features), sorted(v.name for v in values)
        if described != declared:
            message = f"the description has {kind}s {described}, the program {declared}"
            problems.append(Diagnostic("mil.interface", message, where=function.name))
            continue
        by_name = {value.name: value for value in values}
        problems += [found for feature in features if (found := _disagreement(feature, by_name[feature.name]))]
    own = function.classifier and (function.classifier.label, function.classifier.probabilities)
    if own != interface.classifier:
        message = f"the description has the classifier {interface.classifier}, the program {own}"
        problems.append(Diagnostic("mil.interface", message, where=function.name))
    outputs = sorted(feature.name for feature in interface.outputs)
    if outputs != sorted(function.outputs):
        message = f"the description has outputs {outputs}, the program {sorted(function.outputs)}"
        problems.append(Diagnostic("mil.interface", message, where=function.name))
    values_by_name = {value.name: value for value in function.values()}
    for feature in interface.outputs:
        value = values_by_name.get(feature.name)
        if value is not None and np.dtype(feature.dtype) != value.type.dtype.unpacked:
            problems.append(_other_type(feature, value))
    InputError.raise_all(problems)


def _other_type(feature: Feature, value: NamedType) -> Diagnostic:
    message = f"described as {feature.dtype}, the program has {value.type}"
    return Diagnostic("mil.interface", message, where=feature.name)


def _disagreement(feature: Feature, value: NamedType) -> Diagnostic | None:
    if np.dtype(feature.dtype) != value.type.dtype.unpacked:
        return _other_type(feature, value)
    declared = value.type.shape
    scalar = declared == () and feature.shape == (1,)  # a scalar is described as an array of one element
    for shape in (feature.shape, *feature.enumerated):
        fits = declared is None or (
            len(shape) == len(declared)
            and all(want in (None, size) for size, want in zip(shape, declared, strict=True))
        )
        if not fits and not scalar:
            message = f"described with shape {list(shape)}, the program takes {value.type}"
            return Diagnostic("mil.interface", message, where=feature.name)
    return None


def _feature(message: Any) -> Feature:
    kind = message.type.WhichOneof("Type")
    if kind == "stateType":
        array = message.type.stateType.arrayType
    elif kind == "multiArrayType":
        array = message.type.multiArrayType
    else:
        raise UnsupportedError.of("mil.feature", f"the reference runtime has no {kind} features", where=message.name)
    dtype = _feature_type(array.dataType, message.name)
    enumerated = tuple(_sizes(shape.shape, message.name) for shape in array.enumeratedShapes.shapes)
    ranges = tuple(
        (size.lowerBound, size.upperBound if size.upperBound >= 0 else None) for size in array.shapeRange.sizeRanges
    )
    shape = _sizes(array.shape, message.name)
    if not shape:  # FeatureTypes.proto: the default is then the first shape, or every range's lower bound
        shape = enumerated[0] if enumerated else tuple(low for low, _ in ranges)
    return Feature(message.name, dtype.unpacked.name, shape, enumerated, ranges)


def _feature_type(code: int, where: str) -> DataType:
    if code not in FEATURE_TYPES:
        raise UnsupportedError.of("mil.dtype", f"the reference runtime has no arrays of type {code}", where=where)
    return FEATURE_TYPES[code]


def _sizes(sizes: Iterable[int], where: str) -> tuple[int, ...]:
    shape = tuple(int(size) for size in sizes)
    if len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise InputError.of("mil.interface", f"shape {list(shape)}", where=where)
    return shape
