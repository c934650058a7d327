"""Given a graph and a shape for each input whose shape it leaves open,
Result: the same graph with inputs of these shapes. Shapes inside the graph that use the same named sizes are removed.
Refuses: a shape for an unknown input, an input without a shape, a shape that contradicts the graph, two sizes for the
same named dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from exporter.errors import Diagnostic, InputError


def fix_inputs(graph: ir.Graph, shapes: Mapping[str, Sequence[int]]) -> None:
    """Sets the shapes in place. Raises InputError with all problems of `shapes`."""
    names = [value.name for value in graph.inputs]
    problems = [
        Diagnostic("onnx.inputs", f"the model has no input '{name}'", hint=f"its inputs: {', '.join(map(str, names))}")
        for name in sorted(set(shapes) - set(names))
    ]
    sizes: dict[str, tuple[int, str]] = {}
    for value in graph.inputs:
        problem = _problem(value, shapes.get(value.name or ""), sizes)
        if problem:
            problems.append(Diagnostic("onnx.input-shape", problem, where=value.name or ""))
    InputError.raise_all(problems)
    for value in graph.inputs:
        if (shape := shapes.get(value.name or "")) is not None:
            value.shape = ir.Shape(list(shape))


def _problem(value: ir.Value, shape: Sequence[int] | None, sizes: dict[str, tuple[int, str]]) -> str:
    declared = value.shape
    if shape is None:
        open_ = declared is None or any(not isinstance(size, int) for size in declared)
        return f"its shape {_text(declared)} is open, and no sizes were given" if open_ else ""
    if any(size < 1 for size in shape):
        return f"its shape must have only sizes above 0; got {list(shape)}"
    if declared is None:
        return ""
    pairs = list(zip(shape, declared, strict=False))
    if len(declared) != len(shape) or any(isinstance(size, int) and size != given for given, size in pairs):
        return f"the given shape {list(shape)} doesn't fit the model's, {_text(declared)}"
    for given, size in pairs:
        if isinstance(size, ir.SymbolicDim) and size.value is not None:
            first, where = sizes.setdefault(size.value, (given, value.name or ""))
            if first != given:
                return f"its dimension '{size.value}' is {given}, but {first} in '{where}'"
    return ""


def _text(shape: ir.Shape | None) -> str:
    return "of unknown rank" if shape is None else "[" + ", ".join(str(size) for size in shape) + "]"
