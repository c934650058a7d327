"""Export requests from a flat list of options, as the command line has them."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from exporter.parity import ParityOptions
from exporter.pipeline.export import ExportRequest
from exporter.pipeline.options import CalibrationOptions, OutputOptions
from exporter.pipeline.settings import Widths

_GROUPS = {"outputs": OutputOptions, "widths": Widths, "calibration": CalibrationOptions, "parity": ParityOptions}
_OTHER_NAMES = {"calibrate": "texts"}


def export_request(checkpoint: Path, out: Path, *, parity: str = "none", **asked: Any) -> ExportRequest:
    """Each option goes to the value that has a field of its name. Raises TypeError for an unknown one."""
    asked = {_OTHER_NAMES.get(name, name): value for name, value in asked.items()}
    groups: dict[str, Any] = {}
    for name, kind in _GROUPS.items():
        own = {field.name for field in fields(kind)} & asked.keys()
        groups[name] = kind(**{key: asked.pop(key) for key in own})
    if parity == "quick":
        groups["parity"] = replace(groups["parity"], depth="quick")
    return ExportRequest(str(checkpoint), out, **groups, skip_parity=parity == "none", **asked)
