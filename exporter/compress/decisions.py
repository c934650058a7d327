"""What goes into compression and what comes out: plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exporter.compress.choices import UNCOMPRESSED, Choice, stored_bytes
from exporter.graph.palette import Palette


@dataclass(frozen=True)
class Candidate:
    """A tensor of the graph; every initializer is one.

    stored_bytes: what it takes when it is kept as it is.
    open: compression may touch it.
    load: reads the rows of a slice as float32 `[rows, …]`; not for scalars; from several threads at once.
    """

    name: str
    shape: tuple[int, ...]
    stored_bytes: int
    open: bool
    load: Callable[[slice], NDArray[np.float32]]

    @property
    def parameters(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def palettizable(self) -> bool:
        """Whether it has output rows that can share a LUT."""
        return self.open and len(self.shape) == 2 and self.parameters > 0

    def bytes_as(self, choice: Choice) -> int:
        """What it takes, stored as `choice` says."""
        return self.stored_bytes if choice.kept else stored_bytes(self.shape, choice.fitted(self.shape))


@dataclass(frozen=True)
class CompressOptions:
    """bits: 1, 2, 3, 4, 6 or 8 bits an index; 16: keep everything. group_size: output rows that share one LUT.

    choices: tensor name → how this one is stored, where the others' bits and group size don't hold.
    No seed: clustering has no random start. Raises UsageError.
    """

    bits: int
    group_size: int
    choices: Mapping[str, Choice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Choice(8, self.group_size)  # says what is wrong with the rows even where nothing is compressed
        Choice.of(self.bits, self.group_size)

    def choice(self, candidate: Candidate) -> Choice:
        """How this tensor is to be stored."""
        asked = self.choices.get(candidate.name) or Choice.of(self.bits, self.group_size)
        return asked.fitted(candidate.shape) if candidate.palettizable else asked

    @property
    def keeps_all(self) -> bool:
        """Whether no palette was asked for, whatever the tensors are."""
        return self.bits == UNCOMPRESSED and all(choice.kept for choice in self.choices.values())


@dataclass(frozen=True)
class TensorDecision:
    """What became of one tensor.

    bits, group_size, psnr_db, mse: None where it is kept. group_size: at most the number of rows.
    stored_bytes: packed indices and LUTs, or the kept tensor; no container overhead.
    mse, psnr_db: of the decoded weight against the checkpoint's; PSNR is 20·log10(max|weight| / rmse) in dB and None
        where nothing was lost (mse 0).
    of_plain: for a palette fitted to text, what its errors cost there over what those of plain k-means do.
    """

    name: str
    shape: tuple[int, ...]
    bits: int | None
    group_size: int | None
    stored_bytes: int
    reason: str
    psnr_db: float | None = None
    mse: float | None = None
    of_plain: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the tensor stays as it is."""
        return self.bits is None

    @property
    def parameters(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bpw(self) -> float:
        """Stored bits per weight, LUTs included; 0 for an empty tensor."""
        return self.stored_bytes * 8 / self.parameters if self.parameters else 0.0


@dataclass(frozen=True)
class Compression:
    """Palettes by tensor name, and one decision for every candidate, in the candidates' order."""

    palettes: Mapping[str, Palette]
    decisions: tuple[TensorDecision, ...]

    @property
    def stored_bytes(self) -> int:
        """Of all tensors, kept ones included."""
        return sum(decision.stored_bytes for decision in self.decisions)

    @property
    def parameters(self) -> int:
        """Of all tensors, kept ones included."""
        return sum(decision.parameters for decision in self.decisions)

    @property
    def bpw(self) -> float:
        """Stored bits over all parameters: the whole model's bits per weight; 0 without any."""
        return self.stored_bytes * 8 / self.parameters if self.parameters else 0.0
