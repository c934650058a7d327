"""What a command was asked for: one frozen value per concern, made once from the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import UsageError, file_problem
from exporter.formats import Form, Format
from exporter.lower.onnx import OnnxWeights
from exporter.targets import Target

BUILTIN = "builtin"
_DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,3})?", re.ASCII)


@dataclass(frozen=True)
class OutputOptions:
    """What to write.

    formats, targets: both empty means every format. forms: instead of a format's default form. onnx_weights: None means
    what the forms store by default. context: longest
    sequence in tokens. shapes: input of a model that comes as ONNX → its sizes in the Core ML program and in parity.
    """

    formats: tuple[Format, ...] = ()
    targets: tuple[Target, ...] = ()
    onnx_weights: OnnxWeights | None = None
    context: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    forms: tuple[Form, ...] = ()


@dataclass(frozen=True)
class CalibrationOptions:
    """How palettes are fitted to text.

    texts: "builtin", "none", or a file of texts; None means built-in texts where the model takes text. recover: steps
    of training LUTs. device: where both run, as torch calls it.
    """

    texts: str | None = None
    recover: int = 0
    device: str = "cpu"

    @property
    def wanted(self) -> str | None:
        """As `texts`, with the built-in ones where training needs texts and none were named."""
        return self.texts or (BUILTIN if self.recover else None)

    def require_valid(self) -> None:
        """Raises UsageError for a file of texts that can't be read, for training without texts, for an unknown
        device."""
        if not _DEVICE.fullmatch(self.device):
            message = f"calibration runs on cpu, cuda, cuda:1 or mps; got '{self.device[:80]}'"
            raise UsageError.of("options.device", message, where="--device")
        if self.recover and self.texts == "none":
            hint = "leave out --calibrate none"
            raise UsageError.of("options.recover", "training needs texts", where="--recover", hint=hint)
        if self.texts not in (BUILTIN, "none", None):
            _require_texts(self.texts)


def _require_texts(stated: str) -> None:
    path = Path(stated)
    try:
        problem = file_problem(path)
    except (OSError, ValueError):  # too long, a null byte
        problem = "this can't be the name of a file"
    if not problem and path.suffix not in (".txt", ".jsonl"):
        problem = "the file must end in .txt or .jsonl"
    if problem:
        hint = "builtin, none, or a file: .txt with one text a line, or .jsonl"
        raise UsageError.of("options.calibrate", problem, where=f"--calibrate {stated[:200]}", hint=hint)
