"""Export and check results as reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.cli.cases import gate_cases, parity_cases, verdict_cases
from exporter.cli.device import device_tables
from exporter.cli.verdict import bundle_subject, next_step, verdict_findings
from exporter.errors import ExitCode, InputError
from exporter.parity.metrics import EQUAL_DB, shown_beside
from exporter.report import Cell, Report, Table, shown_size

if TYPE_CHECKING:
    from exporter.bundle import CompressionFacts, FitFacts, Manifest
    from exporter.parity import ParityReport
    from exporter.parity.results import Row
    from exporter.pipeline.check import CheckResult
    from exporter.pipeline.export import ExportResult

SHOWN = {  # metric → column
    "kl": "KL",
    "top1_or_tie": "top-1",  # the one that is gated: near-ties of the reference aren't held against it
    "unexplained": "error / variance",
    "decisions": "decisions",
    "unequal": "unequal",
    "order": "order",
    "cosine_mean": "mean cosine",
    "cosine_min": "min cosine",
    "psnr_db": "PSNR",
    "greedy_equal": "greedy",
}


def export_report(done: ExportResult, asked: Path) -> Report:
    """Sizes, parity, and the bundle's folder. asked: the folder that the user named."""
    manifest, parity = done.manifest, done.parity
    sections: list[Table | str] = [_artifacts(manifest), _compression(manifest.compression)]
    plain = "rounded" if manifest.compression.grids else "plain k-means"
    sections += [_fit(fit, plain) for fit in manifest.compression.calibration]
    if parity is None:
        sections.append("parity: not checked (--parity none)")
    else:
        sections += _parity(parity)
    fate = "bundle" if done.passed else "rejected: a gate failed; the files are in"
    sections.append(f"{fate} {done.path}")
    result = {
        "path": str(done.path),
        "passed": done.passed,
        "manifest": json.loads(manifest.to_bytes()),
        "parity": None if parity is None else parity.as_json(),
    }
    code = ExitCode.OK if done.passed else ExitCode.GATE
    return Report(
        "export",
        code,
        result,
        done.findings,
        sections,
        [*parity_cases(parity, manifest), *gate_cases(manifest.failures, done.findings, parity)],
        verdict=manifest.verdict,
        subject=bundle_subject(manifest, done.path, asked),
        next_step=next_step(manifest, done.path, parity),
    )


def check_report(done: CheckResult, bundle: Path, html: Path | None) -> Report:
    """Parity alone. bundle: the folder. html: a file that gets the report with plots as well."""
    parity = done.parity
    device = {} if done.device is None else {"device": done.device.as_json()}
    if html is not None:
        from exporter.pipeline.pack import parity_page

        try:
            facts = parity.as_json() | {"verdict": done.verdict} | device
            html.write_bytes(parity_page(done.manifest.name, facts, done.manifest.compression))
        except OSError as error:
            raise InputError.of("check.html", f"can't be written: {error.strerror}", where=str(html)) from None
    code = ExitCode.GATE if done.verdict == "failed" else ExitCode.OK
    told = () if done.compared and done.manifest.verdict != "failed" else verdict_findings(done.manifest)
    result = parity.as_json() | {"verdict": done.verdict, "export_verdict": done.manifest.verdict} | device
    verdict = f"verdict: {done.verdict}; that of the export: {done.manifest.verdict}"
    sections: list[Table | str] = [*_parity(parity), verdict]
    if done.device is not None:
        measured = f"measured on {done.device.measured_on}: {done.device.parity.verdict}"
        sections = [*_parity(parity), *device_tables(done.device.report), f"{measured}; {verdict}"]
    cases = [*parity_cases(parity, done.manifest), *verdict_cases(done.manifest)]
    return Report(
        "check",
        code,
        result,
        (*done.notes, *parity.findings, *told),
        sections,
        cases,
        verdict=done.verdict,
        subject=bundle_subject(done.manifest, bundle, bundle),
        next_step="" if done.verdict == "passed" else next_step(done.manifest, bundle, parity),
    )


