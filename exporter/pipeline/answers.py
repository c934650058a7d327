"""Reads the logits of an encoder's head: labels, tagged entities, words for a mask, or the answer to a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint.tokens.encoded import EncodedText
from exporter.checkpoint.tokens.tokenizer import Tokenizer
from exporter.errors import InputError
from exporter.graph.model import Scores
from exporter.texts import mask_id

SHOWN_FILLINGS = 5  # best tokens that are shown for a mask
MAX_ANSWER = 15  # tokens of an answer, as in transformers' pipeline
_OUTSIDE = "O"  # the label of tokens that belong to no entity

Logits = NDArray[np.float32]


class HeadAnswer(Protocol):
    """What a head says about a text."""

    def as_json(self) -> Mapping[str, Any]:
        """As JSON."""

    def as_text(self) -> str:
        """As text for people."""


@dataclass(frozen=True)
class Choice:
    """A label and its score: a probability, or the logit itself where that is the score."""

    label: str
    score: float

    def as_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"label": self.label, "score": _rounded(self.score)}


@dataclass(frozen=True)
class Choices:
    """Every label, the best first."""

    choices: tuple[Choice, ...]

    def as_json(self) -> Mapping[str, Any]:
        """As JSON, under `labels`."""
        return {"labels": [choice.as_json() for choice in self.choices]}

    def as_text(self) -> str:
        """One label per line."""
        width = max(len(choice.label) for choice in self.choices)
        return "\n".join(f"{choice.label:<{width}}  {choice.score:.4f}" for choice in self.choices)


@dataclass(frozen=True)
class Entity:
    """A run of tokens with one tag, its text, and its place in the input, in characters."""

    label: str
    score: float
    text: str
    start: int
    end: int

    def as_json(self) -> dict[str, Any]:
        """As JSON."""
        facts = {"label": self.label, "score": _rounded(self.score)}
        return {**facts, "text": self.text, "start": self.start, "end": self.end}


@dataclass(frozen=True)
class Entities:
    """Tagged tokens, and the entities that they form."""

    tokens: tuple[Entity, ...]
    entities: tuple[Entity, ...]

    def as_json(self) -> Mapping[str, Any]:
        """As JSON."""
        return {
            "entities": [entity.as_json() for entity in self.entities],
            "tokens": [token.as_json() for token in self.tokens],
        }

    def as_text(self) -> str:
        """The entities alone; the JSON has the tag of every token."""
        if not self.entities:
            return "no entities"
        return "\n".join(f"{e.text}  {e.label}  {e.score:.4f}" for e in self.entities)


@dataclass(frozen=True)
class Fillings:
    """The best tokens for each mask."""

    masks: tuple[tuple[Choice, ...], ...]

    def as_json(self) -> Mapping[str, Any]:
        """As JSON: `masks`, each a list of `token` and `score`."""
        return {"masks": [[{"token": c.label, "score": _rounded(c.score)} for c in best] for best in self.masks]}

    def as_text(self) -> str:
        """One mask per line."""
        return "\n".join(", ".join(f"{c.label} {c.score:.4f}" for c in best) for best in self.masks)


@dataclass(frozen=True)
class Span:
    """An answer that stands in the second text."""

    answer: Entity

    def as_json(self) -> Mapping[str, Any]:
        """As JSON: `answer`, without a label."""
        return {"answer": {key: value for key, value in self.answer.as_json().items() if key != "label"}}

    def as_text(self) -> str:
        """The answer and its score."""
        return f"{self.answer.text}  {self.answer.score:.4f}"


@dataclass(frozen=True)
class HeadFacts:
    """What a bundle says of its encoder's head."""

    task: str
    labels: tuple[str, ...]
    scores: Scores | None


