"""Decoder families against transformers' own classes (fp32, eager attention) on random weights, quirks turned on.

Tolerance: 1e-4 of the largest logit, as the project promises. Both sides compute in float32 and differ in the order of
sums only, which leaves about 1e-6; the weights make any wrong wiring move logits by a tenth of the largest or more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.decoder_checkpoints import DECODERS, tiny_decoder
from support.decoder_references import observed, observed_in_hub, reference, reference_logits
from support.hub_sessions import in_pieces

from exporter.checkpoint import open_checkpoint
from exporter.graph.model import DecoderSpec
from exporter.importers import import_checkpoint, reference_points

TOLERANCE = 1e-4
LENGTH, PADDING = 29, 6
PIECES = (4, 1, 1, 7, 2, 1, 13)  # a piece that ends before every window, one that is longer, one that crosses 16
CASES = [(model_type, variant) for model_type, variants in DECODERS.items() for variant in variants]


def batch(seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and mask `[2, LENGTH]`; the second sequence is padded on the left."""
    ids = np.random.default_rng(seed).integers(6, 331, (2, LENGTH))
    mask = np.ones_like(ids)
    ids[1, :PADDING], mask[1, :PADDING] = 2, 0
    return ids, mask


def assert_equal(actual: NDArray[np.float32], expected: NDArray[np.float32], where: NDArray[np.int64]) -> None:
    assert np.isfinite(actual).all()
    real = where.astype(bool)
    np.testing.assert_allclose(actual[real], expected[real], rtol=0, atol=TOLERANCE * np.abs(expected[real]).max())


@pytest.mark.parametrize(("model_type", "variant"), CASES)
def test_logits_equal_transformers_whole_and_in_pieces(model_type: str, variant: str, tmp_path: Path) -> None:
    folder = tiny_decoder(tmp_path, model_type, seed=len(variant), **DECODERS[model_type][variant])
    hub = import_checkpoint(open_checkpoint(folder))
    ids, mask = batch()
    model = reference(folder)
    assert_equal(in_pieces(hub, ids, mask, [LENGTH]), reference_logits(model, ids, mask, (LENGTH,)), mask)
    assert_equal(in_pieces(hub, ids, mask, PIECES), reference_logits(model, ids, mask, PIECES), mask)


@pytest.mark.parametrize("model_type", DECODERS)
def test_sharded_bfloat16_loads_the_same_numbers(model_type: str, tmp_path: Path) -> None:
    """The last variant of each, in shards of 20 kB; the reference reads the same bfloat16 numbers as float32."""
    variant = list(DECODERS[model_type].values())[-1]
    folder = tiny_decoder(tmp_path, model_type, seed=9, dtype="bfloat16", max_shard_size="20KB", **variant)
    assert len(list(folder.glob("*.safetensors"))) > 2
    hub = import_checkpoint(open_checkpoint(folder))
    ids, mask = batch(1)
    assert_equal(in_pieces(hub, ids, mask, PIECES), reference_logits(reference(folder), ids, mask, PIECES), mask)


@pytest.mark.parametrize(("model_type", "variant"), CASES)
def test_reference_points_name_the_same_tensors(model_type: str, variant: str, tmp_path: Path) -> None:
    folder = tiny_decoder(tmp_path, model_type, **DECODERS[model_type][variant])
    hub, model = import_checkpoint(open_checkpoint(folder)), reference(folder)
    points = reference_points(hub)
    layers = len(hub.spec.cache.kv_heads) if isinstance(hub.spec, DecoderSpec) else 0
    assert {f"layers.{i}/output" for i in range(layers)} < set(points)
    ids, mask = batch()
    ids, mask = ids[:1], mask[:1]
    expected = observed(model, points.values(), lambda m: reference_logits(m, ids, mask, (LENGTH,)))
    seen = observed_in_hub(hub, list(points), ids, mask)
    for value, module in points.items():
        mine, theirs = seen[value], expected[module].reshape(seen[value].shape)
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max(), err_msg=value)
