"""Plots of mixed bits: the bits of each matrix, and the curve of size against error."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.report.clean import safe_line
from exporter.report.plots import GRAPH, INK, LINE, ONNX, PAPER, SOFT, TEXT, drawing, folded, power, row_labels, svg_of

UNCOMPRESSED = 16
OPACITY = {1: 0.08, 2: 0.17, 3: 0.3, 4: 0.45, 6: 0.66, 8: 0.83, UNCOMPRESSED: 1.0}  # bits → opacity of the cell
LIGHT_TEXT_ABOVE = 0.75  # opacity: a darker cell has its number in the colour of the paper
MAX_KINDS = 40  # kinds of matrices in the plot; a model usually has about ten
MIN_CELL_INCHES = 0.13  # a narrower cell has no number
MAX_NAME = 48  # characters of the name of a kind
ERROR_LABELS = {
    "kl": "KL to the uncompressed model, nats",
    "distance": "distance to the uncompressed model's outputs",
    "weights": "squared weight error (without running text)",
}
_NUMBER = re.compile(r"(?<![A-Za-z0-9])\d+(?![A-Za-z0-9])")
_ENDS = re.compile(r"^(model|transformer|encoder|decoder|bert|base_model)\.|\.weight$")


@dataclass(frozen=True)
class Cell:
    """A matrix: its kind is its name without the layer's number. layer: None outside the layers."""

    kind: str
    layer: int | None
    bits: int


def cells_of(tensors: Sequence[Mapping[str, Any]]) -> list[Cell]:
    """The matrices among a bundle's tensors, in order, without uncompressed tensors of fewer than two dimensions."""
    cells = []
    for tensor in tensors:
        if tensor["bits"] is None and (len(tensor["shape"]) != 2 or tensor["stored_bytes"] == 0):
            continue
        name = tensor["name"]
        number = _NUMBER.search(name)
        kind = name if number is None else name[: number.start()] + "*" + name[number.end() :]
        layer = int(number[0]) if number and len(number[0]) < 6 else None
        cells.append(Cell(kind if layer is not None else name, layer, tensor["bits"] or UNCOMPRESSED))
    return cells


def bits_plot(tensors: Sequence[Mapping[str, Any]], *, narrow: bool = False) -> str:
    """A row per kind of matrix, a column per layer, the bits in each cell; an empty text if there is no matrix."""
    cells = cells_of(tensors)
    kinds = list(dict.fromkeys(cell.kind for cell in cells))
    if not kinds:
        return ""
    drawn = kinds[:MAX_KINDS]
    layers = sorted({cell.layer for cell in cells if cell.layer is not None}) or [0]
    column = {layer: x for x, layer in enumerate(layers)}
    room = 3.3 if narrow else 6.4  # inches for all columns
    pitch = min(1.0, room / len(layers))  # inches a column
    height = 0.75 + (0.42 if narrow else 0.25) * len(drawn) + (0.2 if len(kinds) > MAX_KINDS else 0)
    with drawing(height, narrow=narrow) as (figure, axes):
        for cell in cells:
            if cell.kind in drawn:
                place = (0, len(layers)) if cell.layer is None else (column[cell.layer], 1)
                row = drawn.index(cell.kind), 0.26 if narrow else 0.44
                _cell(axes, place, row, cell.bits, pitch * place[1])
        if pitch < MIN_CELL_INCHES:
            _key(axes, sorted({cell.bits for cell in cells}))
        axes.set_xlim(-0.5, max(len(layers), room / pitch) - 0.5)
        axes.set_ylim(len(drawn) - 0.45, -0.9 if narrow else -0.55)
        row_labels(axes, [_label(kind) for kind in drawn], narrow=narrow)
        every = -(-len(layers) // (10 if narrow else 24))
        axes.set_xticks(range(0, len(layers), every), [str(layer) for layer in layers[::every]])
        more = f"; {len(kinds) - MAX_KINDS} more kinds are in the table" if len(kinds) > MAX_KINDS else ""
        axes.set_xlabel(f"layer{more}", loc="left")
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="x", length=0)
        return svg_of(figure, "bits-narrow" if narrow else "bits")


def _cell(axes: Any, place: tuple[int, int], row: tuple[float, float], bits: int, inches: float) -> None:
    """place: first column and number of columns; row: its middle, and how far up the cell reaches; inches: the width
    of the columns together."""
    from matplotlib.patches import Rectangle

    shade, (x, columns), (y, half) = OPACITY.get(bits, 1.0), place, row
    corner = (x - 0.47, y - half)
    axes.add_patch(Rectangle(corner, columns - 0.06, 2 * half, facecolor=GRAPH, alpha=shade, linewidth=0))
    if inches >= MIN_CELL_INCHES:
        size = TEXT if inches >= 0.2 else TEXT - 2
        middle = x + (columns - 1) / 2
        axes.text(
            middle,
            y,
            f"{bits:g}",
            ha="center",
            va="center",
            fontsize=size,
            color=PAPER if shade >= LIGHT_TEXT_ABOVE else INK,
        )


