"""Weights of more than two axes: palettes are matrices `[out, in]`, a convolution's kernel is one of them, reshaped."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from exporter.graph.palette import Palette
from exporter.lower.coreml.attributes import fixed_shape, given, without_casts
from exporter.lower.coreml.lowering import Lowering, palette_indices
from exporter.lower.coreml.mil import Var, mb


def kernel_matrix(lowering: Lowering, value: ir.Value) -> ir.Value | None:
    """The constant matrix behind a kernel that is its reshape."""
    node = value.producer()
    if node is None or node.op_type != "Reshape" or node.inputs[0] is None:
        return None
    matrix = without_casts(node.inputs[0])
    return matrix if lowering.is_constant(matrix) else None


def kernel_var(lowering: Lowering, value: ir.Value) -> Var:
    """A kernel as a constant of its own shape, palettized where its matrix is; a computed one as it is."""
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

    The op knows whole groups only: a ragged last one makes all groups smaller (LUTs repeat), since surplus output
    channels would shift the groups of a grouped convolution.
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


def only_shapes_kernels(lowering: Lowering, node: ir.Node) -> bool:
    """Whether a Reshape only makes kernels of a constant matrix, which the convolutions do themselves."""
    if not lowering.is_constant(without_casts(given(node, 0))):
        return False
    uses = tuple(node.outputs[0].uses())
    kernels = all(use.node.op_type in ("Conv", "ConvTranspose") and use.idx == 1 for use in uses)
    return bool(uses) and kernels and not node.outputs[0].is_graph_output()
