"""Reports for people: tables that fit the width, then what is wrong and what to do about it.

A line ends between two words, never inside a number, a hash or a path, and never between a number and its unit.
A table that can't be drawn that way is written row by row, one `column: value` per line.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from exporter.errors import Diagnostic
from exporter.report.clean import safe_line, safe_text
from exporter.report.model import Cell, Report, Table

WIDTH = 100  # columns of tables that aren't written to a terminal
_LEAST_WIDTH = 20  # below that, lines are as for that
_READABLE = 16  # columns: text that is wrapped more narrowly is hard to read
_NUMBER = re.compile(r"∞|[-+−]?[\d,.]+(e[-+]?\d+)?( ?(%|[kMG]?B|dB|[a-z]{1,4}))?")
_UNIT = re.compile(r"(?<=\d) (?=([kMGT]i?B(/s)?|bytes|bits?|dB|TOPS|%)(?!\w))")
_GLUE = "\ue000"  # stands for the space before a unit while lines are wrapped: nothing breaks there
_ANSI = re.compile(r"\x1b\[[\d;]*m")
_ABSENT = "–"
Part = Literal["all", "report", "messages"]
_STYLES = {
    "error": "bold red",
    "warning": "bold yellow",
    "note": "bold cyan",
    "hint": "bold cyan",
    "passed": "green",
    "failed": "bold red",
    "unchecked": "yellow",
}


def render_text(report: Report, *, part: Part = "all", colour: bool = False, width: int | None = None) -> str:
    """Sections, then diagnostics, with a blank line between any two; ends in a newline unless empty.

    part: "messages" are the errors, which belong on stderr, and "report" is the rest. A report that is an answer has
    only the answer on stdout.
    width: columns that lines fit, unless a single word is longer. None: tables fit `WIDTH`, and messages aren't
    wrapped, so that scripts can search for them.
    """
    page = _Page(colour, max(width or WIDTH, _LEAST_WIDTH), wraps=width is not None)
    diagnostics = list(report.diagnostics)
    if not report.ok and not any(d.level == "error" for d in diagnostics):
        message = f"{report.command} ended with exit code {int(report.exit_code)}"
        diagnostics.append(Diagnostic("report.exit-code", message))
    if part != "all":
        diagnostics = [d for d in diagnostics if _is_message(report, d) == (part == "messages")]
    blocks = [
        page.table(section) if isinstance(section, Table) else safe_text(section.rstrip("\n"))
        for section in (report.sections if part != "messages" else ())
    ]
    blocks += [page.diagnostic(diagnostic) for diagnostic in diagnostics]
    return "\n\n".join(block for block in blocks if block) + "\n" if any(blocks) else ""


def _is_message(report: Report, diagnostic: Diagnostic) -> bool:
    return diagnostic.level == "error" or report.is_answer


@dataclass(frozen=True)
class _Page:
    colour: bool
    width: int
    wraps: bool

    def diagnostic(self, diagnostic: Diagnostic) -> str:
        """`error:` and what is wrong; a blank line, then `hint:` and what to do."""
        told = not diagnostic.where or diagnostic.where in diagnostic.message
        where = "" if told else f"{safe_line(diagnostic.where)}: "
        lines = self._labelled(diagnostic.level, where + safe_text(diagnostic.message))
        return f"{lines}\n\n{self._labelled('hint', safe_text(diagnostic.hint))}" if diagnostic.hint else lines

    def _labelled(self, label: str, text: str) -> str:
        lines = _wrapped(f"{label}:{_GLUE}{text}", self.width if self.wraps else sys.maxsize)
        return self._styled(f"{label}:", _STYLES[label]) + lines.removeprefix(f"{label}:")

    def table(self, table: Table) -> str:
        """Title, header and rows; row by row where columns don't fit."""
        from rich.cells import cell_len

        header = [safe_line(column) for column in table.columns]
        rows = [[_shown(cell) for cell in row] for row in table.rows]
        body = self._columns(header, rows)
        drawn = _ANSI.sub("", body)
        words = Counter(" ".join(cell for row in [header, *rows] for cell in row).split())
        if not words <= Counter(drawn.split()) or max(map(cell_len, drawn.split("\n"))) > self.width:
            body = "\n".join(_stacked(header, row, self.width) for row in rows)
        title = [self._styled(_wrapped(safe_line(table.title), self.width), "bold")] if table.title else []
        return "\n".join([*title, *([body] if body else [])]).replace(_GLUE, " ")

    def _columns(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        """Cells side by side. The first column isn't wrapped: no cell can put a word of its own at a line's start."""
        from rich import table
        from rich.cells import cell_len
        from rich.console import Console
        from rich.text import Text  # never markup: `[red]` in a name is printed as it is

        grid = table.Table(box=None, show_header=any(header), header_style="", pad_edge=False, padding=(0, 2, 0, 0))
        for index, name in enumerate(header):
            cells = [row[index] for row in rows]
            numeric = _is_numeric(cells)
            grid.add_column(
                Text.assemble((name, "dim")),
                justify="right" if numeric else "left",
                no_wrap=numeric or index == 0,
                overflow="fold",
                min_width=min(_READABLE, max(map(cell_len, cells), default=0)),
            )
        for row in rows:
            grid.add_row(*(Text.assemble((cell, _STYLES.get(cell, ""))) for cell in row))
        console = Console(width=self.width, color_system="standard" if self.colour else None, no_color=False)
        with console.capture() as captured:
            console.print(grid)
        return "\n".join(line.rstrip(" ") for line in captured.get().rstrip("\n").split("\n"))

    def _styled(self, text: str, style: str) -> str:
        from rich.style import Style

        return Style.parse(style).render(text) if self.colour else text


def _stacked(header: Sequence[str], row: Sequence[str], width: int) -> str:
    """One cell a line; those after the first are indented. A first column without a name names the second's value."""
    cells = [f"{name}: {cell}" if name and cell else cell for name, cell in zip(header, row, strict=True)]
    if len(cells) > 1 and not header[0]:
        cells[:2] = [": ".join(filter(None, row[:2]))]
    first, *others = (_wrapped(cell, width - 2) for cell in cells)
    return "\n".join([first, *(textwrap.indent(cell, "  ") for cell in others if cell)])


def _wrapped(text: str, width: int) -> str:
    """Every line but the first is indented, so that none can pass for a line of its own."""
    lines = [
        textwrap.fill(
            line,
            width,
            initial_indent="  " if number else "",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for number, line in enumerate(_UNIT.sub(_GLUE, text).split("\n"))
    ]
    return "\n".join(lines).replace(_GLUE, " ")


def _shown(cell: Cell) -> str:
    if cell is None:
        return _ABSENT
    return f"{cell:.4g}" if isinstance(cell, float) else _UNIT.sub(_GLUE, safe_line(str(cell)))


def _is_numeric(column: Sequence[str]) -> bool:
    filled = [cell.replace(_GLUE, " ") for cell in column if cell not in ("", _ABSENT)]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)
