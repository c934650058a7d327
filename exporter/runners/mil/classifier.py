"""A classifier's own outputs: a text and a dictionary, whose names and labels the runtime reads and doesn't fill."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from exporter.errors import InputError

KIND = "classify"


@dataclass(frozen=True)
class Classifier:
    """label, probabilities: the outputs' names. labels: in the order of the elements of the tensor `scores`."""

    label: str
    probabilities: str
    labels: tuple[str, ...]
    scores: str


def read_classifier(operations: Iterable[Any]) -> Classifier | None:
    """The `classify` op among a block's operations. Raises InputError where it isn't what coremltools writes."""
    found = [operation for operation in operations if operation.type == KIND]
    if not found:
        return None
    (operation, *more) = found
    outputs = [output.name for output in operation.outputs]
    given = {key: list(argument.arguments) for key, argument in operation.inputs.items()}
    scores, classes = given.get("probabilities", []), given.get("classes", [])
    if more or len(outputs) != 2 or len(scores) != 1 or len(classes) != 1 or scores[0].WhichOneof("binding") != "name":
        raise InputError.of(
            "mil.classifier", "a classifier needs exactly one classify op with two outputs", where=", ".join(outputs)
        )
    values = classes[0].value.immediateValue.list.values
    labels = tuple(str(text) for value in values for text in value.immediateValue.tensor.strings.values)
    if not labels or len(labels) != len(values):
        raise InputError.of("mil.classifier", "its classes aren't a list of texts", where=outputs[0])
    return Classifier(outputs[0], outputs[1], labels, str(scores[0].name))


def described_classifier(description: Any) -> tuple[str, str] | None:
    """The names of the two outputs in the model description; None for a model that isn't a classifier."""
    label, probabilities = str(description.predictedFeatureName), str(description.predictedProbabilitiesName)
    return (label, probabilities) if label else None
