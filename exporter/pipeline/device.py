"""A device's report against the test vectors of its bundle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.bundle.opened import OpenBundle
from exporter.bundle.writer import DEVICE_VECTORS, SUMS
from exporter.errors import Diagnostic, InputError
from exporter.parity import ParityReport

if TYPE_CHECKING:
    from exporter.parity.device.report import DeviceReport


@dataclass(frozen=True)
class DeviceCheck:
    """A judged report. judged: whether it holds outputs, not only token ids."""

    report: DeviceReport
    parity: ParityReport
    judged: bool

    @property
    def measured_on(self) -> str:
        """Device, system and compute units, in words."""
        return self.report.measured_on

    def as_json(self) -> dict[str, Any]:
        """What ran it, how, and how fast; the names of its rows, and the verdict of these alone."""
        facts = {name: asdict(getattr(self.report, name)) for name in ("device", "runtime", "speed")}
        rows = [row.name for row in self.parity.rows]
        return {"measured_on": self.measured_on, "verdict": self.parity.verdict, "rows": rows, **facts}


def check_device(bundle: OpenBundle, path: Path) -> DeviceCheck:
    """Judges the report in `path`. Raises InputError for one that can't be read, or is about another bundle."""
    from exporter.parity.device.judge import has_outputs, judge_device
    from exporter.parity.device.reading import read_report, read_vectors

    vectors = read_vectors(bundle.folder / DEVICE_VECTORS)
    report = read_report(path, bundle.folder / SUMS, vectors)
    artifact = next((a for a in bundle.manifest.artifacts if a.path == report.runtime.artifact), None)
    if artifact is None:
        message = f"{report.runtime.artifact!r} is not an artifact of the bundle"
        raise InputError.of("device.report", message, where=f"{path.name}: runtime.artifact")
    stated, actual = (report.runtime.engine, report.runtime.form), (artifact.kind, artifact.form.name)
    InputError.raise_all(
        [
            Diagnostic("device.report", f"is {said!r}, but {artifact.path} is {is_!r}", f"{path.name}: runtime.{key}")
            for key, said, is_ in zip(("engine", "form"), stated, actual, strict=True)
            if said != is_
        ]
    )
    parity = judge_device(vectors, report, artifact.form, bundle.manifest.compression.palette_bits)
    return DeviceCheck(report, parity, has_outputs(vectors))