def _key(axes: Any, used: Sequence[int]) -> None:
    """The legend of shades and bits, for cells that have no room for the number."""
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=GRAPH, alpha=OPACITY.get(bits, 1.0), linewidth=0, label=f"{bits:g}") for bits in used]
    place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": len(used), "borderaxespad": 0.2}
    axes.legend(handles=patches, frameon=False, title="bits", labelcolor=INK, alignment="right", **place)


def _label(kind: str) -> str:
    """A name without the parts that all names share."""
    short = kind
    for _ in range(3):
        short = _ENDS.sub("", short)
    short = re.sub(r"^(layers|h|layer|blocks)\.\*\.", "", short)
    text = safe_line(short or kind)
    return text if len(text) <= MAX_NAME else f"{text[:16]}…{text[-(MAX_NAME - 17) :]}"


def curve_plot(curve: Mapping[str, Any], *, narrow: bool = False) -> str:
    """Predicted and measured errors by bits per weight.

    curve: kind, chosen and points, each of them with bpw, predicted and measured.
    """
    chosen = curve["chosen"]
    widest = max(8.5, 1.3 * chosen["bpw"])
    points = [point for point in (*curve["points"], chosen) if point["bpw"] <= widest]
    predicted = sorted({(p["bpw"], p["predicted"]) for p in points if p["predicted"] > 0})
    measured = sorted({(p["bpw"], p["measured"]) for p in points if p.get("measured")})
    values = [y for _, y in (*predicted, *measured)]
    if not values:
        return ""
    with drawing(3.6 if narrow else 3.1, narrow=narrow) as (figure, axes):
        axes.set_yscale("log")
        _lines(axes, predicted, measured, narrow=narrow)
        _mark(axes, chosen, widest)
        low, high = min(values), max(values)
        ticks = _decades(low, high)
        axes.set_yticks(list(ticks), list(ticks.values()))
        axes.set_yticks([], minor=True)
        axes.set_ylim(min(low, *ticks) / 1.5, max(high, *ticks) * 1.5)
        axes.set_xlabel("bits per weight, whole model")
        label = ERROR_LABELS.get(curve["kind"], "error")
        axes.set_ylabel(folded(label) if narrow else label)
        axes.grid(color=LINE, linewidth=0.6)
        place: dict[str, Any] = {"loc": "upper right"}
        if narrow:  # above the plot: in it, the legend would cover the curve
            place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
        axes.legend(frameon=False, labelcolor=SOFT, **place)
        return svg_of(figure, "curve-narrow" if narrow else "curve")


def _lines(
    axes: Any, predicted: Sequence[tuple[float, float]], measured: Sequence[tuple[float, float]], *, narrow: bool
) -> None:
    axes.plot(
        [x for x, _ in predicted],
        [y for _, y in predicted],
        color=GRAPH,
        linewidth=1.4,
        label="predicted: each matrix alone" if narrow else "predicted: sum of the matrices' own errors",
    )
    if measured:
        xs, ys = [x for x, _ in measured], [y for _, y in measured]
        axes.scatter(xs, ys, s=26, color=ONNX, linewidths=0, label="measured: all matrices together", zorder=3)


def _mark(axes: Any, chosen: Mapping[str, Any], widest: float) -> None:
    """A ring around the chosen point, and its numbers."""
    y = chosen.get("measured") or chosen["predicted"]
    if y <= 0:
        return
    axes.scatter(
        [chosen["bpw"]], [y], s=120, facecolors="none", edgecolors=INK, linewidths=1.5, zorder=4, label="chosen"
    )
    to_right = chosen["bpw"] < 0.6 * widest
    axes.annotate(
        f"{chosen['bpw']:.2f} bits per weight, {y:.3g}",
        (chosen["bpw"], y),
        (10, 6) if to_right else (-10, -14),
        textcoords="offset points",
        ha="left" if to_right else "right",
        color=INK,
        fontsize=TEXT,
    )


def _decades(low: float, high: float) -> dict[float, str]:
    """Round values from `low` to `high` → label: powers of ten, with steps between them if there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = -(-(last - first + 1) // 7)
    ticks = {10.0**exponent: power(exponent) for exponent in range(first, last + 1, step)}
    if last - first <= 2:
        ticks |= {k * 10.0**e: f"{k * 10.0**e:g}" for e in range(first, last) for k in (2, 5)}
    kept = {value: label for value, label in ticks.items() if low / 1.6 <= value <= high * 1.6}
    return kept or ticks
