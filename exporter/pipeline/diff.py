"""`kogata diff`: what changed between two bundles, and whether NEW is worse than allowed. No model is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.errors import Diagnostic, Gathered
from exporter.pipeline.diff_facts import Change, changed_tensors, facts, file_changes
from exporter.pipeline.diff_gates import Judged, findings, judge, read_gates
from exporter.pipeline.diff_quantities import QUANTITIES, Key, Measured, Quantities, artifact_row, quantities
from exporter.pipeline.diff_sides import Side, open_sides
from exporter.progress import Progress


@dataclass(frozen=True)
class SideFiles:
    """The bundle of one side, and reports about it: of `kogata bench --format json`, and of a device."""

    bundle: Path
    bench: Path | None = None
    device: Path | None = None


@dataclass(frozen=True)
class Diff:
    """old, new: what each side measured. judged: each gate on each of its rows."""

    sides: tuple[Side, Side]
    old: Quantities
    new: Quantities
    judged: tuple[Judged, ...]

    @property
    def shipped(self) -> list[str]:
        """The rows of the artifacts of either side."""
        return _shipped(self.sides)

    @property
    def facts(self) -> tuple[Change, ...]:
        """Origin, licence, tokenizer, forms and tools, changed or not."""
        return facts(*self.sides)

    @property
    def files(self) -> tuple[Change, ...]:
        """The files that differ: bytes of either side, None where it doesn't have the file."""
        return file_changes(*self.sides)

    @property
    def tensors(self) -> tuple[Change, ...]:
        """The tensors that are stored differently."""
        return changed_tensors(*self.sides)

    @property
    def keys(self) -> list[Key]:
        """Metric and row of all quantities, in the order of OLD and then of NEW."""
        return list(dict.fromkeys((*self.old, *self.new)))

    @property
    def findings(self) -> tuple[Diagnostic, ...]:
        """Broken gates, and the quantities that were measured on different things."""
        return (*findings(self.judged), *_incomparable(self.old, self.new))

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            **{
                side.name.lower(): {"name": side.manifest.name, "verdict": side.manifest.verdict} for side in self.sides
            },
            "facts": [change.as_json() for change in self.facts],
            "files": [change.as_json() for change in self.files],
            "tensors": [change.as_json() for change in self.tensors],
            "quantities": [self._quantity(key) for key in self.keys],
            "gates": [result.as_json() for result in self.judged],
        }

    def _quantity(self, key: Key) -> dict[str, Any]:
        old, new = self.old.get(key), self.new.get(key)
        quantity = QUANTITIES[key[0]]
        return {
            "metric": key[0],
            "row": key[1],
            "old": old.value if old else None,
            "new": new.value if new else None,
            "in": [name for name, side in (("old", old), ("new", new)) if side is not None],
            "unit": quantity.unit,
            "higher_is_better": quantity.higher_is_better,
        }


def diff_bundles(old: SideFiles, new: SideFiles, gates: Sequence[str], progress: Progress) -> Diff:
    """Verifies and compares both.

    Raises UsageError for gates that can't be read, or whose row neither side has; InputError for a folder that is not a
    bundle, or a report that can't be read or is about another bundle; GateError for files that aren't as packed.
    """
    asked = read_gates(gates)
    sides = open_sides(old.bundle, new.bundle, progress)
    gathered = Gathered()
    found = [gathered.read(_measured, side, files) for side, files in zip(sides, (old, new), strict=True)]
    gathered.raise_all()
    first, second = (measured or {} for measured in found)
    return Diff(sides, first, second, judge(asked, first, second, _shipped(sides)))


def _shipped(sides: Sequence[Side]) -> list[str]:
    return list(dict.fromkeys(artifact_row(s.manifest, a) for s in sides for a in s.manifest.artifacts))


def _measured(side: Side, files: SideFiles) -> dict[Key, Measured]:
    from exporter.pipeline.diff_speed import bench_speed, device_speed

    gathered = Gathered()
    own = gathered.read(quantities, side)
    bench = gathered.read(bench_speed, side, files.bench) if files.bench else {}
    device = gathered.read(device_speed, side, files.device) if files.device else {}
    gathered.raise_all()
    return {**(own or {}), **(bench or {}), **(device or {})}


def _incomparable(old: Quantities, new: Quantities) -> tuple[Diagnostic, ...]:
    """One for each pair of conditions."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for key, first in old.items():
        second = new.get(key)
        if second and first.conditions and second.conditions and first.conditions != second.conditions:
            pairs.setdefault((first.conditions, second.conditions), []).append(key[1])
    return tuple(
        Diagnostic(
            "diff.conditions",
            f"measured on different things, so the numbers can't be compared: OLD on {was}; NEW on {now}",
            ", ".join(dict.fromkeys(rows)),
            "measure both in the same way; parity prompts come from --calibrate at export",
            "warning",
        )
        for (was, now), rows in pairs.items()
    )
