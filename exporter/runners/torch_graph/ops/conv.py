"""Convolutions and pooling over one, two or three spatial axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from exporter.runners.torch_graph.attributes import Attributes, Op, OpMaker, always

_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)
_TRANSPOSED = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
_MAX_POOLS = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_AUTO = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class Window:
    """What slides over the spatial axes. kernel, strides, dilations: one number an axis; groups: of channels.

    pads: those before each axis, then those after; auto: ONNX's rule for them, or "NOTSET".
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    auto: str
    groups: int

    @classmethod
    def of(cls, facts: Attributes, kernel: Sequence[int]) -> Window:
        """From a node's attributes. kernel: the spatial sizes of the weight, or of a pool."""
        rank = len(kernel)
        if rank > len(_CONVOLUTIONS):
            raise NotImplementedError(f"{rank} spatial axes")
        auto = facts.text("auto_pad", "NOTSET")
        if auto not in _AUTO:
            raise NotImplementedError(f"auto_pad '{auto}'")
        return cls(
            tuple(kernel),
            tuple(facts.integers("strides") or [1] * rank),
            tuple(facts.integers("dilations") or [1] * rank),
            tuple(facts.integers("pads") or [0] * 2 * rank),
            auto,
            facts.integer("group", 1),
        )

    def reach(self, axis: int) -> int:
        """How many elements one window spans."""
        return self.dilations[axis] * (self.kernel[axis] - 1) + 1

    def margins(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
        """Padding before and after each axis of these sizes."""
        rank = len(self.kernel)
        if self.auto == "NOTSET":
            return list(zip(self.pads[:rank], self.pads[rank:], strict=True))
        if self.auto == "VALID":
            return [(0, 0)] * rank
        margins = []
        for axis, size in enumerate(sizes):
            count = -(-size // self.strides[axis])
            total = max(0, (count - 1) * self.strides[axis] + self.reach(axis) - size)
            less, more = total // 2, total - total // 2
            margins.append((less, more) if self.auto == "SAME_UPPER" else (more, less))
        return margins

    def padded(self, x: Tensor, fill: float = 0.0) -> Tensor:
        """`x` `[batch, channels, …]` with its padding."""
        return _with_margins(x, self.margins(x.shape[2:]), fill)

    def convolved(self, x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        """The convolution of what is padded already. kernel: `[out, channels / groups, …]`."""
        convolution = _CONVOLUTIONS[len(self.kernel) - 1]
        return convolution(x, kernel, bias, self.strides, 0, self.dilations, self.groups)

    def patches(self, x: Tensor) -> Tensor:
        """What each window sees, `[batch · places, channels · kernel]`, in the order of a kernel's numbers."""
        x, rank = self.padded(x), len(self.kernel)
        for axis in range(rank):
            x = x.unfold(2 + axis, self.reach(axis), self.strides[axis])[..., :: self.dilations[axis]]
        x = x.movedim(1, 1 + rank)
        return x.reshape(math.prod(x.shape[: 1 + rank]), -1)


def _with_margins(x: Tensor, margins: Sequence[tuple[int, int]], fill: float) -> Tensor:
    if not any(before or after for before, after in margins):
        return x
    return functional.pad(x, [width for margin in reversed(margins) for width in margin], value=fill)


def _check_window(facts: Attributes) -> None:
    """Raises NotImplementedError for what `Window.of` will refuse, as far as that is known without a kernel."""
    kernel = facts.node.inputs[1]
    shape = None if kernel is None or kernel.shape is None else kernel.shape[2:]
    Window.of(facts, [1] * len(facts.integers("kernel_shape") or shape or [1]))


def _conv(facts: Attributes) -> Op:
    _check_window(facts)

    def run(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        window = Window.of(facts, kernel.shape[2:])
        return window.convolved(window.padded(x), kernel, bias)

    return run


def _conv_transpose(facts: Attributes) -> Op:
    if facts.text("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in facts.node.attributes:
        raise NotImplementedError("padding that follows from the result's shape")
    _check_window(facts)
    extra = facts.integers("output_padding")

    def run(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        window = Window.of(facts, kernel.shape[2:])
        rank = len(window.kernel)
        convolution, more = _TRANSPOSED[rank - 1], extra or [0] * rank
        whole = convolution(x, kernel, bias, window.strides, 0, 0, window.groups, window.dilations)
        cut = [(-before, after - behind) for (before, behind), after in zip(window.margins(()), more, strict=True)]
        if bias is None or not any(after > 0 for _, after in cut):
            return _with_margins(whole, cut, 0.0)
        plain = convolution(x, kernel, None, window.strides, 0, 0, window.groups, window.dilations)
        return _with_margins(plain, cut, 0.0) + bias.reshape(-1, *[1] * rank)  # added to what is beyond, too

    return run


def _ceiled(window: Window, sizes: Sequence[int], margins: Sequence[tuple[int, int]]) -> list[int]:
    """How much further than its padding each axis must reach for a last window that begins inside."""
    more = []
    for axis, (size, (before, after)) in enumerate(zip(sizes, margins, strict=True)):
        step, room = window.strides[axis], size + before + after - window.reach(axis)
        count = -(-room // step)
        if count * step >= size + before:  # it would begin in the padding behind
            count -= 1
        more.append(max(0, count * step - room))
    return more


def _max_pool(facts: Attributes) -> Op:
    window, ceil = Window.of(facts, facts.integers("kernel_shape") or []), facts.flag("ceil_mode")
    if facts.used(1):
        raise NotImplementedError("the places of the maxima as an output")
    if not window.kernel:
        raise NotImplementedError("a pool without a kernel")
    pool = _MAX_POOLS[len(window.kernel) - 1]

    def run(x: Tensor) -> Tensor:
        margins = window.margins(x.shape[2:])
        if ceil:
            more = _ceiled(window, x.shape[2:], margins)
            margins = [(before, after + extra) for (before, after), extra in zip(margins, more, strict=True)]
        lowest = torch.finfo(x.dtype).min if x.is_floating_point() else torch.iinfo(x.dtype).min
        padded = _with_margins(x, margins, lowest)
        pooled: Tensor = pool(padded, window.kernel, window.strides, 0, window.dilations)
        return pooled

    return run


def _average_pool(facts: Attributes) -> Op:
    window, ceil = Window.of(facts, facts.integers("kernel_shape") or []), facts.flag("ceil_mode")
    with_padding = facts.flag("count_include_pad")
    if not window.kernel:
        raise NotImplementedError("a pool without a kernel")

    def sums(x: Tensor) -> Tensor:
        for axis in range(len(window.kernel)):
            reach, step = window.reach(axis), window.strides[axis]
            x = x.unfold(2 + axis, reach, step)[..., :: window.dilations[axis]].sum(-1)
        return x

    def run(x: Tensor) -> Tensor:
        margins = window.margins(x.shape[2:])
        beyond = [(0, extra) for extra in _ceiled(window, x.shape[2:], margins)] if ceil else [(0, 0)] * len(margins)
        counted = x.new_ones((1, 1, *x.shape[2:]))
        counted = _with_margins(counted, margins, float(with_padding))
        total = sums(_with_margins(_with_margins(x, margins, 0.0), beyond, 0.0))
        return total / sums(_with_margins(counted, beyond, 0.0))

    return run


def _over_all(reduce: Callable[[Tensor, list[int]], Tensor]) -> Op:
    return lambda x: reduce(x, list(range(2, x.ndim)))


OPS: dict[str, OpMaker] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": always(_over_all(lambda x, axes: x.mean(axes, True))),
    "GlobalMaxPool": always(_over_all(lambda x, axes: x.amax(axes, True))),
    "MaxPool": _max_pool,
}
