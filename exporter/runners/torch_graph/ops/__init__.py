"""One entry per ONNX op that the graph in torch computes."""

from __future__ import annotations

from exporter.runners.torch_graph.attributes import OpMaker
from exporter.runners.torch_graph.ops import (
    activation,
    attention,
    conv,
    index,
    layout,
    math,
    norm,
    reduce,
    resize,
    shape,
)

_FILES = (activation, attention, conv, index, layout, math, norm, reduce, resize, shape)
OPS: dict[str, OpMaker] = {name: make for file in _FILES for name, make in file.OPS.items()}
