"""Gives every weight role its checkpoint tensor, and accounts for every tensor of the checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from exporter.errors import Diagnostic, InputError
from exporter.importers.family import Family
from exporter.importers.parts import Bound

STORED = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
_ROWS_AT_ONCE = 4096  # keeps the comparison of two memory-mapped embeddings in small memory


@dataclass(frozen=True)
class Binding:
    """weights: role → tensor. unused: name of each tensor that the graph does without → why."""

    weights: Mapping[str, Bound]
    unused: Mapping[str, str]


def bind(
    family: Family, shapes: Mapping[str, tuple[int, ...]], layers: int, tensors: Mapping[str, ir.TensorProtocol]
) -> Binding:
    """`shapes` says which roles the layout needs, and the shape that the configuration implies for each.

    Raises InputError with every missing, surplus and misshapen tensor at once.
    """
    prefix = _prefix(family, tensors)
    names = {role: _stored_name(family, name, tensors) for role, name in _expand(family, prefix, layers)}
    weights: dict[str, Bound] = {}
    problems: list[Diagnostic] = []
    for role, shape in shapes.items():
        name = names[role]
        tensor = tensors.get(name)
        if tensor is None:
            hint = "the checkpoint is incomplete, or config.json describes another model"
            problems.append(Diagnostic("tensor.missing", f"{name} {_shown(shape)} is missing", name, hint))
            continue
        problems += _unlike(name, tensor, shape)
        weights[role] = Bound(name, tensor)
    unused, surplus = _account(family, prefix, weights, tensors)
    InputError.raise_all([*problems, *surplus])
    return Binding(weights, unused)


def _expand(family: Family, prefix: str, layers: int) -> Iterator[tuple[str, str]]:
    for role, name in family.names.items():
        for i in range(layers) if "{i}" in role else range(1):
            yield role.format(i=i), name.format(i=i, prefix=prefix)


def _prefix(family: Family, tensors: Mapping[str, ir.TensorProtocol]) -> str:
    """The prefix under which most of the family's names are found; the first one when none is."""
    one_layer = {prefix: [name for _, name in _expand(family, prefix, 1)] for prefix in family.prefixes}
    found = {
        prefix: sum(_stored_name(family, name, tensors) in tensors for name in names)
        for prefix, names in one_layer.items()
    }
    return max(family.prefixes, key=lambda prefix: found[prefix])


def _stored_name(family: Family, name: str, tensors: Mapping[str, ir.TensorProtocol]) -> str:
    """`name`, or what old checkpoints call it if only that is there."""
    if name in tensors:
        return name
    for ending, old_ending in family.aliases:
        old = name.removesuffix(ending) + old_ending
        if name.endswith(ending) and old in tensors:
            return old
    return name


def _unlike(name: str, tensor: ir.TensorProtocol, shape: tuple[int, ...]) -> Iterator[Diagnostic]:
    stored = tuple(tensor.shape.numpy())
    if stored != shape:
        message = f"{name} has shape {_shown(stored)}, config.json implies {_shown(shape)}"
        yield Diagnostic("tensor.shape", message, name, "config.json and the weights belong to different models")
    if tensor.dtype not in STORED:
        message = f"{name} is stored as {tensor.dtype.name.lower()}; float32, float16 and bfloat16 are read"
        yield Diagnostic("tensor.dtype", message, name, "export the checkpoint that it was quantized from")


def _account(
    family: Family, prefix: str, weights: Mapping[str, Bound], tensors: Mapping[str, ir.TensorProtocol]
) -> tuple[dict[str, str], list[Diagnostic]]:
    """Every tensor that no role took: why it isn't needed, or a problem."""
    taken = {bound.name for bound in weights.values()}
    copies = {name.format(prefix=prefix): role for name, role in family.copies}
    unused: dict[str, str] = {}
    problems: list[Diagnostic] = []
    for name in sorted(set(tensors) - taken):
        why = next((known.why for known in family.ignorable if re.fullmatch(known.pattern, name)), "")
        original = weights.get(copies.get(name, ""))
        if why:
            unused[name] = why
        elif original is None:
            message = f"{name} {_shown(tuple(tensors[name].shape.numpy()))} has no place in a {family.model_type} model"
            hint = "as config.json describes it: a wrong number of layers, or a bias or head that it doesn't mention?"
            problems.append(Diagnostic("tensor.surplus", message, name, hint))
        elif _same(tensors[name], original.tensor):
            unused[name] = f"equal to {original.name}, which it is tied to"
        else:
            message = f"{name} differs from {original.name}, though config.json ties them"
            problems.append(Diagnostic("tensor.tied", message, name, "set tie_word_embeddings to what is true"))
    return unused, problems


def _same(a: ir.TensorProtocol, b: ir.TensorProtocol) -> bool:
    """Bit for bit, so that NaN equals itself."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    left, right = np.ascontiguousarray(a.numpy()), np.ascontiguousarray(b.numpy())
    return all(
        left[i : i + _ROWS_AT_ONCE].tobytes() == right[i : i + _ROWS_AT_ONCE].tobytes()
        for i in range(0, len(left), _ROWS_AT_ONCE)
    )


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
