"""Apple's coreai-opt in its own environment: k-means with default settings except bits and groups."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from .layers import Work
from .parts import Outcome, Setting, Subject, UnavailableError
from .peers_coremltools import Sensitive

WORKER = Path(__file__).parent / "coreai_worker.py"
REQUIREMENTS = ("coreai-opt==0.3.0", "scikit-learn")
LAST_CHARACTERS = 400  # of a failed command's output are shown


def environment(given: Path | None, cache: Path) -> Path:
    """The interpreter to use: `given`, or that of a virtual environment in `cache`, made there with pip if absent.

    torch is pinned to this process's version, so that pip installs the same build. Raises UnavailableError.
    """
    if given is not None:
        return given
    python = cache / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if python.exists() and not subprocess.run([python, "-c", "import coreai_opt"], check=False).returncode:
        return python
    import torch

    steps: list[list[str]] = []
    if not python.exists():
        steps.append([sys.executable, "-m", "venv", str(cache)])
    pinned = f"torch=={torch.__version__.partition('+')[0]}"
    numpy = f"numpy=={np.__version__}"
    steps.append([str(python), "-m", "pip", "install", "--quiet", pinned, numpy, *REQUIREMENTS])
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnavailableError(
                f"{' '.join(step)} ended with {done.returncode}: {done.stderr[-LAST_CHARACTERS:].strip()}"
            )
    return python


class CoreAI:
    """k-means; with `sensitive`, weighted by coremltools' sensitivities, since both use the same formula."""

    uniform = True
    trains = False

    def __init__(self, given: Path | None, cache: Path, sensitive: Sensitive | None = None) -> None:
        self.name = "coreai-opt sensitive" if sensitive else "coreai-opt k-means"
        self._given, self._cache, self._sensitive = given, cache, sensitive
        self._python: Path | None = None

    def palettize(self, subject: Subject, setting: Setting) -> Outcome:
        self._python = self._python or environment(self._given, self._cache)
        work = Work.of(subject, setting)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.savez(folder / "weights.npz", **work.parts(work.weights))
            if self._sensitive:
                np.savez(folder / "sensitivities.npz", **work.parts(self._sensitive.sensitivities(subject)))
            groups = {key: layer.group_size for key, layer in work.layers.items()}
            (folder / "work.json").write_text(json.dumps({"bits": setting.bits, "groups": groups}))
            command = [str(self._python), str(WORKER), str(folder)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise UnavailableError(f"{self._python}: {error}") from error
            if done.returncode:
                raise UnavailableError(
                    f"the worker ended with {done.returncode}: {done.stderr[-LAST_CHARACTERS:].strip()}"
                )
            seconds = json.loads((folder / "done.json").read_text())["seconds"]
            return work.outcome(dict(np.load(folder / "decoded.npz")), seconds)
