"""The facts in a bundle's manifest, as typed data: for writing (`BundlePlan`) and after reading (`Manifest`)."""

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
    "sha256:…" over config, tokenizer and tensors. None is unknown. tokenizer: how tokenizer.json was made, None where
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

    dtype: numpy's name. shape: a text is the name of a variable size. enumerated: the only shapes allowed; ranges:
    `(smallest, largest)` per axis, largest None for no limit. With either of them, `shape` is the default.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    enumerated: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of an artifact, and its states, which it keeps between calls."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[Port, ...] = ()


class PortLike(Protocol):
    """A port of another part of kogata: the same fields in another type."""

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
    """Mean over the weights in palettes; 16 where there are none. tensors: bits of the palette or None, and weights."""
    counts = [(bits, count) for bits, count in tensors if bits is not None]
    weights = sum(count for _, count in counts)
    return sum(bits * count for bits, count in counts) / weights if weights else 16


@dataclass(frozen=True)
class FitFacts:
    """The error of a graph's palettes or grids on texts that they weren't fitted to.

    texts: the calibration texts, in words. error: its unit, "kl" (nats) or "distance" (half the squared distance, which
    is 1 - cosine). plain: the error with optimal k-means or rounding at the same bits; fitted: with weights fitted to
    text; recovered: with trained LUTs, None where none were trained; used: which of them is in the files.
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
        """The error of the palettes that are in the files."""
        found = {"plain": self.plain, "fitted": self.fitted, "recovered": self.recovered}[self.used]
        return self.plain if found is None else found


@dataclass(frozen=True)
class CompressionFacts:
    """The compression that was requested, and its result for every tensor.

    bits, group_size: as requested, None where nothing was requested or they differ by matrix.
    parameters: of the whole model; stored_bytes: their size, LUTs included.
    tensors: name, shape, bits of an index or integer (None: kept), group_size, block (columns that share a scale, where
        integers are stored), stored_bytes, reason, and any other facts.
    mixed: the option that chose bits for each matrix ("--bpw 3.7"); None where all matrices have the same bits.
    calibration: one entry for each graph whose weights were fitted to text.
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
        """Bits per index: as requested, else the mean over all weights in palettes; 16 where there are no palettes."""
        if self.bits is not None:
            return self.bits
        return mean_bits((t["bits"], math.prod(t["shape"])) for t in self.tensors)

    @property
    def grids(self) -> bool:
        """Whether matrices are stored as integers with a scale for each block of columns, not as palettes."""
        return any(tensor.get("block") for tensor in self.tensors)

    @property
    def bpw(self) -> float:
        """Bits per weight over every parameter, to 4 decimals; 0 for a model without weights."""
        return round(8 * self.stored_bytes / self.parameters, 4) if self.parameters else 0.0


@dataclass(frozen=True)
class Bound:
    """An inclusive limit on a metric, and the reason for it."""

    min: float | None = None
    max: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class TaskFacts:
    """Exact-match accuracy of an artifact on the task file of an export, in answers.

    reference_correct: of the checkpoint. allowed_drop: points of accuracy below the checkpoint that pass; None where
    the drop is only reported.
    """

    correct: int
    total: int
    reference_correct: int | None = None
    allowed_drop: float | None = None
    verdict: Verdict = "unchecked"


@dataclass(frozen=True)
class ParityFacts:
    """The comparison of an artifact with its checkpoint.

    runner: what executed the artifact, in words. metrics: name → number, None where it is not finite. tasks: accuracy
    on the task file, if there was one.
    """

    verdict: Verdict
    runner: str | None = None
    note: str = field(default="", kw_only=True)  # what the verdict leaves open, such as made-up inputs
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    thresholds: Mapping[str, Bound] = field(default_factory=dict)
    tasks: tuple[TaskFacts, ...] = ()


UNCHECKED = ParityFacts("unchecked")


@dataclass(frozen=True)
class ChatFacts:
    """Whether the chat template reduces to the pieces of text in tokenizer/chat.json; else the reason, about the
    template, in words.
    """

    reducible: bool
    reason: str | None = None


@dataclass(frozen=True)
class Example:
    """A text from parity's prompts or the task file, and the checkpoint's answer to it, each as one line."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Artifact:
    """A model file or package that an app ships.

    path: `onnx/model.onnx` or `coreml/NAME.mlpackage`, which an app opens; component: which part of the model it is,
        "model" where it is the whole model; files: path → bytes of all its files.
    target: names of the targets it was made for; min_os: the oldest system that reads it, None where it is unknown.
    runtime: the oldest that opens it, such as "onnxruntime 1.23". load_memory: bytes of weights that a runtime holds as
        they lie, beside rearranged copies of its own; None where it decodes them.
    """

    form: Form
    path: str
    files: Mapping[str, int]
    target: tuple[str, ...] = ()
    min_os: str | None = None
    component: str = "model"
    runtime: str | None = None
    load_memory: int | None = None

    @property
    def kind(self) -> Format:
        """The format of its form."""
        return self.form.format

    @property
    def bytes(self) -> int:
        """The size of all its files together."""
        return sum(self.files.values())
