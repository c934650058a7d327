"""Reports for programs: the JSON envelope."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from exporter.report.clean import safe_json
from exporter.report.model import Report, Subject


def render_json(report: Report) -> str:
    """The same envelope on success and on failure. NaN and infinity become null, because JSON can't hold them."""
    return _json(_envelope(report), 2)


def render_json_line(report: Report) -> str:
    """The envelope of `render_json` in one line."""
    return _json(_envelope(report), None)


def json_line(value: Mapping[str, Any]) -> str:
    """A value in one line, written as `render_json` writes it."""
    return _json(value, None)


def _envelope(report: Report) -> Mapping[str, Any]:
    return {
        "command": report.command,
        "ok": report.ok,
        "exit_code": int(report.exit_code),
        **({"verdict": report.verdict} if report.verdict else {}),
        **({} if report.subject is None else {"bundle": _bundle(report.subject)}),
        **({"next_step": report.next_step} if report.next_step else {}),
        "result": report.result,
        "diagnostics": [diagnostic.as_json() for diagnostic in report.diagnostics],
    }


def _bundle(subject: Subject) -> Mapping[str, str]:
    return {"name": subject.name, "path": subject.path}


def _json(value: Mapping[str, Any], indent: int | None) -> str:
    return safe_json(json.dumps(_finite(value), ensure_ascii=False, indent=indent, allow_nan=False)) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
