"""Small ONNX graphs from text, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from exporter.graph.passes.simplify import simplify

Arrays = dict[str, np.ndarray]


def parse(text: str, constants: Mapping[str, np.ndarray] | None = None, opset: int = 17) -> ir.Model:
    """A model whose graph is `text` (onnx.parser's syntax) with these initializers."""
    header = f'<ir_version: 8, opset_import: ["" : {opset}]>'
    proto = onnx.parser.parse_model(f"{header}\n{text}")
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()
    )
    return ir.serde.deserialize_model(proto)


def run(model: ir.Model, feeds: Arrays) -> list[np.ndarray]:
    """All outputs, without onnxruntime's own optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    data = ir.serde.serialize_model(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(None, feeds)
    return results


def check_simplified(model: ir.Model, feeds: Arrays, tolerance: float = 0.0) -> ir.Model:
    """The simplified model: same inputs and outputs, the same results to `tolerance` of the largest number."""
    fixed = simplify(model, {name: array.shape for name, array in feeds.items()})
    assert [v.name for v in fixed.graph.inputs] == [v.name for v in model.graph.inputs]
    assert [v.name for v in fixed.graph.outputs] == [v.name for v in model.graph.outputs]
    for ours, theirs in zip(run(fixed, feeds), run(model, feeds), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert not np.isnan(theirs).any()  # assert_allclose takes NaN for equal to NaN
        limit = tolerance * np.abs(theirs).max(initial=0) if tolerance else 0
        assert np.isfinite(limit)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=limit)
    return fixed


def kinds(model: ir.Model) -> list[str]:
    """The ops in order."""
    return [node.op_type for node in model.graph]


def shape(*sizes: int) -> np.ndarray:
    return np.array(sizes, np.int64)


def normal(*sizes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(sizes).astype(np.float32)


def names(values: Sequence[ir.Value]) -> list[str]:
    return [str(value.name) for value in values]
