"""The parity report as one self-contained HTML page, without scripts, fonts or network access."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exporter.formats import TITLES, default_form, read_form
from exporter.report import bit_plots, plots
from exporter.report.clean import safe_text
from exporter.report.model import shown_size

VERDICTS = {"passed": "Passed", "failed": "Failed", "unchecked": "Unchecked"}
# Errors that an app notices: metric → label of the axis, and the smallest error on it (smaller ones are plotted there).
NOTICED = {
    "kl": ("KL divergence from the reference in nats", 1e-9),
    "cosine": ("1 − cosine to the reference's embedding", 1e-6),  # samples have 6 digits
}
IDENTICAL_DB = 300  # parity's PSNR of equal outputs


def render_parity_html(name: str, parity: Mapping[str, Any], compression: Mapping[str, Any] | None = None) -> bytes:
    """The page, UTF-8. Equal arguments give equal bytes.

    name: the model's. parity: `ParityReport.as_json()`. compression: `bits`, `group_size`, `bpw`, `parameters`,
    `stored_bytes` and `tensors`, each with name, shape, bits (None: kept), group_size, stored_bytes, reason, psnr_db.
    With mixed bits also `mixed` (the option), `palette_bits` (their mean) and `curve` (None, or as `curve_plot` says).
    Where palettes were fitted to text `calibration`: a mapping of `FitFacts` for each graph.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("exporter.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"safe_text": safe_text, "number": _number, "size": shown_size, "title_of": _title}
    text = environment.get_template("parity.html.jinja").render(
        name=name,
        parity=parity,
        verdicts=VERDICTS,
        rows=[{**row, "shown": _shown(row["thresholds"]), "tells": _tells(row)} for row in parity["rows"]],
        metrics=parity["metrics"],
        compression=compression,
        kinds=_kinds(compression["tensors"]) if compression else [],
        psnr_plot=_psnr_plot(parity["rows"]),
        noticed_plot=_noticed_plot(parity["rows"]),
        weight_plot=_weight_plot(compression["tensors"]) if compression else "",
        bits_plot=plots.both(bit_plots.bits_plot, compression["tensors"])
        if compression and compression.get("mixed")
        else "",
        curve=compression.get("curve") if compression else None,
        curve_plot=plots.both(bit_plots.curve_plot, compression["curve"])
        if compression and compression.get("curve")
        else "",
        ran=_ran(parity["rows"]),
        runners=sorted({runner for row in parity["rows"] for runner in row["runners"]}),
    )
    return text.encode("utf-8", "replace")


def _ran(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Artifact → what executed it: in its end-to-end row where there is one, else in every row about it alone."""

    def name(artifact: str) -> str:
        form = read_form(artifact)
        return artifact if form is None else form.label

    ran: dict[str, list[str]] = {}
    for artifact in sorted({artifact for row in rows for artifact in row["artifacts"]}):
        about = [row for row in rows if row["artifacts"] == [artifact]]
        chosen = [row for row in about if row["name"] == name(artifact)] or about
        ran[artifact] = sorted({row["runners"][1] for row in chosen})
    return ran


def _psnr_plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every row with samples. The markup is safe, since matplotlib escapes what it writes."""
    strips = [_strip(row, row["samples"]["psnr_db"]) for row in rows if row["samples"].get("psnr_db")]
    return plots.both(plots.strip_plot, strips, plots.psnr_axis(IDENTICAL_DB), "psnr") if strips else ""


def _noticed_plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows with a limit on errors that an app notices."""
    for metric, (axis, floor) in NOTICED.items():
        strips = [
            _strip(row, [_error(metric, value) for value in row["samples"][metric]])
            for row in rows
            if row["samples"].get(metric) and any(check["metric"].startswith(metric) for check in row["thresholds"])
        ]
        if strips:
            return plots.both(plots.strip_plot, strips, plots.error_axis(axis, strips, floor), "noticed")
    return ""


def _strip(row: Mapping[str, Any], values: Sequence[float | None]) -> plots.Strip:
    return plots.Strip(row["name"], values, _colour(row["artifacts"]))


def _error(metric: str, value: float | None) -> float | None:
    return value if value is None or metric == "kl" else 1 - value


def _colour(artifacts: Sequence[str]) -> str:
    form = read_form(artifacts[0]) if len(artifacts) == 1 else None
    return plots.GRAPH if form is None else plots.FORMAT_COLOURS[form.format]


def _weight_plot(tensors: Sequence[Mapping[str, Any]]) -> str:
    drawn = [tensor for tensor in tensors if tensor.get("psnr_db") is not None]
    return plots.both(plots.weight_plot, drawn) if drawn else ""


def _shown(checks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The checks to show: all but the check for NaN where it passed."""
    return [check for check in checks if not (check["metric"] == "non_finite" and check["passed"])]


def _tells(row: Mapping[str, Any]) -> bool:
    """Whether to show the worst prompts. Rows that differ only by rounding don't show them."""
    return bool(row["worst_prompts"]) and (row["verdict"] == "failed" or row["worst_prompts"][0]["metric"] in NOTICED)


def _kinds(tensors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tensors grouped by what was done to them: count, bytes, and the range of their PSNR."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for tensor in tensors:
        reason = tensor["reason"]
        kept = reason if reason.startswith("not stored") else f"kept: {reason}"
        fate = kept if tensor["bits"] is None else f"{tensor['bits']} bits"
        kinds.setdefault(fate, []).append(tensor)
    rows = []
    for fate, members in kinds.items():
        known = [t["psnr_db"] for t in members if t.get("psnr_db") is not None]
        rows.append(
            {
                "fate": fate,
                "count": len(members),
                "bytes": sum(t["stored_bytes"] for t in members),
                "psnr": (min(known), max(known)) if known else None,
            }
        )
    return sorted(rows, key=lambda kind: -kind["bytes"])


def _title(artifact: str) -> str:
    form = read_form(artifact)
    if form is None:
        return artifact
    return TITLES[form.format] if form == default_form(form.format) else f"{TITLES[form.format]}, {form.name}"


def _number(value: float | None, metric: str = "", beside: float | None = None) -> str:
    """Four significant digits, and six just below 1, so that 0.99999 isn't shown as a perfect score.

    beside: a limit; the number gets the digits that it takes to tell them apart.
    """
    if value is None:
        return "not finite"
    if metric.endswith("psnr_db") and value >= IDENTICAL_DB:
        return "identical"
    if isinstance(value, int):
        return f"{value:,}"
    short = f"{value:.6f}" if 0.999 < value < 1 else f"{value:.4g}"
    digits = (n for n in range(5, 18) if float(f"{value:.{n}g}") != beside)
    return short if float(short) != beside or value == beside else f"{value:.{next(digits)}g}"
