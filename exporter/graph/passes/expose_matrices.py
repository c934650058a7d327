"""Given any ONNX graph,
Result: the same computation, where each large matrix of a MatMul, Gemm, Gather, convolution or recurrent layer is an
initializer `[out, in]`. The graph transposes or reshapes it for the op if needed. The new initializers are lazy views;
only matrices that must be compared are read.
Refuses: nothing. Matrices that are used by other ops or as outputs don't change.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx_ir as ir

from exporter.graph.model import Weight, WeightRole
from exporter.graph.passes.rewrite import Rewriter, is_standard

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
MIN_ELEMENTS = 1024  # a smaller matrix saves little more than its lookup table takes
_MIN_COLUMNS = 16  # elements of an output row; depthwise kernels have 9 and are sensitive to errors
_NUMBERED = re.compile(r"onnx::\w+|\d+|val_\d+")  # torch's names of folded tensors
_BLOCK = 1024  # rows compared at once

# How an op reads a tensor: "kernel" has output rows on its first axis, "stacked" on all axes but the last.
Layout = Literal["out-in", "in-out", "kernel", "stacked"]


@dataclass(frozen=True)
class _Use:
    layout: Layout
    role: WeightRole
    reader: ir.Node  # the tensor gets its name if it has none


def expose_matrices(model: ir.Model) -> tuple[Weight, ...]:
    """Rewrites the graph in place. Returns the matrices that can be compressed, in graph order."""
    rewriter = Rewriter(model.graph)
    _lift_constants(rewriter)
    _skip_identities(rewriter)
    uses_of = {value: uses for value in _in_order(model.graph) if (uses := _uses(value))}
    tables = [value for value, uses in uses_of.items() if any(use.role == "embedding" for use in uses)]
    weights: dict[str, Weight] = {}
    for value, uses in uses_of.items():
        table = _tied(rewriter, value, uses, tables)
        turned = [replace(use, layout="out-in") for use in uses]
        weight = _exposed(rewriter, value, uses) if table is None else _exposed(rewriter, table, turned)
        known = weights.get(weight.name)
        roles = weight.roles if known is None else (*known.roles, *(r for r in weight.roles if r not in known.roles))
        weights[weight.name] = Weight(weight.name, weight.shape, roles)
    return tuple(weights.values())


def _lift_constants(rewriter: Rewriter) -> None:
    """Turns large tensors in Constant nodes, in which some exporters store weights, into initializers."""
    for node in list(rewriter.graph):
        if is_standard(node, "Constant") and "value" in node.attributes and not node.outputs[0].is_graph_output():
            tensor = node.attributes["value"].as_tensor()
            if tensor.size >= MIN_ELEMENTS:
                rewriter.settle(node.outputs[0], tensor)
                rewriter.drop(node)


def _skip_identities(rewriter: Rewriter) -> None:
    """Removes each Identity of an initializer, which is how torch writes shared weights."""
    for node in list(rewriter.graph):
        source = node.inputs[0] if node.inputs else None
        if not is_standard(node, "Identity") or source is None or node.outputs[0].is_graph_output():
            continue
        if source.is_initializer():
            rewriter.replace(node.outputs[0], source)
            rewriter.drop(node)


def _in_order(graph: ir.Graph) -> Iterator[ir.Value]:
    """The initializers in the order of their first use."""
    seen: set[ir.Value] = set()
    for node in ir.traversal.RecursiveGraphIterator(graph):
        for value in node.inputs:
            if value is not None and value.is_initializer() and value.graph is graph and value not in seen:
                seen.add(value)
                yield value


def _uses(value: ir.Value) -> list[_Use]:
    """The uses of a matrix that can be exposed; empty for any other tensor."""
    tensor = value.const_value
    if tensor is None or tensor.dtype not in _FLOATS or value.is_graph_output() or value.is_graph_input():
        return []
    if tensor.size < MIN_ELEMENTS or len(tensor.shape) not in (2, 3, 4, 5):
        return []
    shape = tuple(int(size) for size in tensor.shape.numpy())
    uses: list[_Use] = []
    for use in value.uses():
        kind = _use(use.node, use.idx, shape)
        if kind is None:
            return []
        uses.append(kind)
    layouts = {use.layout for use in uses}
    if len(layouts) != 1:
        return []
    return uses if _rows_columns(shape, uses[0].layout)[1] >= _MIN_COLUMNS else []


def _rows_columns(shape: Sequence[int], layout: Layout) -> tuple[int, int]:
    """The sizes of the matrix `[out, in]`."""
    sizes = list(shape)
    if layout == "in-out":
        return sizes[1], sizes[0]
    if layout == "stacked":
        return math.prod(sizes[:-1]), sizes[-1]
    return sizes[0], math.prod(sizes[1:])


def _use(node: ir.Node, index: int, shape: Sequence[int]) -> _Use | None:
    rank = len(shape)
    if rank > 2:
        return _kernel_use(node, index, rank, shape)
    if is_standard(node, "MatMul") and index in (0, 1):
        return _Use("in-out" if index else "out-in", "linear", node)
    if is_standard(node, "Gemm") and index == 1:
        return _Use("out-in" if _integer(node, "transB", 0) else "in-out", "linear", node)
    if is_standard(node, "Gather") and index == 0 and _integer(node, "axis", 0) == 0:
        ids = node.inputs[1]
        return _Use("out-in", "embedding", node) if ids is not None and ids.const_value is None else None
    if is_standard(node, "Transpose") and index == 0:
        readers = list(node.outputs[0].uses())
        linear = all(
            is_standard(use.node, "MatMul", "Gemm") and use.idx == 1 and not _integer(use.node, "transB", 0)
            for use in readers
        )
        perm = tuple(node.attributes["perm"].as_ints()) if "perm" in node.attributes else (1, 0)
        if readers and linear and perm == (1, 0) and not node.outputs[0].is_graph_output():
            return _Use("out-in", "linear", readers[0].node)
    return None


def _kernel_use(node: ir.Node, index: int, rank: int, shape: Sequence[int]) -> _Use | None:
    """The use of a tensor with more than two axes."""
    if is_standard(node, "Conv") and index == 1:  # a depthwise kernel has one input channel
        return _Use("kernel", "linear", node) if _integer(node, "group", 1) == 1 or shape[1] != 1 else None
    if is_standard(node, "ConvTranspose") and index == 1:
        return _Use("kernel", "linear", node) if _integer(node, "group", 1) == 1 else None
    if is_standard(node, "LSTM", "GRU", "RNN") and index in (1, 2) and rank == 3:
        return _Use("stacked", "linear", node)
    if is_standard(node, "MatMul") and index == 1 and rank in (3, 4):
        return _Use("stacked", "linear", node)
    return None


def _tied(rewriter: Rewriter, value: ir.Value, uses: list[_Use], tables: list[ir.Value]) -> ir.Value | None:
    """Replaces `value` by the embedding of which it is a transposed copy, as torch writes a tied head.

    Returns the embedding, or None if `value` is no such copy.
    """
    if uses[0].layout != "in-out" or value.const_value is None:
        return None
    for table in tables:
        if table.const_value is not None and _transposed_copy(value.const_value, table.const_value):
            turned = _transposed(rewriter, table)
            for use in list(value.uses()):
                use.node.replace_input_with(use.idx, turned)
            rewriter.graph.initializers.pop(str(value.name))
            return table
    return None


def _transposed_copy(copy: ir.TensorProtocol, table: ir.TensorProtocol) -> bool:
    if copy.dtype != table.dtype or tuple(copy.shape.numpy()) != tuple(table.shape.numpy())[::-1]:
        return False
    turned, rows = copy.numpy().T, table.numpy()
    return all(np.array_equal(turned[i : i + _BLOCK], rows[i : i + _BLOCK]) for i in range(0, len(rows), _BLOCK))


def _exposed(rewriter: Rewriter, value: ir.Value, uses: list[_Use]) -> Weight:
    """Makes `value` an initializer `[out, in]`. Returns the weight."""
    tensor, layout = value.const_value, uses[0].layout
    assert tensor is not None
    roles = tuple(dict.fromkeys(use.role for use in uses))
    shape = tuple(int(size) for size in tensor.shape.numpy())
    name = _name(rewriter, value, uses[0].reader)
    if layout == "out-in":
        _widened(rewriter, value)
        return Weight(str(value.name), (shape[0], shape[1]), roles)
    rows, columns = _rows_columns(shape, layout)
    rewriter.graph.initializers.pop(str(value.name))
    stored = rewriter.initializer(_viewed(tensor, layout, (rows, columns)), name)
    readers = list(value.uses())
    if layout == "in-out":
        dense = _transposed(rewriter, stored)
    else:
        sizes = rewriter.constant(np.array(shape, np.int64), f"{name}/shape")
        dense = _first(rewriter, ir.node("Reshape", [stored, sizes]), f"{name}/kernel")
        dense.type, dense.shape = ir.TensorType(tensor.dtype), ir.Shape(shape)
    for use in readers:
        use.node.replace_input_with(use.idx, dense)
    _widened(rewriter, stored)
    return Weight(name, (rows, columns), roles)


def _name(rewriter: Rewriter, value: ir.Value, reader: ir.Node) -> str:
    """The tensor's name, or the name of the module that uses it if the tensor has only a number."""
    name = str(value.name)
    scope = (reader.name or "").strip("/").rpartition("/")[0].replace("/", ".")
    if not _NUMBERED.fullmatch(name) or not scope:
        return name
    fresh = rewriter.fresh(f"{scope}.weight")
    rewriter.graph.initializers.pop(name)
    value.name = fresh
    rewriter.graph.register_initializer(value)
    return fresh


