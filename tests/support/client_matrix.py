"""The table of docs/clients.md: which client was run with which model, and what was compared."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"
_HEAD = "| client | version | form | models | compared with the reference | result |\n|---|---|---|---|---|---|\n"


@dataclass(frozen=True, order=True)
class Row:
    """client, version: exact. form: of the ONNX file. compared: what was equal. result: "equal", or why it can't run.

    model: one model or family; rows that differ in it alone become one line of the table.
    """

    client: str
    version: str
    form: str
    compared: str
    result: str
    model: str


@dataclass
class Matrix:
    """Rows of the tests that passed."""

    rows: set[Row] = field(default_factory=set)

    def add(self, row: Row) -> None:
        self.rows.add(row)

    def lines(self) -> list[str]:
        """The table's lines, sorted."""
        models: dict[tuple[str, ...], list[str]] = {}
        for row in sorted(self.rows):
            models.setdefault((row.client, row.version, row.form, row.compared, row.result), []).append(row.model)
        return [
            f"| {client} | {version} | {form} | {', '.join(names)} | {compared} | {result} |"
            for (client, version, form, compared, result), names in models.items()
        ]

    def written_into(self, page: str) -> str:
        """The page with these rows instead of its own."""
        table = f"{_BEGIN}\n{_HEAD}" + "\n".join(self.lines()) + f"\n{_END}"
        found, count = re.subn(f"{_BEGIN}.*?{_END}", lambda _: table, page, flags=re.DOTALL)
        assert count == 1, f"the page needs one {_BEGIN} … {_END}"
        return found

    def missing_from(self, page: str) -> list[str]:
        """Rows, each as a line of its own, that the page's table doesn't have."""
        held = []
        for line in re.search(f"{_BEGIN}(.*?){_END}", page, re.DOTALL)[1].splitlines():  # type: ignore[index]
            client, version, form, models, compared, result = ([*line.strip("| ").split(" | "), *6 * [""]])[:6]
            held += [Row(client, version, form, compared, result, model) for model in models.split(", ")]
        return [str(row) for row in sorted(self.rows - set(held))]
