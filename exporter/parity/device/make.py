"""Makes the vectors at the end of a parity run, from outputs that are at hand: no model runs again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.formats import Form
from exporter.parity.device.compare import Compared, compare_decode, compare_values
from exporter.parity.device.gates import gates_of, token_gates
from exporter.parity.device.report import DecodeResult, ValuesResult
from exporter.parity.device.texts import MAX_IDS, chat_vectors, token_vectors
from exporter.parity.device.vectors import (
    LOWEST,
    MAX_BYTES,
    SECTIONS,
    TOP,
    DecodeVector,
    DeviceVectors,
    TopLogprobs,
    ValuesVector,
)
from exporter.parity.keys import Key
from exporter.parity.metrics import TIE_DB, log_softmax
from exporter.parity.results import ParityReport
from exporter.parity.running import TextEngine
from exporter.strict_json import compact_json
from exporter.texts import choose

POSITIONS = 16  # judged positions of a text: as many as parity's continuations have
_DECODED = 16  # texts with a decoder's answers
_ENCODED = 48  # texts with an encoder's answers: enough for retrieval to mean something
_GATES_BYTES = 30_000  # kept free for the limits and their reasons
_DIGITS = 5  # decimals of log-probabilities
_VALUE_DIGITS = 5  # significant digits of embeddings and logits: 1e-5 is far below any limit
_VALUE_BYTES = 11  # of such a number, with its comma
_NEAR = 10 ** (-TIE_DB / 20)  # of the largest output: nearer ones are near-ties, as in every parity row

Floats = NDArray[np.float32]
Vector = DecodeVector | ValuesVector


@dataclass(frozen=True)
class _Judged:
    """A decoder's text whose outputs are at hand.

    index: of the outputs; row: of the first judged position among them. ids, first: as in `DecodeVector`. shown: the
    text in one line.
    """

    index: int
    row: int
    ids: tuple[int, ...]
    first: int
    shown: str


def make_vectors(engine: TextEngine, report: ParityReport) -> DeviceVectors:
    """The vectors, with limits by form; `DeviceVectors.named` makes them the bundle's. report: of the same run."""
    subjects, reference = engine.opener.subjects, engine.keys[0]
    section, made, sources = _outputs(engine, reference)
    vectors = DeviceVectors(
        name="",
        task=subjects.task,
        reference=engine.runners[reference],
        activation=subjects.scores,
        tokenizer=token_vectors(subjects.tokenizer),
        chat=chat_vectors(subjects.tokenizer),
    )
    outputs: dict[str, Any] = {section: made}
    vectors = fitted(replace(vectors, **outputs))
    held = getattr(vectors, section)
    peak = max((_peak(engine, reference, sources[vector.id]) for vector in held), default=0.0)
    vectors = replace(vectors, near_tie=float(f"{peak * _NEAR:.4g}"))
    gates = {}
    for form in subjects.artifacts:
        row, file = report.row(form), _of_file(engine, form, vectors, sources) if held else None
        gates[str(form)] = token_gates() if row is None or file is None else gates_of(row, file, peak)
    return replace(vectors, gates=gates)


