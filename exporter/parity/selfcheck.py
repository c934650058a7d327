"""Rows that compare one subject with itself: in pieces or in one go, padded or alone, with either caller's mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.formats import Form
from exporter.parity.keys import Key, Unrounded, row_name, title
from exporter.parity.metrics import EmbeddingComparison, LogitsComparison
from exporter.parity.outputs import Outputs
from exporter.parity.results import Check, Row
from exporter.parity.texts import Texts
from exporter.parity.thresholds import CACHED_FP16, CACHED_FP32, CACHED_INT8, MASKS, PADDING, PADDING_INT8, Limit
from exporter.runners.base import BatchDecoderRunner, BatchEncoderRunner, DecoderRunner, Runner
from exporter.runners.shipped import Rounding, rounds

_CACHED: Mapping[Rounding | None, tuple[Limit, ...]] = {None: CACHED_FP32, "float16": CACHED_FP16, "int8": CACHED_INT8}
_TEXTS = 6  # prompts that are fed in pieces: each piece is a run of its own, and the first texts differ enough
_SINGLES = 4  # tokens fed one at a time, as a generation does


def pieces(length: int) -> list[slice]:
    """The pieces of a text: about half of it as a prompt, some single tokens, the rest as a second prompt."""
    middle = -(-length // 2)
    ends = [middle, *range(middle + 1, min(middle + _SINGLES, length) + 1)]
    if ends[-1] < length:
        ends.append(length)
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def cached_decode_row(
    runner: DecoderRunner, key: Form | Unrounded, texts: Texts, outputs: Outputs, rope_switch: int | None
) -> Row:
    """Pieces through the cache against the same text in one go, which `outputs` holds."""
    compared = _in_pieces(runner, key, texts, outputs, rope_switch)
    limits = _CACHED[rounds(key) if isinstance(key, Form) else None]
    compares = f"{title(key)}: text fed in pieces through the KV cache against the text at once"
    form = key if isinstance(key, Form) else key.form
    return _row(row_name(key, "cached decode"), compares, (form,), runner.name, compared, limits)


def padding_row(runner: Runner, key: Key, texts: Texts, outputs: Outputs, rope_switch: int | None) -> Row | None:
    """Texts of several lengths in a padded batch against each alone. None for a runner that takes no batches.

    Texts on either side of the RoPE switch are batches of their own: the longest text of a batch chooses the factors
    for all of its texts, in transformers as well.
    """
    sides = _sides(texts, rope_switch)
    compared: LogitsComparison | EmbeddingComparison
    if isinstance(runner, BatchEncoderRunner) and runner.takes_batches:
        compared = EmbeddingComparison()
        for side in sides:
            made = runner.encode_batch([texts.ids[index] for index in side], [texts.types[index] for index in side])
            for index, padded in zip(side, made, strict=True):
                tokens, sentence = outputs.get(key, index)
                assert tokens is not None
                compared.add((tokens, sentence), (texts.counted(index, padded.tokens), padded.sentence))
    elif isinstance(runner, BatchDecoderRunner) and runner.takes_batches:
        compared = LogitsComparison()
        for side in sides:
            for index, logits in zip(side, runner.feed_batch([texts.ids[index] for index in side]), strict=True):
                alone, _ = outputs.get(key, index)
                assert alone is not None
                compared.add(alone, logits)
    else:
        return None
    artifacts = (key,) if isinstance(key, Form) else (key.form,) if isinstance(key, Unrounded) else ()
    limits = PADDING_INT8 if isinstance(key, Form) and rounds(key) == "int8" else PADDING
    compares = f"{title(key)}: text in a padded batch against the text by itself"
    return _row(row_name(key, "padding"), compares, artifacts, runner.name, compared, limits)


def masks_row(runner: DecoderRunner, key: Unrounded, texts: Texts, outputs: Outputs, rope_switch: int | None) -> Row:
    """`runner` sends the other caller's mask, in pieces; `outputs` holds what the first caller got in one go."""
    compared = _in_pieces(runner, key, texts, outputs, rope_switch)
    compares = f"{title(key)}: swift-transformers' mask of zeros against Apple's exact causal mask"
    return _row(row_name(key.form, "masks"), compares, (key.form,), runner.name, compared, MASKS)


def _in_pieces(
    runner: DecoderRunner, key: Key, texts: Texts, outputs: Outputs, rope_switch: int | None
) -> LogitsComparison:
    """Texts that cross the RoPE switch are cut there: beyond it, a text in pieces has other numbers by design."""
    compared = LogitsComparison()
    for index in sample(texts):
        session = runner.session()
        ids = texts.ids[index]
        crosses = rope_switch is not None and len(ids) > rope_switch
        ids = ids[:rope_switch] if crosses else ids
        parts = [session.feed(ids[piece]) for piece in pieces(len(ids))]
        whole = runner.session().feed(ids) if crosses else outputs.get(key, index)[0]
        assert whole is not None
        compared.add(whole, np.concatenate(parts))
    return compared


def sample(texts: Texts) -> list[int]:
    """Indices of a few texts, evenly spread."""
    count = min(_TEXTS, len(texts.ids))
    return [i * len(texts.ids) // count for i in range(count)]


def by_length(texts: Texts) -> list[int]:
    """Indices of a few texts from the shortest to the longest: a batch where padding matters."""
    order: Sequence[int] | NDArray[np.intp] = np.argsort([len(ids) for ids in texts.ids], kind="stable")
    count = min(_TEXTS, len(order))
    return [int(order[i * (len(order) - 1) // max(count - 1, 1)]) for i in range(count)]


def _sides(texts: Texts, rope_switch: int | None) -> list[list[int]]:
    """The texts of `by_length`: those up to the RoPE switch, and those beyond it; without a switch, all together."""
    indices = by_length(texts)
    if rope_switch is None:
        return [indices]
    short = [index for index in indices if len(texts.ids[index]) <= rope_switch]
    return [side for side in (short, indices[len(short) :]) if side]


def _row(
    name: str,
    compares: str,
    artifacts: tuple[Form, ...],
    runner: str,
    compared: LogitsComparison | EmbeddingComparison,
    limits: tuple[Limit, ...],
) -> Row:
    metrics = compared.metrics()
    checks = tuple(Check(limit, metrics[limit.metric]) for limit in limits)
    return Row(name, compares, artifacts, (runner, runner), metrics, checks)
