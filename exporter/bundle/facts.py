"""What a bundle's manifest says, as typed data. The same types go in (`BundlePlan`) and come out (`Manifest`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from exporter.formats import Form, Format

Verdict = Literal["passed", "failed", "unchecked"]


@dataclass(frozen=True)
class SourceFacts:
    """The checkpoint. repo: hub id; revision: resolved commit; license: SPDX id where there is one; digest:
    "sha256:…" over all that defines the model. None is unknown. tokenizer: how tokenizer.json came to be, None where
    it is the checkpoint's own.
    """

    repo: str | None
    revision: str | None
    license: str | None
    digest: str
    license_link: str | None = None
    tokenizer: str | None = None


@dataclass(frozen=True)
class Port:
    """One input, output or state.

    dtype: numpy's name. shape: a text names a size that varies. enumerated: the only shapes allowed, where there is
    such a list, and ranges: `(smallest, largest)` per axis, largest None for no limit; `shape` is then the default.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    enumerated: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()


@dataclass(frozen=True)
class Interface:
    """What goes into an artifact, what comes out, and what it keeps between calls."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[Port, ...] = ()


class PortLike(Protocol):
    """A port as another part of kogata describes it: same fields, other type."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def enumerated(self) -> tuple[tuple[int, ...], ...]: ...  # noqa: D102
    @property
    def ranges(self) -> tuple[tuple[int, int | None], ...]: ...  # noqa: D102


def ports(described: Iterable[PortLike]) -> tuple[Port, ...]:
    """The same ports as `Port`s."""
    return tuple(Port(p.name, p.dtype, tuple(p.shape), tuple(p.enumerated), tuple(p.ranges)) for p in described)


def mean_bits(tensors: Iterable[tuple[int | None, int]]) -> float:
    """Over the weights in palettes; 16 where there are none. tensors: bits of a palette, or None, and weights in it."""
    counts = [(bits, count) for bits, count in tensors if bits is not None]
    weights = sum(count for _, count in counts)
    return sum(bits * count for bits, count in counts) / weights if weights else 16


@dataclass(frozen=True)
class FitFacts:
    """How a graph's palettes do on texts that they weren't fitted to.

    texts: in words. error: what the numbers are, "kl" (nats) or "distance" (half a squared one: 1 - cosine).
    plain: of optimal k-means with the same bits; fitted: of the palettes fitted to text, recovered: of those whose LUTs
    were trained, None without; used: which of them the files have.
    """

    texts: str
    error: Literal["kl", "distance"]
    plain: float
    fitted: float
    recovered: float | None = None
    used: Literal["plain", "fitted", "recovered"] = "fitted"
    component: str = "model"

    @property
    def shipped(self) -> float:
        """Of the palettes that the files have."""
        found = {"plain": self.plain, "fitted": self.fitted, "recovered": self.recovered}[self.used]
        return self.plain if found is None else found


@dataclass(frozen=True)
class CompressionFacts:
    """What was asked for (None: no uniform value, or nothing), and what became of every tensor.

    parameters: of the whole model; stored_bytes: what they take, LUTs included.
    tensors: name, shape, bits of an index (None: kept), group_size, stored_bytes, reason, and whatever else is known.
    mixed: where every matrix has bits of its own, the option that asked for it ("--bpw 3.7"); else None.
    calibration: of every graph whose palettes were fitted to text.
    """

    bits: int | None
    group_size: int | None
    parameters: int
    stored_bytes: int
    tensors: tuple[Mapping[str, Any], ...]
    mixed: str | None = None
    calibration: tuple[FitFacts, ...] = ()

    @property
    def palette_bits(self) -> float:
        """Bits of the palettes: what was asked for, else their mean over the weights in them; 16 where none is one."""
        if self.bits is not None:
            return self.bits
        return mean_bits((t["bits"], math.prod(t["shape"])) for t in self.tensors)

    @property
    def bpw(self) -> float:
        """Bits per weight over every parameter, to 4 decimals."""
        return round(8 * self.stored_bytes / self.parameters, 4)


@dataclass(frozen=True)
class Bound:
    """A limit on a metric, inclusive, and why it is what it is."""

    min: float | None = None
    max: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class ParityFacts:
    """How an artifact compares with its checkpoint.

    runner: what executed the artifact, in words. metrics: name → number, None where it is not finite.
    """

    verdict: Verdict
    runner: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    thresholds: Mapping[str, Bound] = field(default_factory=dict)


UNCHECKED = ParityFacts("unchecked")


@dataclass(frozen=True)
class Artifact:
    """What an app ships.

    path: what it opens, `onnx/model.onnx` or `coreml/NAME.mlpackage`; component: which part of the model it is, "model"
        where it is all of it; files: path → bytes of all that belongs to it.
    target: names of the targets it was made for; min_os: the oldest system that reads it. None is unknown.
    """

    form: Form
    path: str
    files: Mapping[str, int]
    target: tuple[str, ...] = ()
    min_os: str | None = None
    component: str = "model"

    @property
    def kind(self) -> Format:
        """The format of its form."""
        return self.form.format

    @property
    def bytes(self) -> int:
        """The size of all its files together."""
        return sum(self.files.values())
