"""What goes into compression and what comes out: plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.errors import UsageError
from exporter.graph.palette import PALETTE_BITS, Palette

UNCOMPRESSED = 16  # bits that mean: keep every tensor as it is


@dataclass(frozen=True)
class Candidate:
    """A tensor of the graph; every initializer is one.

    stored_bytes: what it takes when it is kept as it is.
    open: compression may touch it.
    load: reads the rows of a slice as float32 `[rows, in]`; only for open matrices, and from several threads at once.
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


@dataclass(frozen=True)
class CompressOptions:
    """bits: 1, 2, 3, 4, 6 or 8 bits an index; 16: keep everything. group_size: output rows that share one LUT.

    No seed: clustering has no random start. Raises UsageError.
    """

    bits: int
    group_size: int

    def __post_init__(self) -> None:
        if self.bits not in (*PALETTE_BITS, UNCOMPRESSED):
            allowed = ", ".join(map(str, PALETTE_BITS))
            raise UsageError.of(
                "compress.bits",
                f"no palette has {self.bits} bits",
                where="--bits",
                hint=f"Core ML stores palettes of {allowed} bits; {UNCOMPRESSED} means no compression",
            )
        if self.group_size < 1:
            raise UsageError.of(
                "compress.group_size", f"a group of {self.group_size} rows is empty", where="--group-size"
            )


@dataclass(frozen=True)
class TensorDecision:
    """What became of one tensor.

    bits, group_size, psnr_db, mse: None where it is kept. group_size: at most the number of rows.
    stored_bytes: packed indices and LUTs, or the kept tensor; no container overhead.
    mse, psnr_db: of the decoded weight against the checkpoint's; PSNR is 20·log10(max|weight| / rmse) in dB and None
        where nothing was lost (mse 0).
    """

    name: str
    shape: tuple[int, ...]
    bits: int | None
    group_size: int | None
    stored_bytes: int
    reason: str
    psnr_db: float | None = None
    mse: float | None = None

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
