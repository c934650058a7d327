"""The report of a model that consists of several graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from exporter.parity.results import ParityReport


def merged(reports: Mapping[str, ParityReport]) -> ParityReport:
    """One report; where there are several components, their rows say which they speak of."""
    if len(reports) == 1:
        return next(iter(reports.values()))
    first = next(iter(reports.values()))
    rows = [replace(row, name=f"{name}: {row.name}") for name, report in reports.items() for row in report.rows]
    findings = [replace(f, message=f"{name}: {f.message}") for name, r in reports.items() for f in r.findings]
    notes = [f"{name}: {report.note}" for name, report in reports.items() if report.note]
    return replace(first, rows=tuple(rows), findings=tuple(findings), note="; ".join(notes))
