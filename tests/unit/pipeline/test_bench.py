"""The order of rounds, medians and ratios (against numpy), what is planned, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.errors import UsageError
from exporter.formats import FLEXIBLE, PORTABLE, Form
from exporter.pipeline import bench
from exporter.pipeline.bench import Bench, BenchRequest, Plan, plan_for, run_bench
from exporter.pipeline.bench_measures import Measure, Spread, quantities, ratio
from exporter.pipeline.bench_subjects import Kind, Side, Subject
from exporter.progress import NoProgress
from exporter.runners.bench import WorkerCall

PATHS = (Path("a"), Path("b"))


def request(paths: tuple[Path, ...] = PATHS, **facts: Any) -> BenchRequest:
    usual = {"artifact": None, "engine": None, "genai_python": None, "contexts": (), "batches": (), "tokens": None}
    limits = {"repeats": 3, "threads": 1, "seed": 0, "seconds": 9.0}
    return BenchRequest(paths, **{**usual, **limits, **facts})


def subject(side: str, form: Form | None = PORTABLE, kind: Kind = "decoder", context: int = 256) -> Subject:
    engine = "genai" if form is None else "onnxruntime" if form.format == "onnx" else "coreml"
    return Subject(side, form, engine, kind, Path(f"{side}-{form}"), (), context, engine != "coreml")


def answer(draw: np.random.Generator, call: WorkerCall) -> dict[str, Any]:
    numbers = iter(draw.uniform(1, 2, 99))
    row = {"peak": 9, "answer": [1]}
    return {
        "runner": call.engine,
        "load": {"wall": next(numbers), "cpu": next(numbers)},
        "memory": {name: int(1e9 * next(numbers)) for name in ("libraries", "loaded", "load_peak", "peak")},
        "rows": [
            row | {"context": c, "prefill": next(numbers), "decode": next(numbers), "tokens": call.facts["tokens"]}
            for c in call.facts["contexts"]
        ],
    }


def made(sides: tuple[Side, ...], asked: BenchRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Bench, list[Any]]:
    """A run with invented measurements, and the calls and answers in their order."""
    draw, calls = np.random.default_rng(0), []

    def measure(call: WorkerCall) -> dict[str, Any]:
        calls.append((call, answer(draw, call)))
        return calls[-1][1]

    monkeypatch.setattr(bench, "_sides", lambda *_: sides)
    monkeypatch.setattr(bench, "runner_name", lambda _: "")
    monkeypatch.setattr(bench, "measure", measure)
    return run_bench(asked, NoProgress()), calls


def test_rounds_of_all_models_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = (Side(PATHS[0], (subject("A"), subject("A", FLEXIBLE))), Side(PATHS[1], (subject("B"),)))
    done, calls = made(sides, request(contexts=(7,)), monkeypatch)
    order = ["A onnx", "A coreml", "B onnx"]
    assert [r.subject.label for r in done.rounds] == order * 3
    assert [r.number for r in done.rounds] == [0] * 3 + [1] * 3 + [2] * 3
    assert [str(call.model) for call, _ in calls] == [f"A-{PORTABLE}", f"A-{FLEXIBLE}", f"B-{PORTABLE}"] * 3
    assert all("answer" not in row for r in done.rounds for row in r.answer["rows"])


def test_medians_and_ratios_are_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = (Side(PATHS[0], (subject("A"),)), Side(PATHS[1], (subject("B", None),)))
    done, calls = made(sides, request(contexts=(7, 100), repeats=4), monkeypatch)
    ours, theirs = ([found for _, found in calls[first::2]] for first in (0, 1))
    spreads = {label: done.spreads(s) for label, s in zip("AB", done.subjects, strict=True)}
    assert list(done.ratios()) == [("A onnx", "B genai folder")]
    (ratios,) = done.ratios().values()
    assert set(ratios) == set(spreads["A"])

    def check(measure: Measure, a: list[float], b: list[float]) -> None:
        np.testing.assert_allclose([spreads["A"][measure].median, spreads["B"][measure].median], np.median([a, b], 1))
        found, expected = ratios[measure], np.divide(a, b)
        np.testing.assert_allclose(found.values, expected)
        summary = found.as_json()
        stated = [summary["median"], summary["smallest"], summary["largest"]]
        np.testing.assert_allclose(stated, [np.median(expected), expected.min(), expected.max()])

    for name, part, key in (
        ("load s", "load", "wall"),
        ("load processor s", "load", "cpu"),
        ("memory of the libraries", "memory", "libraries"),
        ("memory after load", "memory", "loaded"),
        ("peak memory", "memory", "peak"),
    ):
        check(Measure(name), *([found[part][key] for found in side] for side in (ours, theirs)))
    for i, context in enumerate((7, 100)):
        rows = [[found["rows"][i] for found in side] for side in (ours, theirs)]
        check(Measure("prefill tokens/s", context), *([context / row["prefill"] for row in side] for side in rows))
        check(Measure("decode tokens/s", context), *([32 / row["decode"] for row in side] for side in rows))


def test_texts_per_second() -> None:
    sizes = dict.fromkeys(("libraries", "loaded", "load_peak", "peak"), 1)
    rows = [{"context": 128, "batch": 4, "texts": 40, "seconds": 2.5}]
    found = quantities({"load": {"wall": 0.0, "cpu": 0.5}, "memory": sizes, "rows": rows})
    assert found[Measure("texts/s", 128, 4)] == 16
    assert found[Measure("load s")] > 0  # a clock that stands still makes no ratio infinite


def test_rounds_are_divided_one_by_one() -> None:
    assert ratio(Spread((2.0, 9.0)), Spread((4.0, 3.0))).values == (0.5, 3.0)


def test_forms_are_compared_with_the_same_form(monkeypatch: pytest.MonkeyPatch) -> None:
    mobile = Form("onnx", "mobile")
    both = [Side(path, (subject(side), subject(side, mobile))) for path, side in zip(PATHS, "AB", strict=True)]
    done, _ = made(tuple(both), request(), monkeypatch)
    assert list(done.ratios()) == [("A onnx", "B onnx"), ("A onnx mobile", "B onnx mobile")]
    done, _ = made((both[0], Side(PATHS[1], (subject("B", None),))), request(), monkeypatch)
    assert list(done.ratios()) == [("A onnx", "B genai folder"), ("A onnx mobile", "B genai folder")]
    done, _ = made(both[:1], request(), monkeypatch)
    assert done.ratios() == {}


def test_contexts_fit_every_model() -> None:
    assert plan_for(request(), [subject("A", context=9000)]) == Plan("decoder", (128, 512, 2048), (), 32)
    assert plan_for(request(), [subject("A", context=9000), subject("B", context=600)]).contexts == (128, 512)
    assert plan_for(request(), [subject("A", context=100)]).contexts == (67,)  # 32 tokens, and the prompt's own answer
    asked = request(contexts=(3, 1, 3), tokens=4)
    assert plan_for(asked, [subject("A", context=8)]) == Plan("decoder", (1, 3), (), 4)
    encoders = [subject("A", kind="encoder", context=64)]
    assert plan_for(request(), encoders) == Plan("encoder", (64,), (1, 8, 32), 32)
    assert plan_for(request(batches=(2, 2), contexts=(64,)), encoders) == Plan("encoder", (64,), (2,), 32)


def test_everything_that_does_not_fit_is_named() -> None:
    asked = request(contexts=(8, 95, 96, 400), tokens=4, batches=(2,))
    with pytest.raises(UsageError) as raised:
        plan_for(asked, [subject("A", context=100)])
    found = [(d.code, d.where) for d in raised.value.diagnostics]
    assert found == [("bench.context", "--context 96"), ("bench.context", "--context 400"), ("bench.batch", "--batch")]
    assert "a prompt may have 95" in raised.value.diagnostics[0].message
    for subjects, asked, where in (
        ([subject("A", context=20)], request(), "--tokens 32"),
        ([subject("A", kind="encoder")], request(tokens=4), "--tokens"),
        ([subject("A"), subject("B", kind="encoder")], request(), "OTHER"),
    ):
        with pytest.raises(UsageError) as raised:
            plan_for(asked, subjects)
        assert [d.where for d in raised.value.diagnostics] == [where]


def test_core_ml_encoders_take_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = (subject("", kind="encoder"), subject("", FLEXIBLE, kind="encoder"))
    plan = plan_for(request(), subjects)
    asked = request(PATHS[:1])
    batches = [bench._call(s, plan, asked).facts["batches"] for s in subjects]
    assert batches == [(1, 8, 32), (1,)]
    done = Bench(asked, plan, (Side(PATHS[0], subjects),), (), 0.0)
    assert [(note.where, note.level) for note in done.left_out] == [("coreml", "note")]
