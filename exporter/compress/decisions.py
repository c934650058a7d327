"""Input and output of compression: plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from exporter.compress.choices import KEEP, UNCOMPRESSED, Choice, stored_bytes, widened
from exporter.graph.grid import grid_bytes, usual_block
from exporter.graph.palette import Palette


@dataclass(frozen=True)
class Candidate:
    """A tensor of the graph: every initializer is a candidate.

    stored_bytes: its size if it is kept as it is.
    open: compression may change it.
    load: reads a slice of rows as float32 `[rows, …]`; not for scalars; several threads may call it at once.
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
        """Its size in bytes, stored as `choice` says."""
        return self.stored_bytes if choice.kept else stored_bytes(self.shape, choice.fitted(self.shape))


@dataclass(frozen=True)
class CompressOptions:
    """bits: 1, 2, 3, 4, 6 or 8 bits per index; 16 keeps everything. group_size: output rows that share one LUT.

    choices: tensor name → its own choice, instead of `bits` and `group_size`.
    widen: a matrix without its own choice gets larger groups where LUTs of `group_size` rows take more than they save.
    There is no seed: clustering has no random start. Raises UsageError.
    """

    bits: int
    group_size: int
    choices: Mapping[str, Choice] = field(default_factory=dict)
    widen: bool = False

    def __post_init__(self) -> None:
        Choice(8, self.group_size)  # checks the group size, also where nothing is compressed
        Choice.of(self.bits, self.group_size)

    def choice(self, candidate: Candidate) -> Choice:
        """How this tensor is to be stored."""
        own = self.choices.get(candidate.name)
        asked = own or Choice.of(self.bits, self.group_size)
        if own is None and self.widen and candidate.palettizable:
            asked = widened(candidate.shape, candidate.stored_bytes, asked)
        return asked.fitted(candidate.shape) if candidate.palettizable else asked

    @property
    def keeps_all(self) -> bool:
        """Whether every tensor is kept."""
        return self.bits == UNCOMPRESSED and all(choice.kept for choice in self.choices.values())


@dataclass(frozen=True)
class TensorDecision:
    """How one tensor is stored.

    bits, psnr_db, mse: None if it is kept. group_size: of a palette, at most the number of rows. block: of a grid.
    stored_bytes: packed indices and LUTs, integers and scales, or the kept tensor; no container overhead.
    mse, psnr_db: error of the decoded weight against the checkpoint's. PSNR is 20·log10(max|weight| / rmse) in dB, and
        None where the error is 0.
    of_plain: for a palette fitted to text, the cost of its errors on that text, divided by the cost with plain k-means;
        for a grid, divided by the cost with rounding.
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
    block: int | None = None

    @property
    def choice(self) -> Choice:
        """The same as a choice."""
        return KEEP if self.bits is None else Choice(self.bits, self.group_size, self.block)

    def measured(self, mse: float, peak: float) -> TensorDecision:
        """With the error of the decoded weight. peak: the largest magnitude of a weight."""
        return replace(self, mse=mse, psnr_db=20 * math.log10(peak / math.sqrt(mse)) if mse > 0 else None)

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
        """Bytes of all tensors, with kept ones."""
        return sum(decision.stored_bytes for decision in self.decisions)

    @property
    def parameters(self) -> int:
        """Elements of all tensors, with kept ones."""
        return sum(decision.parameters for decision in self.decisions)

    @property
    def bpw(self) -> float:
        """The whole model's bits per weight: stored bits over all parameters; 0 for a model without parameters."""
        return self.stored_bytes * 8 / self.parameters if self.parameters else 0.0


def as_integers(decision: TensorDecision) -> TensorDecision:
    """The decision for a file that stores a palette's values as 8-bit integers."""
    if decision.bits is None:
        return decision
    rows, columns = decision.shape
    stored = grid_bytes((rows, columns), 8, usual_block(columns))
    return replace(decision, stored_bytes=stored, reason=f"{decision.reason}, its values stored as int8")
