"""Given a graph of opset 23 or newer whose values have their shapes,
Result: every Attention without a cache is replaced by matrix products, sums and a softmax; grouped heads are repeated,
and causality becomes a constant mask. A query that may see no key gets zeros where the mask is of bools.
Refuses: nothing; an Attention with a cache, a soft cap, other outputs in use, or attributes newer than opset 23 doesn't
change.
Source: https://onnx.ai/onnx/operators/onnx__Attention.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.graph.passes.rewrite import Rewriter, is_standard, static_shape

_ATTRIBUTES = frozenset(
    {"is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode", "scale", "softcap", "softmax_precision"}
)  # of opset 23; later ones, such as a window, change what is computed


def spell_attention(graph: ir.Graph) -> None:
    """Rewrites in place. The new values have no shapes; run `fold_constants` to infer them."""
    rewriter = Rewriter(graph)
    for node in list(graph):
        if is_standard(node, "Attention") and (heads := _heads(node)) is not None:
            result = _Spelling(rewriter, node, heads).spell()
            rewriter.replace(node.outputs[0], result)
            rewriter.drop(node)


@dataclass(frozen=True)
class _Heads:
    """Sizes of an attention: query heads, key heads, number of queries, number of keys, elements of a query head."""

    query: int
    key: int
    rows: int
    columns: int
    width: int


def _heads(node: ir.Node) -> _Heads | None:
    if not _ATTRIBUTES.issuperset(node.attributes):
        return None
    others = [value for value in node.inputs[4:] if value is not None]
    more = any(tuple(value.uses()) or value.is_graph_output() for value in node.outputs[1:])
    shapes = [static_shape(value) for value in node.inputs[:3]]
    if others or more or _number(node, "softcap") or any(shape is None for shape in shapes):
        return None
    query, key = shapes[0] or (), shapes[1] or ()
    if len(query) == 4:
        return _Heads(query[1], key[1], query[2], key[2], query[3])
    count, kv = int(_number(node, "q_num_heads")), int(_number(node, "kv_num_heads"))
    return _Heads(count, kv, query[1], key[1], query[2] // count) if count and kv else None


@dataclass(frozen=True)
class _Spelling:
    rewriter: Rewriter
    node: ir.Node
    heads: _Heads

    def spell(self) -> ir.Value:
        """Adds the nodes. Returns the result in the layout of the node's output."""
        flat = len(self.node.inputs[0].shape or ()) == 3 if self.node.inputs[0] is not None else False
        query, key, value = (self._by_heads(i, count, flat) for i, count in self._operands())
        scale = _number(self.node, "scale") or 1 / math.sqrt(self.heads.width)
        scores = self._op("MatMul", self._scaled(query, scale), self._op("Transpose", key, perm=[0, 1, 3, 2]))
        mask = self.node.inputs[3] if len(self.node.inputs) > 3 else None
        seen = np.tri(self.heads.rows, self.heads.columns, dtype=np.bool_) if _number(self.node, "is_causal") else None
        if mask is not None and mask.dtype == ir.DataType.BOOL:
            result = self._op("MatMul", self._shown(scores, mask, seen), value)
        else:
            scores = scores if mask is None else self._op("Add", scores, mask)
            if seen is not None:
                scores = self._op("Add", scores, self._const(np.where(seen, 0, -np.inf), "causal"))
            result = self._op("MatMul", self._op("Softmax", scores, axis=-1), value)
        if not flat:
            return result
        joined = self._op("Transpose", result, perm=[0, 2, 1, 3])
        return self._op("Reshape", joined, self._ints([0, 0, -1]))

    def _operands(self) -> tuple[tuple[int, int], ...]:
        return (0, self.heads.query), (1, self.heads.key), (2, self.heads.key)

    def _by_heads(self, index: int, count: int, flat: bool) -> ir.Value:
        """Input `index` as `[batch, query heads, tokens, width]`; heads that several query heads share are repeated."""
        value = self.node.inputs[index]
        assert value is not None
        if flat:
            split = self._op("Reshape", value, self._ints([0, 0, count, -1]))
            value = self._op("Transpose", split, perm=[0, 2, 1, 3])
        if count == self.heads.query:
            return value
        repeats = self.heads.query // count
        each = self._op("Unsqueeze", value, self._ints([2]))
        several = self._op("Expand", each, self._ints([1, 1, repeats, 1, 1]))
        shape = static_shape(self.node.inputs[index]) or ()
        sizes = [shape[0], self.heads.query, shape[1 if flat else 2], -1]
        return self._op("Reshape", several, self._ints(sizes))

    def _scaled(self, query: ir.Value, scale: float) -> ir.Value:
        return self._op("Mul", query, self._const(np.array(scale), "scale"))

    def _shown(self, scores: ir.Value, mask: ir.Value, seen: NDArray[np.bool_] | None) -> ir.Value:
        """Weights of the keys that a mask of bools shows; zeros for the others, also where it shows none."""
        if seen is not None:
            mask = self._op("And", mask, self.rewriter.constant(seen, f"{self.node.name}/seen"))
        none = self._const(np.array(0), "none")
        addend = self._op("Where", mask, none, self._const(np.array(-np.inf), "hidden"))
        weights = self._op("Softmax", self._op("Add", scores, addend), axis=-1)
        return self._op("Where", mask, weights, none)

    def _op(self, kind: str, *inputs: ir.Value, **attributes: int | list[int]) -> ir.Value:
        return self.rewriter.op(self.node, kind, inputs, **attributes)

    def _const(self, array: np.ndarray, name: str) -> ir.Value:
        dtype = self.node.inputs[0].dtype if self.node.inputs[0] is not None else None
        wanted = (dtype or ir.DataType.FLOAT).numpy()
        return self.rewriter.constant(array.astype(wanted), f"{self.node.name}/{name}")

    def _ints(self, values: list[int]) -> ir.Value:
        return self.rewriter.constant(np.array(values, np.int64), f"{self.node.name}/shape")


def _number(node: ir.Node, name: str) -> float:
    return float(node.attributes[name].value) if name in node.attributes else 0.0
