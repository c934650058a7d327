"""Rotary tables against transformers' own `LlamaRotaryEmbedding`.

Tolerance: frequencies may differ in float32's last bit (torch's `pow` against a correctly rounded one), which at
position p is p · frequency · 6e-8 radians; cos and sin move by no more than that, plus their own rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from exporter.importers.config import ConfigReader
from exporter.importers.rope import inverse_frequencies, read_rope, rotary_tables

SETTINGS: dict[str, dict[str, Any]] = {
    "Llama 2": {"rope_theta": 10000.0},
    "small head": {"rope_theta": 10000.0, "head_dim": 12},
    "Llama 3.2": {
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
    "linear": {"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 3.0}},
    "dynamic": {"rope_theta": 10000.0, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
    "stated default": {"rope_theta": 1e6, "rope_scaling": {"rope_type": "default"}},
}
POSITIONS = np.array([0, 1, 2, 63, 511, 2047, 8191, 16383])


@pytest.mark.parametrize("name", SETTINGS)
def test_tables_equal_transformers(name: str) -> None:
    settings = {"head_dim": 64, "max_position_embeddings": 16384} | SETTINGS[name]
    theirs = LlamaRotaryEmbedding(LlamaConfig(**settings))
    reader = ConfigReader(settings)
    rope, head_dim = read_rope(reader, rotary_dim=settings["head_dim"]), settings["head_dim"]
    reader.finish()
    frequencies = inverse_frequencies(rope, head_dim)
    np.testing.assert_allclose(frequencies, theirs.inv_freq.numpy(), rtol=3e-7)
    cos, sin = theirs(torch.zeros(1), torch.from_numpy(POSITIONS)[None])
    allowed = 1e-6 + 3e-7 * POSITIONS[:, None] * frequencies[None, :]
    for mine, reference in zip(rotary_tables(rope, head_dim, 16384), (cos, sin), strict=True):
        assert mine.dtype == np.float32
        expected = reference[0, :, : head_dim // 2].numpy()
        assert (np.abs(mine[POSITIONS] - expected) <= allowed).all()


def test_scalings_differ_from_each_other() -> None:
    """Otherwise the comparison above could pass with every scaling ignored."""
    all_frequencies = {
        name: tuple(inverse_frequencies(read_rope(ConfigReader(SETTINGS[name]), rotary_dim=64), 64).tolist())
        for name in ("Llama 2", "Llama 3.2", "linear", "stated default")
    }
    assert len(set(all_frequencies.values())) == 4
