"""Reports as JUnit XML, as Jenkins' schema junit-10.xsd and GitLab read it.

A suite for each artifact of the bundle holds every row that judges it, and another holds what is about the whole
bundle. The schema allows properties and a file for suites only, so the numbers of the rows are properties of the suite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree

from exporter.report.clean import safe_line, safe_xml
from exporter.report.model import Case, Report
from exporter.report.words import told


def render_junit(report: Report) -> str:
    """The report's cases and a failing case for each error. A suite fails only if the exit code is not 0.

    Names of suites and classes hold the folder that the user named. So the exports of one pipeline are told apart, and
    a case keeps its name whether it passes or fails.
    """
    root = ElementTree.Element("testsuites", name=safe_xml(f"kogata {report.command}"))
    suites = [_suite(report, artifact, cases) for artifact, cases in _grouped(report).items()]
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in suites)))
    if report.seconds is not None:
        root.set("time", f"{report.seconds:.3f}")
    root.extend(suites)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _grouped(report: Report) -> Mapping[str, Sequence[Case]]:
    """Artifact, or "" for the whole bundle → its cases. The whole bundle comes first where it has any."""
    whole = [case for case in report.cases if not case.artifacts]
    whole += [
        Case(" ".join(filter(None, (d.code, d.where))), False, "\n".join(filter(None, (d.message, d.hint))))
        for d in report.diagnostics
        if d.level == "error"
    ]
    if not report.ok and not any(case.passed is False for case in (*report.cases, *whole)):
        whole.append(Case("exit code", False, f"{report.command} ended with exit code {int(report.exit_code)}"))
    if not whole and not report.cases:
        whole = [Case(report.command, True)]
    artifacts = dict.fromkeys(artifact for case in report.cases for artifact in case.artifacts)
    remarks = any(d.level != "error" for d in report.diagnostics)  # the suite of the whole bundle shows them
    if not whole and remarks:
        whole = [Case(report.command, report.ok)]
    groups = {"": whole} if whole else {}
    return groups | {artifact: [c for c in report.cases if artifact in c.artifacts] for artifact in artifacts}


def _suite(report: Report, artifact: str, cases: Sequence[Case]) -> ElementTree.Element:
    subject = report.subject
    name, group = f"kogata {report.command}", f"kogata.{report.command}"
    if subject is not None:
        name = f"{name} {subject.name}{f', {artifact}' if artifact else ''} ({subject.asked})"
        group = f"{group}: {subject.asked}{f'/{artifact}' if artifact else ''}"
    suite = ElementTree.Element(
        "testsuite",
        name=safe_xml(safe_line(name)),
        tests=str(len(cases)),
        failures=str(sum(case.passed is False for case in cases)),
        errors="0",
        skipped=str(sum(case.passed is None for case in cases)),
    )
    seconds = [case.seconds for case in cases if case.seconds is not None]
    if seconds:
        suite.set("time", f"{sum(seconds):.3f}")
    if subject is not None:
        suite.set("file", safe_xml(f"{subject.path}/{artifact}" if artifact else subject.path))
    facts = dict(_facts(report, artifact, cases))
    if facts:
        properties = ElementTree.SubElement(suite, "properties")
        for key, value in facts.items():
            ElementTree.SubElement(properties, "property", name=safe_xml(key), value=safe_xml(value))
    for case in cases:
        _case(suite, group, case, report)
    remarks = [f"{d.level}: {told(d)}" for d in report.diagnostics if d.level != "error" and not artifact]
    if remarks:
        ElementTree.SubElement(suite, "system-out").text = safe_xml("\n".join(remarks))
    return suite


def _facts(report: Report, artifact: str, cases: Sequence[Case]) -> Iterator[tuple[str, str]]:
    """Properties of a suite: the bundle and its verdict, then the numbers of the rows."""
    if report.verdict:
        yield "verdict", report.verdict
    if report.subject is not None:
        yield "model", report.subject.name
        yield "bundle", report.subject.path
    if artifact:
        yield "artifact", artifact
    if report.next_step:
        yield "next step", report.next_step
    for case in cases:
        for number in case.numbers:
            yield f"{case.name}: {number.metric}", f"{number.value} (limit {number.limit})"


def _case(suite: ElementTree.Element, group: str, case: Case, report: Report) -> None:
    element = ElementTree.SubElement(suite, "testcase", classname=safe_xml(safe_line(group)), name=safe_xml(case.name))
    if case.seconds is not None:
        element.set("time", f"{case.seconds:.3f}")
    if case.passed is True:
        lines = [*map(str, case.numbers), case.message]
        if any(lines):
            ElementTree.SubElement(element, "system-out").text = safe_xml("\n".join(filter(None, lines)))
        return
    broken = [str(number) for number in case.numbers if not number.passed]
    kept = [str(number) for number in case.numbers if number.passed]
    lines = [line for line in (*broken, case.message, *kept) if line]
    first = "; ".join(broken) or (case.message.partition("\n")[0])
    if case.passed is False and report.subject is not None:
        lines.append(f"bundle: {report.subject.path}")
        lines += [f"next: {report.next_step}"] if report.next_step else []
    kind = "skipped" if case.passed is None else "failure"
    ElementTree.SubElement(element, kind, message=safe_xml(first)).text = safe_xml("\n".join(lines))