def _artifacts(manifest: Manifest) -> Table:
    rows = [
        (a.path, shown_size(a.bytes), a.min_os or "any", manifest.parity[a.path].verdict) for a in manifest.artifacts
    ]
    return Table(f"{manifest.name}: {manifest.task}", ("artifact", "size", "from", "parity"), rows)


def _compression(facts: CompressionFacts) -> Table:
    kinds: dict[str, list[Any]] = {}
    for tensor in facts.tensors:
        kinds.setdefault(_fate(tensor), []).append(tensor)
    rows = [
        (fate, len(group), shown_size(sum(t["stored_bytes"] for t in group)))
        for fate, group in sorted(kinds.items(), key=lambda kind: _rank(kind[1][0]) if facts.mixed else 0)
    ]
    mixed = f" (mixed: {facts.mixed})" if facts.mixed else ""
    title = f"{facts.parameters:,} parameters in {facts.stored_bytes:,} bytes: {facts.bpw:.3f} bits per weight{mixed}"
    return Table(title, ("tensors", "count", "stored"), rows)


def _fit(facts: FitFacts, plain: str) -> Table:
    """One graph's weights, judged on texts that they weren't fitted to. plain: how they are made without text."""
    what = "KL divergence" if facts.error == "kl" else "distance of the outputs"
    component = "" if facts.component == "model" else f"{facts.component}: "
    rows: list[tuple[Cell, Cell]] = [(plain, _number(facts.plain)), ("fitted to text", _number(facts.fitted))]
    if facts.recovered is not None:
        rows.append(("LUTs trained", _number(facts.recovered)))
    rows += [("used", facts.used), ("texts", facts.texts)]
    return Table(f"{component}{what} to the uncompressed model, on held-back texts", ("", ""), rows)


def _rank(tensor: Any) -> tuple[int, int]:
    return (tensor["bits"] or 99, tensor["group_size"] or tensor.get("block") or 0)


def _fate(tensor: Any) -> str:
    if tensor["bits"] is None:
        return f"kept, {tensor['reason']}"
    if tensor.get("block"):
        return f"{tensor['bits']} bits, blocks of {tensor['block']} columns"
    return f"{tensor['bits']} bits, groups of {tensor['group_size']} rows"


def _parity(report: ParityReport) -> list[Table]:
    metrics = [metric for metric in SHOWN if any(metric in row.metrics for row in report.rows)]
    rows = [(row.name, *(_measured(row, metric) for metric in metrics), row.verdict) for row in report.rows]
    columns = ("row", *(SHOWN[metric] for metric in metrics), "verdict")
    note = f"; {report.note}" if report.note else ""
    tables = [Table(f"parity on {report.prompts} prompts ({report.prompt_source}){note}", columns, rows)]
    tasks = [
        (
            t.subject,
            f"{t.correct} of {t.total}",
            f"{100 * t.correct / t.total:.2f} %",
            "" if t.drop is None else f"{t.drop:.2f}",
            "reference" if t.drop is None else "not gated" if t.verdict == "unchecked" else t.verdict,
        )
        for t in report.tasks
    ]
    if tasks:
        columns = ("answered by", "correct", "accuracy", "points lost", "verdict")
        tables.append(Table("task accuracy, exact match", columns, tasks))
    runners = sorted({runner for row in report.rows if row.artifacts for runner in row.runners})
    return [*tables, Table("run by", ("",), [(runner,) for runner in runners])]


def _measured(row: Row, metric: str) -> Cell:
    if metric not in row.metrics:
        return None
    value = row.metrics[metric]
    limit = next((check.limit.value for check in row.checks if check.limit.metric == metric), None)
    told = _number(value) if limit is None else shown_beside(value, limit)[0]
    equal = metric == "psnr_db" and value == EQUAL_DB
    return "∞" if equal else told + (" dB" if metric == "psnr_db" else "")


def _number(value: float) -> str:
    return f"{value:.4g}"
