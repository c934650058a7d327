"""`python -m exporter.cli.reference` prints docs/commands.md from the commands' own help; a test keeps the two equal."""

from __future__ import annotations

import re

import typer

from exporter.cli.main import app

INTRODUCTION = """\
# Commands

Made from `kogata COMMAND --help` by `python -m exporter.cli.reference`.

The report goes to stdout; progress goes to stderr (bars on a terminal, a line per stage elsewhere, nothing with
`--quiet` or `NO_PROGRESS`). `NO_COLOR` is respected. `--format json` gives one envelope on success and on failure:
`{"command", "ok", "exit_code", "result", "diagnostics": [{"code", "level", "message", "where", "hint"}]}`.
The format never changes the exit code.

| exit | meaning |
|---|---|
| 0 | done, all gates passed |
| 1 | a gate failed: parity, size or integrity |
| 2 | wrong usage, or an unreadable or damaged input |
| 3 | a model, op or feature that is not supported; everything that is missing is listed at once |
| 4 | a runtime that was asked for is absent |
| 70 | a bug in Kogata; `KOGATA_TRACEBACK=1` shows where |
| 130 | interrupted |

A prompt file is text with one prompt a line, or `.jsonl` with `"text"`, `"prompt"` or `"messages"` in each line.
A task file is `.jsonl` with `"prompt"` (or `"messages"`) and `"expected"`, and `"group"` or `"language"` for numbers
per group; an answer counts when greedy decoding yields exactly the expected text.
"""


def reference() -> str:
    """The page."""
    root = typer.main.get_command(app)
    parts = [INTRODUCTION]
    for name, command in sorted(getattr(root, "commands").items()):  # noqa: B009 - Typer keeps the group's type private
        context = command.make_context(f"kogata {name}", ["--help"], resilient_parsing=True, max_content_width=100)
        context.terminal_width = 100
        text = re.sub(r"[ \t]+$", "", command.get_help(context), flags=re.MULTILINE)
        parts.append(f"## kogata {name}\n\n```\n{text.strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(reference(), end="")
