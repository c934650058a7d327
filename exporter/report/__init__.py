"""Results as text, JSON, JUnit XML, GitHub annotations; parity as a page of HTML."""

from typing import Literal

from exporter.report.machine import render_github, render_json, render_junit
from exporter.report.model import Case, Cell, Report, Table, shown_size
from exporter.report.page import render_parity_html
from exporter.report.text import render_text

ReportFormat = Literal["text", "json", "junit", "github"]

__all__ = ["Case", "Cell", "Report", "ReportFormat", "Table", "render", "render_parity_html", "shown_size"]


def render(report: Report, format: ReportFormat, *, colour: bool = False, width: int | None = None) -> str:
    """The report in one format, ending in a newline (text without anything to say is empty).

    colour: ANSI colours; width: columns that lines fit, None without a terminal. Both are for text only.
    """
    if format == "json":
        return render_json(report)
    if format == "junit":
        return render_junit(report)
    if format == "github":
        return render_github(report)
    return render_text(report, colour=colour, width=width)
