"""Results as text, JSON, JUnit XML, GitHub annotations and summary; parity as a page of HTML."""

from typing import Literal

from exporter.report.github import render_github, render_summary
from exporter.report.junit import render_junit
from exporter.report.machine import render_json, render_json_line
from exporter.report.model import Case, Cell, Number, Report, Subject, Table, shown_size
from exporter.report.page import render_parity_html
from exporter.report.text import Part, render_text

ReportFormat = Literal["text", "json", "junit", "github"]

__all__ = [
    "Case",
    "Cell",
    "Number",
    "Part",
    "Report",
    "ReportFormat",
    "Subject",
    "Table",
    "render",
    "render_json_line",
    "render_parity_html",
    "render_summary",
    "shown_size",
]


def render(
    report: Report, format: ReportFormat, *, part: Part = "all", colour: bool = False, width: int | None = None
) -> str:
    """The report in one format, ending in a newline (text without anything to say is empty).

    For text only: part, see `render_text`; colour: ANSI colours; width: columns that lines fit, None without a
    terminal.
    """
    if format == "json":
        return render_json(report)
    if format == "junit":
        return render_junit(report)
    if format == "github":
        return render_github(report)
    return render_text(report, part=part, colour=colour, width=width)
