"""Device and channel profiles: one TOML file per target in `targets/`, read into typed, checked data.

A profile states what an artifact for that target must look like (formats, bits, limits) and what is known about
the hardware. Every number has a source and a standing (how far it can be trusted). A value that nobody has published
or measured is left out; profiles contain no guesses.
"""

from __future__ import annotations

import difflib
import importlib.resources
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import field
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    Strict,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from exporter.errors import Diagnostic, InputError, UsageError
from exporter.formats import Format
from exporter.validation import explain

Standing = Literal["vendor", "measured", "press", "derived", "unverified"]
Platform = Literal["ios", "android"]

STANDINGS: Mapping[Standing, str] = MappingProxyType(
    {
        "vendor": "the vendor's documentation or code says so",
        "measured": "users measured it in public; the vendor does not state it",
        "press": "press reports; the vendor does not state it",
        "derived": "computed from published figures",
        "unverified": "common knowledge that was not checked against a source",
    }
)
PALETTE_BITS = (1, 2, 3, 4, 6, 8, 16)  # Core ML stores no 5 or 7; 16 means no compression
REASONED = ("formats", "min_os", "bits", "group_size")

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def _amount(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError("must be a number above zero")
    return value


def _palette_bits(bits: tuple[int, ...]) -> tuple[int, ...]:
    if not bits or list(bits) != [known for known in PALETTE_BITS if known in bits]:
        raise ValueError(f"must be a rising list out of {', '.join(map(str, PALETTE_BITS))}")
    return bits


def _all_reasons(reasons: Mapping[str, str]) -> Mapping[str, str]:
    if set(reasons) != set(REASONED):
        raise ValueError(f"must be a table of exactly {', '.join(REASONED)}")
    return MappingProxyType({key: reasons[key] for key in REASONED})


def _without_unit(fact: Any) -> Any:
    return {"unit": "", **fact} if isinstance(fact, dict) else fact


Value = TypeVar("Value")
Unit = TypeVar("Unit")
_Text = Annotated[str, Strict(), Field(pattern=r"\S")]
_Chips = Annotated[str, Strict(), Field(pattern=r"^\S+ [^\s,][^,]*(, \S+ [^\s,][^,]*)*$")]
_Integer = Annotated[int, Strict()]
_Amount = Annotated[int | float, PlainValidator(_amount)]
_CLOSED = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_CLOSED)
class Fact(Generic[Value, Unit]):
    """A value, and why it may be believed.

    unit: "GB" (10^9 bytes), "GB/s", "TOPS", "bytes", or "" for a name.
    standing: how far it can be trusted, see `STANDINGS`; source: where it comes from, in words.
    """

    value: Value
    unit: Unit
    standing: Standing
    source: _Text


_Gigabytes = Fact[_Amount, Literal["GB"]]
_Bytes = Fact[_Amount, Literal["bytes"]]


@dataclass(frozen=True, config=_CLOSED)
class Hardware:
    """What is known about the device; `None` is unknown.

    chip: its name. ram: GB. memory_bandwidth: GB/s, peak. neural_engine: TOPS at int8.
    app_memory, app_memory_entitled: GB that one app can use, without and with the increased-memory-limit
        entitlement; both depend on the system's version, so apps must ask the system at run time.
    android_soc: what Android reports as `Build.SOC_MANUFACTURER` and, after a space, `Build.SOC_MODEL`; all that this
        chip is known to report, with commas between them.
    """

    chip: Annotated[Fact[_Text, Literal[""]] | None, BeforeValidator(_without_unit)] = None
    ram: _Gigabytes | None = None
    memory_bandwidth: Fact[_Amount, Literal["GB/s"]] | None = None
    neural_engine: Fact[_Amount, Literal["TOPS"]] | None = None
    app_memory: _Gigabytes | None = None
    app_memory_entitled: _Gigabytes | None = None
    android_soc: Annotated[Fact[_Chips, Literal[""]] | None, BeforeValidator(_without_unit)] = None


@dataclass(frozen=True, config=_CLOSED)
class Limits:
    """The largest sizes that the target accepts, in bytes; `None` is unlimited or unknown.

    mlpackage: one Core ML package. pack: one delivery pack, compressed. app: the whole app as delivered.
    """

    mlpackage: _Bytes | None = None
    pack: _Bytes | None = None
    app: _Bytes | None = None

    def of(self, kind: Format) -> _Bytes | None:
        """The limit on one artifact of this format."""
        return self.mlpackage if kind == "coreml" else self.pack


