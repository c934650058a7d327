"""Stores measurements in memory and in a file from which a later run continues."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .parts import Scores


@dataclass(frozen=True)
class Result:
    """One method at one setting. reason: why it didn't run, in which case there are no numbers."""

    model: str
    method: str
    setting: str
    stored_bytes: int = 0
    bpw: float = 0.0
    seconds: float = 0.0
    peak_bytes: int | None = None
    scores: Scores | None = None
    of_plain: float | None = None
    reason: str = ""


@dataclass
class Record:
    """All results so far, also written to a file if there is one."""

    path: Path | None
    results: dict[tuple[str, str, str], Result]

    @classmethod
    def of(cls, path: Path | None) -> Record:
        rows = json.loads(path.read_text("utf-8")) if path is not None and path.exists() else []
        return cls(path, {(row["model"], row["method"], row["setting"]): Result(**row) for row in rows})

    def add(self, result: Result) -> None:
        self.results[result.model, result.method, result.setting] = result
        if self.path is not None:
            rows = [asdict(known) for known in self.results.values() if known.scores is not None]
            self.path.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
