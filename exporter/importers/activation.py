"""Activation functions, under transformers' names, as hub ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx_ir as ir

from exporter.graph.builder import GraphBuilder

Activation = Literal["gelu", "gelu_tanh", "relu", "relu2", "silu", "quick_gelu", "tanh", "sigmoid"]

# transformers' name → what it computes; some of them are the same function
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_accurate": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "relu2": "relu2",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
_STEEPNESS = 1.702  # of the sigmoid by which quick_gelu stands in for the normal distribution


def activate(builder: GraphBuilder, x: ir.Value, kind: Activation, name: str) -> ir.Value:
    """The activation of `x`, named `name`."""
    match kind:
        case "gelu" | "gelu_tanh":
            return builder.op("Gelu", x, approximate="none" if kind == "gelu" else "tanh", name=name)
        case "relu2":
            rectified = builder.op("Relu", x, name=f"{name}/relu")
            return builder.op("Mul", rectified, rectified, name=name)
        case "silu" | "quick_gelu":
            steep = x
            if kind == "quick_gelu":
                steepness = builder.const(np.array(_STEEPNESS, np.float32), "steepness")
                steep = builder.op("Mul", x, steepness, name=f"{name}/steep")
            return builder.op("Mul", x, builder.op("Sigmoid", steep, name=f"{name}/gate"), name=name)
        case "relu" | "sigmoid" | "tanh":
            return builder.op(kind.capitalize(), x, name=name)
