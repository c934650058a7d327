"""Palettes side by side at equal stored bytes: Kogata, coremltools and coreai-opt, by what the model loses.

    python benchmarks/compression.py [MODEL …] [--settings 4g16 3g1 2g16] [--curve 1g16 2g16 …] [--methods NAME …]
        [--calibrate FILE] [--json FILE] [--plot FILE] [--coreai-python PYTHON]

MODEL is home-intents, prose, minilm, or NAME=CHECKPOINT:HELDOUT: a decoder of yours, with a text that it wasn't trained
on. A setting is bits and rows per LUT: `4g16`, `3g1` (per channel), `4` (one LUT per tensor).

Every method gets the same matrices, embeddings and head included, and the same bits and groups, so that all store the
same number of bytes; the benchmark checks that no group has more values than a LUT has entries. "kogata mixed" gets the
bytes of the setting as its budget and chooses bits itself. "kogata max-kl" gets the loss of plain k-means as its limit
and must keep it on text that it hasn't seen. All are evaluated by the transformers model in float32 with its weights
replaced by the decoded ones. The weights of `kogata export` are read from the Core ML files that it wrote.

Decoders: KL is the mean over positions of KL(p uncompressed || p compressed) in nats on held-out text, perplexity and
top-1 agreement are on the same text. home-intents adds the exact-match accuracy of greedy answers. Encoders: cosine of
the sentence embeddings to the uncompressed ones, and the share of each sentence's ten nearest neighbours that stay, on
first sentences of the docstrings of this Python's standard library. "of plain" is the loss divided by that of Kogata's
optimal k-means with the same bytes. Seconds are for clustering only, with the cores that each method uses by default.
For methods with a peak memory they are for a whole `kogata export`, which imports, calibrates and writes.

`--json FILE` is written after every measurement; a later run doesn't repeat measurements in it.

coreai-opt needs its own environment, which is made in the user's cache folder with pip unless `--coreai-python` names
one. A method that can't run on this machine is left out, with the reason.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import kmeans
import numpy as np
from compression_parts.ours import Exported, Plain, mixed, no_worse, uniform
from compression_parts.parts import Method, Scores, Setting, Subject, require_palettes
from compression_parts.peers_coreai import CoreAI
from compression_parts.peers_coremltools import PostTraining, Sensitive, quietly
from compression_parts.peers_dkm import Differentiable
from compression_parts.plot import draw
from compression_parts.record import Record, Result
from compression_parts.texts import (
    DECODERS,
    SAMPLES,
    builtin_texts,
    builtin_windows,
    docstring_sentences,
    token_windows,
)
from export import minilm
from peer_environment import UnavailableError

from exporter.report import Report, Table, render

WINDOW = 256  # tokens of a held-out or calibration sequence
CALIBRATION = 128  # sequences or sentences: coremltools' own default for sensitivities
CURVE = ("1g4", "2g16", "3g16", "4g16", "6g16", "8g64")  # 1 to 8 bits per weight
SPEED = kmeans.Case(1024, 1024, 4, 16)


def decoder(name: str, checkpoint: Path, held_out: Path, options: argparse.Namespace) -> Subject:
    from compression_parts.subjects import Decoder

    task = Accuracy(options.requests) if name == "home-intents" and options.requests else None
    subject = Decoder(name, checkpoint, task)
    if task:
        task.tokenizer, subject.metrics = subject.tokenizer, (*subject.metrics, "accuracy")
    window = min(WINDOW, subject.model.config.max_position_embeddings)
    subject.held_out = token_windows(held_out, subject.tokenizer, window, options.tokens)
    if options.calibrate:
        subject.calibration = token_windows(options.calibrate, subject.tokenizer, window, CALIBRATION * window)
    else:
        subject.calibration = builtin_windows(subject.tokenizer, window, CALIBRATION)
    return subject


def encoder(name: str, checkpoint: Path, options: argparse.Namespace) -> Subject:
    from compression_parts.subjects import Encoder

    subject = Encoder(name, checkpoint)
    subject.held_out = docstring_sentences(options.sentences)
    texts = options.calibrate.read_text("utf-8").splitlines() if options.calibrate else builtin_texts()[-CALIBRATION:]
    subject.calibration = texts[:CALIBRATION]
    return subject


class Accuracy:
    """Exact match of greedy answers to the first of home-intents' test requests, by that sample's own evaluation."""

    def __init__(self, requests: int) -> None:
        self.requests = requests
        self.tokenizer: Any = None

    def __call__(self, model: Any) -> dict[str, float]:
        sys.path.insert(0, str(SAMPLES / "home_intents"))
        try:
            from evaluate import accuracy, evaluate  # type: ignore[import-not-found]
            from generate import TEST_FILE, read_jsonl  # type: ignore[import-not-found]
        finally:
            sys.path.pop(0)
        return {"accuracy": accuracy(evaluate(model, self.tokenizer, read_jsonl(TEST_FILE)[: self.requests]))}


def subjects(options: argparse.Namespace) -> Iterator[Subject]:
    for model in options.models:
        name, own, rest = model.partition("=")
        checkpoint, _, held_out = rest.rpartition(":")
        if own:
            yield decoder(name, Path(checkpoint), Path(held_out), options)
        elif name in DECODERS:
            yield decoder(name, *DECODERS[name], options)
        elif name == "minilm":
            yield encoder(name, minilm(), options)
        else:
            sys.exit(
                f"error: no model is called {name!r}\n\nhint: home-intents, prose, minilm or NAME=CHECKPOINT:HELDOUT"
            )


def methods(options: argparse.Namespace) -> list[Method]:
    """The methods, plain k-means first: the losses of the others are divided by its loss."""
    calibrate = ("--calibrate", str(options.calibrate or "builtin"))
    recover = (*calibrate, "--recover", str(options.recover))
    sensitive = Sensitive()
    known: list[Method] = [
        Plain(),
        Exported("kogata calibrated", uniform(*calibrate), uniform=True),
        Exported("kogata recovered", uniform(*recover), uniform=True, trains=True),
        Exported("kogata mixed", mixed(*calibrate), uniform=False),
        Exported("kogata mixed, recovered", mixed(*recover), uniform=False, trains=True),
        Exported("kogata max-kl", no_worse(*calibrate), uniform=False),
        PostTraining(),
        sensitive,
        CoreAI(options.coreai_python),
        CoreAI(options.coreai_python, sensitive),
        Differentiable(options.dkm),
    ]
    usual = [method.name for method in known if options.dkm or not isinstance(method, Differentiable)]
    asked = options.methods or usual
    unknown = sorted(set(asked) - {method.name for method in known})
    if unknown:
        sys.exit(f"error: no method is called {unknown[0]!r}\n\nhint: {', '.join(method.name for method in known)}")
    return [method for method in known if method.name in {known[0].name, *asked}]


def measured(subject: Subject, method: Method, setting: Setting) -> Result:
    result = Result(subject.name, method.name, str(setting))
    try:
        outcome = method.palettize(subject, setting)
    except (UnavailableError, ImportError) as error:
        return replace(result, reason=str(error))
    if method.uniform:
        require_palettes(outcome.weights, setting)
    parameters = sum(value.const_value.size for n, value in initializers(subject) if n in subject.hub.stored)
    bpw = outcome.stored_bytes * 8 / parameters
    scores = subject.score(outcome.weights)
    result = replace(result, stored_bytes=outcome.stored_bytes, bpw=bpw, peak_bytes=outcome.peak_bytes)
    return replace(result, seconds=round(outcome.seconds, 3), scores=scores)


def initializers(subject: Subject) -> Iterator[tuple[str, Any]]:
    yield from subject.hub.model.graph.initializers.items()


def compare(subject: Subject, methods: Sequence[Method], settings: Sequence[Setting], record: Record) -> list[Result]:
    """Measures every method at every setting. A method that can't run is tried only once."""
    loss, results = subject.metrics[0], []
    absent: set[str] = set()
    for setting in settings:
        plain = None
        for method in methods:
            if method.name in absent:
                continue
            result = record.results.get((subject.name, method.name, str(setting))) or measured(subject, method, setting)
            if result.scores is None:
                absent.add(method.name)
            else:
                plain = plain or result.scores[loss]
                result = replace(result, of_plain=result.scores[loss] / plain)
            record.add(result)
            results.append(result)
            print(f"{subject.name}, {method.name}, {setting}: {told(result)}", file=sys.stderr, flush=True)
    return results


