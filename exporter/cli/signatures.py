"""What `kogata verify` reports of the signatures beside a bundle."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.errors import Diagnostic, ExitCode
from exporter.report import Case, Report, Table

if TYPE_CHECKING:
    from exporter.bundle.signing import Checked, Signatures

_PASSED = {"valid": True, "invalid": False}  # as a case of JUnit; others were skipped
_SHOWN = {"valid": "valid", "invalid": "INVALID", "unchecked": "not checked", "absent": "none"}


def with_signatures(report: Report, found: Signatures, *, sums: bool) -> Report:
    """The report of a verification with its signatures. sums: whether all files are as SHA256SUMS says."""
    both = (found.signature, found.provenance)
    there = [checked for checked in both if checked.status != "absent"]
    problems = [problem for checked in both for problem in checked.problems]
    told = [_unchecked(checked) for checked in there if checked.status == "unchecked"]
    signed: dict[str, dict[str, str]] = {c.what: {"status": c.status, "file": str(c.file)} for c in both}
    table = Table("signatures", ("what", "file", "result"), [(c.what, str(c.file), _SHOWN[c.status]) for c in there])
    cases = [Case(c.what, _PASSED.get(c.status), _message(c)) for c in there]
    return replace(
        report,
        exit_code=report.exit_code or (ExitCode.GATE if problems else ExitCode.OK),
        result={**(report.result or {}), "sums": "valid" if sums else "invalid", "key": found.key, **signed},
        diagnostics=(*report.diagnostics, *problems, *told),
        sections=[*report.sections, *([table] if there else ())],
        cases=[*report.cases, *cases],
    )


def _message(checked: Checked) -> str:
    return "; ".join(f"{problem.where}: {problem.message}" for problem in checked.problems[:5])


def _unchecked(checked: Checked) -> Diagnostic:
    message = f"the {checked.what} was not checked: no public key was given"
    return Diagnostic("signature.unchecked", message, str(checked.file), "--public-key PEM checks it", "note")
