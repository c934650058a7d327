"""`plan.json`: bits and group size of every matrix, as a file to keep, edit and use again.

The file has one line per tensor. Kogata reads only `name`, `bits`, `group_size`, `block` and `shape` back; the rest
explains the choices to people.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.compress.allocation import TensorOptions
from exporter.compress.choices import Choice
from exporter.compress.decisions import Candidate, TensorDecision
from exporter.compress.search import ErrorKind, Point, SearchResult

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One matrix. measured: the costs of other ways to store it; None if they were not measured."""

    name: str
    shape: tuple[int, ...]
    choice: Choice
    stored_bytes: int
    measured: TensorOptions | None = None


@dataclass(frozen=True)
class Plan:
    """model, digest: of the checkpoint. asked: the option that the plan was made for, "--bpw 3.7" or "--plan".

    entries: in graph order. others, other_parameters, other_bytes: number, elements and bytes of the tensors that are
        always kept (norms, biases, small tables of the graph).
    error, words: as in `Sensitivity`; None if nothing was measured. curve: in bytes of the whole model.
    """

    model: str
    digest: str
    asked: str
    entries: tuple[Entry, ...]
    others: int
    other_parameters: int
    other_bytes: int
    error: ErrorKind | None = None
    words: str | None = None
    chosen: Point | None = None
    curve: tuple[Point, ...] = ()

    @property
    def choices(self) -> dict[str, Choice]:
        """Tensor → how it is stored."""
        return {entry.name: entry.choice for entry in self.entries}

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tensors."""
        return self.other_bytes + sum(entry.stored_bytes for entry in self.entries)

    @property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return self.other_parameters + sum(math.prod(entry.shape) for entry in self.entries)

    @property
    def bpw(self) -> float:
        """The whole model's bits per weight."""
        return self.stored_bytes * 8 / self.parameters if self.parameters else 0.0

    def to_bytes(self) -> bytes:
        """The file's content. Equal plans give equal bytes."""
        head: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "model": {"name": self.model, "digest": self.digest},
            "asked": self.asked,
            "parameters": self.parameters,
            "stored_bytes": self.stored_bytes,
            "bpw": round(self.bpw, 4),
            "others": {"tensors": self.others, "parameters": self.other_parameters, "stored_bytes": self.other_bytes},
        }
        if self.error is not None and self.chosen is not None:
            head |= {"error": {"kind": self.error, "words": self.words}, "chosen": self._point(self.chosen)}
        lines = [f"  {json.dumps(key)}: {_compact(value)},\n" for key, value in head.items()]
        lines += _list("curve", [self._point(point) for point in self.curve], ",") if self.curve else []
        lines += _list("tensors", [_entry(entry) for entry in self.entries], "")
        # UTF-8 can't encode a lone surrogate; this error handler writes it as a JSON escape, \udXXX.
        return "".join(["{\n", *lines, "}\n"]).encode("utf-8", "backslashreplace")

    def _point(self, point: Point) -> dict[str, Any]:
        measured = {} if point.measured is None else {"measured": _rounded(point.measured)}
        bpw = round(point.stored_bytes * 8 / max(1, self.parameters), 4)
        return {"stored_bytes": point.stored_bytes, "bpw": bpw, "predicted": _rounded(point.predicted), **measured}


@dataclass(frozen=True)
class Origin:
    """Where a plan comes from: fields of `Plan`. error, words: as in `Sensitivity`; None without a search."""

    model: str
    digest: str
    asked: str
    error: ErrorKind | None = None
    words: str | None = None


def plan_of(
    origin: Origin,
    candidates: Sequence[Candidate],
    decisions: Sequence[TensorDecision],
    found: SearchResult | None = None,
) -> Plan:
    """The plan for these decisions, one for each candidate. found: the result of a search, if there was one."""
    measured = {tensor.name: tensor for tensor in found.tensors} if found else {}
    entries, others = [], []
    for candidate, decision in zip(candidates, decisions, strict=True):
        if candidate.palettizable:
            entries.append(
                Entry(
                    decision.name, decision.shape, decision.choice, decision.stored_bytes, measured.get(candidate.name)
                )
            )
        else:
            others.append(decision)
    offered = [e.stored_bytes for e in entries if e.name not in measured] + [d.stored_bytes for d in others]
    rest = sum(offered)
    return Plan(
        origin.model,
        origin.digest,
        origin.asked,
        tuple(entries),
        len(others),
        sum(decision.parameters for decision in others),
        sum(decision.stored_bytes for decision in others),
        origin.error,
        origin.words,
        _with_rest(found.chosen, rest) if found else None,
        tuple(_with_rest(point, rest) for point in found.curve) if found else (),
    )


def _with_rest(point: Point, rest: int) -> Point:
    return Point(point.stored_bytes + rest, point.predicted, point.measured)


def _entry(entry: Entry) -> dict[str, Any]:
    line: dict[str, Any] = {
        "name": entry.name,
        **_choice(entry.choice),
        "shape": entry.shape,
        "stored_bytes": entry.stored_bytes,
    }
    if entry.measured is not None:
        line["costs"] = [
            {
                **_choice(option.choice),
                "stored_bytes": option.stored_bytes,
                "cost": _rounded(option.cost),
            }
            for option in entry.measured.options
        ]
    return line


def _choice(choice: Choice) -> dict[str, Any]:
    if choice.block is not None:
        return {"bits": choice.bits, "block": choice.block}
    return {"bits": choice.bits, "group_size": choice.group_size}


def _rounded(value: float) -> float:
    """Six digits: further ones differ between machines."""
    return float(f"{value:.6g}")


def _list(key: str, items: Sequence[Mapping[str, Any]], end: str) -> list[str]:
    lines = ",\n".join(f"    {_compact(item)}" for item in items)
    return [f"  {json.dumps(key)}: [\n{lines}\n  ]{end}\n"]


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
