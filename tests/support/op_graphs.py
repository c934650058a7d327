"""ONNX graphs of cases, and what onnxruntime and the Core ML program make of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import helper, numpy_helper

from exporter.graph.model import GraphSpec, Hub
from exporter.graph.names import identifier
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.runners.mil import load_mlpackage
from support.coreml_cases import Case, Known

Arrays = dict[str, np.ndarray]


def graph_of(cases: Sequence[Case], opset: int = 23) -> tuple[onnx.ModelProto, Arrays]:
    """One model with a node per case (`c0`, `c1`, …; results `c0_0` …), and its inputs."""
    nodes, constants, feeds = [], [], {}
    for i, item in enumerate(cases):
        names = []
        for k, operand in enumerate(item.operands):
            name = "" if operand is None else f"c{i}_in{k}"
            if isinstance(operand, Known):
                constants.append(numpy_helper.from_array(operand.array, name))
            elif operand is not None:
                feeds[name] = operand
            names.append(name)
        results = [f"c{i}_{k}" for k in range(item.outputs)]
        nodes.append(helper.make_node(item.op, names, results, name=f"c{i}", **item.attributes))
    inputs = [_info(name, array) for name, array in feeds.items()]
    outputs = [helper.make_empty_tensor_value_info(name) for node in nodes for name in node.output]
    graph = helper.make_graph(nodes, "cases", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), feeds


def _info(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def run_onnx(model: onnx.ModelProto | ir.Model, feeds: Arrays) -> Arrays:
    """What onnxruntime computes, without its own optimizations."""
    proto = ir.serde.serialize_model(model) if isinstance(model, ir.Model) else model
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def as_hub(model: onnx.ModelProto | ir.Model) -> Hub:
    """A hub of a graph whose inputs have fixed shapes."""
    graph = model if isinstance(model, ir.Model) else ir.serde.deserialize_model(model)
    return Hub(graph, "onnx", GraphSpec("other", (), tuple(str(v.name) for v in graph.graph.outputs)), ())


def run_coreml(hub: Hub, feeds: Arrays, path: Path, *, rounding: bool = True) -> Arrays:
    """What the Core ML program computes, saved to `path` if there is none yet and read back; by the graph's names."""
    if not path.exists():
        lower_coreml(hub, path, CoreMLOptions())
    given = {identifier(name): _port(array) for name, array in feeds.items()}
    results = load_mlpackage(path).predict(given, fp16_rounding=rounding)
    return {str(v.name): results[identifier(str(v.name))] for v in hub.model.graph.outputs}


def _port(array: np.ndarray) -> np.ndarray:
    kind = np.float16 if np.issubdtype(array.dtype, np.floating) else np.int32
    return array.astype(kind).reshape(array.shape or (1,))
