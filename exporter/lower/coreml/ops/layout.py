"""Ops that rearrange elements: transpositions of any rank, padding, space to depth and back, triangles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from exporter.lower.coreml.attributes import (
    constant_ints,
    constant_number,
    fixed_shape,
    integer,
    integers,
    optional_input,
    required_input,
    string,
)
from exporter.lower.coreml.emit import back_to_bool, is_bool, is_float, name_of, numeric, operand, set_result, shape_of
from exporter.lower.coreml.lowering import Lowering
from exporter.lower.coreml.masks import MASKED
from exporter.lower.coreml.mil import Var, mb
from exporter.lower.coreml.ops.shape import MAX_RANK, has_fixed_shape, reshaped

LowerOp = Callable[[Lowering, ir.Node], None]
FLOAT16_MAX = 65504.0


def lower_transpose(lowering: Lowering, node: ir.Node) -> None:
    """Transpose. With more than five axes, axes of size 1 are left out and neighbouring axes are joined."""
    x, source = operand(lowering, node), required_input(node, 0)
    rank = len(source.shape) if source.shape is not None else x.rank
    perm = integers(node, "perm", list(range(rank - 1, -1, -1)))
    if rank <= MAX_RANK:
        set_result(lowering, node, mb.transpose(x=x, perm=perm, name=name_of(lowering, node)))
        return
    shape = fixed_shape(source)
    reshaped(lowering, node, _turned(lowering, node, x, *_essence(shape, perm)))


def _essence(shape: Sequence[int], perm: Sequence[int]) -> tuple[list[int], list[int]]:
    """The same transposition without axes of size 1, and with axes joined that stay neighbours."""
    kept = [axis for axis in perm if shape[axis] != 1]
    runs: list[list[int]] = []
    order = sorted(kept)
    for axis in kept:
        if runs and order.index(axis) == order.index(runs[-1][-1]) + 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    in_order = sorted(runs)
    return [math.prod(shape[axis] for axis in run) for run in in_order], [in_order.index(run) for run in runs]


def _turned(lowering: Lowering, node: ir.Node, x: Var, sizes: list[int], perm: list[int]) -> Var:
    """`x` with its elements in the order of the transposition; the shape of the result isn't final."""
    if perm == sorted(perm):
        return x
    if len(perm) <= MAX_RANK:
        x = mb.reshape(x=x, shape=sizes, name=name_of(lowering, node, "joined"))
        return mb.transpose(x=x, perm=perm, name=name_of(lowering, node, "turned"))
    order = list(range(len(perm)))
    for place, axis in enumerate(perm):  # moves one axis after the other to its place
        at = order.index(axis)
        if at != place:
            parts = (order[:place], order[place:at], [axis], order[at + 1 :])
            view = [math.prod(sizes[i] for i in part) for part in parts]
            x = mb.reshape(x=x, shape=view, name=name_of(lowering, node, "view"))
            x = mb.transpose(x=x, perm=[0, 2, 1, 3], name=name_of(lowering, node, "moved"))
            order = [*parts[0], axis, *parts[1], *parts[3]]
    return x


def lower_pad(lowering: Lowering, node: ir.Node) -> None:
    """Pad: constant, reflect, edge or wrap. Negative padding cuts."""
    x = operand(lowering, node)
    pads = constant_ints(lowering, node, 1)
    axes = constant_ints(lowering, node, 3) if optional_input(node, 3) is not None else list(range(x.rank))
    before, behind = [0] * x.rank, [0] * x.rank
    for i, axis in enumerate(axes):
        before[axis % x.rank], behind[axis % x.rank] = pads[i], pads[i + len(axes)]
    x = _cut(lowering, node, x, before, behind)
    before, behind = [max(n, 0) for n in before], [max(n, 0) for n in behind]
    mode = string(node, "mode", "constant")
    if not any(before) and not any(behind):
        set_result(lowering, node, mb.identity(x=x, name=name_of(lowering, node)))
    elif mode == "constant":
        _pad_constant(lowering, node, x, list(zip(before, behind, strict=True)))
    else:
        for axis in range(x.rank):
            if before[axis] or behind[axis]:
                places = _places(shape_of(x)[axis], before[axis], behind[axis], mode)
                name = name_of(lowering, node, f"axis_{axis}")
                x = mb.gather(x=x, indices=places, axis=axis, validate_indices=False, name=name)
        set_result(lowering, node, x)


def _cut(lowering: Lowering, node: ir.Node, x: Var, before: list[int], behind: list[int]) -> Var:
    if min(*before, *behind) >= 0:
        return x
    begin = [max(-n, 0) for n in before]
    end = [size - max(-n, 0) for size, n in zip(shape_of(x), behind, strict=True)]
    return mb.slice_by_index(x=x, begin=begin, end=end, name=name_of(lowering, node, "cut"))


