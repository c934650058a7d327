"""Apple's coreai-opt in its own environment: k-means with default settings except bits and groups."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from peer_environment import UnavailableError, environment

from .layers import Work
from .parts import Outcome, Setting, Subject
from .peers_coremltools import Sensitive

WORKER = Path(__file__).parent / "coreai_worker.py"
REQUIREMENTS = (f"numpy=={np.__version__}", "coreai-opt==0.3.0", "scikit-learn")
LAST_CHARACTERS = 400  # of a failed command's output are shown


class CoreAI:
    """k-means; with `sensitive`, weighted by coremltools' sensitivities, since both use the same formula."""

    uniform = True
    trains = False

    def __init__(self, given: Path | None, sensitive: Sensitive | None = None) -> None:
        self.name = "coreai-opt sensitive" if sensitive else "coreai-opt k-means"
        self._given, self._sensitive = given, sensitive
        self._python: Path | None = None

    def palettize(self, subject: Subject, setting: Setting) -> Outcome:
        self._python = self._python or self._given or environment("coreai-opt", "coreai_opt", REQUIREMENTS)
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
