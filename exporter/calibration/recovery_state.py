"""Where the training of LUTs stands, and the file that keeps it, so that a later run can go on from there."""

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
    """After `step` steps, for each weight float32 `[groups, entries]`: its LUT, and the running means of the LUT's
    gradients and of their squares."""

    step: int
    luts: Tensors
    means: Tensors
    squares: Tensors

    @classmethod
    def begun(cls, luts: Tensors) -> State:
        """Before the first step."""
        means, squares = ({name: torch.zeros_like(lut) for name, lut in luts.items()} for _ in range(2))
        return cls(0, luts, means, squares)

    @property
    def sound(self) -> bool:
        """Whether all numbers are finite, and squares what squares are."""
        parts = (self.luts, self.means, self.squares)
        finite = all(bool(torch.isfinite(tensor).all()) for part in parts for tensor in part.values())
        return finite and all(bool((tensor >= 0).all()) for tensor in self.squares.values())


@dataclass(frozen=True)
class ResumeFile:
    """path: a safetensors file, which need not exist. key: names the training, and with it all that its result depends
    on: model, palettes, texts, devices. every: seconds from one saving to the next."""

    path: Path
    key: str
    every: float = 60.0

    def save(self, state: State) -> None:
        """Puts the state in the file's place, whole or not at all. Raises OSError."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        parts = zip(_PARTS, (state.luts, state.means, state.squares), strict=True)
        tensors = {f"{part}:{name}": tensor for part, own in parts for name, tensor in own.items()}
        with tempfile.TemporaryDirectory(prefix=f".{self.path.name[:50]}.", dir=self.path.parent) as folder:
            written = Path(folder) / "state"
            try:
                save_file(tensors, written, {"kind": _KIND, "key": self.key, "step": str(state.step)})
            except SafetensorError as error:  # which is how it tells of a full disk
                raise OSError(str(error)) from None
            os.replace(written, self.path)

    def load(self, begun: State, steps: int) -> State | Diagnostic | None:
        """The state that was saved under this key after at most `steps` steps; `begun` says of which shapes.

        None where there is no file; a note about one that is damaged, or of another training.
        """
        try:
            if not self.path.is_file():  # nor a pipe, at which reading would wait for ever
                return self._note("is not a regular file") if os.path.lexists(self.path) else None
            header = read_header(self.path, self.path.name)
            if header.metadata.get("kind") != _KIND or header.metadata.get("key") != self.key:
                return self._note("is of another training")
            state = self._read(header, begun)
        except InputError as error:
            return self._note(f"is damaged: {error.diagnostics[0].message[:200]}")
        except OSError as error:
            return self._note(f"can't be read: {error.strerror or error}")
        if state is None or state.step > steps or not state.sound:
            return self._note("is damaged: it doesn't hold what its key says")
        return state

    def discard(self) -> None:
        """Removes the file, if it is there."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _read(self, header: Header, begun: State) -> State | None:
        """None unless the file holds exactly the tensors of such a state."""
        step = header.metadata.get("step", "")
        shapes = {f"{part}:{name}": tuple(t.shape) for part in _PARTS for name, t in begun.luts.items()}
        stored = {tensor.name: tensor for tensor in header.tensors}
        if not (step.isascii() and step.isdecimal() and len(step) < 10) or shapes.keys() != stored.keys():
            return None
        if any(stored[name].shape != shape or stored[name].dtype != "F32" for name, shape in shapes.items()):
            return None
        read: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
        with self.path.open("rb") as file:
            for part in _PARTS:
                for name, like in begun.luts.items():
                    file.seek(stored[f"{part}:{name}"].offset)
                    array = np.fromfile(file, np.dtype("<f4"), like.numel())
                    if array.size != like.numel():
                        return None
                    read[part][name] = from_array(array).reshape(like.shape).to(like.device)
        return State(int(step), read["lut"], read["mean"], read["square"])

    def _note(self, what: str) -> Diagnostic:
        message = f"the file that training could be continued from {what}; it begins anew"
        return Diagnostic("recovery.resume", message, str(self.path), level="note")


def require_own(path: Path) -> None:
    """Raises InputError for a file that is none of Kogata's where a training is to be saved: it would be lost."""
    try:
        own = not path.is_file() or read_header(path, path.name).metadata.get("kind") == _KIND
    except (InputError, OSError):
        own = False
    if not own:
        message = "trainings are saved here, and this file is none of Kogata's"
        hint = "move it away, or choose another folder with -o"
        raise InputError.of("recovery.place", message, where=str(path), hint=hint)
