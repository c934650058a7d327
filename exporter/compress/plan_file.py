"""Reads a `plan.json`, which a user may have edited, and checks it against the model."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.compress.choices import GRID_BITS, UNCOMPRESSED, Choice
from exporter.compress.decisions import Candidate
from exporter.compress.plan import SCHEMA_VERSION
from exporter.errors import Diagnostic, InputError, file_problem
from exporter.graph.grid import BLOCKS
from exporter.graph.palette import PALETTE_BITS
from exporter.strict_json import parse_json

MAX_BYTES = 16 << 20  # enough for 8,000 matrices: each takes up to 2 kB with its costs
MAX_GROUP_SIZE = 1 << 31  # more rows than any matrix has
MAX_PROBLEMS = 100  # reported one by one; then only their number is reported

_FROM_BUNDLE = "the plan.json of a bundle made from this checkpoint fits"
_WITHOUT_PAIRS = "make the plan again with this version, or remove cluster_dim and choose the bits again"


@dataclass(frozen=True)
class SavedPlan:
    """A plan read from a file. choices: tensor → how to store it; digest: of the checkpoint that it was made for."""

    choices: Mapping[str, Choice]
    digest: str | None


def read_plan(path: Path, candidates: Sequence[Candidate]) -> SavedPlan:
    """The plan in `path`; it must name exactly the matrices among `candidates`. Raises InputError with all problems."""
    raw = _raw(path)
    try:
        data = parse_json(raw)
    except ValueError as error:
        raise _error(path, f"is not JSON: {str(error)[:200]}") from None
    if not isinstance(data, dict) or not isinstance(data.get("tensors"), list):
        raise _error(
            path, 'is not a plan: the list "tensors" is missing', "kogata export --bpw … writes one into the bundle"
        )
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
    """Collects choices and problems. matrices: they need a choice; known: the names of all the model's tensors."""

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
            self.unknown(name)
            return
        shape = item.get("shape", list(candidate.shape))
        if shape != list(candidate.shape):
            given = json.dumps(shape)[:60]
            self.problem(name, f"has shape {given} in the plan and {list(candidate.shape)} in the model", _FROM_BUNDLE)
        choice = self.choice(name, candidate.shape, item)
        if choice is not None:
            self.choices[name] = choice.fitted(candidate.shape)

    def choice(self, name: str, shape: tuple[int, ...], item: Mapping[str, Any]) -> Choice | None:
        """The choice, or None if there is a problem."""
        bits, rows = item.get("bits"), item.get("group_size")
        allowed = (*PALETTE_BITS, UNCOMPRESSED)
        if type(bits) is not int or bits not in allowed:
            listed = ", ".join(map(str, allowed))
            self.problem(name, f"bits must be one of {listed}, not {json.dumps(bits)[:40]}", "16 keeps the tensor")
            return None
        if bits == UNCOMPRESSED:
            return Choice(UNCOMPRESSED)
        if "block" in item and rows is None:
            return self.grid(name, bits, item["block"])
        if type(rows) is not int or not 1 <= rows < MAX_GROUP_SIZE:
            given = json.dumps(rows)[:40]
            self.problem(name, f"group_size must be the number of output rows that share a LUT, not {given}")
            return None
        dim = item.get("cluster_dim", 1)  # in older plans; 2 meant LUTs of pairs of weights
        if type(dim) is not int or dim != 1:
            given = json.dumps(dim)[:40]
            self.problem(
                name, f"cluster_dim must be 1, not {given}: LUTs of pairs are no longer supported", _WITHOUT_PAIRS
            )
            return None
        return Choice(bits, min(rows, shape[0]))

    def grid(self, name: str, bits: int, block: object) -> Choice | None:
        """The choice of a matrix that is stored as a grid."""
        if bits not in GRID_BITS:
            self.problem(name, f"bits must be 4 or 8 with a block, not {bits}", "only palettes have other bits")
        elif type(block) is not int or block not in BLOCKS:
            sizes, given = ", ".join(map(str, sorted(BLOCKS))), json.dumps(block)[:40]
            self.problem(name, f"block must be the number of columns that share a scale, one of {sizes}, not {given}")
        else:
            return Choice(bits, block=block)
        return None

    def unknown(self, name: str) -> None:
        """Reports a name that belongs to no matrix."""
        if name in self.known:
            self.problem(
                name, "is always kept: it is not a matrix of a linear layer or an embedding", "remove it from the plan"
            )
            return
        similar = difflib.get_close_matches(name[:200], self.matrices, n=1) if len(self.problems) < MAX_PROBLEMS else []
        self.problem(name, "the model has no such tensor", f"did you mean {similar[0]}?" if similar else _FROM_BUNDLE)

    def problem(self, where: str, message: str, hint: str = "") -> None:
        """Adds a problem, with its line number if the name is in the file."""
        if len(self.problems) >= MAX_PROBLEMS:
            self.problems.append(Diagnostic("plan.invalid", message))
            return
        at = self.raw.find(json.dumps(where, ensure_ascii=False).encode("utf-8", "backslashreplace"))
        line = f":{self.raw.count(10, 0, at) + 1}" if at >= 0 else ""
        self.problems.append(Diagnostic("plan.invalid", message, f"{self.file}{line}: {where[:200]}", hint))

    def finish(self) -> None:
        """Adds a problem for each missing matrix, and raises InputError if there are problems."""
        for name in self.matrices:
            if name not in self.seen:
                self.problem(name, "is missing: the plan must name every matrix", _FROM_BUNDLE)
        more = len(self.problems) - MAX_PROBLEMS
        shown = self.problems[:MAX_PROBLEMS]
        if more > 0:
            shown.append(Diagnostic("plan.invalid", f"and {more:,} more problems", self.file))
        InputError.raise_all(shown)
