"""Finds out the kinds of a graph's inputs, and chooses sizes for axes that the graph leaves open."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from exporter.errors import Diagnostic, InputError
from exporter.graph.model import GraphInput, InputKind

DEFAULT_TOKENS = 128  # sequence length if neither the model nor the user states one: a long paragraph
_DEFAULT_IMAGE_SIZE = 224  # pixels: what most vision models are trained with
_MAX_ELEMENTS = 2**28  # elements of one input; 1,000 images of 224 pixels have 150 million
_PASS_THROUGH_OPS = frozenset(
    {"Cast", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Flatten", "Slice", "Concat", "Clip"}
)
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Sizes:
    """Known sizes of axes that a graph leaves open.

    given: input → its shape, as the user states it. axes: name of an axis → size, as the configuration implies it.
    guess: whether an axis in neither of them gets a usual size; otherwise it is a problem.
    """

    given: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    axes: Mapping[str, int] = field(default_factory=dict)
    guess: bool = False


@dataclass(frozen=True)
class DescribedInputs:
    """inputs: in the graph's order. assumed: text such as "input [1, 3, 224, 224]" for each with guessed sizes."""

    inputs: tuple[GraphInput, ...]
    assumed: tuple[str, ...]


def describe_inputs(
    graph: ir.Graph, sizes: Sizes, sources: Mapping[str, tuple[str, str]], vocabulary: int | None = None
) -> DescribedInputs:
    """Describes each input of the graph as a `GraphInput`.

    sources: input → the `(component, output)` that provides it. vocabulary: for ids whose table isn't found in the
    graph. Raises InputError with every input whose sizes contradict the graph or can't be chosen.
    """
    names = [str(value.name) for value in graph.inputs]
    problems = [
        Diagnostic("onnx.shape", f"the model has no input '{name}'", "--shape", f"its inputs: {', '.join(names)}")
        for name in sorted(set(sizes.given) - set(names))
    ]
    axes, contradictions = _named_axes(graph, sizes)
    problems += contradictions
    inputs: list[GraphInput] = []
    assumed: list[str] = []
    for value in graph.inputs:
        name = str(value.name)
        rows = table_rows(value)
        kind = "output" if name in sources else _kind(value, rows)
        shape, guessed = _shape(value, kind, axes, sizes)
        if isinstance(shape, str):
            problems.append(Diagnostic("onnx.shape", shape, name, f"state its sizes: --shape {name}=1,…"))
            continue
        if guessed:
            assumed.append(f"{name} [{', '.join(map(str, shape))}]")
        limit = (rows or vocabulary) if kind == "ids" else rows
        inputs.append(GraphInput(name, value.dtype or ir.DataType.FLOAT, shape, kind, limit, sources.get(name)))
    InputError.raise_all(problems)
    return DescribedInputs(tuple(inputs), tuple(assumed))


def table_rows(value: ir.Value) -> int | None:
    """The number of rows of the table in which the input is looked up; None if the graph doesn't show it."""
    pending, seen = [value], {value}
    while pending:
        for use in pending.pop().uses():
            node = use.node
            if node.op_type == "Gather" and use.idx == 1:
                table = node.inputs[0]
                rows = _rows(table)
                if rows is not None:
                    return rows
            elif node.op_type in _PASS_THROUGH_OPS and use.idx == 0:
                pending += [made for made in node.outputs if made not in seen]
                seen.update(node.outputs)
    return None


def _rows(table: ir.Value | None) -> int | None:
    """The rows of a weight, which may be cast before its use."""
    while table is not None and table.const_value is None:
        node = table.producer()
        if node is None or node.op_type not in ("Cast", "Identity", "DequantizeLinear"):
            return None
        table = node.inputs[0]
    if table is None or table.const_value is None or len(table.const_value.shape) != 2:
        return None
    return int(table.const_value.shape.numpy()[0])


