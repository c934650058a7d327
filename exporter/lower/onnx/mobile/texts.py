"""Given a decoder's graph,
Result: texts of a padded batch begin in the first column, whichever side the caller padded, because
GroupQueryAttention takes the ones of a text's mask for its first keys; logits stand where the caller had the tokens. Or
there are logits of each text's last token alone.
Refuses: nothing; `head_of` says which graphs have the product that makes the logits.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from exporter.graph.passes.rewrite import Rewriter

_ELEMENTWISE = frozenset({"Mul", "Div", "Tanh", "Add", "Cast"})  # what may follow the product: scale, soft cap, bias


def head_of(graph: ir.Graph) -> ir.Node | None:
    """The product with the matrix of the head; None where the graph makes its logits in another way."""
    logits = next((value for value in graph.outputs if value.name == "logits"), None)
    node = logits.producer() if logits is not None else None
    while node is not None and node.op_type in _ELEMENTWISE and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node if node is not None and node.op_type == "MatMul" else None


class Texts:
    """The rows of a batch, as the caller sent them and as the graph computes with them."""

    def __init__(self, rewriter: Rewriter) -> None:
        self.rewriter, graph = rewriter, rewriter.graph
        self.first = graph[0]  # everything here comes before all other nodes
        inputs = {value.name: value for value in graph.inputs}
        self.mask, self.ids, self.positions = (inputs[name] for name in ("attention_mask", "input_ids", "position_ids"))
        shape = self._op("Shape", self.ids, start=1, end=2)
        self.length = self._op("Squeeze", shape)
        new = self._op(
            "Slice", self.mask, self._op("Neg", shape), self._integers([np.iinfo(np.int64).max]), self._integers([1])
        )
        self.new = self._op("Cast", new, to=int(ir.DataType.INT32))  # the mask of the new tokens, int32 `[batch, seq]`
        self.padding = self._op("ArgMax", self.new, axis=1, keepdims=1)  # columns before each text, `[batch, 1]`

    def align(self) -> None:
        """Moves every text to the first column."""
        places = self._places(self._op("Add", self._columns(), self.padding))
        for value in (self.ids, self.positions):
            moved = self._op("GatherElements", value, places, axis=1)
            for use in list(value.uses()):
                node = use.node
                if node is not moved.producer() and node.op_type != "Shape":
                    node.replace_input_with(use.idx, moved)

    def restore(self, head: ir.Node) -> None:
        """Moves the head's input back to where the caller had the tokens."""
        places = self._places(self._op("Sub", self._columns(), self.padding))
        self._select(head, self._op("Unsqueeze", places, self._integers([2])))

    def keep_last(self, head: ir.Node) -> None:
        """Keeps the head's input of each text's last token."""
        count = self._op("ReduceSum", self.new, self._integers([1]), keepdims=1)
        last = self._op("Sub", self._op("Cast", count, to=int(ir.DataType.INT64)), self._integers([1]))
        self._select(head, self._op("Unsqueeze", last, self._integers([2])))
        for value in self.rewriter.graph.outputs:
            if value.name == "logits" and value.shape is not None:
                value.shape = ir.Shape([value.shape[0], 1, value.shape[2]])

    def _select(self, head: ir.Node, places: ir.Value) -> None:
        """places: int64 `[batch, n, 1]`, of the tokens whose hidden states the head gets."""
        hidden = head.inputs[0]
        assert hidden is not None
        head.replace_input_with(0, self.rewriter.op(head, "GatherND", [hidden, places], batch_dims=1))

    def _columns(self) -> ir.Value:
        zero, one = (self.rewriter.constant(np.array(n, np.int64), f"integer/{n}") for n in (0, 1))
        return self._op("Unsqueeze", self._op("Range", zero, self.length, one), self._integers([0]))

    def _places(self, columns: ir.Value) -> ir.Value:
        return self._op("Mod", columns, self.length)

    def _op(self, kind: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        return self.rewriter.op(self.first, kind, inputs, **attributes)

    def _integers(self, numbers: list[int]) -> ir.Value:
        return self.rewriter.constant(np.array(numbers, np.int64), "integers/" + ",".join(map(str, numbers)))