def told(result: Result) -> str:
    if result.scores is None:
        return f"did not run: {result.reason}"
    return ", ".join(f"{name} {value:.4g}" for name, value in result.scores.items())


def table(subject: Subject, uncompressed: Scores, results: Sequence[Result]) -> Table:
    columns = ("setting", "method", "bpw", *subject.metrics, "of plain", "seconds", "peak GB")
    rows: list[list[Any]] = [["", "uncompressed", "", *(digits(uncompressed[m]) for m in subject.metrics), "", "", ""]]
    for result in results:
        if result.scores is not None:
            scores = [digits(result.scores[metric]) for metric in subject.metrics]
            peak = "" if result.peak_bytes is None else f"{result.peak_bytes / 1e9:.2f}"
            rows.append(
                [
                    result.setting,
                    result.method,
                    f"{result.bpw:.3f}",
                    *scores,
                    f"{result.of_plain:.3f}",
                    f"{result.seconds:.2f}",
                    peak,
                ]
            )
    return Table(subject.name, columns, rows)


def digits(value: float) -> str:
    return f"{value:.4g}"


def speed() -> Table:
    """Kogata's k-means and coremltools' pass on the same weight, as in `benchmarks/kmeans.py`."""
    kmeans.kmeans.palettize(np.ones((1, 1), np.float32), 4, 1)  # compiles
    weight = kmeans.student(SPEED)
    with quietly():
        import coremltools  # noqa: F401
    cores = kmeans.kmeans.cores()
    ours, our_error = kmeans.ours(weight, SPEED, cores)
    theirs, their_error = kmeans.theirs(weight, SPEED)
    columns = ("weight", "million weights/s, kogata", "million weights/s, coremltools", "ratio", "squared error, ratio")
    rate = weight.size / 1e6
    row = (SPEED.label, rate / ours, rate / theirs, f"{theirs / ours:.0f}", f"{our_error / their_error:.5f}")
    return Table(f"speed, {cores} cores", columns, [row])


