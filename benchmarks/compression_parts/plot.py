"""Plots compression curves: loss over bits per weight, with a panel for each model and a line for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

# Method → points (bits per weight, loss). A method has the same colour and mark in every panel.
Curves = Mapping[str, Sequence[tuple[float, float]]]

COLOURS = ("#4053d3", "#ddb310", "#b51d14", "#00beff", "#fb49b0", "#00b25d", "#7a7a7a", "#111111", "#8c5a2b", "#b07cff")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
WIDTH, HEIGHT = 5.2, 4.6  # of a panel, in inches
LEGEND_COLUMNS = 5


def draw(panels: Mapping[str, tuple[str, Curves]], path: Path) -> None:
    """Panel title → (name of the loss, its curves)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    methods = list(dict.fromkeys(method for _, curves in panels.values() for method in curves))
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH * len(panels), HEIGHT), squeeze=False)
    for axis, (title, (loss, curves)) in zip(axes[0], panels.items(), strict=True):
        for method, points in curves.items():
            number = methods.index(method)
            bpw, values = zip(*sorted(points), strict=True)
            # Later lines are thinner and smaller, so that overlapping lines stay visible.
            size = 9 - 6 * number / len(methods)
            style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKS[number % len(MARKS)]}
            axis.plot(bpw, values, label=method, linewidth=size / 3, markersize=size, markerfacecolor="none", **style)
        axis.set(title=title, xlabel="stored bits per weight, whole model", ylabel=loss, yscale="log")
        axis.grid(True, which="major", linewidth=0.4, alpha=0.5)
        axis.spines[["top", "right"]].set_visible(False)
    known = {label: line for axis in axes[0] for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(
        [known[m] for m in methods], methods, loc="lower center", ncols=LEGEND_COLUMNS, fontsize=9, frameon=False
    )
    figure.tight_layout(rect=(0, 0.04 + 0.04 * -(-len(methods) // LEGEND_COLUMNS), 1, 1))
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)
