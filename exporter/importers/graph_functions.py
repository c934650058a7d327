"""Checks the functions of an `.onnx` file before they are inlined: calls in a circle, and calls that multiply."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from exporter.errors import InputError

_Identifier = tuple[str, str, str]  # domain, name, overload


def require_inlinable(model: ir.Model, limit: int, where: str) -> None:
    """Raises InputError for a function that calls itself, directly or through others, and for a graph that has more
    than `limit` nodes once its functions are inlined: ten functions that each call the next one ten times are 10^10.
    """
    sizes: dict[_Identifier, int] = {}
    open_calls: list[_Identifier] = []

    def size_of(function: ir.Function) -> int:
        key = function.identifier()
        if key in open_calls:
            chain = " → ".join(f"'{name}'" for _, name, _ in [*open_calls[open_calls.index(key) :], key])
            message = f"the function '{key[1]}' calls itself ({chain}); ONNX allows no recursion"
            raise InputError.of("onnx.recursion", message, where=where, hint="export the model again without recursion")
        if key not in sizes:
            open_calls.append(key)
            sizes[key] = _size(function, model, size_of)
            open_calls.pop()
        return sizes[key]

    for function in model.functions.values():
        size_of(function)
    count = _size(model.graph, model, size_of)
    if count > limit:
        raise InputError.of(
            "onnx.too-large", f"the graph has {count:,} nodes; at most {limit:,} are supported", where=where
        )


def _size(graph: ir.Graph | ir.Function, model: ir.Model, size_of: Callable[[ir.Function], int]) -> int:
    """The nodes of the graph and its subgraphs, where a call counts as the nodes of the function."""
    count = 0
    for node in ir.traversal.RecursiveGraphIterator(graph):
        called = model.functions.get(node.op_identifier())
        count += 1 if called is None else size_of(called)
    return count
