"""What the layouts of `kogata pack` have in common: options, sizes, and the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from exporter.bundle import Manifest
from exporter.errors import Diagnostic
from exporter.formats import Format
from exporter.targets import Platform, Target

Download = Literal["essential", "prefetch", "install-time", "fast-follow", "on-demand"]
DOWNLOADS: Mapping[Platform, tuple[Download, ...]] = {
    "ios": ("essential", "prefetch", "on-demand"),
    "android": ("install-time", "fast-follow", "on-demand"),
}
FORMATS: Mapping[Platform, Format] = {"ios": "coreml", "android": "onnx"}


@dataclass(frozen=True)
class PackOptions:
    """download: when the store delivers the files, None for the platform's default. min_ram: bytes of memory of the
    phones that get them, None for all phones; Android only. force: replace an older layout.
    """

    download: Download | None = None
    min_ram: int | None = None
    force: bool = False


@dataclass(frozen=True)
class Size:
    """what: what is measured; bytes: its size; limit: the channel's in bytes, None without one.

    compressed: whether `bytes` is a compressed size. If it isn't, compression only makes it smaller.
    """

    what: str
    bytes: int
    limit: int | float | None
    compressed: bool = False

    @property
    def fits(self) -> bool:
        """Whether the size is within the limit."""
        return self.limit is None or self.bytes <= self.limit

    def finding(self, hint: str, level: Literal["error", "warning"] = "error") -> Diagnostic:
        """That the size is above the limit."""
        message = f"{self.bytes:,} bytes; the limit is {self.limit:,}"
        return Diagnostic("target.size", message, self.what, hint, level)


@dataclass(frozen=True)
class Source:
    """A verified bundle that may be shipped to `target`, and what was asked for."""

    bundle: Path
    manifest: Manifest
    target: Target
    options: PackOptions


@dataclass(frozen=True)
class Packed:
    """path: the folder that was written; files: number of the bundle's files; facts: label and value, for people;
    details: for scripts.
    """

    path: Path
    target: Target
    manifest: Manifest
    files: int
    sizes: tuple[Size, ...]
    findings: tuple[Diagnostic, ...]
    facts: tuple[tuple[str, str], ...]
    details: Mapping[str, Any]
