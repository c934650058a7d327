"""The gate: runs every subject on the same texts, compares them in rows, and says where a failed row went wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from exporter.errors import Diagnostic, InputError
from exporter.parity.locate.search import Search
from exporter.parity.metrics import METRICS
from exporter.parity.options import ParityOptions, Subjects
from exporter.parity.outputs import Outputs
from exporter.parity.results import Artifact, ParityReport, Row, TaskScore
from exporter.parity.rows import Comparer, Comparison, comparisons
from exporter.parity.running import Running
from exporter.parity.subjects import TITLES, Opener, fixed_threads
from exporter.parity.task import EncodedItem, encode_tasks, read_tasks, require_generation
from exporter.parity.texts import encode_texts
from exporter.parity.thresholds import TASK_DROP, TASK_DROP_REASONS, bits_class
from exporter.parity.weights import WeightError, weight_errors
from exporter.progress import NoProgress, Progress
from exporter.texts import choose

_EXPLAINED: dict[str, tuple[str, ...]] = {  # rows that fail because an earlier one did: only that one is searched
    "onnx": ("import", "compression", "onnx lowering"),
    "coreml": ("import", "compression", "coreml lowering", "fp16"),
    "onnx vs coreml": ("onnx lowering", "coreml lowering", "fp16"),
}


def check_parity(subjects: Subjects, options: ParityOptions, progress: Progress | None = None) -> ParityReport:
    """Compares what `subjects` holds. A failed gate is in the report's verdict and findings, not raised.

    Raises InputError for bad prompts or tasks and for files that no runtime can load, UnsupportedError for programs
    with unknown ops, RuntimeMissingError where Core ML itself was asked for and is not there.
    """
    opener = Opener(subjects, options)
    keys = opener.keys()
    if not keys:
        raise InputError.of("parity.nothing", "there is nothing to compare")
    texts = encode_texts(subjects, options)
    tasks: tuple[EncodedItem, ...] = ()
    if options.tasks is not None:
        require_generation(subjects.task, options.tasks)
        items = read_tasks(options.tasks)
        chosen = choose(items, len(items) if options.depth == "full" else -(-len(items) // 4))
        tasks = encode_tasks(chosen, subjects.tokenizer, subjects.context)
    with fixed_threads(opener.threads), Outputs() as outputs:
        running = Running(opener, outputs, progress or NoProgress(), texts, tasks)
        for key in keys:
            running.run(key)
        return _report(running, comparisons(keys, options, opener.judged))


def _report(running: Running, planned: Sequence[Comparison]) -> ParityReport:
    options, texts = running.opener.options, running.texts
    opener = running.opener
    sigmoid = opener.judged == "classes" and opener.subjects.scores == "sigmoid"
    comparer = Comparer(texts, running.outputs, running.runners, opener.judged, sigmoid)
    weights, tasks = _weights(running), _task_scores(running)
    rows = [_row(comparer, comparison, running, weights) for comparison in planned]
    findings = _findings(running, planned, rows) + [_failed(row) for row in running.rows if row.verdict == "failed"]
    findings += [_failed_task(task) for task in tasks if task.verdict == "failed"]
    if texts.cut:
        verbs = ("is", "was") if texts.cut == 1 else ("are", "were")
        message = "{} of {} prompts {} longer than the context and {} cut".format(texts.cut, len(texts.ids), *verbs)
        findings.append(Diagnostic("parity.cut", message, where=texts.source, level="note"))
    return ParityReport(
        depth=options.depth,
        bits=options.bits,
        prompts=len(texts.ids),
        prompt_source=texts.source,
        rows=(*rows, *running.rows),
        tasks=tasks,
        findings=tuple(findings),
    )


def _weights(running: Running) -> tuple[WeightError, ...]:
    subjects = running.opener.subjects
    if subjects.hub is None or "compressed" not in running.runners:
        return ()
    assert subjects.compressed is not None
    return weight_errors(subjects.hub, subjects.compressed)


def _row(comparer: Comparer, comparison: Comparison, running: Running, weights: Sequence[WeightError]) -> Row:
    if comparison.name == "compression" and weights:
        comparison = replace(comparison, limits=(*comparison.limits, weights[0].limit))
        return comparer.row(comparison, {"weight_error": weights[0].error}, note=f"worst weight: {weights[0].name}")
    if comparison.name == "fp16":
        return comparer.row(comparison, {"overflow": float(len(running.overflow))})
    return comparer.row(comparison)


def _findings(running: Running, planned: Sequence[Comparison], rows: Sequence[Row]) -> list[Diagnostic]:
    failed = {row.name for row in rows if row.verdict == "failed"}
    search = Search(running.opener)
    findings = []
    for comparison, row in zip(planned, rows, strict=True):
        if row.name not in failed:
            continue
        causes = [name for name in _EXPLAINED.get(row.name, ()) if name in failed]
        where, detail = "", f"because of: {', '.join(causes)}"
        if not causes:
            where, detail = _locate(search, comparison, row, running)
        findings.append(_failed(row, where, detail))
    return findings


def _locate(search: Search, comparison: Comparison, row: Row, running: Running) -> tuple[str, str]:
    """The tensor to blame and how that is known."""
    if row.name == "fp16" and running.overflow:
        name, value = next(iter(running.overflow.items()))
        return name, f"first tensor beyond ±65504: {name}, largest value {value:.6g}"
    if any(check.limit.metric == "weight_error" and not check.passed for check in row.checks):
        return row.note.removeprefix("worst weight: "), row.note
    index = row.worst[0].index if row.worst else 0
    types = running.texts.types[index] if running.texts.types else None
    found = search.find(comparison, running.texts.ids[index], types)
    if found is None:
        return "", "no intermediate tensor that both sides name diverges"
    return found.tensor, found.describe()


def _failed(row: Row, where: str = "", detail: str = "") -> Diagnostic:
    broken = [
        f"{METRICS[check.limit.metric].label} {_shown(check.value)} (limit {check.limit.value:g})"
        for check in row.checks
        if not check.passed
    ]
    message = f"parity row '{row.name}' failed ({row.compares}): {', '.join(broken)}"
    reason = next((check.limit.reason for check in row.checks if not check.passed), "")
    return Diagnostic(
        f"parity.{row.name.replace(' ', '-')}",
        f"{message}; {detail}" if detail else message,
        where,
        f"why that limit: {reason}",
    )


def _failed_task(task: TaskScore) -> Diagnostic:
    message = f"task accuracy of the {task.subject} is {task.drop:.2f} points below the checkpoint's"
    counts = f"{task.correct} instead of {task.reference_correct} of {task.total}"
    return Diagnostic(
        "parity.task", f"{message} ({counts}); allowed are {task.allowed_drop:g}", hint=f"why that limit: {task.reason}"
    )


def _shown(value: float) -> str:
    return "not a number" if math.isnan(value) else f"{value:.4g}"


def _task_scores(running: Running) -> tuple[TaskScore, ...]:
    options = running.opener.options
    level = bits_class(options.bits)
    allowed, reason = TASK_DROP[level], TASK_DROP_REASONS.get(level, "below 6 bits the drop is reported, not gated")
    if options.max_task_drop is not None:
        allowed, reason = options.max_task_drop, "asked for"
    reference = running.answers.get("checkpoint")
    scores = []
    for key, answers in running.answers.items():
        shipped: tuple[Artifact, ...] = (key,) if key in ("onnx", "coreml") else ()
        gated = bool(shipped) and reference is not None
        scores.append(
            TaskScore(
                subject=TITLES[key],
                artifacts=shipped,
                runner=running.runners[key],
                correct=answers.correct,
                total=len(answers.answers),
                groups=answers.groups,
                wrong=answers.wrong,
                reference_correct=reference.correct if gated and reference else None,
                allowed_drop=allowed if gated else None,
                reason=reason if gated else "",
            )
        )
    return tuple(scores)