@dataclass(frozen=True, config=_CLOSED)
class Target:
    """One device or channel.

    name: the TOML's file name, as in `--for NAME`; title: for people.
    models: the identifiers that the system reports ("iPhone16,1"), where they are known.
    formats: what to export for it. min_os: the oldest system that reads these artifacts.
    bits: palette widths that it reads (16 is fp16). group_size: output rows that share one LUT by default.
    reasons: why `formats`, `min_os`, `bits` and `group_size` are what they are; one entry each.
    notes: what else an app developer should know.
    """

    name: str
    title: _Text
    platform: Platform
    formats: Annotated[tuple[Format, ...], Field(min_length=1)]
    min_os: _Text
    bits: Annotated[tuple[_Integer, ...], AfterValidator(_palette_bits)]
    group_size: Annotated[_Integer, Field(ge=1)]
    reasons: Annotated[Mapping[str, _Text], AfterValidator(_all_reasons)]
    models: tuple[_Text, ...] = ()
    hardware: Hardware = field(default_factory=Hardware)
    limits: Limits = field(default_factory=Limits)
    notes: tuple[_Text, ...] = ()


def load_targets(folder: Path | None = None) -> Mapping[str, Target]:
    """Every target by name, sorted. `folder` is for tests; the default is what kogata ships.

    Raises InputError with every problem of every file at once.
    """
    return _shipped() if folder is None else _load(folder)


def load_target(name: str) -> Target:
    """The target called `name`; UsageError with the nearest name and the whole list when there is none."""
    targets = load_targets()
    if name in targets:
        return targets[name]
    near = difflib.get_close_matches(name.lower().replace("_", "-").replace(" ", "-"), targets, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]}? " if near else ""
    raise UsageError.of(
        "targets.unknown", f"there is no target {name!r}", where=name, hint=f"{guess}known: {', '.join(targets)}"
    )


@cache
def _shipped() -> Mapping[str, Target]:
    return _load(_folder())


def _folder() -> Traversable:
    """`exporter/_targets` in an installed wheel, the repository's `targets/` in a source tree."""
    package = importlib.resources.files("exporter")
    packaged = package / "_targets"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "targets"


def _load(folder: Traversable) -> Mapping[str, Target]:
    problems: list[Diagnostic] = []
    tables: dict[str, dict[str, Any]] = {}
    for entry in sorted(folder.iterdir(), key=lambda e: e.name.removesuffix(".toml")):
        if not entry.name.endswith(".toml"):
            continue
        try:
            tables[entry.name.removesuffix(".toml")] = tomllib.loads(entry.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            problems.append(Diagnostic("targets.syntax", f"can't be read as TOML: {error}", entry.name))
    if not tables and not problems:
        raise InputError.of("targets.none", "there is no target profile: this installation is incomplete")
    targets: dict[str, Target] = {}
    for name, table in tables.items():
        found = [] if _NAME.fullmatch(name) else [("file name", "must be lower-case words joined by hyphens")]
        if "name" in table:
            found.append(("name", "is not a known key: the file's name is the profile's"))
        whole = _inherit(table, tables)
        if "extends" in whole:
            found.append(("extends", "must name a profile that itself extends none"))
        try:
            read = {key: value for key, value in whole.items() if key != "extends"}
            targets[name] = TypeAdapter(Target).validate_python({**read, "name": name})
        except ValidationError as error:
            found += explain(error)
        problems += [Diagnostic("targets.invalid", f"{key} {message}", f"{name}.toml: {key}") for key, message in found]
    InputError.raise_all(problems)
    return MappingProxyType(targets)


def _inherit(table: dict[str, Any], tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`table` on top of the profile that it extends, or `table` itself where it extends none or can't.

    One level only: a reader needs at most two files to see everything.
    """
    base = tables.get(str(table.get("extends")))
    if base is None or "extends" in base:
        return table
    merged = {key: value for key, value in base.items() if key not in ("title", "models")}
    for key, value in table.items():
        old = merged.get(key)
        merged[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    del merged["extends"]
    return merged
