"""Where things lie in the package of the fixtures `original` and `package`, and how to run it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from exporter.runners.mil import load_mlpackage

DATA = "Data/com.apple.CoreML"
MODEL, WEIGHTS = f"{DATA}/model.mlmodel", f"{DATA}/weights/weight.bin"


def sample(length: int = 4) -> dict[str, np.ndarray]:
    return {"ids": np.arange(length, dtype=np.int32)[None], "scale": np.ones((1, 1, 6), np.float16)}


def run(path: Path) -> dict[str, np.ndarray]:
    model = load_mlpackage(path)
    return model.predict(sample(), model.new_state())
