"""Resize (opset 18) as one matrix per axis: row i has the weights of the input elements in element i of the result.

Coordinates are computed in float32 as in runtimes, because the last bit can decide which neighbour is nearest.
Source: the operator's specification, https://onnx.ai/onnx/operators/onnx__Resize.html.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """How one axis is resized. size, result: its length before and after. scale: result length / input length."""

    size: int
    result: int
    scale: float


def resize_plan(node: ir.Node, shape: tuple[int, ...]) -> dict[int, Matrix] | str:
    """Axis → matrix `[result, size]`, for the axes that change; or the reason why the node can't be written so.

    shape: of the node's result. Scales must be constant or follow from the sizes.
    """
    x = node.inputs[0]
    if x is None or x.shape is None or any(not isinstance(size, int) for size in x.shape):
        return "a size that is known only at run time"
    reason = unsupported_resize(node)
    if reason:
        return reason
    if _computed_scales(node):
        return "scales that are known only at run time"
    sizes = [int(size) for size in x.shape if isinstance(size, int)]
    scales = _scales(node, len(sizes))
    axes = [Axis(size, out, scales.get(i, out / size)) for i, (size, out) in enumerate(zip(sizes, shape, strict=True))]
    plan: dict[int, Matrix] = {}
    for i, axis in enumerate(axes):
        if axis.size == axis.result and axis.scale == 1.0:
            continue
        matrix = axis_matrix(node, axis)
        if isinstance(matrix, str):
            return matrix
        plan[i] = matrix
    return plan


def unsupported_resize(node: ir.Node) -> str:
    """The setting of the node that can't be written as matrices; empty if there is none."""
    if _text(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return "the coordinate transformation tf_crop_and_resize"
    if _text(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return "a policy that keeps the aspect ratio"
    mode = _text(node, "mode", "nearest")
    return "" if mode in ("nearest", "linear", "cubic") else f"the mode '{mode}'"


def axis_matrix(node: ir.Node, axis: Axis) -> Matrix | str:
    """The matrix `[result, size]` of one axis, from the node's attributes; or the reason why there is none."""
    if "antialias" in node.attributes and node.attributes["antialias"].as_int() and axis.scale < 1:
        return "antialiasing"
    mode = _text(node, "mode", "nearest")
    at = _coordinates(axis, _text(node, "coordinate_transformation_mode", "half_pixel"))
    if mode == "nearest":
        return _nearest(axis, at, _text(node, "nearest_mode", "round_prefer_floor"))
    if mode == "linear":
        return linear_matrix(axis.size, at)
    a = node.attributes["cubic_coeff_a"].as_float() if "cubic_coeff_a" in node.attributes else -0.75
    outside = "exclude_outside" in node.attributes and bool(node.attributes["exclude_outside"].as_int())
    return _cubic(axis, at, a, outside)


def linear_matrix(size: int, at: NDArray[np.float32]) -> Matrix:
    """The matrix `[len(at), size]` of linear interpolation at positions `at`, which are clamped to the axis."""
    matrix = np.zeros((len(at), size))
    places = np.clip(at.astype(np.float64), 0, size - 1)
    low = np.floor(places).astype(int)
    rows = np.arange(len(at))
    np.add.at(matrix, (rows, low), 1 - (places - low))
    np.add.at(matrix, (rows, np.minimum(low + 1, size - 1)), places - low)
    return matrix


def _computed_scales(node: ir.Node) -> bool:
    """Whether the node has scales that aren't constant. The result's shape doesn't tell them, because it is rounded."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    return value is not None and bool(value.name) and value.const_value is None


def _scales(node: ir.Node, rank: int) -> dict[int, float]:
    """Axis → scale, for the scales that the node states."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    tensor = None if value is None else value.const_value
    if tensor is None or tensor.size == 0:
        return {}
    axes = list(node.attributes["axes"].as_ints()) if "axes" in node.attributes else range(rank)
    return {int(axis) % rank: float(scale) for axis, scale in zip(axes, tensor.numpy(), strict=True)}


def _coordinates(axis: Axis, mode: str) -> NDArray[np.float32]:
    i, scale, half = np.arange(axis.result, dtype=np.float32), np.float32(axis.scale), np.float32(0.5)
    if mode == "align_corners":
        if axis.result == 1:
            return np.zeros(1, np.float32)
        return i * np.float32(axis.size - 1) / np.float32(axis.result - 1)
    if mode == "asymmetric":
        return i / scale
    if mode == "pytorch_half_pixel" and axis.result == 1:
        return np.zeros(1, np.float32)
    at = (i + half) / scale - half
    if mode == "half_pixel_symmetric":
        adjustment = np.float32(axis.result) / (scale * np.float32(axis.size))
        at = at + np.float32(axis.size) / np.float32(2) * (np.float32(1) - adjustment)
    return at.astype(np.float32)


def _nearest(axis: Axis, at: NDArray[np.float32], mode: str) -> Matrix:
    half = np.float32(0.5)
    rounded = {
        "round_prefer_floor": np.ceil(at - half),
        "round_prefer_ceil": np.floor(at + half),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
    }[mode]
    matrix = np.zeros((axis.result, axis.size))
    matrix[np.arange(axis.result), np.clip(rounded, 0, axis.size - 1).astype(int)] = 1
    return matrix


def _cubic(axis: Axis, at: NDArray[np.float32], a: float, exclude_outside: bool) -> Matrix:
    """Keys' cubic convolution over four neighbours. Neighbours outside take the edge's value or are left out."""
    matrix = np.zeros((axis.result, axis.size))
    for row, place in enumerate(at.astype(np.float64)):
        first = math.floor(place) - 1
        weights = np.array([_keys(abs(place - (first + k)), a) for k in range(4)])
        columns = np.arange(first, first + 4)
        if exclude_outside:
            weights = np.where((columns < 0) | (columns >= axis.size), 0, weights)
            weights /= weights.sum()
        np.add.at(matrix[row], np.clip(columns, 0, axis.size - 1), weights)
    return matrix


def _keys(distance: float, a: float) -> float:
    if distance <= 1:
        return ((a + 2) * distance - (a + 3)) * distance * distance + 1
    return a * (((distance - 5) * distance + 8) * distance - 4) if distance < 2 else 0.0


def _text(node: ir.Node, name: str, default: str) -> str:
    return node.attributes[name].as_string() if name in node.attributes else default
