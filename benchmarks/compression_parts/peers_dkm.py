"""coremltools' differentiable k-means (`DKMPalettizer`): trains the model to match the uncompressed one.

It takes minutes and gigabytes for a model of a few million weights, so it only runs with `--dkm`.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from peer_environment import UnavailableError

from .layers import Work
from .parts import Outcome, Setting
from .peers_coremltools import granularity, quietly

RATE = 1e-5  # of Adam; small, because the weights are already trained


class Differentiable:
    """Trains for `steps` steps of one calibration text, by KL to the uncompressed model, with default settings except
    bits and groups."""

    name = "coremltools DKM"
    uniform = True
    trains = True

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def palettize(self, subject: Any, setting: Setting) -> Outcome:
        """For decoders: subject is a `Decoder`."""
        work = Work.of(subject, setting)
        if not subject.calibration:
            raise UnavailableError("it needs texts; use --calibrate FILE")
        if subject.hub.task != "text-generation":
            raise UnavailableError("it is trained by the KL of next-token distributions, so it needs a decoder")
        short = [layer.tensor for layer in work.layers.values() if layer.rows.start]
        if short:
            raise UnavailableError(f"groups don't divide the rows of {short[0]}")
        modules = modules_of(subject)
        torch.manual_seed(0)
        start = time.perf_counter()
        with quietly():
            trained = self._trained(
                subject, {modules[layer.tensor]: granularity(layer) for layer in work.layers.values()}, setting
            )
        seconds = time.perf_counter() - start
        found = {name: trained.get_submodule(modules[name]).weight.detach().numpy() for name in work.weights}
        return work.outcome(work.parts(found), seconds)

    def _trained(self, subject: Any, shared: dict[str, dict[str, Any]], setting: Setting) -> torch.nn.Module:
        from coremltools.optimize.torch.palettization import DKMPalettizer, DKMPalettizerConfig

        options = {"n_bits": setting.bits, "milestone": 0, "weight_threshold": 0}
        configs = {name: {**options, **more} for name, more in shared.items()}
        for config in configs.values():
            config.pop("channel_axis", None)  # DKM always groups output channels
        palettizer = DKMPalettizer(
            copy.deepcopy(subject.model), DKMPalettizerConfig.from_dict({"module_name_configs": configs})
        )
        model = palettizer.prepare(inplace=True)
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        for step in range(self.steps):
            ids = torch.tensor([subject.calibration[step % len(subject.calibration)]])
            with torch.no_grad():
                wanted = torch.log_softmax(subject.model(input_ids=ids, use_cache=False).logits, -1)
            found = torch.log_softmax(model(input_ids=ids, use_cache=False).logits, -1)
            (wanted.exp() * (wanted - found)).sum(-1).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            palettizer.step()
        return palettizer.finalize(inplace=True)


def modules_of(subject: Any) -> dict[str, str]:
    """Tensor → the module that has it; for a tied embedding the head."""
    found: dict[str, str] = {}
    for name, module in subject.model.named_modules():
        for tensor, parameter in subject.parameters.items():
            if getattr(module, "weight", None) is parameter and (
                tensor not in found or isinstance(module, torch.nn.Linear)
            ):
                found[tensor] = name
    return found
