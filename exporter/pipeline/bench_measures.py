"""The numbers of `kogata bench`: what a worker measured, medians and ranges over rounds, ratios of two models."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LEAST = 1e-9  # seconds; a clock may stand still


@dataclass(frozen=True, order=True)
class Measure:
    """A measured quantity. context: in tokens, and batch: in texts, where it has one."""

    name: str
    context: int | None = None
    batch: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Its fields."""
        return {"measure": self.name, "context": self.context, "batch": self.batch}


@dataclass(frozen=True)
class Spread:
    """The values of one measure, one for each round; at least one."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """As numpy's."""
        return statistics.median(self.values)

    def as_json(self) -> dict[str, Any]:
        """Median, range and values."""
        return {
            "median": self.median,
            "smallest": min(self.values),
            "largest": max(self.values),
            "values": list(self.values),
        }


Spreads = Mapping[Measure, Spread]


def ratio(first: Spread, second: Spread) -> Spread:
    """Round by round: rounds that follow each other share the state of the machine."""
    return Spread(tuple(a / b for a, b in zip(first.values, second.values, strict=True)))


def quantities(answer: Mapping[str, Any]) -> dict[Measure, float]:
    """A worker's answer as numbers: seconds, bytes, and tokens or texts per second."""
    load, memory = answer["load"], answer["memory"]
    found = {
        Measure("load s"): max(load["wall"], _LEAST),
        Measure("load processor s"): max(load["cpu"], _LEAST),
        Measure("memory of the libraries"): memory["libraries"],
        Measure("memory after load"): memory["loaded"],
        Measure("peak memory"): memory["peak"],
    }
    for row in answer["rows"]:
        context = row["context"]
        if "batch" in row:
            rate = row["texts"] / max(row["seconds"], _LEAST)
            found[Measure("texts/s", context, row["batch"])] = rate
        else:
            found[Measure("prefill tokens/s", context)] = context / max(row["prefill"], _LEAST)
            found[Measure("decode tokens/s", context)] = row["tokens"] / max(row["decode"], _LEAST)
    return found
