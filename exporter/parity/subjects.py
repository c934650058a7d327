"""Opens what rows compare: the checkpoint, the graphs, and the shipped files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from exporter.formats import FORMS, Form
from exporter.graph.passes.with_matrices import with_matrices
from exporter.parity.keys import Decoded, GraphKey, Key, Unrounded
from exporter.parity.locate.mil_values import OverflowScan
from exporter.parity.options import Compared, Judged, ParityOptions, Subjects, judged
from exporter.runners.base import DecoderRunner, Runner
from exporter.runners.integers import Dense, exact_model, stored_matrices
from exporter.runners.mil_texts import Observe
from exporter.runners.ort import OnnxSource
from exporter.runners.reference import TorchDecoder, TorchEncoder
from exporter.runners.shipped import Conditions, CoreMLFile, ModelFile, OnnxFile, rounds, shipped_file
from exporter.runners.threads import stored_bytes, threads_for

if TYPE_CHECKING:
    from exporter.graph.model import Hub


@dataclass
class Opener:
    """Opens subjects one after the other; only shipped Core ML programs stay in memory between two of them."""

    subjects: Compared
    options: ParityOptions
    _shipped: dict[Form, OnnxFile | CoreMLFile] = field(default_factory=dict)

    @cached_property
    def threads(self) -> int:
        """The number of threads of every runtime."""
        return self.options.threads or threads_for(_largest(self.subjects))

    def keys(self) -> tuple[Key, ...]:
        """Everything there is to compare, from the checkpoint outwards."""
        s = self.subjects
        keys: list[Key] = ["checkpoint"] if s.folder is not None else []
        if s.hub is not None:
            keys.append("hub")
        forms = sorted(s.artifacts, key=list(FORMS).index)
        palettes = s.compressed is not None and s.compressed is not s.hub and s.compressed.palettes
        if palettes and not (forms and all(rounds(form) == "int8" for form in forms)):
            keys.append("compressed")
        for form in forms:
            keys += [Decoded(form)] if rounds(form) == "int8" and s.hub is not None else []
            keys += [Unrounded(form), form] if rounds(form) else [form]
        return tuple(keys)

    @property
    def conditions(self) -> Conditions:
        """How shipped files are executed."""
        return Conditions(self.threads, coreml=self.options.coreml_runner)

    def shipped(self, form: Form) -> OnnxFile | CoreMLFile:
        """The file of that form."""
        if form not in self._shipped:
            self._shipped[form] = shipped_file(form, self.subjects.artifacts[form], self.conditions)
        return self._shipped[form]

    def program(self, key: Key) -> CoreMLFile | None:
        """The Core ML program that `key` stands for, rounded or not; None where it stands for something else."""
        form = key.form if isinstance(key, Unrounded) else key
        file = self.shipped(form) if isinstance(form, Form) else None
        return file if isinstance(file, CoreMLFile) else None

    def file(self, key: Key, observe: Observe | None = None) -> ModelFile:
        """Anything but the checkpoint. observe: is shown every tensor of an unrounded program."""
        if isinstance(key, Form):
            return self.shipped(key)
        if isinstance(key, Unrounded):
            program = self.program(key)
            if program is None:
                return OnnxFile(OnnxSource(model=exact_model(self.subjects.artifacts[key.form])), self.threads)
            return program.executed(rounding=False, observe=observe)
        assert key in ("hub", "compressed") or isinstance(key, Decoded)
        return OnnxFile(OnnxSource(model=self.hub(key).model), self.threads)

    def matrices(self, form: Form) -> Mapping[str, Dense]:
        """Weight → what the file of that form stores of it."""
        return stored_matrices(self.subjects.artifacts[form], self.hub("hub"))

    def hub(self, key: GraphKey | Decoded) -> Hub:
        """The graph in memory."""
        if isinstance(key, Decoded):
            return with_matrices(self.hub("hub"), self.matrices(key.form))
        hub = self.subjects.hub if key == "hub" else self.subjects.compressed
        assert hub is not None
        return hub

    def scan(self, key: Key) -> OverflowScan | None:
        """Watches an unrounded program for values that float16 can't hold; None for anything else."""
        program = self.program(key) if isinstance(key, Unrounded) else None
        return None if program is None else OverflowScan(program.model)


@dataclass
class TextOpener(Opener):
    """Opens a text model's subjects as decoders or encoders."""

    subjects: Subjects

    @property
    def decoder(self) -> bool:
        """Whether the subjects are decoders."""
        return self.subjects.task == "text-generation"

    @property
    def judged(self) -> Judged:
        """The kind of outputs."""
        return judged(self.subjects.task, self.subjects.scores)

    @property
    def conditions(self) -> Conditions:
        """Programs are padded by the tokenizer and called as the first caller does."""
        s = self.subjects
        return Conditions(self.threads, s.tokenizer.pad_id or 0, s.coreml_callers[0], self.options.coreml_runner)

    def open(self, key: Key, observe: Observe | None = None) -> Runner:
        """Loads the subject; the caller lets go of it before the next one is opened."""
        if key == "checkpoint":
            return self.reference()
        file = self.file(key, observe)
        return file.decoder() if self.decoder else file.encoder()

    def reference(self) -> TorchDecoder | TorchEncoder:
        """The checkpoint in torch."""
        folder = self.subjects.checkpoint
        assert folder is not None
        return TorchDecoder(folder) if self.decoder else TorchEncoder(folder, self.subjects.task)

    def other_caller(self, key: Unrounded) -> DecoderRunner | None:
        """An unrounded decoder, called with the second caller's mask; None where the program serves only one."""
        program, callers = self.program(key), self.subjects.coreml_callers
        if program is None or len(callers) < 2:
            return None
        return program.executed(rounding=False, mask=callers[1]).decoder()


def _largest(subjects: Compared) -> int:
    """Bytes of the largest of them."""
    paths = [path for path in (subjects.folder, *subjects.artifacts.values()) if path is not None]
    values = subjects.hub.model.graph.initializers.values() if subjects.hub else ()
    in_memory = sum(value.const_value.nbytes for value in values if value.const_value is not None)
    return max([*map(stored_bytes, paths), in_memory])
