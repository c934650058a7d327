"""Graphs of one node, and what TorchGraph makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import torch

from exporter.graph.lut import DOMAIN, NAME, lut_to_dense
from exporter.runners.torch_graph.graph import TorchGraph
from support.coreml_cases import Case
from support.op_graphs import Arrays, graph_of

OPSETS = {"Swish": 24}  # newer than the hub's 23


def model_of(item: Case) -> tuple[onnx.ModelProto, Arrays]:
    """The case as a graph with one node, `c0`, and its feeds."""
    if item.op != NAME:
        return graph_of([item], OPSETS.get(item.op, 23))
    model, feeds = graph_of([replace(item, attributes={"domain": DOMAIN})])
    model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    model.functions.append(ir.serde.serialize_function(lut_to_dense(23)))
    return model, feeds


def in_torch(
    model: onnx.ModelProto, feeds: Arrays, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> dict[str, torch.Tensor]:
    """All outputs of the graph."""
    graph = TorchGraph(ir.serde.deserialize_model(model), device, dtype)
    with torch.no_grad():
        return graph.run(feeds)


def as_array(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.double() if tensor.dtype == torch.bfloat16 else tensor).numpy()
