"""The constants of a function, decoded when something needs them, one tensor per stored value."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from exporter.errors import InputError
from exporter.runners.mil.constants import Constant, decode_palette
from exporter.runners.mil.datatypes import DataType
from exporter.runners.mil.program import Operand, Operation

MAX_DEPTH = 2  # a palette over the const ops that hold its indices and its LUT


def torch_type(dtype: DataType) -> torch.dtype:
    """How values of a MIL type are held: floats as float32, integers as int32 unless they need 64 bits."""
    if dtype.kind == "f":
        return torch.float32
    if dtype.kind == "b":
        return torch.bool
    return torch.int64 if dtype.name in ("int64", "uint64", "uint32") else torch.int32


def hold(array: np.ndarray[Any, Any], dtype: DataType) -> Tensor:
    """A copy of `array` as the runtime holds values of `dtype`."""
    wide = {torch.float32: np.float32, torch.bool: np.bool_, torch.int64: np.int64, torch.int32: np.int32}
    return torch.from_numpy(np.array(array, dtype=wide[torch_type(dtype)], order="C", copy=True))


class ConstantPool:
    """Decodes constants when something needs them, and holds one tensor per stored value."""

    def __init__(self) -> None:
        self.template: list[Any] = []
        self._operations: dict[str, Operation] = {}
        self._depths: dict[str, int] = {}
        self._held: dict[object, int] = {}  # what a constant is made of → slot of its tensor

    def define(self, operation: Operation) -> None:
        """Remembers a const or constexpr op."""
        complete = len(operation.outputs) == 1 and (operation.kind != "const" or "val" in operation.constants)
        if not complete:
            raise InputError.of("mil.constant", "has no value", where=operation.label)
        name = operation.outputs[0].name
        self._operations[name] = operation
        named = [value for value in _operands(operation).values() if isinstance(value, str)]
        self._depths[name] = 1 + max((self._depths.get(value, 0) for value in named), default=0)
        if self._depths[name] > MAX_DEPTH:
            raise InputError.of("mil.constant", f"unpacks constants {MAX_DEPTH} deep", where=operation.label)

    def keep(self, value: Any) -> int:
        """A slot that holds `value` (which may be None)."""
        self.template.append(value)
        return len(self.template) - 1

    def slot(self, operand: Operand, where: str) -> int:
        """The slot with the tensor of a constant."""
        key = self._identity(operand)
        if key not in self._held:
            value = self.value(operand, where)
            if isinstance(value, str):
                raise InputError.of("mil.operand", "a string where a tensor belongs", where=where)
            self._held[key] = self.keep(value)
        return self._held[key]

    def value(self, operand: Operand, where: str) -> Tensor | str:
        """The constant as the runtime holds it."""
        array, dtype = self.array(operand, where)
        if dtype.kind == "S":
            if array.size != 1:
                raise InputError.of("mil.constant", "a list of strings", where=where)
            return str(array.reshape(-1)[0])
        return hold(array, dtype)

    def array(self, operand: Operand, where: str) -> tuple[np.ndarray[Any, Any], DataType]:
        """The constant as it is stored, decoded, and its type."""
        if isinstance(operand, Constant):
            return operand.load(), operand.dtype
        if operand not in self._operations:  # constexpr operands must be constant; others have a slot
            raise InputError.of("mil.constant", f"'{operand}' is not constant", where=where)
        operation = self._operations[operand]
        declared = operation.outputs[0].type
        if operation.kind == "const":
            constant = operation.constants["val"]
            array, dtype = constant.load(), constant.dtype
        else:
            stored = {key: self.array(value, operation.label) for key, value in _operands(operation).items()}
            array, dtype = decode_palette(stored, operation.label), declared.dtype
            if array.dtype != dtype.unpacked:
                raise InputError.of("mil.constant", f"gives {array.dtype}, declared {declared}", where=operation.label)
        if dtype != declared.dtype or array.shape != declared.shape:
            message = f"holds {dtype.name}{list(array.shape)}, declared {declared}"
            raise InputError.of("mil.constant", message, where=operation.label)
        return array, dtype

    def _identity(self, operand: Operand) -> object:
        """Equal for constants that are made of the same stored values, so that tied weights are held once."""
        if isinstance(operand, Constant):
            return (operand.source, operand.dtype.name, operand.shape) if operand.source else id(operand)
        if operand not in self._operations:
            return operand
        operation = self._operations[operand]
        if operation.kind == "const":
            return self._identity(operation.constants["val"])
        return operation.kind, *((key, self._identity(value)) for key, value in sorted(_operands(operation).items()))


def _operands(operation: Operation) -> dict[str, Operand]:
    """One value for each input of a constexpr op."""
    operands: dict[str, Operand] = {}
    for key, values in operation.inputs.items():
        if len(values) != 1:
            raise InputError.of("mil.operand", f"{len(values)} values for its operand {key}", where=operation.label)
        operands[key] = values[0]
    return operands
