"""YaRN, LongRoPE, partial rotation and per-layer-type ropes against transformers' frequencies and real modules.

Tolerance: as in `test_rope.py`. A frequency may differ from torch's in the last bits of float32 (its `pow`, then
up to three more roundings), which at position p is p · frequency · 4e-7 radians; cos and sin move by no more than
that times the attention factor, plus their own rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Gemma3TextConfig, LlamaConfig, Phi3Config, PhiConfig, Qwen2Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phi.modeling_phi import PhiRotaryEmbedding
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from exporter.errors import InputError, UnsupportedError
from exporter.importers.config import ConfigReader
from exporter.importers.rope import Rope, inverse_frequencies, read_rope, read_rotary_dim, rotary_tables

HEADS = {"hidden_size": 256, "num_attention_heads": 4, "head_dim": 64}
LONG = {
    "rope_scaling": {
        "type": "longrope",
        "short_factor": [1.0 + 0.01 * i for i in range(32)],
        "long_factor": [1.5 + 0.7 * i for i in range(32)],
    },
    "max_position_embeddings": 4096,
    "original_max_position_embeddings": 1024,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
QWEN = {"rope_theta": 1e6, "max_position_embeddings": 32768}
YARNS: dict[str, dict[str, Any]] = {
    "Qwen2.5": QWEN | {"rope_scaling": YARN | {"original_max_position_embeddings": 32768}},
    "no first context": QWEN | {"rope_scaling": {"type": "yarn", "factor": 4.0}},
    "first context": QWEN | {"rope_scaling": YARN},
    "betas": QWEN | {"rope_scaling": YARN | {"beta_fast": 16.0, "beta_slow": 2.0}},
    "not truncated": QWEN | {"rope_scaling": YARN | {"truncate": False}},
    "stated attention": QWEN | {"rope_scaling": YARN | {"attention_factor": 0.7}},
    "DeepSeek": QWEN | {"rope_scaling": YARN | {"mscale": 0.707, "mscale_all_dim": 1.3}},
    "one mscale": QWEN | {"rope_scaling": YARN | {"mscale": 0.707}},
    "no stretch": QWEN | {"rope_scaling": YARN | {"factor": 1.0}},
    "ramp of one pair": QWEN | {"rope_scaling": YARN | {"beta_fast": 1.0, "beta_slow": 1.0, "truncate": False}},
}


def read(config: dict[str, Any], rotary_dim: int = 64, **options: Any) -> Rope:
    reader = ConfigReader(config)
    rope = read_rope(reader, rotary_dim=rotary_dim, **options)
    reader.finish()
    return rope


def theirs(module: torch.nn.Module, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = module(torch.zeros(1), torch.from_numpy(positions)[None])
    half = cos.shape[-1] // 2
    return cos[0, :, :half].numpy(), sin[0, :, :half].numpy()


def assert_tables(rope: Rope, module: torch.nn.Module, positions: np.ndarray, context: int, start: int = 0) -> None:
    expected = theirs(module, positions)
    rotary_dim = 2 * expected[0].shape[1]
    frequencies = inverse_frequencies(rope, rotary_dim, long=start > 0)
    allowed = rope.attention_factor * (1e-6 + 4e-7 * positions[:, None] * frequencies[None, :])
    for mine, reference in zip(rotary_tables(rope, rotary_dim, context), expected, strict=True):
        assert mine.dtype == np.float32
        assert mine.shape == (context + (rope.switch_at(context) or 0), rotary_dim // 2)
        assert (np.abs(mine[start + positions] - reference) <= allowed).all()


@pytest.mark.parametrize("name", YARNS)
def test_yarn_equals_transformers(name: str) -> None:
    config = HEADS | YARNS[name]
    rope = read(config)
    frequencies, attention = ROPE_INIT_FUNCTIONS["yarn"](Qwen2Config(**config), "cpu")
    np.testing.assert_allclose(inverse_frequencies(rope, 64), frequencies.numpy(), rtol=4e-7)
    assert rope.attention_factor == pytest.approx(attention, rel=1e-12)
    positions = np.array([0, 1, 511, 512, 4095, 16383])
    assert_tables(rope, Qwen2RotaryEmbedding(Qwen2Config(**config)), positions, 16384)


def test_every_yarn_setting_matters() -> None:
    """Otherwise the comparison above could pass with a setting ignored; the attention factor is in the tables."""
    tables = {name: rotary_tables(read(HEADS | config), 64, 64)[1].tobytes() for name, config in YARNS.items()}
    alike = [{"Qwen2.5", "no first context"}, {"first context", "one mscale"}]
    assert len(set(tables.values())) == len(YARNS) - len(alike)
    for names in alike:
        assert len({tables[name] for name in names}) == 1


@given(
    factor=st.floats(1.0, 64.0),
    theta=st.floats(100.0, 1e7),
    original=st.integers(64, 65536),
    fast=st.floats(4.0, 64.0),
    truncate=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_yarn_frequencies_in_general(factor: float, theta: float, original: int, fast: float, truncate: bool) -> None:
    scaling = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original,
        "beta_fast": fast,
        "truncate": truncate,
    }
    config = HEADS | {"rope_theta": theta, "max_position_embeddings": 131072, "rope_scaling": scaling}
    frequencies, attention = ROPE_INIT_FUNCTIONS["yarn"](LlamaConfig(**config), "cpu")
    rope = read(config)
    # The ramp's slope multiplies the rounding of its float32 ends, so a blended frequency may lose one more bit.
    np.testing.assert_allclose(inverse_frequencies(rope, 64), frequencies.numpy(), rtol=2e-6)
    assert rope.attention_factor == pytest.approx(attention, rel=1e-12)


def test_longrope_equals_phi3_on_both_sides_of_the_switch() -> None:
    config = HEADS | LONG
    rope = read(config)
    assert rope.switch_at(4096) == 1024
    assert rope.switch_at(1025) == 1024
    assert rope.switch_at(1024) is None
    module = Phi3RotaryEmbedding(Phi3Config(**config, pad_token_id=0))
    assert_tables(rope, module, np.array([0, 1, 5, 1023]), 4096)
    assert_tables(rope, module, np.array([0, 1, 5, 1024, 4095]), 4096, start=1024)
    assert_tables(rope, module, np.array([0, 1023]), 1024)
    short, long = (inverse_frequencies(rope, 64, long=long) for long in (False, True))
    assert (short > long).all()


def test_longrope_of_partly_rotated_heads() -> None:
    """Phi-4-mini's shape: three quarters of each head."""
    scaling = {"type": "longrope", "short_factor": [1.0] * 24, "long_factor": [1.0 + i for i in range(24)]}
    config = HEADS | LONG | {"rope_scaling": scaling, "partial_rotary_factor": 0.75}
    assert read_rotary_dim(ConfigReader(config), 64) == 48
    rope = read(config, 48)
    module = Phi3RotaryEmbedding(Phi3Config(**config, pad_token_id=0))
    assert_tables(rope, module, np.array([0, 1, 1023]), 4096)
    assert_tables(rope, module, np.array([0, 1, 4095]), 4096, start=1024)


