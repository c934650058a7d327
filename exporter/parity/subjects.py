"""The things that rows compare, each with a name and a way to open it as a runner."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from exporter.parity.options import Judged, ParityOptions, Subjects, judged
from exporter.runners import coreml
from exporter.runners.base import MaskConvention, Runner
from exporter.runners.mil_texts import MilDecoder, MilEncoder, Observe, encoder_lengths, takes_types
from exporter.runners.ort import OnnxDecoder, OnnxEncoder, OnnxSource
from exporter.runners.reference import TorchDecoder, TorchEncoder

if TYPE_CHECKING:
    from exporter.runners.mil import MilModel

_LARGE = 200_000_000  # bytes: below that, single ops are too short to share, above they take most of the time
Key = Literal["checkpoint", "hub", "compressed", "onnx", "coreml unrounded", "coreml"]

TITLES: dict[Key, str] = {
    "checkpoint": "checkpoint in torch",
    "hub": "imported graph",
    "compressed": "compressed graph",
    "onnx": "shipped ONNX file",
    "coreml unrounded": "shipped Core ML program without rounding",
    "coreml": "shipped Core ML program",
}


@dataclass
class Opener:
    """Opens subjects one after the other; only the Core ML program is kept between two of them."""

    subjects: Subjects
    options: ParityOptions
    _mil: MilModel | None = None

    @property
    def decoder(self) -> bool:
        """Whether the subjects are decoders."""
        return self.subjects.task == "text-generation"

    @property
    def judged(self) -> Judged:
        """What the outputs are."""
        return judged(self.subjects.task, self.subjects.scores)

    @cached_property
    def threads(self) -> int:
        """How many threads every runtime uses."""
        if self.options.threads is not None:
            return self.options.threads
        return 1 if _stored_bytes(self.subjects) < _LARGE else min(4, os.cpu_count() or 1)

    def keys(self) -> tuple[Key, ...]:
        """What there is to compare, from the checkpoint outwards."""
        s = self.subjects
        there: dict[Key, bool] = {
            "checkpoint": s.checkpoint is not None,
            "hub": s.hub is not None,
            "compressed": s.compressed is not None and s.compressed is not s.hub and bool(s.compressed.palettes),
            "onnx": s.onnx is not None,
            "coreml unrounded": s.coreml is not None,
            "coreml": s.coreml is not None,
        }
        return tuple(key for key, present in there.items() if present)

    def open(self, key: Key, observe: Observe | None = None) -> Runner:
        """Loads the subject. Heavy: let go of it before the next. `observe` sees every tensor of "coreml unrounded"."""
        match key:
            case "checkpoint":
                return self._torch()
            case "hub" | "compressed" | "onnx":
                return self._onnx(key)
            case "coreml unrounded":
                return self.mil(rounding=False, mask=self.subjects.coreml_callers[0], observe=observe)
            case "coreml":
                return self._coreml()

    def mil_model(self) -> MilModel:
        """The shipped program, read back from disk."""
        from exporter.runners.mil import load_mlpackage

        if self._mil is None:
            if self.subjects.coreml is None:
                raise ValueError("there is no Core ML program")
            self._mil = load_mlpackage(self.subjects.coreml)
        return self._mil

    def mil(self, *, rounding: bool, mask: MaskConvention, observe: Observe | None = None) -> Runner:
        """The shipped program in the reference executor."""
        model = self.mil_model()
        if self.decoder:
            return MilDecoder(model, rounding=rounding, mask=mask, observe=observe)
        return MilEncoder(model, rounding=rounding, pad_id=self.subjects.tokenizer.pad_id or 0, observe=observe)

    def onnx_source(self, key: Literal["hub", "compressed", "onnx"]) -> OnnxSource:
        """The graph behind one of these subjects."""
        s = self.subjects
        if key == "onnx":
            return OnnxSource(path=s.onnx)
        hub = s.hub if key == "hub" else s.compressed
        return OnnxSource(model=hub.model if hub else None)

    @property
    def on_system(self) -> bool:
        """Whether the row "coreml" is run by Core ML itself."""
        asked = self.options.coreml_runner
        return asked == "system" or (asked == "auto" and coreml.available())

    def _torch(self) -> Runner:
        if self.subjects.checkpoint is None:
            raise ValueError("there is no checkpoint")
        if self.decoder:
            return TorchDecoder(self.subjects.checkpoint)
        return TorchEncoder(self.subjects.checkpoint, self.subjects.task)

    def _onnx(self, key: Literal["hub", "compressed", "onnx"]) -> Runner:
        return (OnnxDecoder if self.decoder else OnnxEncoder)(self.onnx_source(key), self.threads)

    def _coreml(self) -> Runner:
        if not self.on_system:
            return self.mil(rounding=True, mask=self.subjects.coreml_callers[0])
        s = self.subjects
        if s.coreml is None:
            raise ValueError("there is no Core ML program")
        if self.decoder:
            return coreml.CoreMLDecoder(s.coreml, s.coreml_callers[0])
        model = self.mil_model()
        lengths, typed = encoder_lengths(model), takes_types(model)
        return coreml.CoreMLEncoder(s.coreml, lengths, s.tokenizer.pad_id or 0, typed=typed)


def _stored_bytes(subjects: Subjects) -> int:
    """Of the largest of them."""
    paths = [path for path in (subjects.checkpoint, subjects.onnx and subjects.onnx.parent, subjects.coreml) if path]
    files = [sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in paths]
    values = subjects.hub.model.graph.initializers.values() if subjects.hub else ()
    return max([*files, sum(value.const_value.nbytes for value in values if value.const_value is not None)])


@contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """torch computes with this many threads meanwhile, so that sums are split the same way each time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
