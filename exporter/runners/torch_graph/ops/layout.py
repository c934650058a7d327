"""Shapes, orders, parts and joins of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from exporter.runners.torch_graph.attributes import Attributes, Op, OpMaker, always, ints


def _reshape(facts: Attributes) -> Op:
    zero_is_zero = facts.flag("allowzero")

    def run(x: Tensor, shape: Tensor) -> Tensor:
        sizes = shape.tolist()
        if not zero_is_zero and 0 in sizes:
            sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
        return x.reshape(sizes)

    return run


def _transpose(facts: Attributes) -> Op:
    order = facts.integers("perm")
    return lambda x: x.permute(tuple(range(x.ndim))[::-1] if order is None else order)


def _unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    places = ints(axes)
    rank = x.ndim + len(places)
    for place in sorted(place % rank for place in places):
        x = x.unsqueeze(place)
    return x


def _squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(ints(axes))


def _flatten(facts: Attributes) -> Op:
    axis = facts.integer("axis", 1)

    def run(x: Tensor) -> Tensor:
        at = axis + x.ndim if axis < 0 else axis
        return x.reshape(math.prod(x.shape[:at]), math.prod(x.shape[at:]))

    return run


def _concat(facts: Attributes) -> Op:
    axis = facts.integer("axis", 0)
    return lambda *tensors: torch.cat(tensors, axis)


def _split(facts: Attributes) -> Op:
    axis, count = facts.integer("axis", 0), facts.integer("num_outputs", len(facts.node.outputs))

    def run(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        if sizes is not None:
            return tuple(torch.split(x, ints(sizes), axis))
        size = x.shape[axis]
        most = -(-size // count)
        return tuple(torch.split(x, [max(0, min(most, size - i * most)) for i in range(count)], axis))

    return run


def _slice(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    first, last = ints(starts), ints(ends)
    along = list(range(len(first))) if axes is None else ints(axes)
    strides = [1] * len(first) if steps is None else ints(steps)
    for start, end, axis, step in zip(first, last, along, strides, strict=True):
        places = _places(start, end, step, x.shape[axis])
        if step == 1:
            x = x.narrow(axis, places.start if places else 0, len(places))
        else:
            x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64, device=x.device))
    return x


def _places(start: int, end: int, step: int, size: int) -> range:
    """As Python has them, except that backwards from before the beginning there is still the first element."""
    return range(*slice(max(start, -size) if step < 0 else start, end, step).indices(size))


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    sizes = ints(shape)  # a size of 1 keeps what is there, and the shorter shape is filled up with ones
    rank = max(x.ndim, len(sizes))
    have, want = [1] * (rank - x.ndim) + list(x.shape), [1] * (rank - len(sizes)) + sizes
    return x.expand([old if new == 1 else new for old, new in zip(have, want, strict=True)])


def _tile(x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(ints(repeats))


def _trilu(facts: Attributes) -> Op:
    upper = facts.flag("upper", True)

    def run(x: Tensor, k: Tensor | None = None) -> Tensor:
        diagonal = 0 if k is None else int(k)
        return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)

    return run


def _pad(facts: Attributes) -> Op:
    mode = facts.text("mode", "constant")
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise NotImplementedError(f"the mode '{mode}'")

    def run(x: Tensor, pads: Tensor, fill: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        widths = ints(pads)
        along = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in ints(axes)]
        for i, axis in enumerate(along):
            before, after = widths[i], widths[i + len(along)]
            if before or after:
                x = _padded(x, axis, (before, after), mode if mode != "constant" else fill)
        return x

    return run


def _padded(x: Tensor, axis: int, widths: tuple[int, int], filling: str | Tensor | None) -> Tensor:
    """One axis longer by `widths`, or shorter where they are negative; `filling`: the mode, or what is put there."""
    size, (before, after) = x.shape[axis], widths
    if not isinstance(filling, str):
        flat = [0, 0] * (x.ndim - axis - 1) + [before, after]
        return torch.nn.functional.pad(x, flat, value=0 if filling is None else filling.item())
    places = torch.arange(-before, size + after, device=x.device)
    if filling == "edge":
        places = places.clamp(0, size - 1)
    elif filling == "wrap":
        places = places.remainder(size)
    elif size > 1:
        places = places.remainder(2 * size - 2)
        places = torch.where(places < size, places, 2 * size - 2 - places)
    else:
        places = torch.zeros_like(places)
    return x.index_select(axis, places)


def _depth_to_space(facts: Attributes) -> Op:
    block, mode = facts.integer("blocksize", 1), facts.text("mode", "DCR")

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if mode == "DCR":
            x = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
        else:
            x = x.reshape(n, c // block**2, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
        return x.reshape(n, c // block**2, h * block, w * block)

    return run


def _space_to_depth(facts: Attributes) -> Op:
    block = facts.integer("blocksize", 1)

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
        return x.reshape(n, c * block**2, h // block, w // block)

    return run


OPS: dict[str, OpMaker] = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": always(_expand),
    "Flatten": _flatten,
    "Identity": always(lambda x: x),
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": always(_slice),
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": always(_squeeze),
    "Tile": always(_tile),
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": always(_unsqueeze),
}
