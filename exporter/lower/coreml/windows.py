"""Windows of convolutions and pools: kernel size, strides, dilations, and padding for each ONNX padding mode."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from exporter.lower.coreml.attributes import fixed_shape, integer, integers, required_input, string


@dataclass(frozen=True)
class Window:
    """A sliding window over the spatial axes.

    pads: (before, after) for each axis, in elements; padding is 0, or minus infinity for a maximum. extra: the part of
    `after` that exists only because the last window may lie partly outside (`ceil_mode`).
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    extra: tuple[int, ...]

    @property
    def flat_pads(self) -> list[int]:
        """The padding as a flat list, as in MIL."""
        return [count for pair in self.pads for count in pair]


def window_of(node: ir.Node, kernel: tuple[int, ...]) -> Window:
    """The window of a convolution or pool. Its input and output must have fixed shapes."""
    sizes, results = fixed_shape(required_input(node, 0))[2:], fixed_shape(node.outputs[0])[2:]
    ones = [1] * len(kernel)
    strides, dilations = integers(node, "strides", ones), integers(node, "dilations", ones)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    reach = [(r - 1) * s + span for r, s, span in zip(results, strides, spans, strict=True)]
    mode = string(node, "auto_pad", "NOTSET")
    pads: list[tuple[int, int]] = []
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        for need, size in zip(reach, sizes, strict=True):
            less, more = max(need - size, 0) // 2, (max(need - size, 0) + 1) // 2
            pads.append((less, more) if mode == "SAME_UPPER" else (more, less))
    else:
        stated = integers(node, "pads", [0] * 2 * len(kernel)) if mode == "NOTSET" else [0] * 2 * len(kernel)
        pads = list(zip(stated[: len(kernel)], stated[len(kernel) :], strict=True))
    extra = [0] * len(kernel)
    if integer(node, "ceil_mode", 0):
        for axis, (before, behind) in enumerate(pads):
            extra[axis] = max(reach[axis] - sizes[axis] - before - behind, 0)
        pads = [(before, behind + more) for (before, behind), more in zip(pads, extra, strict=True)]
    return Window(tuple(kernel), tuple(strides), tuple(dilations), tuple(pads), tuple(extra))
