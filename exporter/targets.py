"""Device and channel profiles: one TOML per target in `targets/`, read into typed, validated data.

A profile states what an artifact for that target must look like (formats, bits, limits) and what is known about
the hardware. Every number carries where it comes from and how far it can be trusted; what nobody has published
or measured is absent, never guessed.
"""

from __future__ import annotations

import difflib
import importlib.resources
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

from exporter.errors import Diagnostic, InputError, UsageError
from exporter.formats import Format

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
PALETTE_BITS = (1, 2, 3, 4, 6, 8, 16)  # Core ML stores no 5 or 7; 16 is no compression

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Fact:
    """A value, and why it may be believed.

    unit: "GB" (10^9 bytes), "GB/s", "TOPS", "bytes", or "" for a name.
    standing: how far it can be trusted, see `STANDINGS`; source: where it comes from, in words.
    """

    value: int | float | str
    unit: str
    standing: Standing
    source: str


@dataclass(frozen=True)
class Hardware:
    """What is known about the device; `None` is unknown.

    chip: its name. ram: GB. memory_bandwidth: GB/s, peak. neural_engine: TOPS at int8.
    app_memory, app_memory_entitled: GB that one app could use, without and with the increased-memory-limit
        entitlement; it depends on the system's version, so apps must ask the system at run time.
    """

    chip: Fact | None = None
    ram: Fact | None = None
    memory_bandwidth: Fact | None = None
    neural_engine: Fact | None = None
    app_memory: Fact | None = None
    app_memory_entitled: Fact | None = None


@dataclass(frozen=True)
class Limits:
    """The largest sizes that the target takes, in bytes; `None` is unlimited or unknown.

    mlpackage: one Core ML package. pack: one delivery pack, compressed. app: the whole app as delivered.
    """

    mlpackage: Fact | None = None
    pack: Fact | None = None
    app: Fact | None = None

    def of(self, kind: Format) -> Fact | None:
        """The limit on one artifact of this format."""
        return self.mlpackage if kind == "coreml" else self.pack


@dataclass(frozen=True)
class Target:
    """One device or channel.

    name: the TOML's file name, as in `--for NAME`; title: for people.
    models: the identifiers that the system reports ("iPhone16,1"), where they are known.
    formats: what to export for it. min_os: the oldest system that reads these artifacts.
    bits: palette widths it takes (16 is fp16). group_size: output rows that share one LUT, unless asked otherwise.
    reasons: why `formats`, `min_os`, `bits` and `group_size` are what they are; one entry each.
    notes: what an app developer should know besides.
    """

    name: str
    title: str
    platform: Platform
    formats: tuple[Format, ...]
    min_os: str
    bits: tuple[int, ...]
    group_size: int
    reasons: Mapping[str, str]
    models: tuple[str, ...] = ()
    hardware: Hardware = field(default_factory=Hardware)
    limits: Limits = field(default_factory=Limits)
    notes: tuple[str, ...] = ()


REASONED = ("formats", "min_os", "bits", "group_size")
_TOP_KEYS = {f.name for f in fields(Target)} - {"name"} | {"extends"}
_UNITS = {
    "chip": "",
    "ram": "GB",
    "memory_bandwidth": "GB/s",
    "neural_engine": "TOPS",
    "app_memory": "GB",
    "app_memory_entitled": "GB",
    "mlpackage": "bytes",
    "pack": "bytes",
    "app": "bytes",
}


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
            problems.append(Diagnostic("targets.syntax", f"not readable as TOML: {error}", entry.name))
    if not tables and not problems:
        raise InputError.of("targets.none", "there is no target profile: this installation is incomplete")
    targets = {}
    for name, table in tables.items():
        reader = _Reader(f"{name}.toml", problems)
        target = reader.target(name, _inherit(table, tables, reader))
        if target is not None:
            targets[name] = target
    InputError.raise_all(problems)
    return MappingProxyType(targets)


