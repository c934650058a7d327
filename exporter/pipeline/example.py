"""One example with its answer, for the model card: from the test vectors, which the checkpoint itself computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from exporter.bundle import Example

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer
    from exporter.parity.device.vectors import DeviceVectors

_LEAST_TOKENS = 2  # of an answer: one token says little


def example_of(vectors: DeviceVectors, tokenizer: Tokenizer, labels: Sequence[str]) -> Example | None:
    """The first decoder vector with an answer of several tokens, or the first text with the label that the checkpoint
    gives it; None where there is neither. labels: a classifier's, in the order of its outputs.
    """
    for vector in vectors.decode:
        if len(vector.continuation) >= _LEAST_TOKENS:
            answer = _line(tokenizer.decode(list(vector.continuation)))
            if answer and vector.text.strip():
                return Example(_line(vector.text), answer)
    for scored in vectors.scores if vectors.task == "text-classification" else ():
        if scored.rows == 1 and len(scored.values) == len(labels) > 1:
            text = f"{scored.text} / {scored.second}" if scored.second is not None else scored.text
            best = max(range(len(labels)), key=lambda index: scored.values[index])
            return Example(_line(text), labels[best]) if _line(text) and labels[best] else None
    return None


def _line(text: str) -> str:
    return " ".join(text.split())
