"""Resize: MIL's op if its sampling fits, else a product with interpolation matrices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from exporter.graph.resize import Matrix, linear_matrix, resize_plan
from exporter.lower.coreml.attributes import fixed_shape, required_input
from exporter.lower.coreml.emit import name_of, operand, set_result
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.mil import Var, mb
from exporter.lower.coreml.ops.shape import has_fixed_shape

SAMPLING = ("UNALIGN_CORNERS", "STRICT_ALIGN_CORNERS", "DEFAULT")


def lower_resize(lowering: Lowering, node: ir.Node) -> None:
    """Resize with constant sizes."""
    x, shape = operand(lowering, node), fixed_shape(node.outputs[0])
    plan = resize_plan(node, shape)
    assert not isinstance(plan, str)
    var = _native(lowering, node, x, plan)
    if var is None:
        var = x
        for axis, matrix in plan.items():
            var = _interpolated(lowering, node, var, axis, matrix)
    set_result(lowering, node, var)


def _native(lowering: Lowering, node: ir.Node, x: Var, plan: dict[int, Matrix]) -> Var | None:
    """MIL's op on the last two axes; None unless one of its documented samplings gives these matrices."""
    rank = x.rank
    if not plan or rank < 3 or any(axis < rank - 2 for axis in plan):
        return None
    sizes = [int(size) for size in x.shape[-2:]]
    matrices = [plan.get(rank - 2 + i, np.eye(size)) for i, size in enumerate(sizes)]
    height, width = (matrix.shape[0] for matrix in matrices)
    factors = [matrix.shape[0] // size for matrix, size in zip(matrices, sizes, strict=True)]
    if all(np.array_equal(m, np.repeat(np.eye(n), f, 0)) for m, n, f in zip(matrices, sizes, factors, strict=True)):
        rows, columns = (np.int32(factor) for factor in factors)
        name = name_of(lowering, node)
        return mb.upsample_nearest_neighbor(x=x, scale_factor_height=rows, scale_factor_width=columns, name=name)
    for mode in SAMPLING if min(height, width) > 1 else SAMPLING[:1]:  # the others divide by size - 1
        grids = [linear_matrix(n, _grid(mode, n, m.shape[0])) for m, n in zip(matrices, sizes, strict=True)]
        if all(
            np.abs(grid - m).max() < 1e-5 for grid, m in zip(grids, matrices, strict=True)
        ):  # differences in the last bits of float32
            return mb.resize_bilinear(
                x=x,
                target_size_height=height,
                target_size_width=width,
                sampling_mode=mode,
                name=name_of(lowering, node),
            )
    return None


def _grid(mode: str, size: int, result: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The positions where MIL samples an axis, from the op's documentation (coremltools, iOS 15 image_resizing)."""
    i = np.arange(result, dtype=np.float32)
    if mode == "STRICT_ALIGN_CORNERS":
        return i * np.float32((size - 1) / (result - 1))
    if mode == "DEFAULT":
        return i * np.float32((size - size / result) / (result - 1))
    spacing = np.float32(size / result)
    return i * spacing + np.float32(0.5) * spacing - np.float32(0.5)


def _interpolated(lowering: Lowering, node: ir.Node, x: Var, axis: int, matrix: Matrix) -> Var:
    """Applies `matrix` along one axis: a gather if each row selects a single element, else a matrix product."""
    label = f"axis_{axis}"
    if ((matrix == 0) | (matrix == 1)).all():
        places = matrix.argmax(1).astype(np.int32)
        return mb.gather(x=x, indices=places, axis=axis, validate_indices=False, name=name_of(lowering, node, label))
    last = x.rank - 1
    order = [i for i in range(x.rank) if i != axis] + [axis]
    if axis != last:
        x = mb.transpose(x=x, perm=order, name=name_of(lowering, node, f"{label}_last"))
    weight = matrix.astype(np.float16)
    bias = lowering.zeros(weight.shape[0])
    x = mb.linear(x=x, weight=weight, bias=bias, name=name_of(lowering, node, label))
    if axis == last:
        return x
    back = [order.index(i) for i in range(len(order))]
    return mb.transpose(x=x, perm=back, name=name_of(lowering, node, f"{label}_back"))


def refuse_resize(node: ir.Node) -> str:
    """Supported: settings for which `resize_plan` has matrices."""
    if not has_fixed_shape(required_input(node, 0)) or not has_fixed_shape(node.outputs[0]):
        return "sizes that are known only at run time"
    plan = resize_plan(node, fixed_shape(node.outputs[0]))
    return plan if isinstance(plan, str) else ""


OPS: dict[str, Callable[[Lowering, ir.Node], None]] = {"Resize": lower_resize}
REFUSALS: dict[str, Callable[[ir.Node], str]] = {"Resize": refuse_resize}
