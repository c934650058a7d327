"""One function of a MIL program, read from its protobuf messages into plain, checked data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from exporter.errors import Diagnostic, InputError, UnsupportedError
from exporter.runners.mil.classifier import KIND, Classifier, read_classifier
from exporter.runners.mil.constants import Constant, read_constant
from exporter.runners.mil.datatypes import STRING, TensorType, data_type, element_count
from exporter.runners.mil.package import Package

Operand = str | Constant  # a value by its name, or a constant written in place


@dataclass(frozen=True)
class NamedType:
    """A value and its type; `state` where it is a state that wraps such a tensor."""

    name: str
    type: TensorType
    state: bool = False


@dataclass(frozen=True)
class Operation:
    """One op. `constants` holds the attributes, such as a const's `val`."""

    kind: str
    name: str
    inputs: Mapping[str, tuple[Operand, ...]]
    outputs: tuple[NamedType, ...]
    constants: Mapping[str, Constant]

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{self.kind} '{self.name}'"


@dataclass(frozen=True)
class Function:
    """A function whose values are each defined once, before they are used.

    outputs: the tensors; a classifier has two more outputs, which aren't tensors.
    """

    name: str
    opset: str
    inputs: tuple[NamedType, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    classifier: Classifier | None = None

    def values(self) -> Iterator[NamedType]:
        """Everything that has a name: inputs, states, and what the operations define."""
        yield from self.inputs
        for operation in self.operations:
            yield from operation.outputs


def read_function(
    program: Any, name: str, package: Package, known_ops: Callable[[str], bool] | None = None
) -> Function:
    """The function `name` of a MILSpec.Program message.

    known_ops: whether the runtime has an op of that kind; None reads any op, without nested blocks. Raises
    UnsupportedError with one diagnostic per op that the runtime hasn't, InputError where the program is damaged.
    """
    if name not in program.functions:
        raise InputError.of(
            "mil.function", f"the program has no function '{name}'", where=", ".join(sorted(program.functions))
        )
    message = program.functions[name]
    if message.opset not in message.block_specializations:
        raise InputError.of("mil.function", f"has no block for its opset {message.opset!r}", where=name)
    block = message.block_specializations[message.opset]
    classifier = read_classifier(block.operations)
    operations = [operation for operation in block.operations if operation.type != KIND]
    if known_ops is not None:
        _refuse_unknown(operations, known_ops)
    own = () if classifier is None else (classifier.label, classifier.probabilities)
    function = Function(
        name=name,
        opset=message.opset,
        inputs=tuple(_named_type(value, name) for value in message.inputs),
        outputs=tuple(output for output in block.outputs if output not in own),
        operations=tuple(_operation(operation, package) for operation in operations),
        classifier=classifier,
    )
    _check_order(function)
    return function


def tensor_type(message: Any, where: str) -> TensorType:
    """A ValueType message as a tensor type. Raises InputError for lists, tuples and dictionaries."""
    if message.WhichOneof("type") != "tensorType":
        raise InputError.of("mil.type", "not a tensor", where=where)
    tensor = message.tensorType
    dtype = data_type(tensor.dataType, where)
    sizes: list[int | None] = []
    for dimension in tensor.dimensions:
        kind = dimension.WhichOneof("dimension")
        if kind == "unknown" and dimension.unknown.variadic:
            return TensorType(dtype, None)
        sizes.append(dimension.constant.size if kind == "constant" else None)
    if tensor.rank != len(sizes):
        raise InputError.of("mil.type", f"rank {tensor.rank} with {len(sizes)} sizes", where=where)
    element_count(tuple(size for size in sizes if size is not None), where)
    return TensorType(dtype, tuple(sizes))


def _refuse_unknown(operations: Iterable[Any], known_ops: Callable[[str], bool]) -> None:
    unknown = []
    for operation in operations:
        outputs = ", ".join(output.name for output in operation.outputs)
        if not known_ops(operation.type):
            message = f"the reference runtime has no op '{operation.type}'"
            unknown.append(Diagnostic("mil.op", message, where=outputs))
        elif operation.blocks:
            message = f"the reference runtime has no nested blocks ('{operation.type}')"
            unknown.append(Diagnostic("mil.block", message, where=outputs))
    UnsupportedError.raise_all(unknown)


def _named_type(message: Any, where: str) -> NamedType:
    label = f"{where}/{message.name}"
    if message.type.WhichOneof("type") == "stateType":
        return NamedType(message.name, tensor_type(message.type.stateType.wrappedType, label), state=True)
    return NamedType(message.name, tensor_type(message.type, label))


def _operation(message: Any, package: Package) -> Operation:
    outputs = tuple(_named_type(output, message.type) for output in message.outputs)
    label = f"{message.type} '{outputs[0].name}'" if outputs else message.type
    constants = {
        key: _constant(value, f"{label}/{key}", package) for key, value in message.attributes.items() if key != "name"
    }
    inputs = {
        key: tuple(_operand(binding, f"{label}/{key}", package) for binding in argument.arguments)
        for key, argument in message.inputs.items()
    }
    return Operation(message.type, _op_name(message, outputs), inputs, outputs, constants)


def _op_name(message: Any, outputs: tuple[NamedType, ...]) -> str:
    values = message.attributes["name"].immediateValue.tensor.strings.values if "name" in message.attributes else ()
    if values:
        return str(values[0])
    return outputs[0].name if outputs else message.type


def _operand(binding: Any, where: str, package: Package) -> Operand:
    if binding.WhichOneof("binding") == "name":
        return str(binding.name)
    if binding.WhichOneof("binding") == "value":
        return _constant(binding.value, where, package)
    raise InputError.of("mil.operand", "neither a name nor a value", where=where)


def _constant(value: Any, where: str, package: Package) -> Constant:
    declared = tensor_type(value.type, where)
    shape = declared.static(where)
    if declared.dtype is not STRING:
        element_count(shape, where)
    return read_constant(value, declared.dtype, shape, package, where)


def _check_order(function: Function) -> None:
    """Every name is defined once, and before it is used."""
    states = {value.name for value in function.inputs if value.state}
    defined = {value.name for value in function.inputs}
    if len(defined) != len(function.inputs):
        raise InputError.of("mil.names", "two inputs have the same name", where=function.name)
    for operation in function.operations:
        for name in _names(operation):
            if name not in defined:
                raise InputError.of("mil.names", f"'{name}' is used before it is defined", where=operation.label)
            if name in states and operation.kind not in ("read_state", "write_state"):
                raise InputError.of("mil.state", f"the state '{name}' is used as a tensor", where=operation.label)
        for output in operation.outputs:
            if output.name in defined:
                raise InputError.of("mil.names", f"'{output.name}' is defined twice", where=operation.label)
            defined.add(output.name)
    scores = () if function.classifier is None else (function.classifier.scores,)
    for name in (*function.outputs, *scores):
        if name not in defined or name in states:
            raise InputError.of("mil.names", f"the output '{name}' is not defined", where=function.name)


def _names(operation: Operation) -> Iterator[str]:
    for operands in operation.inputs.values():
        yield from (operand for operand in operands if isinstance(operand, str))
