"""The definition of an op: a function whose signature lists the op's operands.

A parameter is annotated with `Tensor`, `tuple[Tensor, ...]`, or a Python type (`int`, `float`, `bool`, `str`,
`tuple[int, ...]`, `tuple[bool, ...]`) that the runtime converts the MIL tensor to (once, if it is constant). Its
default is the op's default; `| None` may follow the type.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from exporter.runners.mil.datatypes import MAX_ELEMENTS

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Parameter:
    """One parameter of an op. convert: tensor → Python value; None if the op takes the tensor itself."""

    name: str
    required: bool
    default: Any
    many: bool
    convert: Callable[[Any], Any] | None


@dataclass(frozen=True)
class Op:
    """One op.

    exact: the result needs no rounding, since it has values of the operands, or is exact in their type. same: operands
    that must have the same type. ignores: operands without influence on the result.
    """

    name: str
    run: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    exact: bool
    same: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()


class OpTable(dict[str, Op]):
    """The ops of one file. Its decorator adds a function as the MIL op of the same name."""

    def __call__(
        self, *, exact: bool = False, same: tuple[str, ...] = (), ignores: tuple[str, ...] = ()
    ) -> Callable[[_Function], _Function]:
        """Registers the decorated function."""

        def register(function: _Function) -> _Function:
            self[function.__name__] = Op(function.__name__, function, _parameters(function), exact, same, ignores)
            return function

        return register

    def unary(self, functions: Mapping[str, Callable[[Tensor], Tensor]], *, exact: bool = False) -> None:
        """Registers ops of one tensor `x`."""
        for kind, function in functions.items():
            self[kind] = Op(kind, function, (Parameter("x", True, None, False, None),), exact)

    def binary(self, functions: Mapping[str, Callable[[Tensor, Tensor], Tensor]], *, exact: bool = False) -> None:
        """Registers ops of two tensors `x` and `y`, which broadcast as in numpy."""
        parameters = (Parameter("x", True, None, False, None), Parameter("y", True, None, False, None))
        for kind, function in functions.items():
            self[kind] = Op(kind, function, parameters, exact, same=("x", "y"))


class Registry(Mapping[str, Op]):
    """All ops by name."""

    def __init__(self, *tables: OpTable) -> None:
        self._ops = {name: op for table in tables for name, op in table.items()}
        if len(self._ops) != sum(len(table) for table in tables):
            raise ValueError("an op is registered twice")

    def __getitem__(self, name: str) -> Op:
        return self._ops[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ops)

    def __len__(self) -> int:
        return len(self._ops)


def check_size(shape: tuple[int, ...]) -> None:
    """Raises ValueError before an op makes a tensor larger than any program for a phone needs."""
    count = 1
    for size in shape:
        count *= size
    if count > MAX_ELEMENTS:
        raise ValueError(f"a result of shape {list(shape)} is too large: more than {MAX_ELEMENTS:,} elements")


def check_indices(indices: Tensor, size: int) -> None:
    """Raises IndexError for indices outside 0 … size-1, for which Core ML's result is undefined since iOS 17."""
    if indices.numel() == 0:
        return
    low, high = (int(bound) for bound in torch.aminmax(indices))
    if low < 0 or high >= size:
        raise IndexError(f"indices {low} … {high} into an axis of {size}")


def _scalar(kind: type[Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if isinstance(value, str):
            return kind(value)
        if value.numel() != 1:
            raise ValueError(f"expected a scalar, got shape {list(value.shape)}")
        return kind(value.item())

    return convert


def _vector(kind: type[Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if isinstance(value, str) or value.ndim > 1:
            raise ValueError("expected a vector")
        return tuple(kind(item) for item in value.reshape(-1).tolist())

    return convert


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a string")
    return value


_CONVERT: dict[str, Callable[[Any], Any] | None] = {
    "Tensor": None,
    "tuple[Tensor, ...]": None,
    "int": _scalar(int),
    "float": _scalar(float),
    "bool": _scalar(bool),
    "str": _text,
    "tuple[int, ...]": _vector(int),
    "tuple[bool, ...]": _vector(bool),
}


def _parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        kind = str(parameter.annotation).removesuffix(" | None")
        required = parameter.default is inspect.Parameter.empty
        default = None if required else parameter.default
        parameters.append(Parameter(name, required, default, kind == "tuple[Tensor, ...]", _CONVERT[kind]))
    return tuple(parameters)
