"""Rotary position embeddings (RoPE): the frequencies of each scaling method, and the cos and sin tables of the graph.

Source: `modeling_rope_utils.py` of transformers, which follows Llama 3.1's reference code, YaRN (arXiv 2309.00071) and
LongRoPE (arXiv 2402.13753). Frequencies are rounded to float32 where transformers rounds them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.importers.config import ConfigReader

# "dynamic" (NTK) changes frequencies only beyond max_position_embeddings, where our context ends.
# "su" is Phi-3's older name for LongRoPE; one Phi-3 release calls it "yarn", with LongRoPE's factors.
SCALINGS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope", "su")
_LAYER_TYPES = ("full_attention", "sliding_attention")
_ROTATED_SHARE_KEY = "partial_rotary_factor"
_MAX_FACTOR = 1e6  # far above any published factor, and safe in float32

Table = NDArray[np.float32]


@dataclass(frozen=True)
class Rope:
    """A rotary embedding. theta: the base wavelength. The other fields are those of `rope_scaling` in `config.json`.

    original_context: the context, in tokens, that the model was first trained with (llama3, yarn, longrope).
    attention_factor: factor of cos and sin; attention scores are thus multiplied by its square (yarn, longrope).
    short_factors, long_factors: a divisor for each frequency, for sequences of up to `original_context` tokens and for
        longer ones (longrope).
    """

    theta: float
    scaling: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()

    def switch_at(self, context: int) -> int | None:
        """The longest sequence, in tokens, that uses the tables' first part; None if the tables have a single part."""
        two = self.long_factors != self.short_factors and context > self.original_context
        return self.original_context if two else None


def read_rotary_dim(config: ConfigReader, head_dim: int, default: float = 1.0, key: str = _ROTATED_SHARE_KEY) -> int:
    """How many elements of a head are rotated, an even number, from the share in `rope_parameters` or under `key`."""
    merged = config.section("rope_parameters")
    source, key = (
        (config, key) if merged is None or merged.get(_ROTATED_SHARE_KEY) is None else (merged, _ROTATED_SHARE_KEY)
    )
    rotary_dim = int(head_dim * source.number(key, default, maximum=1.0))
    if config.valid and (rotary_dim < 2 or rotary_dim % 2):
        source.invalid(key, f"would rotate {rotary_dim} of {head_dim} elements; the number must be even and above 0")
    return max(rotary_dim, 2)


def read_rope(
    config: ConfigReader,
    *,
    rotary_dim: int,
    theta: float = 10000.0,
    theta_key: str = "rope_theta",
    layer_type: str = "",
    scaled: bool = True,
) -> Rope:
    """Reads `theta_key` and `rope_scaling`, or `rope_parameters`, in which transformers 5 writes both.

    theta: the family's default. layer_type: for families with a rope for each layer type: the entry of
    `rope_parameters` to read. scaled: whether `rope_scaling`, the older key, applies to this rope.
    """
    merged = _parameters(config, layer_type)
    scaling = merged or (config.section("rope_scaling") if scaled else None)
    key, source = ("rope_theta", merged) if merged and merged.get("rope_theta") is not None else (theta_key, config)
    rope = Rope(source.number(key, theta, above=1.0, maximum=1e15))
    if scaling is None:
        return rope
    kind = scaling.choice("type" if scaling.get("rope_type") is None else "rope_type", "default", SCALINGS)
    if kind in ("linear", "dynamic"):
        return Rope(rope.theta, kind, scaling.number("factor", above=1e-3, maximum=_MAX_FACTOR))
    if kind == "llama3":
        return _read_llama3(scaling, rope.theta)
    if kind in ("longrope", "su") or (kind == "yarn" and scaling.get("short_factor") is not None):
        return _read_longrope(config, scaling, rope.theta, rotary_dim)
    if kind == "yarn":
        return _read_yarn(config, scaling, rope.theta)
    return rope


def _parameters(config: ConfigReader, layer_type: str) -> ConfigReader | None:
    """`rope_parameters`, or its entry for the layer type."""
    merged = config.section("rope_parameters")
    if merged is None or not any(isinstance(merged.get(known), Mapping) for known in _LAYER_TYPES):
        return merged
    if not layer_type:
        merged.unsupported("rope_parameters", "has a rope for each layer type, but this family's layers share one rope")
    return merged.section(layer_type)


