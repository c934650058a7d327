"""`kogata bench`: load time, memory and speed of one or two models, each round in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.bundle import Manifest
from exporter.errors import Diagnostic, UsageError
from exporter.pipeline.bench_measures import Spread, Spreads, quantities, ratio
from exporter.pipeline.bench_subjects import Kind, Side, Subject, bundle_side, genai_side, is_genai_folder
from exporter.progress import Progress
from exporter.runners.bench import Engine, WorkerCall, measure, runner_name

CONTEXTS = (128, 512, 2048)  # tokens of a decoder's prompt, as far as the models' context allows
TEXT_LENGTH = 128  # tokens of an encoder's texts
BATCHES = (1, 8, 32)
TOKENS = 32  # decoded after each prompt
_BLOCK = 1 << 24  # bytes read at once


@dataclass(frozen=True)
class BenchRequest:
    """paths: one or two of bundles and genai folders. artifact: a format or form, None for all. engine: for ONNX files;
    None means genai where a genai folder is among `paths`, else onnxruntime. contexts, batches, tokens: empty or None
    means the defaults. seconds: bound for each worker process.
    """

    paths: tuple[Path, ...]
    artifact: str | None
    engine: Engine | None
    genai_python: Path | None
    contexts: tuple[int, ...]
    batches: tuple[int, ...]
    tokens: int | None
    repeats: int
    threads: int
    seed: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What every subject is asked. contexts and batches ascend; batches is empty for decoders."""

    kind: Kind
    contexts: tuple[int, ...]
    batches: tuple[int, ...]
    tokens: int


@dataclass(frozen=True)
class Round:
    """One worker. answer: as `worker.measured` describes it, without the tokens that a decoder chose."""

    subject: Subject
    number: int
    answer: Mapping[str, Any]


@dataclass(frozen=True)
class Bench:
    """rounds: in the order in which they ran. load: of the machine before the first one, in busy processors."""

    request: BenchRequest
    plan: Plan
    sides: tuple[Side, ...]
    rounds: tuple[Round, ...]
    load: float

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Of both sides."""
        return tuple(subject for side in self.sides for subject in side.subjects)

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """Of the bundles."""
        return tuple(side.manifest for side in self.sides if side.manifest is not None)

    @property
    def left_out(self) -> tuple[Diagnostic, ...]:
        """What wasn't timed, and why."""
        alone = [s for s in self.subjects if not s.batches and set(self.plan.batches) - {1}]
        single = (
            Diagnostic("bench.batch", "takes one text at a time: timed with batch 1 only", s.label, level="note")
            for s in alone
        )
        return (*(note for side in self.sides for note in side.left_out), *single)

    def runner(self, subject: Subject) -> str:
        """Name and version of what ran it."""
        return next(str(done.answer["runner"]) for done in self.rounds if done.subject == subject)

    def spreads(self, subject: Subject) -> Spreads:
        """Everything that was measured of a subject."""
        rounds = [quantities(done.answer) for done in self.rounds if done.subject == subject]
        return {measure: Spread(tuple(found[measure] for found in rounds)) for measure in rounds[0]}

    def ratios(self) -> dict[tuple[str, str], Spreads]:
        """(label, label) → first divided by second, round by round; empty where one bundle or folder was timed."""
        found: dict[tuple[str, str], Spreads] = {}
        for first, second in _pairs(self.sides):
            ours, theirs = self.spreads(first), self.spreads(second)
            found[first.label, second.label] = {
                measure: ratio(ours[measure], theirs[measure]) for measure in ours if measure in theirs
            }
        return found


def run_bench(request: BenchRequest, progress: Progress) -> Bench:
    """Times everything, in rounds: A, B, A, B, ….

    Raises UsageError for options that don't fit the models, and as `bundle_side`, `genai_side` and `measure` do.
    """
    sides = _sides(request, progress)
    subjects = [subject for side in sides for subject in side.subjects]
    plan = plan_for(request, subjects)
    calls = [_call(subject, plan, request) for subject in subjects]
    for call in {(call.engine, call.python): call for call in calls}.values():
        runner_name(WorkerCall(call.engine, call.model, python=call.python))
    progress.stage("read the files", len(subjects))  # so that the first round doesn't wait for the disk
    for subject in subjects:
        _read(subject.files)
        progress.advance(subject.label)
    load = os.getloadavg()[0]
    progress.stage("time", len(subjects) * request.repeats)
    rounds = []
    for number in range(request.repeats):
        for subject, call in zip(subjects, calls, strict=True):
            answer = measure(call)
            rows = [{key: value for key, value in row.items() if key != "answer"} for row in answer["rows"]]
            rounds.append(Round(subject, number, answer | {"rows": rows}))
            progress.advance(subject.label)
    return Bench(request, plan, sides, tuple(rounds), load)


