"""The ops of the MIL reference runtime, one function each, by kind.

The ops are those that `exporter/lower/coreml` emits. Semantics are those of coremltools' op documentation, iOS 18.
Floating-point tensors are torch.float32 whatever the program's type, since the runtime rounds each result afterwards;
integers are int32 (int64 for 64 bits).
"""

from __future__ import annotations

from exporter.runners.mil.ops import (
    attention,
    elementwise,
    images,
    indexing,
    linear,
    normalization,
    pooling,
    reduction,
    shaping,
    slicing,
)
from exporter.runners.mil.ops.registry import Op, Registry

REGISTRY = Registry(
    attention.OPS,
    elementwise.OPS,
    images.OPS,
    indexing.OPS,
    linear.OPS,
    normalization.OPS,
    pooling.OPS,
    reduction.OPS,
    shaping.OPS,
    slicing.OPS,
)

__all__ = ["REGISTRY", "Op", "Registry"]
