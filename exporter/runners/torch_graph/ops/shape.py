"""Types and sizes, and tensors that are made from sizes alone."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from exporter.runners.torch_graph.attributes import Attributes, Op, OpMaker, always, ints
from exporter.runners.torch_graph.stored import from_array, unreadable


def _shape(facts: Attributes) -> Op:
    start, end = facts.integer("start", 0), facts.integer("end", 1 << 31)
    return lambda x: torch.tensor(tuple(x.shape)[start:end], dtype=torch.int64)


def _size(x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64)


def _cast(facts: Attributes) -> Op:
    target = facts.dtype("to", ir.DataType.FLOAT)
    return lambda x: x.to(target)


def _cast_like(x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


def _range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    first, step = start.item(), delta.item()
    count = max(0, math.ceil((limit.item() - first) / step))
    return torch.arange(count, device=start.device).to(start.dtype) * step + first


def _tensor(attribute: ir.Attr) -> Tensor:
    tensor = attribute.as_tensor()
    if unreadable(tensor, attribute.name) is not None:
        raise NotImplementedError(f"a constant of {tensor.dtype.name}")
    return from_array(np.array(tensor.numpy()))


def _constant(facts: Attributes) -> Op:
    attributes = facts.node.attributes
    if "value" in attributes:
        tensor = _tensor(attributes["value"])
    elif "value_int" in attributes:
        tensor = torch.tensor(attributes["value_int"].as_int())
    elif "value_ints" in attributes:
        tensor = torch.tensor(list(attributes["value_ints"].as_ints()), dtype=torch.int64)
    elif "value_float" in attributes:
        tensor = torch.tensor(attributes["value_float"].as_float(), dtype=facts.floats)
    elif "value_floats" in attributes:
        tensor = torch.tensor(list(attributes["value_floats"].as_floats()), dtype=facts.floats)
    else:
        raise NotImplementedError("a constant of strings, or a sparse one")
    if tensor.is_floating_point() and tensor.dtype != torch.float64:
        tensor = tensor.to(facts.floats)
    return lambda: tensor


def _constant_of_shape(facts: Attributes) -> Op:
    attribute = facts.node.attributes.get("value")
    value = torch.zeros(1) if attribute is None else _tensor(attribute)
    dtype = facts.floats if value.is_floating_point() and value.dtype != torch.float64 else value.dtype
    fill = value.reshape(-1)[0].item()
    return lambda shape: torch.full(ints(shape), fill, dtype=dtype)


def _eye_like(facts: Attributes) -> Op:
    k = facts.integer("k", 0)
    dtype = facts.dtype("dtype", ir.DataType.FLOAT) if "dtype" in facts.node.attributes else None

    def run(x: Tensor) -> Tensor:
        rows, columns = torch.arange(x.shape[0]), torch.arange(x.shape[1])
        return (columns[None] == rows[:, None] + k).to(x.device, dtype or x.dtype)

    return run


def _lut_to_dense(indices: Tensor, lut: Tensor) -> Tensor:
    """`kogata::LutToDense`, as exporter/graph/lut.py defines it."""
    grouped = indices.reshape(lut.shape[0], -1).to(lut.device, torch.int64)
    return lut.gather(1, grouped).reshape(indices.shape)


OPS: dict[str, OpMaker] = {
    "Cast": _cast,
    "CastLike": always(_cast_like),
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "EyeLike": _eye_like,
    "LutToDense": always(_lut_to_dense),
    "Range": always(_range),
    "Shape": _shape,
    "Size": always(_size),
}
