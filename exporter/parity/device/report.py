"""The report that an app writes after running `parity/device.json`, as plain data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import FailFast, Field, Strict
from pydantic.dataclasses import dataclass

from exporter.parity.device.vectors import FEW, OPEN, Ids, Number, Text

Line = Annotated[str, Strict(), Field(max_length=200)]  # a name that reports print
MaybeNumbers = Annotated[tuple[Number | None, ...], FailFast()]  # null: not finite
Amount = Annotated[float, Strict(), Field(allow_inf_nan=False, ge=0)] | None
Count = Annotated[int, Strict(), Field(ge=0, lt=2**63)] | None


@dataclass(frozen=True, config=OPEN)
class Bound:
    """The bundle that was run. digest: SHA-256 of its SHA256SUMS, in lower-case hex."""

    digest: Annotated[str, Strict(), Field(pattern=r"^[0-9a-f]{64}$")]
    name: Line = ""


@dataclass(frozen=True, config=OPEN)
class Device:
    """What ran it: "iPhone17,1", "iOS 26.1", bytes of memory."""

    model: Line
    system: Line
    memory_bytes: Count = None


@dataclass(frozen=True, config=OPEN)
class Runtime:
    """How it ran: the engine, the artifact's path in the bundle and its form, and where Core ML was allowed to run."""

    engine: Literal["coreml", "onnx"]
    artifact: Line
    form: Line
    compute_units: Literal["cpuOnly", "cpuAndGPU", "cpuAndNeuralEngine", "all"] | None = None


@dataclass(frozen=True, config=OPEN)
class IdsResult:
    """Token ids of a text or a conversation."""

    id: Text
    ids: Ids


@dataclass(frozen=True, config=OPEN)
class DecodeResult:
    """A decoder's answer to one vector.

    logprobs: at each judged position, the log-probabilities of the vector's ids, in its order. top1: the most likely
    token of the whole vocabulary at each judged position. continuation: generated greedily, token by token, from
    `ids[:first + 1]`.
    """

    id: Text
    logprobs: Annotated[tuple[MaybeNumbers, ...], FailFast()]
    top1: Ids
    continuation: Ids = ()


@dataclass(frozen=True, config=OPEN)
class ValuesResult:
    """An encoder's outputs for one vector, in the order of its values."""

    id: Text
    values: MaybeNumbers


@dataclass(frozen=True, config=OPEN)
class Failed:
    """A vector that couldn't be run, and why."""

    id: Text
    message: Annotated[str, Strict(), Field(max_length=2000)] = ""


@dataclass(frozen=True, config=OPEN)
class Results:
    """All results, by the sections of device.json."""

    tokenizer: Annotated[tuple[IdsResult, ...], FEW] = ()
    chat: Annotated[tuple[IdsResult, ...], FEW] = ()
    decode: Annotated[tuple[DecodeResult, ...], FEW] = ()
    embed: Annotated[tuple[ValuesResult, ...], FEW] = ()
    scores: Annotated[tuple[ValuesResult, ...], FEW] = ()
    errors: Annotated[tuple[Failed, ...], FEW] = ()


@dataclass(frozen=True, config=OPEN)
class Speed:
    """Measured on the device; None where it wasn't. Peak memory in bytes."""

    load_seconds: Amount = None
    first_token_seconds: Amount = None
    prefill_tokens_per_second: Amount = None
    decode_tokens_per_second: Amount = None
    peak_memory_bytes: Count = None


@dataclass(frozen=True, config=OPEN)
class DeviceReport:
    """One run of all vectors with one artifact on one device."""

    schema_version: Literal[1]
    bundle: Bound
    device: Device
    runtime: Runtime
    results: Results
    speed: Speed = Field(default_factory=Speed)

    @property
    def measured_on(self) -> str:
        """ "iPhone17,1, iOS 26.1, compute units cpuOnly"."""
        units = self.runtime.compute_units
        where = f"compute units {units}" if units else f"engine {self.runtime.engine}"
        return f"{self.device.model}, {self.device.system}, {where}"