def _pad_constant(lowering: Lowering, node: ir.Node, x: Var, pads: list[tuple[int, int]]) -> None:
    number = constant_number(optional_input(node, 2)) or 0.0
    if is_float(x):
        value = np.copysign(-MASKED, number) if abs(number) > FLOAT16_MAX else np.float16(number)
        pad = [count for pair in pads for count in pair]
        set_result(lowering, node, mb.pad(x=x, pad=pad, constant_val=np.float16(value), name=name_of(lowering, node)))
        return
    var = numeric(lowering, node, x)  # MIL pads only floats; for integers, blocks of the value are concatenated
    for axis, pair in enumerate(pads):
        if any(pair):
            shape = shape_of(var)
            first, last = (np.full((*shape[:axis], n, *shape[axis + 1 :]), number, np.int32) for n in pair)
            parts = [part for part in (first, var, last) if not isinstance(part, np.ndarray) or part.size]
            var = mb.concat(values=parts, axis=axis, name=name_of(lowering, node, f"axis_{axis}"))
    set_result(lowering, node, back_to_bool(lowering, node, var, x))


def _places(size: int, before: int, behind: int, mode: str) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """The index of the element at each position from -before to size + behind."""
    places = np.arange(-before, size + behind)
    if mode == "edge":
        places = places.clip(0, size - 1)
    elif mode == "wrap":
        places %= size
    else:
        period = max(2 * (size - 1), 1)
        places = (size - 1) - np.abs((size - 1) - places % period)
    return places.astype(np.int32)


def refuse_pad(node: ir.Node) -> str:
    """Supported: the modes of opset 23."""
    return "" if string(node, "mode", "constant") in ("constant", "reflect", "edge", "wrap") else "its mode"


def lower_depth_to_space(lowering: Lowering, node: ir.Node) -> None:
    """DepthToSpace by MIL's pixel_shuffle, which has the order CRD; for DCR the channels are reordered first."""
    x, block = operand(lowering, node), integer(node, "blocksize", 1)
    n, channels, height, width = shape_of(x)
    if string(node, "mode", "DCR") == "DCR":
        inner = channels // block**2
        x = mb.reshape(x=x, shape=[n, block**2, inner, height, width], name=name_of(lowering, node, "blocks"))
        x = mb.transpose(x=x, perm=[0, 2, 1, 3, 4], name=name_of(lowering, node, "turned"))
        x = mb.reshape(x=x, shape=[n, channels, height, width], name=name_of(lowering, node, "ordered"))
    set_result(lowering, node, mb.pixel_shuffle(x=x, upscale_factor=block, name=name_of(lowering, node)))


def lower_space_to_depth(lowering: Lowering, node: ir.Node) -> None:
    """SpaceToDepth by MIL's pixel_unshuffle; then the channels are put into ONNX's order."""
    x, block = operand(lowering, node), integer(node, "blocksize", 1)
    n, channels, height, width = shape_of(x)
    small = [height // block, width // block]
    x = mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(block), name=name_of(lowering, node, "blocks"))
    x = mb.reshape(x=x, shape=[n, channels, block**2, *small], name=name_of(lowering, node, "split"))
    x = mb.transpose(x=x, perm=[0, 2, 1, 3, 4], name=name_of(lowering, node, "turned"))
    shape = [n, channels * block**2, *small]
    set_result(lowering, node, mb.reshape(x=x, shape=shape, name=name_of(lowering, node)))


def refuse_blocks(node: ir.Node) -> str:
    """Supported: float tensors of rank 4."""
    value = required_input(node, 0)
    if not has_fixed_shape(value) or len(fixed_shape(value)) != 4:
        return "a rank other than 4"
    return "" if value.dtype is None or value.dtype.is_floating_point() else "integers"


def lower_trilu(lowering: Lowering, node: ir.Node) -> None:
    """Trilu: multiplies or selects with a constant mask of the part above or below a diagonal."""
    x = operand(lowering, node)
    shift = int(constant_number(optional_input(node, 1)) or 0)
    rows, columns = shape_of(x)[-2:]
    build = np.triu if integer(node, "upper", 1) else np.tril
    kept = build(np.ones((rows, columns), np.bool_), shift).reshape((1,) * (x.rank - 2) + (rows, columns))
    if is_bool(x):
        set_result(lowering, node, mb.logical_and(x=x, y=kept, name=name_of(lowering, node)))
        return
    zero = np.zeros((1,) * x.rank, np.float16 if is_float(x) else np.int32)
    set_result(lowering, node, mb.select(cond=kept, a=x, b=zero, name=name_of(lowering, node)))


OPS: dict[str, LowerOp] = {
    "Pad": lower_pad,
    "DepthToSpace": lower_depth_to_space,
    "SpaceToDepth": lower_space_to_depth,
    "Trilu": lower_trilu,
}
CONSTANT: dict[str, tuple[int, ...]] = {"Pad": (1, 2, 3), "Trilu": (1,)}
REFUSALS: dict[str, Callable[[ir.Node], str]] = {
    "Pad": refuse_pad,
    "DepthToSpace": refuse_blocks,
    "SpaceToDepth": refuse_blocks,
}
