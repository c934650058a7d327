"""Convolution kernels: in the graph they are matrices `[out, in]`, which may have palettes, and a Reshape."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from exporter.graph.palette import Palette
from exporter.lower.coreml.attributes import fixed_shape, required_input, without_casts
from exporter.lower.coreml.lowering import Lowering, palette_indices
from exporter.lower.coreml.mil import Var, mb


def kernel_matrix(lowering: Lowering, value: ir.Value) -> ir.Value | None:
    """The constant matrix of which a kernel is the Reshape; None for other kernels."""
    node = value.producer()
    if node is None or node.op_type != "Reshape" or node.inputs[0] is None:
        return None
    matrix = without_casts(node.inputs[0])
    return matrix if lowering.is_constant(matrix) else None


def kernel_var(lowering: Lowering, value: ir.Value) -> Var:
    """A kernel as a constant of its shape, palettized if its matrix has a palette; a computed kernel unchanged."""
    if lowering.bound(value) or lowering.is_constant(value):
        return lowering.var(value)
    matrix = kernel_matrix(lowering, value)
    if matrix is None:
        return lowering.var(value)
    shape, palette = fixed_shape(value), lowering.palette(matrix)
    if palette is None:
        var = mb.const(val=lowering.array(matrix).reshape(shape), name=lowering.op_name(value.name or "kernel"))
    else:
        var = _palettized(lowering, value, palette, shape)
    lowering.bind(value, var)
    return var


def _palettized(lowering: Lowering, value: ir.Value, palette: Palette, shape: tuple[int, ...]) -> Var:
    """`constexpr_lut_to_dense` in the kernel's shape, LUTs grouped along its first axis.

    The op needs whole groups. If the last group is incomplete, all groups are made smaller and LUTs repeated: padding
    with output channels would shift the groups of a grouped convolution.
    """
    rows = palette.shape[0]
    size = math.gcd(rows, palette.group_size)
    lut = palette.lut[np.arange(0, rows, size) // palette.group_size]
    ones = (1,) * (len(shape) - 1)
    return mb.constexpr_lut_to_dense(
        indices=palette_indices(palette, (rows, *shape[1:])),
        lut=lut.reshape(len(lut), *ones, -1, 1),
        name=lowering.op_name(value.name or "kernel"),
    )


def is_kernel_reshape(lowering: Lowering, node: ir.Node) -> bool:
    """Whether a Reshape only makes convolution kernels of a constant matrix; then the convolutions reshape it."""
    if not lowering.is_constant(without_casts(required_input(node, 0))):
        return False
    uses = tuple(node.outputs[0].uses())
    kernels = all(use.node.op_type in ("Conv", "ConvTranspose") and use.idx == 1 for use in uses)
    return bool(uses) and kernels and not node.outputs[0].is_graph_output()
