"""Finds the checkpoint tensor of every weight role, and checks that no tensor of the checkpoint is left over."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from exporter.checkpoint.tensors import TensorStore
from exporter.checkpoint.weights import INDEX
from exporter.errors import Diagnostic, InputError
from exporter.importers.family import Family
from exporter.importers.fused import Fused
from exporter.importers.parts import NamedTensor

STORED = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
_INCOMPLETE = "the checkpoint is incomplete, or config.json describes another model"
_HEADLESS = f"{_INCOMPLETE}; if the head is the embedding, set tie_word_embeddings to true"
_UNLISTED = f"a shard holds it, but {INDEX} doesn't list it, and transformers doesn't load it either: save it again"
_MAX_NAMED = 20  # tensors named for each kind of problem
_UNWRAP = "save the model inside: `accelerator.unwrap_model(model).save_pretrained(folder)`, or `model.module` of it"
_MERGE = "merge the adapter first: `model.merge_and_unload().save_pretrained(folder)`"
_WRAPPERS = {  # part of a tensor's name → what added it, what to do
    "_orig_mod": ("torch.compile", "save the model inside: `model._orig_mod.save_pretrained(folder)`"),
    "module": ("a wrapper for several devices (DataParallel, say)", _UNWRAP),
    "_fsdp_wrapped_module": ("FSDP", _UNWRAP),
    "_checkpoint_wrapped_module": ("FSDP's activation checkpointing", _UNWRAP),
    **dict.fromkeys(("base_model", "base_layer", "lora_A", "lora_B", "modules_to_save"), ("PEFT", _MERGE)),
}
_ROWS_AT_ONCE = 4096  # limits the memory for comparing two memory-mapped embeddings


@dataclass(frozen=True)
class Binding:
    """weights: role → tensor. unused: name of each tensor that the graph doesn't use → the reason."""

    weights: Mapping[str, NamedTensor]
    unused: Mapping[str, str]


def bind(
    family: Family,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, ir.TensorProtocol],
    *,
    layers: int,
    head_dim: int = 1,
) -> Binding:
    """Finds the tensor of each role. shapes: role → the shape that the configuration implies.

    head_dim: size of a head, to split grouped tensors. Raises InputError with every missing tensor, every tensor that
    is left over and every tensor of a wrong shape, all at once.
    """
    prefix = _prefix(family, tensors)
    stored = dict(_fused(family, prefix, shapes, tensors, layers=layers, head_dim=head_dim))
    weights: dict[str, NamedTensor] = {}
    problems: list[Diagnostic] = []
    for name, fused in stored.items():
        tensor = tensors.get(name)
        if tensor is None:
            hint = _INCOMPLETE if "head" not in fused.shapes else _HEADLESS
            hint = _UNLISTED if isinstance(tensors, TensorStore) and name in tensors.unlisted else hint
            problems.append(Diagnostic("tensor.missing", f"{name} {_shown(fused.stored)} is missing", name, hint))
            continue
        wrong = list(_unlike(name, tensor, fused.stored))
        problems += wrong
        weights |= {role: NamedTensor(name, tensor) for role in fused.shapes} if wrong else fused.split(name, tensor)
    if problems and (wrapped := _wrapped(tensors)) is not None:
        raise InputError(wrapped)
    unused, surplus = _account(family, prefix, weights, stored, tensors)
    InputError.raise_all([*_shortened(problems), *_shortened(surplus)])
    return Binding(weights, unused)


def _wrapped(tensors: Mapping[str, ir.TensorProtocol]) -> Diagnostic | None:
    """A problem if a training wrapper has added a prefix to the names; transformers can't load such files either."""
    for name in sorted(tensors):
        wrapper = next((part for part in name.split(".") if part in _WRAPPERS), None)
        if wrapper is not None:
            whose, hint = _WRAPPERS[wrapper]
            message = f"the tensor names contain a prefix from {whose}, {name} for example"
            return Diagnostic("tensor.wrapped", message, name, hint)
    return None


def _shortened(problems: list[Diagnostic]) -> list[Diagnostic]:
    """The first problems of each kind and the number of others. With another model's weights, every tensor is wrong."""
    by_code: dict[str, list[Diagnostic]] = {}
    for problem in problems:
        by_code.setdefault(problem.code, []).append(problem)
    shown: list[Diagnostic] = []
    for code, same in by_code.items():
        shown += same[:_MAX_NAMED]
        if (left := len(same) - _MAX_NAMED) > 0:
            shown.append(
                Diagnostic(code, f"and {left} more tensors with the same problem", same[-1].where, same[-1].hint)
            )
    return shown