def read_logits(
    facts: HeadFacts, logits: Logits, encoded: EncodedText, texts: Sequence[str], tokenizer: Tokenizer
) -> HeadAnswer:
    """What the head says. logits: as `Embeddings.tokens` of runners/base.py has them for the task.

    Raises InputError for a text without a mask, and for labels that don't fit the logits.
    """
    if facts.task == "fill-mask":
        return _fill(logits, encoded, tokenizer)
    if facts.task == "question-answering":
        return _answer(logits, encoded, texts[-1])
    labels = facts.labels
    if len(labels) != logits.shape[-1]:
        message = f"the manifest has {len(labels)} labels, the model gives {logits.shape[-1]} logits"
        raise InputError.of("run.labels", message, where="manifest.json: model.labels")
    if facts.task == "token-classification":
        return _entities(_probabilities(logits, "softmax"), encoded, texts[0], labels)
    scores = _probabilities(logits, facts.scores)[0]
    order = np.argsort(-scores, kind="stable")
    return Choices(tuple(Choice(labels[i], float(scores[i])) for i in order))


def _probabilities(logits: Logits, kind: Scores | None) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-wide))
    if kind == "identity":
        return wide
    grown = np.exp(wide - wide.max(-1, keepdims=True))
    shares: NDArray[np.float64] = grown / grown.sum(-1, keepdims=True)
    return shares


def _fill(logits: Logits, encoded: EncodedText, tokenizer: Tokenizer) -> Fillings:
    mask = mask_id(tokenizer)
    places = np.flatnonzero(encoded.ids == mask) if mask is not None else np.array([], np.intp)
    if not places.size:
        shown = tokenizer.tokens.get("mask_token", "a mask token")
        hint = f"write {shown} in place of a word"
        raise InputError.of("run.mask", f"the text has no mask: {shown}", hint=hint)
    masks = []
    for shares in _probabilities(logits[places], "softmax"):
        best = np.argsort(-shares, kind="stable")[:SHOWN_FILLINGS]
        masks.append(tuple(Choice(tokenizer.decode([int(i)]).strip(), float(shares[i])) for i in best))
    return Fillings(tuple(masks))


def _entities(shares: NDArray[np.float64], encoded: EncodedText, text: str, labels: Sequence[str]) -> Entities:
    tokens = []
    for i in np.flatnonzero(~encoded.special):
        (start, end), best = encoded.offsets[i], int(shares[i].argmax())
        tokens.append(Entity(labels[best], float(shares[i, best]), text[start:end], start, end))
    return Entities(tuple(tokens), tuple(_grouped(tokens, text)))


def _grouped(tokens: Sequence[Entity], text: str) -> list[Entity]:
    """Joins neighbours with the same tag, as transformers' "simple" strategy does; a B- tag begins a new entity."""
    groups: list[list[Entity]] = []
    for token in tokens:
        kind = token.label.removeprefix("B-").removeprefix("I-")
        last = groups[-1][-1].label.removeprefix("B-").removeprefix("I-") if groups else None
        if last == kind and not token.label.startswith("B-"):
            groups[-1].append(token)
        else:
            groups.append([token])
    return [
        Entity(
            group[0].label.removeprefix("B-").removeprefix("I-"),
            float(np.mean([token.score for token in group])),
            text[group[0].start : group[-1].end],
            group[0].start,
            group[-1].end,
        )
        for group in groups
        if group[0].label != _OUTSIDE
    ]


def _answer(logits: Logits, encoded: EncodedText, context: str) -> Span:
    """The span with the largest product of probabilities, over the context and the first token ("no answer")."""
    inside = np.array([owner == 1 for owner in encoded.owners])
    if not inside.any():
        raise InputError.of("run.pair", "the text to answer from is empty")
    allowed = inside.copy()
    allowed[0] = True
    masked = np.where(allowed, logits, -1e4)
    start, end = _probabilities(masked.astype(np.float32), "softmax")
    products = np.triu(np.outer(np.where(inside, start, 0), np.where(inside, end, 0)))
    products -= np.triu(products, MAX_ANSWER)
    first, last = np.unravel_index(int(products.argmax()), products.shape)
    begin, stop = encoded.offsets[int(first)][0], encoded.offsets[int(last)][1]
    return Span(Entity("", float(products[first, last]), context[begin:stop], begin, stop))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
