"""`parity/device.json`: test vectors and limits, as plain data that is written with a bundle and read with a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, FailFast, Field, Strict, TypeAdapter
from pydantic.dataclasses import dataclass

from exporter.graph.model import Scores, Task
from exporter.parity.metrics import METRICS
from exporter.parity.results import rounded
from exporter.parity.thresholds import Limit

SCHEMA_VERSION = 1
MAX_BYTES = 400_000  # of device.json: an app ships it beside a model of some megabytes
TOP = 64  # log-probabilities stated for each judged position
LOWEST = -100.0  # nats: a lower log-probability is written as this one; e**-100 is nothing

Text = Annotated[str, Strict()]
Id = Annotated[int, Strict(), Field(ge=0, lt=2**31)]
Ids = Annotated[tuple[Id, ...], FailFast()]  # of a list of a million wrong numbers, one is a message
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
MOST = 1000  # entries of a section, which has some 70; more of them could all be wrong
OPEN = ConfigDict(extra="ignore")  # readers ignore keys of later versions


def _few(value: Any) -> Any:
    if isinstance(value, Sequence) and len(value) > MOST:
        raise ValueError(f"must have at most {MOST} entries")
    return value


FEW = BeforeValidator(_few)
SECTIONS = ("tokenizer", "chat", "decode", "embed", "scores")


@dataclass(frozen=True, config=OPEN)
class Turn:
    """A message of a conversation."""

    role: Text
    content: Text


@dataclass(frozen=True, config=OPEN)
class IdsVector:
    """A text and its token ids, special tokens included."""

    id: Text
    text: Text
    ids: Ids


@dataclass(frozen=True, config=OPEN)
class ChatVector:
    """A conversation and the token ids of what the chat template writes, generation prompt included."""

    id: Text
    messages: tuple[Turn, ...]
    ids: Ids


@dataclass(frozen=True, config=OPEN)
class TopLogprobs:
    """The most likely tokens at one position, the most likely one first, and their natural log-probabilities."""

    ids: Ids
    logprobs: Annotated[tuple[Number, ...], FailFast()]


@dataclass(frozen=True, config=OPEN)
class DecodeVector:
    """A decoder's text with the checkpoint's answer.

    ids: of the prompt and what follows it. first: the first judged position; the logits at position p predict
    `ids[p + 1]`. top: one entry for each judged position, from `first` to the last id. continuation: the checkpoint's
    greedy continuation of `ids[:first + 1]`. text: the prompt in one line, for people.
    """

    id: Text
    text: Text
    ids: Ids
    first: Id
    top: tuple[TopLogprobs, ...]
    continuation: Ids


@dataclass(frozen=True, config=OPEN)
class ValuesVector:
    """A text with an encoder's outputs: the sentence embedding, or the logits of a head, row by row.

    rows: number of rows in `values`. positions: the tokens whose rows these are; empty: the whole output. types: token
    types, empty where all are 0. second: the other text of a pair.
    """

    id: Text
    text: Text
    ids: Ids
    values: Annotated[tuple[Number, ...], FailFast()]
    rows: Annotated[int, Strict(), Field(ge=1)] = 1
    second: Text | None = None
    types: Ids = ()
    positions: Ids = ()


@dataclass(frozen=True, config=OPEN)
class Gate:
    """An inclusive limit on a metric of `exporter.parity.metrics.METRICS`, and its reason. One of min and max is set.

    allowed: for "vectors_beyond": vector → the largest error that doesn't count; see `exporter.parity.device.gates`.
    """

    metric: Literal[
        "ids_differ", "missing", "non_finite", "inconsistent", "continuations_differ", "vectors_beyond", "kl",
        "top1_or_tie", "cosine_mean", "cosine_min", "self_retrieval", "unexplained", "order",
    ]  # fmt: skip
    min: Number | None = None
    max: Number | None = None
    reason: Text = ""
    allowed: Mapping[Text, Number] = Field(default_factory=dict)

    @classmethod
    def of(cls, limit: Limit, allowed: Mapping[str, float] | None = None) -> Gate:
        """The same limit, as device.json states it."""
        value, higher = rounded(limit.value), METRICS[limit.metric].higher_is_better
        return TypeAdapter(cls).validate_python(
            {
                "metric": limit.metric,
                "min" if higher else "max": value,
                "reason": limit.reason,
                "allowed": allowed or {},
            }
        )

    @property
    def limit(self) -> Limit | None:
        """The limit; None where the file states none on the side that the metric needs."""
        value = self.min if METRICS[self.metric].higher_is_better else self.max
        return None if value is None else Limit(self.metric, value, self.reason)


@dataclass(frozen=True, config=OPEN)
class DeviceVectors:
    """The content of device.json.

    reference: what computed the checkpoint's answers. near_tie: log-probabilities or scores of the reference that are
    nearer to each other than this, in nats or in the scores' unit, are the same. activation: the function from a head's
    logits to its scores. gates: artifact path → its limits.
    """

    name: Text
    task: Task
    reference: Text
    schema_version: Literal[1] = 1
    near_tie: Annotated[float, Strict(), Field(allow_inf_nan=False, ge=0)] = 0.0
    activation: Scores | None = None
    tokenizer: Annotated[tuple[IdsVector, ...], FEW] = ()
    chat: Annotated[tuple[ChatVector, ...], FEW] = ()
    decode: Annotated[tuple[DecodeVector, ...], FEW] = ()
    embed: Annotated[tuple[ValuesVector, ...], FEW] = ()
    scores: Annotated[tuple[ValuesVector, ...], FEW] = ()
    gates: Mapping[Text, tuple[Gate, ...]] = Field(default_factory=dict)

    def named(self, name: str, paths: Mapping[str, str]) -> DeviceVectors:
        """The vectors of the bundle of that name. paths: form, the key of gates until then → artifact path."""
        return replace(self, name=name, gates={paths[form]: gates for form, gates in self.gates.items()})

    def as_json(self) -> dict[str, Any]:
        """All of it, without keys that say nothing."""
        return {own.name: _plain(getattr(self, own.name)) for own in fields(self)}


_ALWAYS = ("ids", "values", "text", "content", "continuation", "reason")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        items = {own.name: getattr(value, own.name) for own in fields(value)}
        return {key: _plain(item) for key, item in items.items() if key in _ALWAYS or item not in (None, (), {})}
    return value
