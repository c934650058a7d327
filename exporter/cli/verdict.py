"""The verdict that a bundle got when it was exported, as reports show it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.cli.cases import verdict_cases
from exporter.errors import Diagnostic, ExitCode
from exporter.report import Case, Report, Subject, Table

if TYPE_CHECKING:
    from exporter.bundle import Manifest, VerifyResult
    from exporter.errors import Level
    from exporter.parity import ParityReport

_COPY_AGAIN = "don't ship it: copy the bundle again, or export it again"


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
        return Report("verify", ExitCode.GATE, result, (*found.diagnostics, *notes), sections, next_step=_COPY_AGAIN)
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
        subject=bundle_subject(manifest, found.path, found.path),
        next_step=next_step(manifest, found.path) if found.ok else _COPY_AGAIN,
    )


def bundle_subject(manifest: Manifest, path: Path, asked: Path) -> Subject:
    """path: where the bundle lies. asked: the folder that the user named."""
    return Subject(manifest.name, str(path), str(asked))


def next_step(manifest: Manifest, path: Path, parity: ParityReport | None = None) -> str:
    """What to do with a bundle that failed or was never compared; "" for one that passed.

    parity: the comparison that has just been made, if there was one.
    """
    verdict = "failed" if parity is not None and parity.verdict == "failed" else manifest.verdict
    if verdict == "passed":
        return ""
    if verdict == "unchecked":
        return f"compare it: kogata check {shlex.quote(str(path))} --against CHECKPOINT"
    return f"don't ship the files in {path}; see parity/report.html and README.md there; {_remedy(manifest, parity)}"


def _remedy(manifest: Manifest, parity: ParityReport | None) -> str:
    """For the first failed row, because it explains the others, or for a size."""
    failed = [row.name for row in parity.rows if row.verdict == "failed"] if parity else []
    said = " ".join(manifest.failures)
    if any("compression" in row for row in failed[:1]) or "row 'compression'" in said:
        return "then export with more --bits or a larger budget, or with --calibrate and texts like yours"
    if "over the budget" in said and not failed:
        return "then export with a larger budget, or leave formats out with --to"
    if "were not compressed as" in said and not failed:
        return "then export with a larger --group-size, or with --bits 16"
    if parity is not None and not failed and any(task.verdict == "failed" for task in parity.tasks):
        return "then export with more --bits, or allow a larger loss with --max-task-drop"
    return "then repeat the comparison with `kogata check`: the finding names the first tensor that differs"


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