def _kind(value: ir.Value, rows: int | None) -> InputKind:
    """The kind of an input, from its name, its type and its use in the graph."""
    name, dtype = str(value.name).lower(), value.dtype
    rank = None if value.shape is None else len(value.shape)
    if "past_key_values" in name or name.startswith("past."):
        return "past"
    if "mask" in name or dtype == ir.DataType.BOOL:
        return "mask"
    if dtype is not None and not dtype.is_floating_point():
        return _integer_kind(name, rows)
    if rank == 4 and ("pixel" in name or _is_image(value)):
        return "image"
    sound = rank in (2, 3) and re.search(r"input_features|input_values|audio|mel|speech", name)
    return "features" if sound else "numbers"


def _integer_kind(name: str, rows: int | None) -> InputKind:
    if "token_type" in name or "segment" in name:
        return "types"
    if "position" in name:
        return "positions"
    return "ids" if rows is not None or re.search(r"(^|_)ids?$", name) else "numbers"


def _is_image(value: ir.Value) -> bool:
    """Whether axis 1 can be a colour axis."""
    assert value.shape is not None
    return value.shape[1] in _CHANNELS


def _named_axes(graph: ir.Graph, sizes: Sizes) -> tuple[dict[str, int], list[Diagnostic]]:
    """Sizes of named axes, from the user or else the configuration, and problems: shapes that contradict each other."""
    stated: dict[str, int] = {}
    problems = []
    for value in graph.inputs:
        name, declared = str(value.name), value.shape
        given = sizes.given.get(name)
        if given is None or declared is None:
            continue
        shown = f"--shape gives {list(given)}, the model has {_shown(declared)}"
        if len(given) != len(declared):
            problems.append(Diagnostic("onnx.shape", shown, name))
            continue
        for found, size in zip(given, declared, strict=True):
            if isinstance(size, int) and size != found:
                problems.append(Diagnostic("onnx.shape", shown, name))
            elif isinstance(size, ir.SymbolicDim) and size.value is not None:
                wanted = stated.setdefault(size.value, found)
                if wanted != found:
                    message = f"its axis '{size.value}' is {found} here and {wanted} in another input"
                    problems.append(Diagnostic("onnx.shape", message, name))
    return {**sizes.axes, **stated}, problems


def _shape(
    value: ir.Value, kind: InputKind, axes: Mapping[str, int], sizes: Sizes
) -> tuple[tuple[int, ...] | str, bool]:
    """The sizes or a problem, and whether any size was guessed."""
    declared, given = value.shape, sizes.given.get(str(value.name))
    if given is not None:
        return _checked(given), False
    if declared is None:
        return "neither the model nor --shape states its shape", False
    shape: list[int] = []
    guessed = False
    for axis, size in enumerate(declared):
        found = size if isinstance(size, int) else axes.get(str(size.value))
        if found is None and sizes.guess:
            found, guessed = _guess(axis, size, kind), True
        if found is None:
            return f"its shape {_shown(declared)} leaves axis {axis} open", False
        shape.append(found)
    return _checked(tuple(shape)), guessed


def _checked(shape: tuple[int, ...]) -> tuple[int, ...] | str:
    """`shape`, or the problem with it."""
    if any(size < 1 for size in shape):
        return f"its shape {list(shape)} has no elements"
    count = math.prod(shape)
    return (
        f"{list(shape)} has {count:,} elements; at most {_MAX_ELEMENTS:,} are supported"
        if count > _MAX_ELEMENTS
        else shape
    )


def _guess(axis: int, size: int | ir.SymbolicDim, kind: InputKind) -> int | None:
    """The usual size of such an axis; None if there is none."""
    name = _text(size).lower()
    if axis == 0 or "batch" in name:
        return 1
    if kind == "image":
        return 3 if axis == 1 else _DEFAULT_IMAGE_SIZE
    if kind in ("ids", "mask", "types", "positions") or re.search(r"seq|len|token", name):
        return DEFAULT_TOKENS if axis == 1 else None
    return None


def _shown(shape: ir.Shape) -> str:
    return f"[{', '.join(map(_text, shape))}]"


def _text(size: int | ir.SymbolicDim) -> str:
    return str(size) if isinstance(size, int) else (size.value or "?")
