"""Measurements of `kogata bench` as a report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from exporter.bundle.tree import printable
from exporter.cli.verdict import verdict_findings
from exporter.errors import Diagnostic, ExitCode
from exporter.machine import facts
from exporter.pipeline.bench import Bench
from exporter.pipeline.bench_measures import Measure, Spread, Spreads
from exporter.report import Cell, Report, Table, shown_size

_SIZES = ("memory of the libraries", "memory after load", "peak memory")


def bench_report(done: Bench) -> Report:
    """Tables for people, all numbers for scripts."""
    request, plan = done.request, done.plan
    measured = {subject.label: done.spreads(subject) for subject in done.subjects}
    sides = zip(("A", "B") if len(done.sides) > 1 else ("folder",), done.sides, strict=True)
    conditions = {"threads": request.threads, "rounds": request.repeats, "seed": request.seed}
    if plan.kind == "decoder":
        conditions["decoded tokens"] = plan.tokens
    busy = f"{done.load:.1f} of {os.cpu_count() or 1} processors"  # numbers of a busy machine are worth little
    told: list[tuple[str, Cell]] = [(name, printable(str(side.path))) for name, side in sides]
    sections: list[Table | str] = [
        Table("", ("", ""), [*told, *conditions.items(), ("busy before", busy)]),
        Table(f"load and memory: {_of(request.repeats)}", _LOADED, [_loaded(done, s.label) for s in done.subjects]),
        _speeds(measured, request.repeats),
    ]
    for (first, second), ratios in done.ratios().items():
        rows = [(*_named(measure), *_range(spread)) for measure, spread in ratios.items()]
        title = f"{first} divided by {second}: ratios of {_rounds(request.repeats)}"
        sections.append(Table(title, ("measure", "tokens", "batch", "median", "smallest", "largest"), rows))
    return Report("bench", ExitCode.OK, _result(done), _findings(done), sections)


_LOADED = ("", "engine", "model", "load", "processor", "libraries", "after load", "peak")


def _loaded(done: Bench, label: str) -> tuple[Cell, ...]:
    subject = next(s for s in done.subjects if s.label == label)
    spreads = done.spreads(subject)
    seconds = (f"{spreads[Measure(name)].median:.3g} s" for name in ("load s", "load processor s"))
    sizes = (shown_size(int(spreads[Measure(name)].median)) for name in _SIZES)
    return (label, done.runner(subject), shown_size(subject.bytes), *seconds, *sizes)


def _speeds(measured: Mapping[str, Spreads], repeats: int) -> Table:
    rows = [
        (label, *_named(measure), *_range(spread))
        for label, spreads in measured.items()
        for measure, spread in spreads.items()
        if measure.context is not None
    ]
    columns = ("", "measure", "tokens", "batch", "median", "smallest", "largest")
    return Table(f"speed: {_rounds(repeats)}", columns, rows)


def _named(measure: Measure) -> tuple[Cell, Cell, Cell]:
    return measure.name, measure.context, measure.batch


def _range(spread: Spread) -> tuple[Cell, ...]:
    return tuple(f"{x:.3g}" if x < 100 else f"{x:.0f}" for x in (spread.median, min(spread.values), max(spread.values)))


def _of(repeats: int) -> str:
    return f"medians of {_rounds(repeats)}" if repeats > 1 else _rounds(repeats)


def _rounds(repeats: int) -> str:
    return f"{repeats} round{'s' * (repeats > 1)}"


def _findings(done: Bench) -> tuple[Diagnostic, ...]:
    failed = (verdict_findings(m) for m in done.manifests if m.verdict == "failed")
    warnings = (replace(finding, level="warning") for found in failed for finding in found)
    return (*warnings, *done.left_out)


def _result(done: Bench) -> dict[str, Any]:
    request, plan = done.request, done.plan
    return {
        "machine": {**facts(), "load": done.load},
        "conditions": {
            "threads": request.threads,
            "repeats": request.repeats,
            "seed": request.seed,
            "contexts": list(plan.contexts),
            "batches": list(plan.batches),
            "tokens": plan.tokens if plan.kind == "decoder" else None,
        },
        "subjects": [
            {
                "label": subject.label,
                "path": str(subject.model),
                "form": str(subject.form) if subject.form else None,
                "engine": subject.engine,
                "runner": done.runner(subject),
                "kind": subject.kind,
                "bytes": subject.bytes,
                "measures": _measures(done.spreads(subject)),
            }
            for subject in done.subjects
        ],
        "rounds": [{"subject": r.subject.label, "round": r.number, **r.answer} for r in done.rounds],
        "ratios": [
            {"of": first, "to": second, "measures": _measures(ratios)}
            for (first, second), ratios in done.ratios().items()
        ],
        "left_out": [{"what": note.where, "why": note.message} for note in done.left_out],
    }


def _measures(spreads: Spreads) -> list[dict[str, Any]]:
    pairs: Iterable[tuple[Measure, Spread]] = spreads.items()
    return [{**measure.as_json(), **spread.as_json()} for measure, spread in pairs]
