"""Reports for people: aligned tables, then what is wrong and what to do about it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

from exporter.errors import Diagnostic
from exporter.report.clean import safe_line, safe_text
from exporter.report.model import Cell, Report, Table

_NUMBER = re.compile(r"[-+−]?[\d,.]+(e[-+]?\d+)?( ?(%|[kMG]?B|dB|[a-z]{1,4}))?")
_ABSENT = "–"
_STYLES = {
    "error": "1;31",
    "warning": "1;33",
    "note": "1;36",
    "hint": "1;36",
    "title": "1",
    "header": "2",
    "passed": "32",
    "failed": "1;31",
    "unchecked": "33",
}


def render_text(report: Report, *, colour: bool = False) -> str:
    """Sections, then diagnostics, with a blank line between any two; ends in a newline unless empty."""
    blocks = [
        _table(section, colour) if isinstance(section, Table) else safe_text(section.rstrip("\n"))
        for section in report.sections
    ]
    blocks += [_diagnostic(diagnostic, colour) for diagnostic in report.diagnostics]
    if not report.ok and not any(d.level == "error" for d in report.diagnostics):
        ended = Diagnostic("report.exit-code", f"{report.command} ended with exit code {int(report.exit_code)}")
        blocks.append(_diagnostic(ended, colour))
    return "\n\n".join(block for block in blocks if block) + "\n" if any(blocks) else ""


def _diagnostic(diagnostic: Diagnostic, colour: bool) -> str:
    told = not diagnostic.where or diagnostic.where in diagnostic.message
    where = "" if told else f"{safe_line(diagnostic.where)}: "
    lines = [f"{_styled(diagnostic.level + ':', diagnostic.level, colour)} {where}{_indented(diagnostic.message)}"]
    if diagnostic.hint:
        lines += ["", f"{_styled('hint:', 'hint', colour)} {_indented(diagnostic.hint)}"]
    return "\n".join(lines)


def _indented(text: str) -> str:
    """Further lines are indented, so that none of them can pass for a line of its own."""
    return safe_text(text).replace("\n", "\n  ")


def _table(table: Table, colour: bool) -> str:
    header = [safe_line(column) for column in table.columns]
    rows = [[_shown(cell) for cell in row] for row in table.rows]
    columns = list(zip_longest(*rows, fillvalue="")) if rows else [() for _ in header]
    right = [_is_numeric(column) for column in columns]
    widths = [max([_width(h), *map(_width, column)]) for h, column in zip(header, columns, strict=True)]
    lines = [_styled(safe_line(table.title), "title", colour)] if table.title else []
    if any(header):
        lines.append(_styled(_joined(header, widths, right), "header", colour))
    lines += [_coloured_row(row, _joined(row, widths, right), colour) for row in rows]
    return "\n".join(lines)


def _shown(cell: Cell) -> str:
    if cell is None:
        return _ABSENT
    return f"{cell:.4g}" if isinstance(cell, float) else safe_line(str(cell))


def _joined(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        " " * (width - _width(cell)) + cell if to_right else cell + " " * (width - _width(cell))
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _coloured_row(cells: Sequence[str], line: str, colour: bool) -> str:
    """A verdict is coloured where a cell holds nothing else; the cell's last occurrence in the line is that cell."""
    for verdict in ("passed", "failed", "unchecked"):
        if colour and verdict in cells:
            before, _, after = line.rpartition(verdict)
            return before + _styled(verdict, verdict, colour) + after
    return line


def _is_numeric(column: Sequence[str]) -> bool:
    filled = [cell for cell in column if cell not in ("", _ABSENT)]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def _width(text: str) -> int:
    """Columns on a terminal: East Asian wide characters take two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _styled(text: str, style: str, colour: bool) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour else text
