"""Virtual environments for peers whose requirements contradict Kogata's, made in the user's cache folder with pip."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kogata"
LAST_CHARACTERS = 400  # of a failed command's output are shown


class UnavailableError(Exception):
    """A peer that this machine can't run, with the reason."""


def environment(name: str, module: str, requirements: Sequence[str], *, torch: bool = True) -> Path:
    """The interpreter of an environment in which `module` can be imported; it is made if it is absent.

    name: of its folder, to which a digest of the requirements is added. torch: whether it is among them, pinned to the
    version that runs this, so that pip installs the same build. Raises UnavailableError.
    """
    wanted = list(requirements)
    if torch:  # not imported: that would count as memory of exports
        wanted.insert(0, f"torch=={importlib.metadata.version('torch').partition('+')[0]}")
    folder = CACHE / f"{name}-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:8]}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if python.exists() and not subprocess.run([python, "-c", f"import {module}"], check=False).returncode:
        return python
    steps = [] if python.exists() else [[sys.executable, "-m", "venv", str(folder)]]
    for step in [*steps, [str(python), "-m", "pip", "install", "--quiet", *wanted]]:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            last = done.stderr[-LAST_CHARACTERS:].strip()
            raise UnavailableError(f"{' '.join(step)} ended with {done.returncode}: {last}")
    return python
