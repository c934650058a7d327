"""The verdict that a bundle got when it was exported, as reports show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.errors import Diagnostic, ExitCode
from exporter.report import Case, Report, Table

if TYPE_CHECKING:
    from exporter.bundle import Manifest, VerifyResult
    from exporter.errors import Level

_PASSED = {"passed": True, "failed": False, "unchecked": None}  # as a case of JUnit


def verify_report(found: VerifyResult, *, require_passed: bool) -> Report:
    """Files and verdict. require_passed: a bundle that was never compared with its checkpoint is an error too."""
    manifest = found.manifest
    result = {"files": found.files, "bytes": found.bytes, "ignored": list(found.ignored)}
    notes = tuple(
        Diagnostic("bundle.ignored", "is no part of the bundle and was ignored: Finder left it", file, level="note")
        for file in found.ignored
    )
    sections = [f"{found.files} files, {found.bytes:,} bytes: all as packed"] if found.ok else []
    if manifest is None:
        return Report("verify", ExitCode.GATE, result, (*found.diagnostics, *notes), sections)
    told = verdict_findings(manifest, "error" if require_passed else "warning")
    failed = not found.ok or any(d.level == "error" for d in told)
    rows = [(path, facts.verdict) for path, facts in manifest.parity.items()]
    verdicts = {path: facts.verdict for path, facts in manifest.parity.items()}
    return Report(
        "verify",
        ExitCode.GATE if failed else ExitCode.OK,
        result | {"verdict": manifest.verdict, "artifacts": verdicts, "failures": list(manifest.failures)},
        (*found.diagnostics, *told, *notes),
        [*sections, Table(f"verdict of the export: {manifest.verdict}", ("artifact", "parity"), rows)],
        [Case("files as packed", found.ok), *verdict_cases(manifest)],
        verdict=manifest.verdict,
    )


def verdict_cases(manifest: Manifest) -> list[Case]:
    """The verdicts of the manifest for JUnit."""
    cases = [
        Case(f"export: parity of {path}", _PASSED[facts.verdict], facts.verdict)
        for path, facts in manifest.parity.items()
    ]
    return [*cases, *(Case("export: gate", False, failure) for failure in manifest.failures)]


def verdict_findings(manifest: Manifest, unchecked: Level = "warning") -> tuple[Diagnostic, ...]:
    """What a reader must know who would ship this bundle. unchecked: the level for one that was never compared."""
    if manifest.verdict == "failed":
        failed = [f"parity of {path}" for path, facts in manifest.parity.items() if facts.verdict == "failed"]
        message = f"this bundle failed when it was exported: {'; '.join([*failed, *manifest.failures])}"
        return (Diagnostic("bundle.failed", message, hint="don't ship it; README.md in the bundle has the numbers"),)
    if manifest.verdict == "unchecked":
        paths = [path for path, facts in manifest.parity.items() if facts.verdict == "unchecked"]
        message = f"{', '.join(paths)}: never compared with the checkpoint"
        hint = "`kogata check BUNDLE --against CHECKPOINT` compares"
        return (Diagnostic("bundle.unchecked", message, hint=hint, level=unchecked),)
    return ()
