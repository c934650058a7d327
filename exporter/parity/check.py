"""The gate for text models: runs every subject on the same texts and judges the differences."""

from __future__ import annotations

from dataclasses import replace

from exporter.errors import Diagnostic
from exporter.formats import Form
from exporter.parity.findings import failure, task_failure
from exporter.parity.keys import title
from exporter.parity.options import ParityOptions, Subjects
from exporter.parity.outputs import Outputs
from exporter.parity.results import ParityReport, TaskScore
from exporter.parity.running import TextEngine
from exporter.parity.subjects import TextOpener
from exporter.parity.task import EncodedItem, encode_tasks, require_generation
from exporter.parity.texts import encode_texts
from exporter.parity.thresholds import TASK_DROP, TASK_DROP_REASON
from exporter.parity.token_ids import tokenizer_row, with_tokenizer
from exporter.progress import NoProgress, Progress
from exporter.runners.threads import fixed_threads
from exporter.texts import choose


def check_parity(subjects: Subjects, options: ParityOptions, progress: Progress | None = None) -> ParityReport:
    """Compares what `subjects` holds. A failed gate is in the report's verdict and findings, not raised.

    Raises InputError for bad prompts or tasks and for files that no runtime can load, UnsupportedError for programs
    with unknown ops, RuntimeMissingError where Core ML itself was asked for and is not there.
    """
    opener = TextOpener(subjects, options)
    texts, tasks = encode_texts(subjects, options), _tasks(subjects, options)
    with fixed_threads(opener.threads), Outputs() as outputs:
        engine = TextEngine(progress or NoProgress(), opener=opener, outputs=outputs, texts=texts, tasks=tasks)
        for key in engine.keys:
            engine.run(key)
        report = _report(engine)
        if options.device_vectors:
            from exporter.parity.device.make import make_vectors

            report = replace(report, vectors=make_vectors(engine, report))
    if subjects.checkpoint is None:
        return report
    pairs, forms = subjects.task != "text-generation", tuple(subjects.artifacts)
    return with_tokenizer(report, tokenizer_row(subjects.tokenizer, subjects.checkpoint, forms, pairs=pairs))


def _report(engine: TextEngine) -> ParityReport:
    texts, tasks = engine.texts, _task_scores(engine)
    report = engine.judge(texts.source)
    findings = [failure(row) for row in engine.rows if row.verdict == "failed"]
    findings += [task_failure(task) for task in tasks if task.verdict == "failed"]
    if texts.cut:
        verbs = ("is", "was") if texts.cut == 1 else ("are", "were")
        message = "{} of {} prompts {} longer than the context and {} cut".format(texts.cut, len(texts.ids), *verbs)
        findings.append(Diagnostic("parity.cut", message, where=texts.source, level="note"))
    return replace(report, rows=(*report.rows, *engine.rows), tasks=tasks, findings=(*report.findings, *findings))


def _tasks(subjects: Subjects, options: ParityOptions) -> tuple[EncodedItem, ...]:
    if options.tasks is None:
        return ()
    require_generation(subjects.task, options.tasks.path)
    items = options.tasks.items
    chosen = choose(items, len(items) if options.depth == "full" else -(-len(items) // 4))
    return encode_tasks(chosen, subjects.tokenizer, subjects.context)


def _task_scores(engine: TextEngine) -> tuple[TaskScore, ...]:
    options = engine.opener.options
    allowed, reason = TASK_DROP, TASK_DROP_REASON
    if options.max_task_drop is not None:
        allowed, reason = options.max_task_drop, "asked for"
    reference = engine.answers.get("checkpoint")
    scores = []
    for key, answers in engine.answers.items():
        gated = isinstance(key, Form) and reference is not None
        scores.append(
            TaskScore(
                subject=title(key),
                artifacts=(key,) if isinstance(key, Form) else (),
                runner=engine.runners[key],
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
