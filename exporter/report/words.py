"""A diagnostic in words, as JUnit and GitHub show it."""

from __future__ import annotations

from exporter.errors import Diagnostic
from exporter.report.clean import safe_line


def told(diagnostic: Diagnostic) -> str:
    """`where: message`, and the hint in a line of its own."""
    where = f"{safe_line(diagnostic.where)}: " if diagnostic.where else ""
    hint = f"\nhint: {diagnostic.hint}" if diagnostic.hint else ""
    return f"{where}{diagnostic.message}{hint}"