def plan_for(request: BenchRequest, subjects: Sequence[Subject]) -> Plan:
    """Contexts that all subjects take, and batches. Raises UsageError with all problems."""
    kinds = {subject.kind for subject in subjects}
    if len(kinds) > 1:
        raise UsageError.of("bench.kinds", "a decoder can't be compared with an encoder", where="OTHER")
    kind, longest = kinds.pop(), min(subject.context for subject in subjects)
    tokens = request.tokens or TOKENS
    room = longest if kind == "encoder" else longest - tokens - 1
    problems = [
        Diagnostic(
            "bench.context", f"the models take {longest} tokens: {_at_most(kind, room, tokens)}", f"--context {c}"
        )
        for c in request.contexts
        if c > room > 0
    ]
    if room < 1:
        message = f"the models take {longest} tokens, which leaves no room for a prompt"
        problems.append(Diagnostic("bench.tokens", message, f"--tokens {tokens}", "give a smaller number"))
    if kind == "decoder" and request.batches:
        problems.append(Diagnostic("bench.batch", "decoders are timed with one text at a time", "--batch"))
    if kind == "encoder" and request.tokens is not None:
        problems.append(Diagnostic("bench.tokens", "encoders decode no tokens", "--tokens"))
    UsageError.raise_all(problems)
    usual = CONTEXTS if kind == "decoder" else (TEXT_LENGTH,)
    contexts = request.contexts or tuple(c for c in usual if c <= room) or (room,)
    batches = (request.batches or BATCHES) if kind == "encoder" else ()
    return Plan(kind, tuple(sorted(set(contexts))), tuple(sorted(set(batches))), tokens)


def _at_most(kind: Kind, room: int, tokens: int) -> str:
    return f"with --tokens {tokens}, a prompt may have {room}" if kind == "decoder" else f"a text may have {room}"


def _sides(request: BenchRequest, progress: Progress) -> tuple[Side, ...]:
    """Raises UsageError for --genai-python where nothing runs in it."""
    folders = [is_genai_folder(path) for path in request.paths]
    engine = request.engine or ("genai" if any(folders) else "onnxruntime")
    if request.genai_python is not None and engine != "genai":
        hint = "add --engine genai"
        raise UsageError.of("bench.genai-python", "the models run in onnxruntime", where="--genai-python", hint=hint)
    names = ("A", "B") if len(request.paths) > 1 else ("",)
    return tuple(
        genai_side(path, name, engine) if folder else bundle_side(path, name, request.artifact, engine, progress)
        for path, name, folder in zip(request.paths, names, folders, strict=True)
    )


def _call(subject: Subject, plan: Plan, request: BenchRequest) -> WorkerCall:
    facts = {
        **subject.facts,
        "kind": subject.kind,
        "contexts": plan.contexts,
        "batches": plan.batches if subject.batches else (1,),
        "tokens": plan.tokens,
        "threads": request.threads,
        "seed": request.seed,
    }
    python = request.genai_python if subject.engine == "genai" else None
    return WorkerCall(subject.engine, subject.model, request.seconds, python, facts)


def _pairs(sides: Sequence[Side]) -> list[tuple[Subject, Subject]]:
    """Each subject of the first side with the same form of the second, else with its only subject."""
    if len(sides) == 1:
        return []
    ours, theirs = sides[0].subjects, sides[1].subjects
    found = []
    for subject in ours:
        same = [other for other in theirs if other.form == subject.form] or (theirs if len(theirs) == 1 else [])
        found += [(subject, other) for other in same]
    return found


def _read(files: Sequence[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            while file.read(_BLOCK):
                pass
