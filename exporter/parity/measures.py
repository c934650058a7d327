"""The outputs of two text models compared by what they are: logits, free numbers, or embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.parity.engine import Measured
from exporter.parity.metrics import TIE_DB, EmbeddingComparison, Floats, LogitsComparison
from exporter.parity.options import Judged
from exporter.parity.outputs import Arrays
from exporter.parity.scores import ScoreComparison, two_classes

Pairs = Sequence[tuple[Arrays, Arrays]]


def measured(
    judged: Judged, pairs: Pairs, psnr_limit: float | None, greedy_from: Sequence[int] = (), *, sigmoid: bool = False
) -> Measured:
    """Compares (reference, artifact) prompt by prompt.

    psnr_limit: dB, None where the row is gated on what an app notices. greedy_from: as in `Texts`. sigmoid: each class
    by itself is a yes or no.
    """
    wrong = sum(_shapes(reference) != _shapes(artifact) for reference, artifact in pairs)
    if wrong:
        return Measured({"shapes": wrong, "prompts": len(pairs)}, {}, "psnr_db")
    if judged == "embeddings":
        made = _embeddings(pairs)
    elif judged == "scores":
        made = _scores(pairs, psnr_limit or TIE_DB)
    else:
        made = _logits(pairs, psnr_limit or TIE_DB, greedy_from, sigmoid)
    return made if psnr_limit is None else Measured(made.metrics, made.samples, "psnr_db")


def _logits(pairs: Pairs, tie_db: float, greedy_from: Sequence[int], sigmoid: bool) -> Measured:
    compared = LogitsComparison()
    for index, pair in enumerate(pairs):
        reference, artifact = (two_classes(_first(side)) if sigmoid else _first(side) for side in pair)
        compared.add(reference, artifact, greedy_from[index] if greedy_from else None)
    samples = {"kl": tuple(compared.kl_by_prompt), "psnr_db": tuple(compared.psnr_by_prompt)}
    return Measured(compared.metrics(tie_db), samples, "kl")


def _scores(pairs: Pairs, tie_db: float) -> Measured:
    compared = ScoreComparison()
    for reference, artifact in pairs:
        compared.add(_first(reference), _first(artifact))
    return Measured(compared.metrics(tie_db), {"psnr_db": tuple(compared.psnr_by_prompt)}, "psnr_db")


def _embeddings(pairs: Pairs) -> Measured:
    compared = EmbeddingComparison()
    for reference, artifact in pairs:
        compared.add((_first(reference), reference[1]), (_first(artifact), artifact[1]))
    samples = {"cosine": tuple(compared.cosines), "psnr_db": tuple(compared.psnr_by_prompt)}
    return Measured(compared.metrics(), samples, "cosine")


def _first(arrays: Arrays) -> Floats:
    assert arrays[0] is not None
    return arrays[0]


def _shapes(arrays: Arrays) -> list[tuple[int, ...] | None]:
    return [None if array is None else array.shape for array in arrays]
