"""The base of the decoder's and the encoder's builders: nodes that both need, for weights by role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from exporter.graph.builder import GraphBuilder

MASKED = -4e4  # softmax turns such a score into exactly 0; unlike −1e9 it is finite in fp16 (up to 65504)


@dataclass(frozen=True)
class NamedTensor:
    """A memory-mapped checkpoint tensor and its name in the checkpoint."""

    name: str
    tensor: ir.TensorProtocol


def add_constant(bound: NamedTensor, by: float) -> ir.LazyTensor:
    """The tensor plus a constant, float32, computed lazily. For small tensors."""

    def load() -> ir.TensorProtocol:
        return ir.Tensor(bound.tensor.numpy().astype(np.float32) + np.float32(by), name=bound.name)

    shape = ir.Shape(bound.tensor.shape.numpy())
    return ir.LazyTensor(load, dtype=ir.DataType.FLOAT, shape=shape, name=bound.name)


class LayerBuilder:
    """Adds nodes that use weights by role. weights: role → tensor."""

    def __init__(self, builder: GraphBuilder, weights: Mapping[str, NamedTensor]) -> None:
        self.builder = builder
        self.weights = weights

    def embedding(self, role: str, ids: ir.Value, label: str = "embedding") -> ir.Value:
        """Rows of the role's matrix at `ids`. The matrix can be compressed."""
        bound = self.weights[role]
        return self.builder.embedding(bound.tensor, ids, bound.name, label)

    def linear(self, x: ir.Value, role: str, label: str) -> ir.Value:
        """The role's linear layer, with its bias if there is one. The matrix can be compressed."""
        bound = self.weights[role]
        bias = self.vector(f"{role}.bias") if f"{role}.bias" in self.weights else None
        return self.builder.linear(x, bound.tensor, bound.name, bias, label)

    def vector(self, role: str, shift: float = 0.0) -> ir.Value:
        """A weight that isn't compressed: a norm, a bias, a small table. shift: added to it, in float32."""
        bound = self.weights[role]
        return self.builder.weight(add_constant(bound, shift) if shift else bound.tensor, bound.name)

    def size(self, x: ir.Value, axis: int, name: str) -> ir.Value:
        """One dimension of `x` as an int64 scalar."""
        shape = self.builder.op("Shape", x, start=axis, end=axis + 1, name=f"{name}/shape")
        return self.builder.op("Squeeze", shape, name=name)

    def range(self, end: ir.Value, name: str) -> ir.Value:
        """0, 1, … `end` − 1, int64."""
        return self.builder.op("Range", self.integer(0), end, self.integer(1), name=name)

    def integers(self, *values: int) -> ir.Value:
        """An int64 vector (axes, a shape); nodes with the same values share one constant."""
        label = ",".join(map(str, values))
        return self.builder.const(np.array(values, np.int64), f"integers/{label}")

    def integer(self, value: int) -> ir.Value:
        """An int64 scalar."""
        return self.builder.const(np.array(value, np.int64), f"integer/{value}")

    def scalar(self, value: float, name: str) -> ir.Value:
        """A float32 scalar."""
        return self.builder.const(np.array(value, np.float32), name)
