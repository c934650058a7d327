"""Reads a `plan.json` that somebody wrote or edited, against the model that it is for."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.compress.choices import UNCOMPRESSED, Choice
from exporter.compress.decisions import Candidate
from exporter.compress.plan import SCHEMA_VERSION
from exporter.errors import Diagnostic, InputError, file_problem
from exporter.graph.palette import PALETTE_BITS
from exporter.strict_json import parse_json

MAX_BYTES = 16 << 20  # a tensor with its costs takes up to 2 kB: 8,000 matrices
MAX_ROWS = 1 << 31  # of a group: no matrix has more
TOLD = 100  # problems; who has more has one

_FROM_BUNDLE = "the plan.json of a bundle made from this checkpoint fits"
_NO_PAIRS = "make the plan again with this version, or remove cluster_dim and choose the bits again"


@dataclass(frozen=True)
class SavedPlan:
    """What a file asks for. choices: tensor → how it is stored; digest: of the checkpoint that it was made for."""

    choices: Mapping[str, Choice]
    digest: str | None


def read_plan(path: Path, candidates: Sequence[Candidate]) -> SavedPlan:
    """The plan in `path`, for exactly the matrices among `candidates`. InputError with everything wrong at once."""
    raw = _raw(path)
    try:
        data = parse_json(raw)
    except ValueError as error:
        raise _error(path, f"is not JSON: {str(error)[:200]}") from None
    if not isinstance(data, dict) or not isinstance(data.get("tensors"), list):
        raise _error(path, 'is no plan: it has no list "tensors"', "kogata export --bpw … writes one into the bundle")
    version = data.get("schema_version")
    if type(version) is not int or version < 1:
        raise _error(path, f'"schema_version" must be {SCHEMA_VERSION}')
    if version > SCHEMA_VERSION:
        raise _error(path, f"has schema version {version}, this kogata reads {SCHEMA_VERSION}", "update kogata")
    reader = _Reader(path.name, raw, {c.name: c for c in candidates if c.palettizable}, {c.name for c in candidates})
    for index, item in enumerate(data["tensors"]):
        reader.read(index, item)
    reader.finish()
    model = data.get("model")
    digest = model.get("digest") if isinstance(model, dict) else None
    return SavedPlan(reader.choices, digest if isinstance(digest, str) else None)


def _raw(path: Path) -> bytes:
    try:
        if problem := file_problem(path):
            raise _error(path, problem)
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _error(path, f"can't be read: {error.strerror or error}") from None
    if len(raw) > MAX_BYTES:
        raise _error(path, f"is larger than {MAX_BYTES >> 20} MiB")
    return raw


def _error(path: Path, message: str, hint: str = "") -> InputError:
    return InputError(Diagnostic("plan.invalid", message, str(path), hint))


@dataclass
class _Reader:
    """Collects choices and problems. matrices: those that need a choice; known: names of all the model's tensors."""

    file: str
    raw: bytes
    matrices: Mapping[str, Candidate]
    known: set[str]
    choices: dict[str, Choice] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def read(self, index: int, item: Any) -> None:
        """One tensor's entry."""
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(name, str):
            self.problem(f"tensors[{index}]", "must be an object with a name")
            return
        if name in self.seen:
            self.problem(name, "is listed twice")
            return
        self.seen.add(name)
        candidate = self.matrices.get(name)
        if candidate is None:
            self.stranger(name)
            return
        shape = item.get("shape", list(candidate.shape))
        if shape != list(candidate.shape):
            told = json.dumps(shape)[:60]
            self.problem(name, f"has shape {told} in the plan and {list(candidate.shape)} in the model", _FROM_BUNDLE)
        choice = self.choice(name, candidate.shape, item)
        if choice is not None:
            self.choices[name] = choice.fitted(candidate.shape)

    def choice(self, name: str, shape: tuple[int, ...], item: Mapping[str, Any]) -> Choice | None:
        """The choice, or None after a problem."""
        bits, rows = item.get("bits"), item.get("group_size")
        allowed = (*PALETTE_BITS, UNCOMPRESSED)
        if type(bits) is not int or bits not in allowed:
            listed = ", ".join(map(str, allowed))
            self.problem(name, f"bits must be one of {listed}, not {json.dumps(bits)[:40]}", "16 keeps the tensor")
            return None
        if bits == UNCOMPRESSED:
            return Choice(UNCOMPRESSED)
        if type(rows) is not int or not 1 <= rows < MAX_ROWS:
            told = json.dumps(rows)[:40]
            self.problem(name, f"group_size must be the number of output rows that share a LUT, not {told}")
            return None
        dim = item.get("cluster_dim", 1)  # in older plans; 2 meant LUTs of pairs of weights
        if type(dim) is not int or dim != 1:
            told = json.dumps(dim)[:40]
            self.problem(name, f"cluster_dim must be 1, not {told}: LUTs of pairs are no longer supported", _NO_PAIRS)
            return None
        return Choice(bits, min(rows, shape[0]))

    def stranger(self, name: str) -> None:
        """A name that is none of the matrices."""
        if name in self.known:
            self.problem(name, "is always kept: no matrix of a linear layer or an embedding", "leave it out")
            return
        near = difflib.get_close_matches(name[:200], self.matrices, n=1) if len(self.problems) < TOLD else []
        self.problem(name, "the model has no such tensor", f"did you mean {near[0]}?" if near else _FROM_BUNDLE)

    def problem(self, where: str, message: str, hint: str = "") -> None:
        """With the line, where it can be found."""
        if len(self.problems) >= TOLD:
            self.problems.append(Diagnostic("plan.invalid", message))
            return
        at = self.raw.find(json.dumps(where, ensure_ascii=False).encode("utf-8", "backslashreplace"))
        line = f":{self.raw.count(10, 0, at) + 1}" if at >= 0 else ""
        self.problems.append(Diagnostic("plan.invalid", message, f"{self.file}{line}: {where[:200]}", hint))

    def finish(self) -> None:
        """Raises InputError with all problems, those of missing tensors among them."""
        for name in self.matrices:
            if name not in self.seen:
                self.problem(name, "is missing: the plan must name every matrix", _FROM_BUNDLE)
        more = len(self.problems) - TOLD
        told = self.problems[:TOLD]
        if more > 0:
            told.append(Diagnostic("plan.invalid", f"and {more:,} more problems", self.file))
        InputError.raise_all(told)