def panels(
    results: Sequence[Result], losses: dict[str, str]
) -> dict[str, tuple[str, dict[str, list[tuple[float, float]]]]]:
    drawn: dict[str, tuple[str, dict[str, list[tuple[float, float]]]]] = {}
    for result in results:
        if result.scores is not None:
            loss = losses[result.model]
            curves = drawn.setdefault(result.model, (f"{loss} to the uncompressed model", {}))[1]
            curves.setdefault(result.method, []).append((result.bpw, result.scores[loss]))
    return drawn


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=["home-intents", "prose", "minilm"], metavar="MODEL")
    parser.add_argument(
        "--settings", nargs="+", type=Setting.of, default=[Setting.of(s) for s in ("4g16", "3g1", "2g16")]
    )
    parser.add_argument(
        "--curve",
        nargs="*",
        type=Setting.of,
        help=f"more for the plot, without what trains unless --methods names it: {' '.join(CURVE)}",
    )
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="names as in the table; default: all")
    parser.add_argument(
        "--calibrate", type=Path, help="text or .jsonl file for methods that use texts; default: built-in texts"
    )
    parser.add_argument("--recover", type=int, default=240, help="training steps of methods that train LUTs")
    parser.add_argument(
        "--dkm", type=int, default=0, help="training steps of coremltools' DKM, each takes some seconds"
    )
    parser.add_argument("--tokens", type=int, default=16384, help="held-out tokens of a decoder")
    parser.add_argument("--sentences", type=int, default=2000, help="number of sentences for encoders")
    parser.add_argument(
        "--requests", type=int, default=200, help="number of home-intents' test requests; 0 leaves the task out"
    )
    parser.add_argument("--coreai-python", type=Path, help="a Python interpreter with coreai-opt")
    parser.add_argument("--threads", type=int, default=kmeans.kmeans.cores(), help="threads for torch")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    options.curve = [Setting.of(text) for text in CURVE] if options.curve is None else options.curve
    return options


def main() -> None:
    options = arguments()
    import torch

    torch.set_num_threads(options.threads)
    compared = methods(options)
    record = Record.of(options.json)
    sections: list[Table | str] = [speed()]
    results: list[Result] = []
    losses: dict[str, str] = {}
    for subject in subjects(options):
        torch.manual_seed(0)
        losses[subject.name] = subject.metrics[0]
        found = compare(subject, compared, options.settings, record)
        sections.append(table(subject, subject.score({}), found))
        sections += [f"{r.method} did not run: {r.reason}" for r in found if r.reason]
        failed = {r.method for r in found if r.reason}
        running = [m for m in compared if m.name not in failed and not (m.trains and not options.methods)]
        further = [setting for setting in options.curve if options.plot and setting not in options.settings]
        results += found + compare(subject, running, further, record)
    print(render(Report("benchmark", 0, {}, (), sections), "text"), end="")
    if options.plot:
        draw(panels(results, losses), options.plot)


if __name__ == "__main__":
    main()
