"""Reports for programs: the JSON envelope, JUnit XML, GitHub annotations."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from exporter.errors import Diagnostic
from exporter.report.clean import safe_json, safe_line, safe_text, safe_xml
from exporter.report.model import Case, Report


def render_json(report: Report) -> str:
    """The same envelope on success and on failure. NaN and infinity become null, because JSON can't hold them."""
    return _json(_envelope(report), 2)


def render_json_line(report: Report) -> str:
    """The envelope of `render_json` in one line."""
    return _json(_envelope(report), None)


def json_line(value: Mapping[str, Any]) -> str:
    """A value in one line, written as `render_json` writes it."""
    return _json(value, None)


def _envelope(report: Report) -> Mapping[str, Any]:
    return {
        "command": report.command,
        "ok": report.ok,
        "exit_code": int(report.exit_code),
        **({"verdict": report.verdict} if report.verdict else {}),
        "result": report.result,
        "diagnostics": [diagnostic.as_json() for diagnostic in report.diagnostics],
    }


def _json(value: Mapping[str, Any], indent: int | None) -> str:
    return safe_json(json.dumps(_finite(value), ensure_ascii=False, indent=indent, allow_nan=False)) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def render_junit(report: Report) -> str:
    """One test suite: the report's cases and a failing case for each error. It fails if the exit code is not 0."""
    cases = [*report.cases]
    cases += [
        Case(" ".join(filter(None, (d.code, d.where))), False, "\n".join(filter(None, (d.message, d.hint))))
        for d in report.diagnostics
        if d.level == "error"
    ]
    if not report.ok and not any(case.passed is False for case in cases):
        cases.append(Case("exit code", False, f"{report.command} ended with exit code {int(report.exit_code)}"))
    cases = cases or [Case(report.command, True)]
    suite = ElementTree.Element(
        "testsuite",
        name=f"kogata {safe_xml(report.command)}",
        tests=str(len(cases)),
        failures=str(sum(case.passed is False for case in cases)),
        errors="0",
        skipped=str(sum(case.passed is None for case in cases)),
    )
    if report.verdict:
        properties = ElementTree.SubElement(suite, "properties")
        ElementTree.SubElement(properties, "property", name="verdict", value=safe_xml(report.verdict))
    for case in cases:
        _junit_case(suite, f"kogata.{report.command}", case)
    remarks = [f"{d.level}: {_told(d)}" for d in report.diagnostics if d.level != "error"]
    if remarks:
        ElementTree.SubElement(suite, "system-out").text = safe_xml("\n".join(remarks))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _junit_case(suite: ElementTree.Element, group: str, case: Case) -> None:
    element = ElementTree.SubElement(suite, "testcase", classname=safe_xml(group), name=safe_xml(case.name))
    if case.passed is True:
        if case.message:
            ElementTree.SubElement(element, "system-out").text = safe_xml(case.message)
        return
    first, _, _ = case.message.partition("\n")
    kind = "skipped" if case.passed is None else "failure"
    ElementTree.SubElement(element, kind, message=safe_xml(first)).text = safe_xml(case.message)


def render_github(report: Report) -> str:
    """Workflow commands, one line per diagnostic. There are no other lines, since GitHub might read them as commands.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    kinds = {"error": "error", "warning": "warning", "note": "notice"}
    lines = [_annotation(kinds[d.level], d.code, _told(d)) for d in report.diagnostics]
    if not report.ok and not any(d.level == "error" for d in report.diagnostics):
        message = f"ended with exit code {int(report.exit_code)}"
        lines.append(_annotation("error", f"kogata {report.command}", message))
    verdict = f"verdict: {report.verdict}" if report.verdict else ""
    if report.ok:
        lines.append(_annotation("notice", f"kogata {report.command}", f"done; {verdict}" if verdict else "done"))
    elif verdict:
        lines.append(_annotation("error", f"kogata {report.command}", verdict))
    return "".join(line + "\n" for line in lines)


def _told(diagnostic: Diagnostic) -> str:
    where = f"{safe_line(diagnostic.where)}: " if diagnostic.where else ""
    hint = f"\nhint: {diagnostic.hint}" if diagnostic.hint else ""
    return f"{where}{diagnostic.message}{hint}"


def _annotation(kind: str, title: str, message: str) -> str:
    data = safe_text(message).replace("%", "%25").replace("\n", "%0A")  # safe_text leaves no carriage return
    name = safe_line(title).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={name}::{data}"