def _read_llama3(scaling: ConfigReader, theta: float) -> Rope:
    low = scaling.number("low_freq_factor", maximum=_MAX_FACTOR)
    high = scaling.number("high_freq_factor", maximum=_MAX_FACTOR)
    if low >= high:
        scaling.invalid("high_freq_factor", f"{high:g} must be above low_freq_factor, {low:g}")
    return Rope(
        theta,
        "llama3",
        factor=scaling.number("factor", above=1e-3, maximum=_MAX_FACTOR),
        low_freq_factor=low,
        high_freq_factor=high,
        original_context=scaling.integer("original_max_position_embeddings"),
    )


def _read_yarn(config: ConfigReader, scaling: ConfigReader, theta: float) -> Rope:
    factor = scaling.number("factor", above=1e-3, maximum=_MAX_FACTOR)
    fast, slow = (
        scaling.number("beta_fast", 32.0, maximum=_MAX_FACTOR),
        scaling.number("beta_slow", 1.0, maximum=_MAX_FACTOR),
    )
    if fast < slow:
        scaling.invalid("beta_fast", f"{fast:g} must not be below beta_slow, {slow:g}")
    stated = scaling.get("original_max_position_embeddings") is not None
    return Rope(
        theta,
        "yarn",
        factor=factor,
        original_context=(
            scaling.integer("original_max_position_embeddings")
            if stated
            else config.integer("max_position_embeddings")  # as transformers does if the original context is absent
        ),
        attention_factor=_yarn_attention(scaling, factor),
        beta_fast=fast,
        beta_slow=slow,
        truncate=scaling.flag("truncate", True),
    )


def _yarn_attention(scaling: ConfigReader, factor: float) -> float:
    """The stated factor, or the paper's formula; DeepSeek's pair `mscale`, `mscale_all_dim` refines that formula, but
    transformers ignores one of them alone."""

    def scale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0

    if scaling.get("attention_factor") is not None:
        return scaling.number("attention_factor", maximum=_MAX_FACTOR)
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        above, below = (scale(scaling.number(key, maximum=_MAX_FACTOR)) for key in ("mscale", "mscale_all_dim"))
        return above / below
    return scale(1.0)