@pytest.mark.parametrize("kind", ["longrope", "su"])
def test_longrope_by_stated_factor_and_stated_attention(kind: str) -> None:
    """Without a first context, the only context is the first, and the factor only scales attention."""
    scaling = dict(LONG["rope_scaling"]) | {"type": kind, "factor": 8.0}
    config = HEADS | {"rope_scaling": scaling, "max_position_embeddings": 4096}
    rope = read(config)
    as_llama = config | {"rope_scaling": scaling | {"type": "longrope"}}
    frequencies, attention = ROPE_INIT_FUNCTIONS["longrope"](LlamaConfig(**as_llama), "cpu")
    np.testing.assert_allclose(inverse_frequencies(rope, 64), frequencies.numpy(), rtol=4e-7)
    assert rope.attention_factor == pytest.approx(attention, rel=1e-12)
    assert rope.switch_at(4096) is None
    stated = read(config | {"rope_scaling": scaling | {"attention_factor": 1.25}})
    assert stated.attention_factor == 1.25


def test_longrope_first_context_inside_the_scaling_means_the_same() -> None:
    """transformers 5 and MiniCPM 4 put it there; transformers 4.57 would overlook it."""
    inside = dict(LONG["rope_scaling"]) | {"original_max_position_embeddings": 1024}
    assert read(HEADS | {"rope_scaling": inside, "max_position_embeddings": 4096}) == read(HEADS | LONG)


def test_equal_factors_need_one_table() -> None:
    scaling = {"type": "longrope", "short_factor": [1.5] * 32, "long_factor": [1.5] * 32}
    assert read(HEADS | LONG | {"rope_scaling": scaling}).switch_at(4096) is None


