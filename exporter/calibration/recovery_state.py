"""The state of a training of LUTs, and the file that an interrupted training resumes from."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from exporter.checkpoint.safetensors_header import Header, read_header
from exporter.errors import Diagnostic, InputError
from exporter.runners.torch_graph.stored import from_array

Tensors = Mapping[str, Tensor]
_PARTS = ("lut", "mean", "square")
_KIND = "kogata recovery 1"


@dataclass(frozen=True)
class State:
    """The state after `step` steps.

    luts, means, squares: weight name → float32 `[groups, entries]`: its LUT, and Adam's running means of the LUT's
    gradients and of their squares.
    """

    step: int
    luts: Tensors
    means: Tensors
    squares: Tensors

    @classmethod
    def initial(cls, luts: Tensors) -> State:
        """The state before the first step."""
        means, squares = ({name: torch.zeros_like(lut) for name, lut in luts.items()} for _ in range(2))
        return cls(0, luts, means, squares)

    @property
    def valid(self) -> bool:
        """Whether all numbers are finite and no square is negative."""
        parts = (self.luts, self.means, self.squares)
        finite = all(bool(torch.isfinite(tensor).all()) for part in parts for tensor in part.values())
        return finite and all(bool((tensor >= 0).all()) for tensor in self.squares.values())


@dataclass(frozen=True)
class ResumeFile:
    """The file that a training resumes from.

    path: a safetensors file, which need not exist. key: identifies the training and everything that its result depends
    on: model, palettes, texts, device. save_interval: seconds between two writes.
    """

    path: Path
    key: str
    save_interval: float = 60.0

    def save(self, state: State) -> None:
        """Replaces the file by one with this state, atomically. Raises OSError."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        parts = zip(_PARTS, (state.luts, state.means, state.squares), strict=True)
        tensors = {f"{part}:{name}": tensor for part, own in parts for name, tensor in own.items()}
        with tempfile.TemporaryDirectory(prefix=f".{self.path.name[:50]}.", dir=self.path.parent) as folder:
            written = Path(folder) / "state"
            try:
                save_file(tensors, written, {"kind": _KIND, "key": self.key, "step": str(state.step)})
            except SafetensorError as error:  # safetensors' error for a full disk
                raise OSError(str(error)) from None
            os.replace(written, self.path)

    def load(self, initial: State, steps: int) -> State | Diagnostic | None:
        """The saved state with this key, at most `steps` steps and the shapes of `initial`.

        None if there is no file; a note if the file is damaged or belongs to another training.
        """
        try:
            if not self.path.is_file():  # reading a pipe would block
                return self._note("is not a regular file") if os.path.lexists(self.path) else None
            header = read_header(self.path, self.path.name)
            if header.metadata.get("kind") != _KIND or header.metadata.get("key") != self.key:
                return self._note("belongs to another training")
            state = self._read(header, initial)
        except InputError as error:
            return self._note(f"is damaged: {error.diagnostics[0].message[:200]}")
        except OSError as error:
            return self._note(f"can't be read: {error.strerror or error}")
        if state is None or state.step > steps or not state.valid:
            return self._note("is damaged: its tensors or its step don't fit this training")
        return state

    def discard(self) -> None:
        """Removes the file, if there is one."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _read(self, header: Header, initial: State) -> State | None:
        """The state in the file; None if its tensors aren't exactly those of `initial`."""
        step = header.metadata.get("step", "")
        shapes = {f"{part}:{name}": tuple(t.shape) for part in _PARTS for name, t in initial.luts.items()}
        stored = {tensor.name: tensor for tensor in header.tensors}
        if not (step.isascii() and step.isdecimal() and len(step) < 10) or shapes.keys() != stored.keys():
            return None
        if any(stored[name].shape != shape or stored[name].dtype != "F32" for name, shape in shapes.items()):
            return None
        read: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
        with self.path.open("rb") as file:
            for part in _PARTS:
                for name, like in initial.luts.items():
                    file.seek(stored[f"{part}:{name}"].offset)
                    array = np.fromfile(file, np.dtype("<f4"), like.numel())
                    if array.size != like.numel():
                        return None
                    read[part][name] = from_array(array).reshape(like.shape).to(like.device)
        return State(int(step), read["lut"], read["mean"], read["square"])

    def _note(self, what: str) -> Diagnostic:
        message = f"the file to resume training from {what}; training starts from the beginning"
        return Diagnostic("recovery.resume", message, str(self.path), level="note")


def require_resume_file(path: Path) -> None:
    """Raises InputError if `path` is a file that Kogata didn't write: saving a training there would destroy it."""
    try:
        own = not path.is_file() or read_header(path, path.name).metadata.get("kind") == _KIND
    except (InputError, OSError):
        own = False
    if not own:
        message = "Kogata saves its training here, but this file is not from Kogata and would be lost"
        hint = "move it away, or choose another folder with -o"
        raise InputError.of("recovery.place", message, where=str(path), hint=hint)