def _fused(
    family: Family,
    prefix: str,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Mapping[str, ir.TensorProtocol],
    *,
    layers: int,
    head_dim: int,
) -> Iterator[tuple[str, Fused]]:
    """(tensor name, the weights that it holds) for each tensor that the layout needs."""
    roles: dict[str, dict[str, tuple[int, ...]]] = {}
    transposed: set[str] = set()
    for template, role, current in _expand(family, prefix, layers):
        if role in shapes:
            name = _stored_name(family, current, tensors)
            roles.setdefault(name, {})[role] = shapes[role]
            transposed |= {name} if template in family.transposed else set()
    for name, together in roles.items():
        grouped = family.grouped and len(together) == 3  # q, k, v
        yield name, Fused(together, grouped_by=head_dim if grouped else None, transposed=name in transposed)


def _expand(family: Family, prefix: str, layers: int) -> Iterator[tuple[str, str, str]]:
    """(role template, role, tensor name) for each role of each layer."""
    for role, name in family.names.items():
        for i in range(layers) if "{i}" in role else range(1):
            yield role, role.format(i=i), name.format(i=i, prefix=prefix)


def _prefix(family: Family, tensors: Mapping[str, ir.TensorProtocol]) -> str:
    """The prefix with which most of the family's names are in the checkpoint; the first prefix if none is."""
    one_layer = {prefix: [name for _, _, name in _expand(family, prefix, 1)] for prefix in family.prefixes}
    found = {
        prefix: sum(_stored_name(family, name, tensors) in tensors for name in names)
        for prefix, names in one_layer.items()
    }
    return max(family.prefixes, key=lambda prefix: found[prefix])


def _stored_name(family: Family, name: str, tensors: Mapping[str, ir.TensorProtocol]) -> str:
    """`name`, or its name in old checkpoints if only that one is stored."""
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
        message = f"{name} is stored as {tensor.dtype.name.lower()}; supported: float32, float16 and bfloat16"
        yield Diagnostic("tensor.dtype", message, name, "export the checkpoint that it was quantized from")


def _account(
    family: Family,
    prefix: str,
    weights: Mapping[str, NamedTensor],
    taken: Collection[str],
    tensors: Mapping[str, ir.TensorProtocol],
) -> tuple[dict[str, str], list[Diagnostic]]:
    """For every tensor that no role uses: the reason why it isn't needed, or a problem."""
    copies = {name.format(prefix=prefix): role for name, role in family.copies}
    unused: dict[str, str] = {}
    problems: list[Diagnostic] = []
    for name in sorted(set(tensors).difference(taken)):
        ignorable = (known for known in family.ignorable if known.unless not in weights)
        why = next((known.why for known in ignorable if re.fullmatch(known.pattern, name)), "")
        original = weights.get(copies.get(name, ""))
        if why:
            unused[name] = why
        elif original is None:
            shape = _shown(tuple(tensors[name].shape.numpy()))
            message = f"{name} {shape} is not part of a {family.model_type} model with this config.json"
            hint = "check config.json: is the number of layers right, does it mention every bias and the head?"
            problems.append(Diagnostic("tensor.surplus", message, name, hint))
        elif _same(tensors[name], original.tensor):
            unused[name] = f"tied to {original.name} and equal to it"
        else:
            message = f"{name} differs from {original.name}, though config.json ties them"
            hint = "set tie_word_embeddings to false in config.json if the two tensors should differ"
            problems.append(Diagnostic("tensor.tied", message, name, hint))
    return unused, problems


def _same(a: ir.TensorProtocol, b: ir.TensorProtocol) -> bool:
    """Whether both tensors have the same bits, so that NaN equals NaN."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    rows = range(0, a.shape.numpy()[0] if len(a.shape) else 1, _ROWS_AT_ONCE)
    # Every block maps the file again: pages that were read count as this process's memory while their array exists.
    return all(
        np.atleast_1d(a.numpy())[i : i + _ROWS_AT_ONCE].tobytes()
        == np.atleast_1d(b.numpy())[i : i + _ROWS_AT_ONCE].tobytes()
        for i in rows
    )


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
