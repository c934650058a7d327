"""Reports for GitHub Actions: annotations on stdout, and a page of Markdown for the step's summary."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from exporter.report.clean import safe_line, safe_text
from exporter.report.model import Case, Report
from exporter.report.words import told

MAX_SUMMARY_BYTES = 1_000_000  # GitHub refuses summaries above 1 MiB, all commands of a step together
_KINDS = {"error": "error", "warning": "warning", "note": "notice"}
_MARKDOWN = re.compile(r"[\\`*_{}\[\]()#+!|~@$>-]")


def render_github(report: Report) -> str:
    """Workflow commands, one line each: the verdict, then every diagnostic. There are no other lines, since GitHub
    might read them as commands. The verdict comes first, because GitHub shows ten annotations of a kind in a step.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    name = f"{report.subject.name}: " if report.subject else ""
    lines = []
    has_errors = any(d.level == "error" for d in report.diagnostics)
    if report.verdict or report.ok or not has_errors:
        said = f"verdict: {report.verdict}" if report.verdict else ""
        ended = "done" if report.ok else "" if has_errors else f"ended with exit code {int(report.exit_code)}"
        message = "; ".join(filter(None, (ended, said)))
        kind = "notice" if report.ok else "error"
        lines.append(_annotation(kind, f"{name}kogata {report.command}", message + _directions(report)))
    for diagnostic in report.diagnostics:
        more = _directions(report) if diagnostic.level == "error" else ""
        lines.append(_annotation(_KINDS[diagnostic.level], f"{name}{diagnostic.code}", told(diagnostic) + more))
    return "".join(line + "\n" for line in lines)


def _directions(report: Report) -> str:
    """Where the bundle is and what to do next. An annotation is shown alone, so each has them."""
    bundle = f"\nbundle: {report.subject.path}" if report.subject else ""
    return bundle + (f"\nnext: {report.next_step}" if report.next_step else "")


def _annotation(kind: str, title: str, message: str) -> str:
    data = safe_text(message).replace("%", "%25").replace("\n", "%0A")  # safe_text leaves no carriage return
    name = safe_line(title).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={name}::{data}"


def render_summary(report: Report) -> str:
    """GitHub-flavoured Markdown: the verdict, the bundle, every row with its numbers and limits, what is wrong, and
    what to do next. It ends in a newline.
    """
    blocks = [*_head(report), *_rows(report.cases), *_diagnostics(report)]
    if report.next_step:
        blocks.append(f"**Next:** {_escaped(report.next_step)}")
    text = "\n\n".join(blocks) + "\n\n"
    raw = text.encode("utf-8", "replace")
    if len(raw) <= MAX_SUMMARY_BYTES:
        return text
    cut = raw[:MAX_SUMMARY_BYTES].decode("utf-8", "ignore").rpartition("\n")[0]
    return f"{cut}\n\nThe rest was left out, because GitHub takes no more than 1 MiB.\n\n"


def _head(report: Report) -> Iterator[str]:
    name = f" {_escaped(report.subject.name)}" if report.subject else ""
    outcome = report.verdict or ("done" if report.ok else "failed")
    yield f"### kogata {_escaped(report.command)}{name}: {_escaped(outcome)}"
    facts = [f"Bundle: {_escaped(report.subject.path)}"] if report.subject else []
    yield "<br>".join([*facts, f"Exit code: {int(report.exit_code)}"])


def _rows(cases: Sequence[Case]) -> Iterator[str]:
    if not cases:
        return
    lines = ["| row | file | metric | value | limit | |", "|---|---|---|---:|---:|---|"]
    for case in cases:
        file = ", ".join(case.artifacts)
        for number in case.numbers:
            cells = (case.name, file, number.metric, number.value, number.limit, _outcome(number.passed))
            lines.append(_line(cells, strong=not number.passed))
        if not case.numbers:
            cells = (case.name, file, case.message, "", "", _outcome(case.passed))
            lines.append(_line(cells, strong=case.passed is False))
    yield "\n".join(lines)


def _line(cells: Sequence[str], *, strong: bool) -> str:
    shown = [_escaped(cell) for cell in cells]
    return "| " + " | ".join(f"**{cell}**" if strong and cell else cell for cell in shown) + " |"


def _outcome(passed: bool | None) -> str:
    return "unchecked" if passed is None else "passed" if passed else "failed"


def _diagnostics(report: Report) -> Iterator[str]:
    lines = [f"- **{d.level}** {_escaped(d.code)}: {_escaped(told(d))}" for d in report.diagnostics]
    if lines:
        yield "\n".join(lines)


def _escaped(text: str) -> str:
    """As GitHub shows it: no character of it is Markdown or HTML, and it stays in one line of a table."""
    plain = safe_text(text).strip().replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(r"\\\g<0>", plain).replace("\n", "<br>").replace("\t", " ")