def fitted(vectors: DeviceVectors, most: int = MAX_BYTES - _GATES_BYTES) -> DeviceVectors:
    """`vectors` in at most `most` bytes: the largest section loses an eighth of its vectors, evenly, until all fit."""
    while len(compact_json(vectors.as_json())) > most:
        plain = vectors.as_json()
        largest = max(SECTIONS, key=lambda name: len(compact_json(plain[name])))
        held = getattr(vectors, largest)
        kept: dict[str, Any] = {largest: choose(held, len(held) - max(1, len(held) // 8))}
        vectors = replace(vectors, **kept)
    return vectors


def _outputs(engine: TextEngine, reference: Key) -> tuple[str, tuple[Vector, ...], dict[str, tuple[int, int]]]:
    """The section, its vectors, and vector → its outputs' index and first row. Outputs that aren't finite give none."""
    task = engine.opener.subjects.task
    if task == "fill-mask":  # its outputs are as wide as the vocabulary at every position
        return "scores", (), {}
    if task == "text-generation":
        texts = _texts(engine, reference)
        decode = [(_decode_vector(f"decode-{i}", text, engine, reference), text) for i, text in enumerate(texts)]
        kept = [(vector, (text.index, text.row)) for vector, text in decode if vector is not None]
        return "decode", tuple(vector for vector, _ in kept), {vector.id: source for vector, source in kept}
    section = "embed" if engine.opener.judged == "embeddings" else "scores"
    indices = _encoded(engine, reference)
    values = [(_values_vector(f"{section}-{i}", index, engine, reference), index) for i, index in enumerate(indices)]
    found = [(vector, (index, 0)) for vector, index in values if vector is not None]
    return section, tuple(vector for vector, _ in found), {vector.id: source for vector, source in found}


def _texts(engine: TextEngine, reference: Key) -> tuple[_Judged, ...]:
    """Parity's prompts, and questions of the task file where there is one: as many of these as of the others."""
    texts, subjects = engine.texts, engine.opener.subjects
    asked = []
    for index in engine.kept_tasks if reference == "checkpoint" else ():
        item = engine.tasks[index]
        ids = (*item.prompt.tolist(), *item.answer.tolist())
        whole, first = len(ids), len(item.prompt) - 1
        judged = _Judged(len(texts.ids) + index, 0, ids[: first + POSITIONS], first, item.item.prompt.shown)
        if len(judged.ids) <= MAX_IDS and not _switches(subjects.rope_switch, judged, whole):
            asked.append(judged)
    prompts = []
    for index, prompt in enumerate(texts.prompts):
        ids, whole = tuple(texts.ids[index].tolist()[:MAX_IDS]), len(texts.ids[index])
        uncut = whole == len(ids) and bool(texts.greedy_from)
        first = texts.greedy_from[index] if uncut else max(0, len(ids) - POSITIONS)
        judged = _Judged(index, first, ids, first, prompt.shown)
        if not _switches(subjects.rope_switch, judged, whole):
            prompts.append(judged)
    return (*asked, *choose(prompts, _DECODED - len(asked)))


def _switches(switch: int | None, judged: _Judged, whole: int) -> bool:
    """Whether the outputs of a text of `whole` tokens had other RoPE factors than its vector has, or than the tokens
    have that a device generates one by one.
    """
    if switch is None or whole <= switch:
        return False
    return len(judged.ids) < whole or judged.first + 1 <= switch


def _decode_vector(name: str, text: _Judged, engine: TextEngine, key: Key) -> DecodeVector | None:
    logprobs = _logprobs(engine, key, text.index, text.row, len(text.ids) - text.first)
    if np.isnan(logprobs).any():
        return None
    order = np.argsort(-logprobs, axis=-1, kind="stable")[:, :TOP]
    top = tuple(
        TopLogprobs(tuple(ids.tolist()), tuple(_rounded(row[ids]).tolist()))
        for ids, row in zip(order, logprobs, strict=True)
    )
    return DecodeVector(name, text.shown, text.ids, text.first, top, _continuation(text, order[:, 0]))


def _continuation(text: _Judged, best: NDArray[np.intp]) -> tuple[int, ...]:
    """The greedy continuation of the prompt, as far as these outputs know it: until it leaves the text's own tokens."""
    said: list[int] = []
    for token, own in zip(best.tolist(), (*text.ids[text.first + 1 :], -1), strict=True):
        said.append(token)
        if token != own:
            break
    return tuple(said)


def _logprobs(engine: TextEngine, key: Key, index: int, row: int, count: int) -> NDArray[np.float64]:
    """`[count, vocab]`, see `log_softmax`."""
    held = engine.outputs.get(key, index)[0]
    assert held is not None
    with np.errstate(invalid="ignore"):
        return log_softmax(held[row : row + count])


def _rounded(logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.round(np.maximum(logprobs, LOWEST), _DIGITS) + 0.0  # not -0.0
    return rounded


def _encoded(engine: TextEngine, reference: Key) -> Sequence[int]:
    """Indices of texts, evenly chosen: no more than fill the file."""
    every = range(len(engine.texts.ids))
    short = [index for index in every if len(engine.texts.ids[index]) <= MAX_IDS] or list(every)
    widest = max(_values(engine, reference, index).size for index in short)
    return choose(short, min(_ENCODED, max(1, MAX_BYTES * 3 // 4 // (_VALUE_BYTES * widest))))


def _values_vector(name: str, index: int, engine: TextEngine, key: Key) -> ValuesVector | None:
    values, texts = _values(engine, key, index), engine.texts
    if not np.isfinite(values).all():
        return None
    prompt, types = texts.prompts[index], texts.types[index].tolist()
    positions = texts.rows[index] if texts.rows else None
    return ValuesVector(
        name,
        prompt.text,
        tuple(texts.ids[index].tolist()),
        tuple(float(f"{value:.{_VALUE_DIGITS}g}") for value in values.reshape(-1).tolist()),
        len(values),
        prompt.second,
        tuple(types) if any(types) else (),
        () if positions is None else tuple(positions.tolist()),
    )


def _values(engine: TextEngine, key: Key, index: int) -> Floats:
    """`[rows, columns]`: the sentence embedding, without pooling that of the first token, or a head's logits."""
    tokens, sentence = engine.outputs.get(key, index)
    if sentence is not None:
        return sentence[None]
    assert tokens is not None
    return tokens[:1] if engine.opener.judged == "embeddings" else tokens


def _peak(engine: TextEngine, key: Key, source: tuple[int, int]) -> float:
    """The largest output of the text."""
    held = engine.outputs.get(key, source[0])[0]
    assert held is not None
    return float(np.abs(held).max())


def _of_file(
    engine: TextEngine, form: Form, vectors: DeviceVectors, sources: dict[str, tuple[int, int]]
) -> Compared | None:
    """What the exported file itself answered. None where its outputs have another shape, which fails its row."""
    reference = engine.keys[0]
    for index, _ in sources.values():
        pair = [engine.outputs.get(key, index)[0] for key in (reference, form)]
        if pair[0] is None or pair[1] is None or pair[0].shape != pair[1].shape:
            return None
    if vectors.decode:
        return compare_decode(
            [(vector, _decoded(engine, form, vector, sources[vector.id])) for vector in vectors.decode],
            vectors.near_tie,
        )
    results = [
        (vector, ValuesResult(vector.id, _maybe(_values(engine, form, sources[vector.id][0]).reshape(-1))))
        for vector in (*vectors.embed, *vectors.scores)
    ]
    return compare_values(vectors, results)


def _decoded(engine: TextEngine, form: Form, vector: DecodeVector, source: tuple[int, int]) -> DecodeResult:
    logprobs = _logprobs(engine, form, *source, len(vector.top))
    stated = tuple(_maybe(_rounded(row[list(top.ids)])) for row, top in zip(logprobs, vector.top, strict=True))
    return DecodeResult(vector.id, stated, tuple(logprobs.argmax(-1).tolist()), vector.continuation)


def _maybe(values: NDArray[Any]) -> tuple[float | None, ...]:
    return tuple(float(value) if np.isfinite(value) else None for value in values.tolist())
