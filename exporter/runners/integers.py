"""What a file of the ONNX form for phones stores, and how it computes without rounding activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.errors import InputError
from exporter.graph.grid import JOINED, unpacked
from exporter.graph.model import Hub
from exporter.runners.onnx_scan import scan_onnx

_FLOAT32 = 1  # accuracy level of MatMulNBits: activations stay float32
_PLACES = {"MatMulNBits": 1, "GatherBlockQuantized": 0}  # of the integers among the inputs; scales come third
Dense = Callable[[], NDArray[np.float32]]


def exact_model(path: Path) -> ir.Model:
    """The file's graph, whose products don't round activations to int8. Raises InputError for an unreadable file."""
    model = ir.external_data.load_to_model(_load(path))
    for node in model.graph:
        if node.op_type == "MatMulNBits":
            node.attributes["accuracy_level"] = ir.AttrInt64("accuracy_level", _FLOAT32)
    return model


def stored_matrices(path: Path, hub: Hub) -> dict[str, Dense]:
    """Weight of the hub → what the file's integers stand for, float32 `[out, in]`, decoded at each call.

    Raises InputError for an unreadable file, and where a matrix has another shape than the hub's.
    """
    shapes = {weight.name: weight.shape for weight in hub.weights}
    found: dict[str, Dense] = {}
    for node in _load(path).graph:
        if node.domain != "com.microsoft" or node.op_type not in _PLACES:
            continue
        for name, rows in _rows(node, shapes):
            found.setdefault(name, _decoder(node, rows, shapes[name], path.name))
    return found


def _rows(node: ir.Node, shapes: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, slice]]:
    """The hub's weights among the rows of a node's integers."""
    integers = node.inputs[_PLACES[node.op_type]]
    stem = str(integers.name if integers is not None else "").rpartition("/")[0]
    begin = 0
    for name in [stem] if stem in shapes else stem.split(JOINED):
        if name in shapes:
            yield name, slice(begin, begin + shapes[name][0])
            begin += shapes[name][0]


def _decoder(node: ir.Node, rows: slice, shape: tuple[int, int], file: str) -> Dense:
    tensors = [value.const_value for place in (_PLACES[node.op_type], 2) if (value := node.inputs[place]) is not None]
    bits, block = node.attributes["bits"].as_int(), node.attributes["block_size"].as_int()
    held, steps = (math.prod(tensor.shape.numpy()) if tensor is not None else 0 for tensor in tensors)
    total = _total(node)
    if rows.stop > total or held * 8 // bits < total * shape[1] or steps < total * -(-shape[1] // block):
        message = f"{file} stores fewer numbers than a matrix of {total} rows and {shape[1]} columns has"
        raise InputError.of("parity.weights", message, where=str(node.name))

    def decode() -> NDArray[np.float32]:
        integers, scales = (tensor.numpy().reshape(total, -1)[rows] for tensor in tensors if tensor is not None)
        numbers = unpacked(np.ascontiguousarray(integers), bits)[:, : shape[1]].astype(np.float32)
        dense: NDArray[np.float32] = numbers - np.float32(1 << bits - 1)
        dense *= np.repeat(scales, block, axis=1)[:, : shape[1]]
        return dense

    return decode


def _total(node: ir.Node) -> int:
    """Rows of all matrices whose integers the node reads."""
    integers = node.inputs[_PLACES[node.op_type]]
    tensor = None if integers is None else integers.const_value
    return 0 if tensor is None else int(tensor.shape.numpy()[0])


def _load(path: Path) -> ir.Model:
    scan_onnx(path)
    return ir.load(str(path))