def _inherit(table: dict[str, Any], tables: dict[str, dict[str, Any]], reader: _Reader) -> dict[str, Any]:
    """`table` on top of the one it extends. One level only: a reader needs at most two files to see all."""
    if "extends" not in table:
        return table
    base = tables.get(table["extends"]) if isinstance(table["extends"], str) else None
    if base is None or "extends" in base:
        reader.problem("extends", "must name a profile that itself extends none")
        return table
    merged = {key: value for key, value in base.items() if key not in ("title", "models")}
    for key, value in table.items():
        old = merged.get(key)
        merged[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


class _Reader:
    """Reads one file's table, collecting what is wrong with it."""

    def __init__(self, file: str, problems: list[Diagnostic]) -> None:
        self.file = file
        self.problems = problems

    def problem(self, key: str, message: str) -> None:
        self.problems.append(Diagnostic("targets.invalid", f"{key} {message}", f"{self.file}: {key}"))

    def target(self, name: str, table: dict[str, Any]) -> Target | None:
        """The target, or None after at least one problem."""
        before = len(self.problems)
        self.known_keys("", table, _TOP_KEYS)
        if not _NAME.fullmatch(name):
            self.problem("file name", "must be lower-case words joined by hyphens")
        bits = tuple(self.integer("bits[]", b) for b in self.listed(table, "bits"))
        if not bits or not set(bits) <= set(PALETTE_BITS) or list(bits) != sorted(set(bits)):
            self.problem("bits", f"must be a rising list out of {', '.join(map(str, PALETTE_BITS))}")
        group_size = self.integer("group_size", table.get("group_size"))
        if group_size < 1:
            self.problem("group_size", "must be at least 1")
        formats = tuple(self.choice("formats[]", f, get_args(Format)) for f in self.listed(table, "formats"))
        if not formats:
            self.problem("formats", "must name at least one format")
        target = Target(
            name=name,
            title=self.text("title", table.get("title")),
            platform=cast(Platform, self.choice("platform", table.get("platform"), get_args(Platform))),
            formats=cast(tuple[Format, ...], formats),
            min_os=self.text("min_os", table.get("min_os")),
            bits=bits,
            group_size=group_size,
            reasons=self.reasons(table.get("reasons")),
            models=tuple(self.text("models[]", m) for m in self.listed(table, "models", optional=True)),
            hardware=Hardware(**self.facts("hardware", table, {f.name for f in fields(Hardware)})),
            limits=Limits(**self.facts("limits", table, {f.name for f in fields(Limits)})),
            notes=tuple(self.text("notes[]", n) for n in self.listed(table, "notes", optional=True)),
        )
        return target if len(self.problems) == before else None

    def known_keys(self, where: str, table: Mapping[str, Any], known: set[str]) -> None:
        for key in sorted(set(table) - known):
            self.problem(f"{where}{key}", f"is not a known key (known: {', '.join(sorted(known))})")

    def listed(self, table: Mapping[str, Any], key: str, *, optional: bool = False) -> list[Any]:
        value = table.get(key, [] if optional else None)
        if isinstance(value, list):
            return value
        self.problem(key, "must be a list")
        return []

    def integer(self, key: str, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        self.problem(key, "must be a whole number")
        return 1

    def text(self, key: str, value: object) -> str:
        if isinstance(value, str) and value.strip():
            return value
        self.problem(key, "must be a text")
        return ""

    def choice(self, key: str, value: object, options: tuple[str, ...]) -> str:
        if isinstance(value, str) and value in options:
            return value
        self.problem(key, f"must be one of {', '.join(options)}")
        return options[0]

    def reasons(self, value: object) -> Mapping[str, str]:
        if not isinstance(value, dict) or set(value) != set(REASONED):
            self.problem("reasons", f"must be a table of exactly {', '.join(REASONED)}")
            return {}
        return MappingProxyType({key: self.text(f"reasons.{key}", value[key]) for key in REASONED})

    def facts(self, section: str, table: Mapping[str, Any], known: set[str]) -> dict[str, Fact]:
        values = table.get(section, {})
        if not isinstance(values, dict):
            self.problem(section, "must be a table")
            return {}
        self.known_keys(f"{section}.", values, known)
        return {key: self.fact(f"{section}.{key}", values[key]) for key in sorted(known & set(values))}

    def fact(self, key: str, value: object) -> Fact:
        """`{ value, unit, standing, source }`; a number that is a size or a speed is above zero."""
        table = value if isinstance(value, dict) else {}
        unit = _UNITS[key.rpartition(".")[2]]
        self.known_keys(f"{key}.", table, {"value", "unit", "standing", "source"})
        amount = table.get("value")
        if unit == "":
            amount = self.text(f"{key}.value", amount)
        elif isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < float("inf"):
            self.problem(f"{key}.value", "must be a number above zero")
            amount = 1
        if table.get("unit", "") != unit:
            self.problem(f"{key}.unit", f"must be {unit!r}")
        standing = cast(Standing, self.choice(f"{key}.standing", table.get("standing"), tuple(STANDINGS)))
        return Fact(amount, unit, standing, self.text(f"{key}.source", table.get("source")))
