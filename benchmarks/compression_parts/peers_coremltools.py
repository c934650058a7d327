"""coremltools' palettizers for torch: k-means (`PostTrainingPalettizer`) and sensitive k-means (`SKMPalettizer`).

Both run with default settings except bits and groups, with one worker and fp32 weights, as in torch.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peer_environment import UnavailableError

from .layers import Layer, Work
from .parts import Outcome, Setting, Subject


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silences progress bars, logs and coremltools' warnings on other systems than macOS."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def container(work: Work) -> torch.nn.Module:
    """A module with a linear layer for each of the layers."""
    model = torch.nn.Module()
    for key, rows in work.parts(work.weights).items():
        linear = torch.nn.Linear(rows.shape[1], rows.shape[0], bias=False)
        linear.weight.data = torch.from_numpy(rows)
        model.add_module(key, linear)
    return model


def module_configs(work: Work) -> dict[str, dict[str, Any]]:
    return {key: {"n_bits": work.setting.bits, **granularity(layer)} for key, layer in work.layers.items()}


def granularity(layer: Layer) -> dict[str, Any]:
    if layer.group_size is None:
        return {"granularity": "per_tensor"}
    return {"granularity": "per_grouped_channel", "group_size": layer.group_size, "channel_axis": 0}


def decoded(model: torch.nn.Module, work: Work, seconds: float) -> Outcome:
    parts = {key: model.get_submodule(key).weight.detach().numpy() for key in work.layers}
    return work.outcome(parts, seconds)


class PostTraining:
    """Plain k-means."""

    name = "coremltools k-means"
    uniform = True
    trains = False

    def palettize(self, subject: Subject, setting: Setting) -> Outcome:
        with quietly():
            from coremltools.optimize.torch.palettization import PostTrainingPalettizer, PostTrainingPalettizerConfig

            work = Work.of(subject, setting)
            config = PostTrainingPalettizerConfig.from_dict({"module_name_configs": module_configs(work)})
            model = container(work)
            start = time.perf_counter()
            model = PostTrainingPalettizer(model, config).compress(inplace=True)
            return decoded(model, work, time.perf_counter() - start)


class Sensitive:
    """k-means weighted by squared gradients, which coremltools measures once for each subject."""

    name = "coremltools SKM"
    uniform = True
    trains = False

    def __init__(self) -> None:
        self._measured: dict[str, dict[str, NDArray[np.float32]]] = {}

    def sensitivities(self, subject: Subject) -> dict[str, NDArray[np.float32]]:
        """Tensor name → the result of `compute_sensitivity` on the subject's calibration texts, `[out, in]`."""
        if not subject.calibration:
            raise UnavailableError("it needs texts; use --calibrate FILE")
        if subject.name not in self._measured:
            with quietly():
                self._measured[subject.name] = measure(subject)
        return self._measured[subject.name]

    def palettize(self, subject: Subject, setting: Setting) -> Outcome:
        sensitivities = self.sensitivities(subject)
        with quietly(), tempfile.TemporaryDirectory() as folder:
            from coremltools.optimize.torch.palettization import SKMPalettizer, SKMPalettizerConfig

            work = Work.of(subject, setting)
            path = os.path.join(folder, "sensitivities.pt")
            save(work.parts(sensitivities), Path(path), "{}.weight")
            config = SKMPalettizerConfig.from_dict({"module_name_configs": module_configs(work)})
            model = container(work)
            start = time.perf_counter()
            model = SKMPalettizer(model, config).compress(sensitivity_path=path, inplace=True)
            return decoded(model, work, time.perf_counter() - start)


def save(parts: dict[str, NDArray[np.float32]], path: Path, key: str) -> None:
    torch.save({key.format(name): torch.from_numpy(rows) for name, rows in parts.items()}, path)


def measure(subject: Any) -> dict[str, NDArray[np.float32]]:
    """Measures sensitivities on the real model. The loader yields indices, for which the subject computes losses."""
    from coremltools.optimize.torch.palettization import SKMPalettizer, SKMPalettizerConfig

    losses = subject.losses()
    config = SKMPalettizerConfig.from_dict(
        {"global_config": {"n_bits": 4}, "calibration_nsamples": len(subject.calibration)}
    )
    found = SKMPalettizer(subject.model, config).compute_sensitivity(
        range(len(subject.calibration)), lambda _model, _index: next(losses)
    )
    subject.model.zero_grad()
    by_parameter = {id(p): found[name] for name, p in subject.model.named_parameters() if name in found}
    return {name: by_parameter[id(p)].numpy() for name, p in subject.parameters.items()}