def _read_longrope(config: ConfigReader, scaling: ConfigReader, theta: float, rotary_dim: int) -> Rope:
    """Reads LongRoPE. The original context is stated beside `rope_scaling` (Phi-3), in it (transformers 5, MiniCPM 4),
    or not at all; then it is the model's context."""
    for key in ("short_mscale", "long_mscale"):
        scaling.refuse(key, [1], "separate attention factors for short and long sequences")
    key = "original_max_position_embeddings"
    positions = config.integer("max_position_embeddings")
    beside, inside = config.get(key) is not None, scaling.get(key) is not None
    original = config.integer(key) if beside else scaling.integer(key) if inside else positions
    computed = beside or (inside and scaling.get("factor") is None)
    factor = positions / original if computed else scaling.number("factor", maximum=_MAX_FACTOR)
    if original < 2:
        config.invalid(key, f"a context of {original} token is too short")
    if scaling.get("attention_factor") is not None:
        attention = scaling.number("attention_factor", maximum=_MAX_FACTOR)
    else:
        attention = math.sqrt(1 + math.log(factor) / math.log(max(original, 2))) if factor > 1 else 1.0
    return Rope(
        theta,
        "longrope",
        factor=factor,
        original_context=original,
        attention_factor=attention,
        short_factors=_factors(scaling, "short_factor", rotary_dim // 2),
        long_factors=_factors(scaling, "long_factor", rotary_dim // 2),
    )


def _factors(scaling: ConfigReader, key: str, count: int) -> tuple[float, ...]:
    value = scaling.get(key)
    if not isinstance(value, list) or len(value) != count:
        found = f"a list of {len(value)}" if isinstance(value, list) else "another type"
        scaling.invalid(key, f"must be a list of {count} numbers, one for each rotated pair; found {found}")
        return (1.0,) * count
    if not all(type(x) in (int, float) and 1e-6 <= x <= _MAX_FACTOR for x in value):
        scaling.invalid(key, f"must contain only numbers from 1e-6 to {_MAX_FACTOR:g}")
        return (1.0,) * count
    return tuple(float(x) for x in value)


def inverse_frequencies(rope: Rope, rotary_dim: int, *, long: bool = False) -> Table:
    """Radians per position, float32 `[rotary_dim / 2]`. long: for sequences that are longer than `switch_at`."""
    exponent = np.arange(0, rotary_dim, 2, dtype=np.float32) / np.float32(rotary_dim)
    # numpy's and torch's float32 `pow` may differ in the last bit. float64, rounded once, is within that of both.
    base = np.power(rope.theta, exponent.astype(np.float64)).astype(np.float32)
    if rope.scaling == "longrope":
        return np.float32(1) / (np.array(rope.long_factors if long else rope.short_factors, np.float32) * base)
    if rope.scaling == "yarn":
        return _yarn(base, rope, rotary_dim)
    frequencies = np.float32(1) / base
    if rope.scaling == "linear":
        return (frequencies / np.float32(rope.factor)).astype(np.float32)
    if rope.scaling == "llama3":
        return _llama3(frequencies, rope)
    return frequencies


def _llama3(frequencies: Table, rope: Rope) -> Table:
    """Keeps high frequencies, divides low ones by the factor and interpolates between them."""
    wavelength = np.float32(2 * math.pi) / frequencies
    slowed = frequencies / np.float32(rope.factor)
    share = rope.original_context / wavelength - np.float32(rope.low_freq_factor)
    blend = share / np.float32(rope.high_freq_factor - rope.low_freq_factor)
    blended = (1 - blend) * slowed + blend * frequencies
    low = wavelength > rope.original_context / rope.low_freq_factor
    high = wavelength < rope.original_context / rope.high_freq_factor
    return np.where(high, frequencies, np.where(low, slowed, blended)).astype(np.float32)


def _yarn(base: Table, rope: Rope, rotary_dim: int) -> Table:
    """As llama3, with a ramp over pairs: from the pair that turns `beta_fast` times within the original context to the
    one that turns `beta_slow` times."""

    def pair_that_turns(times: float) -> float:
        turns = math.log(rope.original_context / (times * 2 * math.pi))
        return rotary_dim * turns / (2 * math.log(rope.theta))

    first, last = pair_that_turns(rope.beta_fast), pair_that_turns(rope.beta_slow)
    if rope.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, rotary_dim - 1)
    if first == last:
        last += 0.001  # avoids a division by 0, as transformers does
    pairs = np.arange(rotary_dim // 2, dtype=np.float32)
    slowness = np.clip((pairs - np.float32(first)) / np.float32(last - first), 0, 1).astype(np.float32)
    kept = 1 - slowness
    return np.asarray(np.float32(1) / (np.float32(rope.factor) * base) * (1 - kept) + np.float32(1) / base * kept)


def rotary_tables(rope: Rope, rotary_dim: int, context: int) -> tuple[Table, Table]:
    """cos and sin, float32 `[rows, rotary_dim / 2]`. transformers' tables have each column twice.

    Row p is position p. If `switch_at` isn't None, the first `switch_at` rows are for sequences up to that length, and
    `context` rows for longer sequences follow: their position p is row `switch_at + p`.
    """
    switch = rope.switch_at(context)
    parts = [(context, False)] if switch is None else [(switch, False), (context, True)]
    # As in transformers, the product is rounded to float32: at position 100,000 that changes it by 0.004 rad.
    angles = [
        np.arange(rows, dtype=np.float32)[:, None] * inverse_frequencies(rope, rotary_dim, long=long)[None, :]
        for rows, long in parts
    ]
    # cos and sin are computed in float64: numpy's float32 results depend on the CPU, but exports must be reproducible.
    exact = np.concatenate(angles).astype(np.float64)
    factor = np.float32(rope.attention_factor)
    return np.cos(exact).astype(np.float32) * factor, np.sin(exact).astype(np.float32) * factor
