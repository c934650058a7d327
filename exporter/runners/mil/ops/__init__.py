"""The ops of the executor for ML Programs: one function per op, in files by kind.

These are the ops that `exporter/lower/coreml` emits, with the semantics of coremltools' op documentation for iOS 18.
Floating-point tensors are torch.float32, whatever the program's type: the runtime rounds each result afterwards.
Integers are int32 (int64 for 64 bits).
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
