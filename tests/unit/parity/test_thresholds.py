"""The table of limits is complete, ordered, and argued."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from exporter.compress import palettize
from exporter.graph.palette import PALETTE_BITS
from exporter.parity import thresholds
from exporter.parity.metrics import METRICS
from exporter.parity.thresholds import (
    CLASSES,
    DECODER,
    ENCODER,
    LOSSY,
    SCORES,
    TASK_DROP,
    WEIGHT_ERROR,
    bits_class,
    compression_limits,
    replaced,
)


def all_limits():
    tables = [limits for table in LOSSY.values() for limits in table.values()]
    fixed = [v for v in vars(thresholds).values() if isinstance(v, tuple) and v and isinstance(v[0], thresholds.Limit)]
    return [limit for table in (*tables, *fixed) for limit in table]


def test_every_limit_is_on_a_known_metric_and_has_a_reason():
    assert len(all_limits()) > 40
    for limit in all_limits():
        assert limit.metric in METRICS
        assert len(limit.reason) >= 8


@pytest.mark.parametrize("table", [DECODER, ENCODER, CLASSES, SCORES], ids=["decoder", "encoder", "classes", "scores"])
def test_fewer_bits_never_have_a_stricter_limit(table):
    assert set(table) == {*PALETTE_BITS, 16}
    values = {bits: {limit.metric: limit.value for limit in limits} for bits, limits in table.items()}
    ordered = sorted(table, reverse=True)
    for more, fewer in pairwise(ordered):
        for metric in values[more].keys() & values[fewer].keys():
            looser = values[fewer][metric] - values[more][metric]
            assert looser * (-1 if METRICS[metric].higher_is_better else 1) >= 0, (metric, more, fewer)


def test_mean_bits_take_the_next_lower_row():
    assert [bits_class(b) for b in (16, 15.9, 8, 7.2, 4.5, 3.7, 1.2, 0.9)] == [16, 8, 8, 6, 4, 3, 1, 1]
    assert TASK_DROP == 1


def test_overrides_replace_and_add():
    limits = replaced(compression_limits(4, "tokens"), {"kl": 0.02, "psnr_db": 30})
    values = {limit.metric: limit.value for limit in limits}
    assert values["kl"] == 0.02
    assert values["psnr_db"] == 30
    assert values["non_finite"] == 0
    assert len(values) == len(limits)


@pytest.mark.parametrize("bits", PALETTE_BITS)
@pytest.mark.parametrize("draw", ["normal", "laplace", "student"])
def test_weight_gate_passes_optimal_palettes_and_fails_wrong_ones(bits, draw):
    """Three shapes of weight distribution, the last with heavy tails; 6 groups of 16 rows, each of its own scale."""
    rng = np.random.default_rng(bits)
    scale = np.repeat(rng.uniform(0.5, 2.0, 6), 16)[:, None]
    samples = {
        "normal": rng.standard_normal,
        "laplace": lambda s: rng.laplace(size=s),
        "student": lambda s: rng.standard_t(5, s),
    }
    weight = (0.02 * scale * samples[draw]((96, 128))).astype(np.float32)
    palette = palettize(weight, bits, 16)

    def error(indices, lut):
        dense = np.take_along_axis(lut.astype(np.float32), indices.reshape(6, -1).astype(np.int64), 1).reshape(96, 128)
        return np.square(weight - dense).sum() / np.square(weight - weight.mean()).sum()

    limit = WEIGHT_ERROR[bits]
    assert error(palette.indices, palette.lut) < limit
    assert error(palette.indices, palette.lut[:, ::-1]) > limit
    assert error(palette.indices, np.roll(palette.lut, 1, axis=1)) > limit
    assert error(palette.indices[::-1], palette.lut) > limit
    assert error(np.roll(palette.indices, 1, axis=0), palette.lut) > limit
