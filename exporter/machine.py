"""Capabilities of this machine for `kogata doctor`, and versions of the tools for manifests."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from exporter import __version__

# A different version of one of these packages may write a bundle with different bytes.
TOOLS = (
    "coremltools",
    "cyclonedx-python-lib",
    "numba",
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "tokenizers",
    "torch",
    "transformers",
)


@dataclass(frozen=True)
class Capability:
    """Something that kogata can or can't do on this machine, and why."""

    name: str
    able: bool
    why: str


def tool_versions() -> dict[str, str]:
    """Name → version of kogata and of the packages that its output depends on, without those that aren't installed."""
    return {"kogata": __version__, **{name: v for name in TOOLS if (v := version(name))}}


def version(package: str) -> str | None:
    """An installed package's version, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def capabilities(folder: Path) -> list[Capability]:
    """What kogata can do on this machine. folder: where output would be written."""
    found = []
    for name, needs in (
        ("write ONNX", ("onnx", "onnx-ir")),
        ("write Core ML", ("coremltools",)),
        ("run ONNX", ("onnxruntime",)),
        ("run the checkpoint", ("torch", "transformers")),
        ("check a Core ML program without Core ML", ("coremltools", "torch")),
        ("fetch from the hub", ("huggingface-hub",)),
    ):
        missing = [package for package in needs if version(package) is None]
        why = f"needs {', '.join(missing)}" if missing else ", ".join(f"{p} {version(p)}" for p in needs)
        found.append(Capability(name, not missing, why))
    mac = sys.platform == "darwin"
    why = f"macOS {platform.mac_ver()[0]}" if mac else "Core ML needs macOS; here, kogata executes programs op by op"
    found.append(Capability("run Core ML itself", mac, why))
    free = shutil.disk_usage(folder).free
    writable = os.access(folder, os.W_OK)
    found.append(
        Capability(f"write to {folder}", writable, f"{free / 1e9:.1f} GB free" if writable else "not writable")
    )
    return found


def facts() -> dict[str, str]:
    """Python, system, processors and memory."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": str(os.cpu_count() or "unknown"),
        "memory": f"{memory_bytes() / 1e9:.1f} GB",
    }


def memory_bytes() -> int:
    """Physical memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def umask() -> int:
    """The permissions that new files and folders of this process don't get.

    The system has no call that only reads it; what other threads create meanwhile is private.
    """
    current = os.umask(0o077)
    os.umask(current)
    return current