def _viewed(tensor: ir.TensorProtocol, layout: Layout, shape: tuple[int, int]) -> ir.TensorProtocol:
    def view() -> ir.TensorProtocol:
        array = tensor.numpy()
        return ir.Tensor(array.T if layout == "in-out" else array.reshape(shape), dtype=tensor.dtype)

    return ir.LazyTensor(view, dtype=tensor.dtype, shape=ir.Shape(shape))


def _transposed(rewriter: Rewriter, stored: ir.Value) -> ir.Value:
    """The transpose of `stored`; all its users share one node."""
    for use in stored.uses():
        if is_standard(use.node, "Transpose") and use.node.name == f"{stored.name}/transposed":
            return use.node.outputs[0]
    node = ir.node("Transpose", [stored], attributes={"perm": [1, 0]})
    result = _first(rewriter, node, f"{stored.name}/transposed")
    if stored.shape is not None and stored.dtype is not None:
        result.type, result.shape = ir.TensorType(stored.dtype), ir.Shape(list(stored.shape.numpy())[::-1])
    return result


def _widened(rewriter: Rewriter, stored: ir.Value) -> None:
    """Casts a 16-bit weight to float32 and back: a palette, which decodes to float32, can replace the first cast."""
    if stored.dtype == ir.DataType.FLOAT or stored.dtype is None:
        return
    readers = list(stored.uses())
    wide = _cast(rewriter, stored, ir.DataType.FLOAT, f"{stored.name}/float")
    narrow = ir.node("Cast", [wide], attributes={"to": int(stored.dtype)})
    narrow.name = narrow.outputs[0].name = rewriter.fresh(f"{stored.name}/narrow")
    narrow.outputs[0].type, narrow.outputs[0].shape = ir.TensorType(stored.dtype), stored.shape
    producer = wide.producer()
    assert producer is not None
    rewriter.graph.insert_after(producer, narrow)
    for use in readers:
        use.node.replace_input_with(use.idx, narrow.outputs[0])


def _cast(rewriter: Rewriter, value: ir.Value, dtype: ir.DataType, name: str) -> ir.Value:
    result = _first(rewriter, ir.node("Cast", [value], attributes={"to": int(dtype)}), name)
    result.type, result.shape = ir.TensorType(dtype), value.shape
    return result


def _first(rewriter: Rewriter, node: ir.Node, name: str) -> ir.Value:
    """Adds `node`, which has only constant inputs, at the start of the graph."""
    node.name = node.outputs[0].name = rewriter.fresh(name)
    rewriter.graph.insert_before(rewriter.graph[0], node)
    return node.outputs[0]


def _integer(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default
