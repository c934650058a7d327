"""The report's plots as SVG fragments: drawn by matplotlib, coloured by the page's style sheet.

matplotlib writes colours into every element. Each colour here is a stand-in that the finished SVG has replaced by a CSS
variable, so that one drawing serves light and dark pages.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from exporter.formats import Format
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
FORMAT_COLOURS: Mapping[Format, str] = {"onnx": ONNX, "coreml": COREML}

WIDTH = 9.5  # inches: the page's column at 96 px an inch, so that 9 points are 12 px there
NARROW = 3.6  # inches: the column of a phone's screen of 375 px, a little scaled down
TEXT = 9  # points
_DOT = 13  # points²; twice that where a row has few
_SLOTS = 110  # columns that dots of one row are sorted into, so that equal values stand beside each other


@dataclass(frozen=True)
class Strip:
    """One row of dots: `label`, one value per prompt (None: not finite, not plotted), and its colour."""

    label: str
    values: Sequence[float | None]
    colour: str


@dataclass(frozen=True)
class Axis:
    """The axis of values. Values outside `low` … `high` are plotted at the end, whose tick says so."""

    label: str
    low: float
    high: float
    logarithmic: bool
    low_tick: str = ""
    high_tick: str = ""

    def place(self, value: float) -> float:
        """The position of a value, 0 to 1."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> dict[float, str]:
        """Position 0 to 1 → label: at most eight round values, and the named ends."""
        if self.logarithmic:
            low, high = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            powers = range(low, high + 1, -(-(high - low + 1) // 8))
            labels = {self.place(10.0**exponent): power(exponent) for exponent in powers}
            if high - low <= 2:  # decades alone would leave the axis bare
                between = [k * 10.0**power for power in range(low, high) for k in (2, 5)]
                labels |= {self.place(value): f"{value:g}" if value >= 1e-4 else "" for value in between}
        else:
            labels = {self.place(value): f"{value:g}" for value in range(int(self.low), int(self.high) + 1, 20)}
        return {
            **labels,
            **({0.0: self.low_tick} if self.low_tick else {}),
            **({1.0: self.high_tick} if self.high_tick else {}),
        }


def psnr_axis(identical_db: float) -> Axis:
    """0 to 160 dB: float32 added in another order gives about 150. `identical_db` and above is beyond the axis."""
    return Axis(
        "PSNR of the outputs in dB (higher is better)",
        0,
        min(160, identical_db),
        False,
        high_tick="identical",
    )


def error_axis(label: str, strips: Sequence[Strip], floor: float) -> Axis:
    """Whole powers of ten around the values, from `floor` (what the samples can resolve) upwards."""
    values = [max(v, floor) for strip in strips for v in strip.values if v is not None]
    low = max(floor, 10.0 ** math.floor(math.log10(min(values, default=floor))))
    high = 10.0 ** math.ceil(math.log10(max(values, default=floor * 10)))
    at_floor = any(value <= floor for value in values)
    ticks = f"≤ {power(round(math.log10(floor)))}" if at_floor else ""
    return Axis(label, low, max(high, low * 10), True, low_tick=ticks)


def both(draw: Callable[..., str], *arguments: Any) -> str:
    """A plot for wide screens and one for phones; the page's style sheet shows one of them. "" where nothing is drawn.

    draw: takes the arguments and `narrow`.
    """
    wide, narrow = draw(*arguments), draw(*arguments, narrow=True)
    return f'<div class="wide">\n{wide}\n</div>\n<div class="narrow">\n{narrow}\n</div>' if wide else ""


def strip_plot(strips: Sequence[Strip], axis: Axis, prefix: str, *, narrow: bool = False) -> str:
    """A row of dots per strip, with a bar at its median. prefix: of the SVG's ids, unique on the page.

    narrow: for a phone, with labels above the rows instead of beside them.
    """
    with drawing((0.6, 0.75)[narrow] + (0.36, 0.52)[narrow] * len(strips), narrow=narrow) as (figure, axes):
        axes.grid(axis="x", color=LINE, linewidth=0.6)
        spread = 0.7 if narrow else 1.0  # the label stands above the dots
        size = _DOT if max(len(strip.values) for strip in strips) > 30 else 2 * _DOT
        for y, strip in enumerate(strips):
            places = sorted(axis.place(value) for value in strip.values if value is not None)
            dots = list(_swarm(places))
            axes.scatter(
                [x for x, _ in dots],
                [y + spread * offset for _, offset in dots],
                s=size,
                color=strip.colour,
                alpha=0.6,
                linewidths=0,
            )
            if places:
                middle = places[len(places) // 2]
                axes.plot(
                    [middle, middle],
                    [y - 0.38 * spread, y + 0.38 * spread],
                    color=INK,
                    linewidth=1.5,
                    solid_capstyle="butt",
                )
        ticks = axis.ticks()
        if narrow:
            ticks = dict(_spaced(sorted(ticks.items())))
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(len(strips) - (0.45, 0.6)[narrow], (-0.55, -0.85)[narrow])
        row_labels(axes, [safe_line(strip.label) for strip in strips], narrow=narrow)
        axes.set_xlabel(folded(axis.label) if narrow else axis.label)
        return svg_of(figure, f"{prefix}-narrow" if narrow else prefix)


def row_labels(axes: Any, labels: Sequence[str], *, narrow: bool) -> None:
    """The names of rows 0, 1, …: beside them, or on a phone above them."""
    axes.set_yticks([] if narrow else range(len(labels)), [] if narrow else labels)
    if narrow:
        across = axes.get_yaxis_transform()
        for y, label in enumerate(labels):
            axes.text(0, y - 0.3, shortened(label, 38), transform=across, ha="left", va="bottom", color=INK)


def folded(label: str) -> str:
    """An axis' label in lines that fit a phone's screen."""
    return textwrap.fill(label, 40)


def _spaced(ticks: Sequence[tuple[float, str]]) -> Iterator[tuple[float, str]]:
    """The last tick, and the others from the right as far as their labels don't meet."""
    kept = ticks[-1]
    yield kept
    for place, label in reversed(ticks[:-1]):
        if kept[0] - place > 0.013 * (len(label) + len(kept[1])) + 0.03:  # half of both labels, and a gap
            kept = place, label
            yield kept


def power(exponent: int) -> str:
    """10⁻⁴ and the like; 0.001 to 10 without an exponent."""
    if -3 <= exponent <= 1:
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _swarm(places: Sequence[float]) -> Iterator[tuple[float, float]]:
    """`(place, offset)`: neighbours in one slot are stacked outwards from the row's line, within ±0.34."""
    slots: dict[int, list[float]] = {}
    for place in places:
        slots.setdefault(int(place * _SLOTS), []).append(place)
    tallest = max(map(len, slots.values()), default=1)
    step = min(0.12, 0.68 / max(tallest - 1, 1))
    for members in slots.values():
        for i, place in enumerate(members):
            yield place, (i + 1) // 2 * step * (1 if i % 2 else -1)


def weight_plot(tensors: Sequence[Mapping[str, Any]], *, narrow: bool = False) -> str:
    """PSNR of each of `tensors` (at least one) in the model's order; a dot's area shows the tensor's stored bytes."""
    drawn = list(tensors)
    largest = max(t["stored_bytes"] for t in drawn)
    with drawing(2.5, narrow=narrow) as (figure, axes):
        axes.scatter(
            range(1, len(drawn) + 1),
            [t["psnr_db"] for t in drawn],
            s=[18 + 260 * t["stored_bytes"] / largest for t in drawn],
            color=GRAPH,
            alpha=0.5,
            linewidths=0,
        )
        values = [t["psnr_db"] for t in drawn]
        lowest = min(range(len(drawn)), key=values.__getitem__)
        in_left_half = lowest < len(drawn) / 2
        axes.annotate(
            f"lowest: {shortened(drawn[lowest]['name'], 22 if narrow else 80)}",
            (lowest + 1, values[lowest]),
            (6 if in_left_half else -6, -11),
            textcoords="offset points",
            ha="left" if in_left_half else "right",
            color=SOFT,
            fontsize=TEXT - 1,
        )
        low, high = min(values), max(values)
        room = max(0.18 * (high - low), 1.0)
        axes.set_ylim(low - room, high + room)
        axes.set_xlim(0, len(drawn) + 1)
        axes.set_ylabel("PSNR, dB")
        label = "palettized tensors in the model's order; area: stored bytes"
        axes.set_xlabel(folded(label) if narrow else label)
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        axes.xaxis.get_major_locator().set_params(integer=True)
        return svg_of(figure, "weights-narrow" if narrow else "weights")


def shortened(name: str, length: int) -> str:
    """A name in one line of at most `length` characters: without its middle where it is longer."""
    text = safe_line(name)
    return text if len(text) <= length else f"{text[: length // 3]}…{text[length // 3 + 1 - length :]}"


@contextmanager
def drawing(height: float, *, narrow: bool = False) -> Iterator[tuple[Any, Any]]:
    """A figure of `height` inches in the page's style, without pyplot and its global state. narrow: for a phone."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {
        "svg.hashsalt": "kogata",  # else ids are random
        "svg.fonttype": "none",  # text stays text: small, selectable, in the page's font
        "text.parse_math": False,  # labels may hold dollar signs
        "font.size": TEXT + 1 if narrow else TEXT,
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
    # The defaults first: a matplotlibrc of the user must not change what a bundle holds.
    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")}
    with matplotlib.rc_context({**defaults, **style}):
        figure = Figure(figsize=(NARROW if narrow else WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        yield figure, axes


def svg_of(figure: Any, prefix: str) -> str:
    """The `<svg>` element alone, with unique ids and the page's colours."""
    file = io.StringIO()
    with warnings.catch_warnings():
        # Text stays text: the reader's fonts draw what matplotlib's own font has no shape for.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(|xlink:href=")#', rf"\1#{prefix}-", svg)
    for stand_in, variable in COLOURS.items():
        svg = svg.replace(stand_in, f"var({variable})")
    return svg