@pytest.mark.parametrize("share", [0.25, 0.4, 0.5, 1.0])
def test_partial_rotation_equals_phi(share: float) -> None:
    config = HEADS | {"head_dim": 80, "hidden_size": 320, "partial_rotary_factor": share, "rope_theta": 1e4}
    rotary_dim = read_rotary_dim(ConfigReader(config), 80)
    assert rotary_dim == int(80 * share)
    assert_tables(read(config, rotary_dim), PhiRotaryEmbedding(PhiConfig(**config)), np.array([0, 1, 2047]), 2048)


def test_gemma3_has_a_scaled_global_and_a_plain_local_rope() -> None:
    config = HEADS | {
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }
    local_config = HEADS | {"rope_theta": 1e4}
    world = read(config, layer_type="full_attention")
    local = read(config, layer_type="sliding_attention", theta_key="rope_local_base_freq", scaled=False)
    assert local == Rope(1e4)
    positions = np.array([0, 1, 2047])
    assert_tables(world, Gemma3RotaryEmbedding(Gemma3TextConfig(**config)), positions, 2048)
    assert_tables(local, LlamaRotaryEmbedding(LlamaConfig(**local_config)), positions, 2048)


def test_rope_parameters_of_transformers_5() -> None:
    per_type = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    config = HEADS | {"rope_parameters": per_type}
    assert read(config, layer_type="full_attention") == Rope(1e6, "linear", 8.0)
    assert read(config, layer_type="sliding_attention", theta_key="rope_local_base_freq", scaled=False) == Rope(1e4)
    with pytest.raises(UnsupportedError, match="a rope for each layer type"):
        read(config)
    flat = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 2.0, "original_max_position_embeddings": 64}
    spelled = {"rope_scaling": {key: value for key, value in flat.items() if key != "rope_theta"}, "rope_theta": 1e6}
    assert read({"rope_parameters": flat}) == read(spelled)
    partial = ConfigReader({"rope_parameters": flat | {"partial_rotary_factor": 0.5}})
    assert read_rotary_dim(partial, 64) == 32


def test_family_defaults() -> None:
    assert read({}) == Rope(1e4)
    assert read({}, theta=2e6) == Rope(2e6)
    assert read({"rotary_emb_base": 500}, theta_key="rotary_emb_base") == Rope(500.0)
    assert read_rotary_dim(ConfigReader({}), 64, 0.25) == 16
    assert read_rotary_dim(ConfigReader({"rotary_pct": 0.5}), 64, 0.25, "rotary_pct") == 32


def test_ropes_are_keys() -> None:
    assert len({read(HEADS | LONG), read(HEADS | LONG), read(HEADS | YARNS["betas"]), Rope(1e4)}) == 3


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "too few": ({"type": "longrope", "short_factor": [1.0] * 31, "long_factor": [1.0] * 32}, "32 numbers.*list of 31"),
    "not numbers": ({"type": "longrope", "short_factor": [1.0] * 32, "long_factor": ["1"] * 32}, "long_factor"),
    "not a list": ({"type": "longrope", "short_factor": 1.0, "long_factor": [1.0] * 32}, "short_factor"),
    "nan": ({"type": "longrope", "short_factor": [float("nan")] * 32, "long_factor": [1.0] * 32}, "short_factor"),
    "zero": ({"type": "longrope", "short_factor": [0] * 32, "long_factor": [1.0] * 32}, "short_factor"),
    "no factor": ({"type": "yarn"}, "factor: nothing"),
    "betas": ({"type": "yarn", "factor": 2.0, "beta_fast": 1.0, "beta_slow": 2.0}, "beta_fast"),
    "mscale": ({"type": "yarn", "factor": 2.0, "mscale": "x", "mscale_all_dim": 1.0}, "mscale"),
    "truncate": ({"type": "yarn", "factor": 2.0, "truncate": "no"}, "truncate"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_named(name: str) -> None:
    scaling, message = BAD[name]
    with pytest.raises(InputError, match=message):
        read(HEADS | LONG | {"rope_scaling": scaling})


def test_unknown_scalings_and_mscales_are_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="mrope"):
        read({"rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 1]}})
    with pytest.raises(UnsupportedError, match="short_mscale"):
        read(HEADS | LONG | {"rope_scaling": dict(LONG["rope_scaling"]) | {"short_mscale": 1.2}})


@pytest.mark.parametrize("share", [0.01, 0.55, 1.5, "half"])
def test_bad_shares_of_a_head(share: Any) -> None:
    reader = ConfigReader({"partial_rotary_factor": share})
    read_rotary_dim(reader, 20)
    with pytest.raises(InputError, match="partial_rotary_factor"):
        reader.finish()
