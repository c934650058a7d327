"""Runs the checkpoint, the graphs and the shipped files side by side and judges the difference.

Importing this package is cheap; torch, transformers and onnxruntime are loaded by `check_parity`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.parity.options import ParityOptions, Subjects
from exporter.parity.results import Check, ParityReport, PromptScore, Row, TaskScore

if TYPE_CHECKING:
    from exporter.progress import Progress

__all__ = ["Check", "ParityOptions", "ParityReport", "PromptScore", "Row", "Subjects", "TaskScore", "check_parity"]


def check_parity(subjects: Subjects, options: ParityOptions, progress: Progress | None = None) -> ParityReport:
    """Compares what `subjects` holds; see `exporter.parity.check.check_parity`."""
    from exporter.parity.check import check_parity as check

    return check(subjects, options, progress)
