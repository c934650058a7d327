"""Activation functions by transformers' names, as ONNX ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx_ir as ir

from exporter.graph.builder import GraphBuilder

Activation = Literal["gelu", "gelu_tanh", "relu", "relu2", "silu", "quick_gelu", "tanh", "sigmoid"]

# transformers' name → our name; several of theirs are the same function
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
_QUICK_GELU_SLOPE = 1.702  # quick_gelu is x · sigmoid(1.702 x), which approximates gelu


def activate(builder: GraphBuilder, x: ir.Value, kind: Activation, name: str) -> ir.Value:
    """Adds the activation of `x` to the graph. Returns its value, named `name`."""
    match kind:
        case "gelu" | "gelu_tanh":
            return builder.op("Gelu", x, approximate="none" if kind == "gelu" else "tanh", name=name)
        case "relu2":
            rectified = builder.op("Relu", x, name=f"{name}/relu")
            return builder.op("Mul", rectified, rectified, name=name)
        case "silu" | "quick_gelu":
            steep = x
            if kind == "quick_gelu":
                steepness = builder.const(np.array(_QUICK_GELU_SLOPE, np.float32), "steepness")
                steep = builder.op("Mul", x, steepness, name=f"{name}/steep")
            return builder.op("Mul", x, builder.op("Sigmoid", steep, name=f"{name}/gate"), name=name)
        case "relu" | "sigmoid" | "tanh":
            return builder.op(kind.capitalize(), x, name=name)
