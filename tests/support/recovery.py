"""Training of LUTs on a tiny decoder whose table is also its last matrix: lessons, palettes, and whole runs."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from exporter.calibration.feeds import text_batches
from exporter.calibration.objective import objective_of
from exporter.calibration.recovery import Distillation, Recovered, RecoveryOptions, recover
from exporter.graph.model import Hub
from exporter.graph.palette import Palette
from exporter.progress import NoProgress
from exporter.runners.torch_graph.graph import TorchGraph
from support.graph_models import hub_of

TIED = "qwen3/plain"
OPTIONS = RecoveryOptions(10, rate=0.01, warmup=3)


def distillation_of(hub: Hub, count: int = 9, products: torch.dtype | None = None) -> Distillation:
    rng = np.random.default_rng(3)
    texts = [rng.integers(5, 200, 6 + i % 3) for i in range(2 * count)]
    return Distillation(TorchGraph(hub, products=products), objective_of(hub), text_batches(hub, texts, tokens=16))


def palettes_of(hub: Hub, bits: int = 2, group_size: int = 3) -> dict[str, Palette]:
    """Entries at the quantiles of each group, indices to the nearest."""
    found = {}
    for weight in hub.weights:
        dense = hub.model.graph.initializers[weight.name].const_value.numpy().astype(np.float32)
        shares = (np.arange(2**bits) + 0.5) / 2**bits
        starts = range(0, len(dense), group_size)
        lut = np.stack([np.quantile(dense[i : i + group_size], shares) for i in starts]).astype(np.float16)
        own = lut[np.arange(len(dense)) // group_size][:, None, :].astype(np.float32)
        indices = np.abs(dense[..., None] - own).argmin(-1).astype(np.uint8)
        found[weight.name] = Palette.of(indices, lut, bits, group_size)
    return found


def trained(hub: Hub, options: RecoveryOptions = OPTIONS, **others: object) -> Recovered:
    return recover(distillation_of(hub), palettes_of(hub), options, NoProgress(), **others)  # type: ignore[arg-type]


@cache
def whole() -> Recovered:
    """Not interrupted by anything."""
    return trained(hub_of(TIED))


def same(a: Recovered, b: Recovered) -> None:
    assert (a.before, a.after, a.steps) == (b.before, b.after, b.steps)
    for name, palette in a.palettes.items():
        np.testing.assert_array_equal(palette.lut, b.palettes[name].lut)
        np.testing.assert_array_equal(palette.indices, b.palettes[name].indices)
