"""The report's plots as SVG fragments: drawn by matplotlib, coloured by the page's style sheet.

matplotlib writes colours into every element. Each colour here is a stand-in that the finished SVG has replaced by a CSS
variable, so that one drawing serves light and dark pages.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from exporter.report.clean import safe_line

# Stand-in → CSS variable. No drawing uses these colours for anything else.
COLOURS = {
    "#010203": "--ink",
    "#040506": "--soft",
    "#070809": "--line",
    "#0a0b0c": "--onnx",
    "#0d0e0f": "--coreml",
    "#101112": "--graph",
    "#131415": "--paper",
}
INK, SOFT, LINE, ONNX, COREML, GRAPH, PAPER = COLOURS

WIDTH = 7.6  # inches: the page's column at 96 px an inch, less its padding
_TEXT = 9  # points
_DOT = 11  # points²
_SLOTS = 90  # columns that dots of one row are sorted into, so that equal values stand beside each other


@dataclass(frozen=True)
class Strip:
    """One row of dots: `label`, one error a prompt (None: not finite), and which artifact it speaks of."""

    label: str
    values: Sequence[float | None]
    colour: str


def error_plot(strips: Sequence[Strip], xlabel: str, floor: float) -> str:
    """Error of every prompt on a logarithmic axis, a row of dots a comparison, a bar at the median.

    Values below `floor` stand at the floor, which the axis then labels as "≤".
    """
    with _figure(0.55 + 0.42 * len(strips)) as (figure, axes):
        shown = [[max(v, floor) for v in strip.values if v is not None] for strip in strips]
        top = max((v for values in shown for v in values), default=floor * 10)
        low, high = math.log10(floor), max(math.log10(top), math.log10(floor) + 1) + 0.15
        for y, (strip, values) in enumerate(zip(strips, shown, strict=True)):
            dots = list(_swarm([math.log10(v) for v in values], low, high))
            axes.scatter(
                [10**x for x, _ in dots], [y + d for _, d in dots], s=_DOT, color=strip.colour, alpha=0.55, linewidths=0
            )
            if values:
                middle = sorted(values)[len(values) // 2]
                axes.plot([middle, middle], [y - 0.36, y + 0.36], color=INK, linewidth=1.6, solid_capstyle="butt")
        axes.set_xscale("log")
        axes.set_xlim(10 ** (low - 0.12), 10**high)
        axes.set_ylim(len(strips) - 0.45, -0.55)
        axes.set_yticks(range(len(strips)), [safe_line(strip.label) for strip in strips])
        axes.set_xlabel(xlabel)
        _decades(axes, floor, high, at_floor=any(v <= floor for values in shown for v in values))
        return _svg(figure, "errors")


def _decades(axes: Any, floor: float, high: float, *, at_floor: bool) -> None:
    """Ticks at powers of ten, at most eight of them; the first says "≤" where dots stand at the floor."""
    from matplotlib.ticker import FixedLocator, NullLocator

    low = round(math.log10(floor))
    powers = list(range(low, math.floor(high) + 1))
    powers = powers[:: -(-len(powers) // 8)]
    axes.xaxis.set_major_locator(FixedLocator([10.0**p for p in powers]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([("≤ " if at_floor and p == low else "") + _power(p) for p in powers])


def _power(exponent: int) -> str:
    """10⁻³ and the like; numbers that people read without exponent as they are."""
    if -3 <= exponent <= 1:
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _swarm(values: Sequence[float], low: float, high: float) -> Iterator[tuple[float, float]]:
    """`(value, offset)`: neighbours in one slot are stacked around the row's line, within ±0.32."""
    slots: dict[int, list[float]] = {}
    for value in sorted(values):
        slots.setdefault(int((value - low) / (high - low) * _SLOTS), []).append(value)
    tallest = max(map(len, slots.values()), default=1)
    step = min(0.13, 0.64 / max(tallest - 1, 1))
    for members in slots.values():
        for i, value in enumerate(members):
            yield value, (i - (len(members) - 1) / 2) * step


def weight_plot(tensors: Sequence[Mapping[str, Any]]) -> str:
    """PSNR of every palettized tensor in the model's order; the dot's area is the tensor's stored bytes."""
    drawn = [t for t in tensors if t.get("psnr_db") is not None]
    largest = max((t["stored_bytes"] for t in drawn), default=1)
    with _figure(2.5) as (figure, axes):
        axes.scatter(
            range(1, len(drawn) + 1),
            [t["psnr_db"] for t in drawn],
            s=[12 + 260 * t["stored_bytes"] / largest for t in drawn],
            color=GRAPH,
            alpha=0.5,
            linewidths=0,
        )
        values = [t["psnr_db"] for t in drawn]
        low, high = min(values, default=0), max(values, default=1)
        room = max(0.18 * (high - low), 1.0)
        axes.set_ylim(low - room, high + room)
        axes.set_xlim(0, len(drawn) + 1)
        axes.set_ylabel("PSNR, dB")
        axes.set_xlabel("palettized tensors in the model's order; area: stored bytes")
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        axes.xaxis.get_major_locator().set_params(integer=True)
        return _svg(figure, "weights")


@contextmanager
def _figure(height: float) -> Iterator[tuple[Any, Any]]:
    """A figure in the page's style, without pyplot: no window system, no global state."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {
        "svg.hashsalt": "kogata",  # else ids are random
        "svg.fonttype": "none",  # text stays text: small, selectable, in the page's font
        "text.parse_math": False,  # labels may hold dollar signs
        "font.size": _TEXT,
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same layout everywhere
        "text.color": INK,
        "axes.labelcolor": SOFT,
        "axes.edgecolor": LINE,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": SOFT,
        "ytick.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "ytick.major.size": 0,
        "axes.axisbelow": True,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.grid(axis="x", color=LINE, linewidth=0.6)
        yield figure, axes


def _svg(figure: Any, prefix: str) -> str:
    """The `<svg>` element alone, with ids of its own and the page's colours."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(|xlink:href=")#', rf"\1#{prefix}-", svg)
    for stand_in, variable in COLOURS.items():
        svg = svg.replace(stand_in, f"var({variable})")
    return svg
