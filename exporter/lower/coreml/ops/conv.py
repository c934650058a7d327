"""Convolutions, plain and transposed, with dense or palettized kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.lower.coreml.attributes import fixed_shape, integer, integers, optional_input, required_input, string
from exporter.lower.coreml.emit import name_of, operand, set_result
from exporter.lower.coreml.kernels import kernel_var
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Var, mb
from exporter.lower.coreml.ops.shape import has_fixed_shape
from exporter.lower.coreml.windows import window_of


def lower_conv(lowering: Lowering, node: ir.Node) -> None:
    """Conv over one to three spatial axes."""
    x, weight = operand(lowering, node), required_input(node, 1)
    window = window_of(node, fixed_shape(weight)[2:])
    bias = _bias(lowering, node)
    plain = bias is None or isinstance(bias, np.ndarray)
    var = mb.conv(
        x=x,
        weight=kernel_var(lowering, weight),
        bias=bias if plain else None,
        strides=list(window.strides),
        pad_type="custom",
        pad=window.flat_pads,
        dilations=list(window.dilations),
        groups=integer(node, "group", 1),
        name=name_of(lowering, node, "" if plain else "product"),
    )
    set_result(lowering, node, var if plain else _added(lowering, node, var, bias))


def _bias(lowering: Lowering, node: ir.Node) -> NDArray[np.generic] | Var | None:
    value = optional_input(node, 2)
    if value is None:
        return None
    return lowering.array(value) if lowering.is_constant(value) else lowering.var(value)


def _added(lowering: Lowering, node: ir.Node, x: Var, bias: NDArray[np.generic] | Var) -> Var:
    shape = [1, -1] + [1] * (x.rank - 2)
    if isinstance(bias, np.ndarray):
        return mb.add(x=x, y=bias.reshape(shape), name=name_of(lowering, node))
    column = mb.reshape(x=bias, shape=shape, name=name_of(lowering, node, "bias"))
    return mb.add(x=x, y=column, name=name_of(lowering, node))


def lower_conv_transpose(lowering: Lowering, node: ir.Node) -> None:
    """ConvTranspose. Elements that `output_padding` adds after the last window contain only the bias."""
    x, weight = operand(lowering, node), required_input(node, 1)
    before, behind = _crops(node)
    missing = [max(-count, 0) for count in behind]
    pad = [n for pair in zip(before, [max(n, 0) for n in behind], strict=True) for n in pair]
    bias = _bias(lowering, node)
    plain = bias is None or (isinstance(bias, np.ndarray) and not any(missing))
    ones = [1] * len(before)
    var = mb.conv_transpose(
        x=x,
        weight=kernel_var(lowering, weight),
        bias=bias if plain else None,
        pad=pad,
        pad_type="custom",
        strides=integers(node, "strides", ones),
        dilations=integers(node, "dilations", ones),
        groups=integer(node, "group", 1),
        name=name_of(lowering, node, "" if plain and not any(missing) else "product"),
    )
    if any(missing):
        sides = [0, 0, 0, 0, *(n for count in missing for n in (0, count))]
        name = name_of(lowering, node, "" if bias is None else "padded")
        var = mb.pad(x=var, pad=sides, constant_val=np.float16(0), name=name)
    set_result(lowering, node, var if plain else _added(lowering, node, var, bias))


def _crops(node: ir.Node) -> tuple[list[int], list[int]]:
    """How many elements of the full transposed convolution are cut off before and after each axis (negative: added)."""
    sizes, results = fixed_shape(required_input(node, 0))[2:], fixed_shape(node.outputs[0])[2:]
    kernel = fixed_shape(required_input(node, 1))[2:]
    ones = [1] * len(kernel)
    strides, dilations = integers(node, "strides", ones), integers(node, "dilations", ones)
    extra = integers(node, "output_padding", [0] * len(kernel))
    full = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(sizes, strides, kernel, dilations, strict=True)]
    mode = string(node, "auto_pad", "NOTSET")
    if mode == "NOTSET" and "output_shape" not in node.attributes:
        before = integers(node, "pads", [0] * 2 * len(kernel))[: len(kernel)]
    else:  # the total follows from the shape; an odd element comes after for SAME_UPPER, else before
        total = [f + e - r for f, e, r in zip(full, extra, results, strict=True)]
        before = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
        before = [max(n, 0) for n in before] if mode == "VALID" else before
    return before, [f - b - r for f, b, r in zip(full, before, results, strict=True)]


def refuse_conv(node: ir.Node) -> str:
    """Supported: one to three spatial axes and a constant kernel."""
    x = required_input(node, 0)
    if not has_fixed_shape(x) or not has_fixed_shape(required_input(node, 1)):
        return "sizes that are known only at run time"
    return "" if 3 <= len(fixed_shape(x)) <= 5 else "more than three spatial axes"


OPS: dict[str, Callable[[Lowering, ir.Node], None]] = {"Conv": lower_conv, "ConvTranspose": lower_conv_transpose}
REFUSALS: dict[str, Callable[[ir.Node], str]] = {"Conv": refuse_conv, "ConvTranspose": refuse_conv}
