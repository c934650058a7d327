"""Rotary position embeddings: the frequencies of each scaling, and the cos/sin tables that the graph holds.

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

# "dynamic" (NTK) changes frequencies only beyond max_position_embeddings, which is where our context ends.
# "su" is what Phi-3 called LongRoPE before the paper had its name, and "yarn", once, with LongRoPE's factors.
SCALINGS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope", "su")
_LAYER_TYPES = ("full_attention", "sliding_attention")
_SHARE = "partial_rotary_factor"
_LARGEST = 1e6  # of any factor: far above what has ever been published, and safely inside float32

Table = NDArray[np.float32]


@dataclass(frozen=True)
class Rope:
    """theta: the base wavelength. The other fields are those of `rope_scaling` in `config.json`.

    original_context: the context, in tokens, that the model was first trained with (llama3, yarn, longrope).
    attention_factor: cos and sin are multiplied by it, so attention scores by its square (yarn, longrope).
    short_factors, long_factors: a divisor for each frequency, in sequences of up to `original_context` tokens and in
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
        """The longest sequence, in tokens, that uses the tables' first part; None where there is only one part."""
        two = self.long_factors != self.short_factors and context > self.original_context
        return self.original_context if two else None


def read_rotary_dim(config: ConfigReader, head_dim: int, default: float = 1.0, key: str = _SHARE) -> int:
    """How many of a head's numbers are rotated, an even number; from the share in `rope_parameters` or under `key`."""
    merged = config.section("rope_parameters")
    source, key = (config, key) if merged is None or merged.get(_SHARE) is None else (merged, _SHARE)
    rotary_dim = int(head_dim * source.number(key, default, most=1.0))
    if config.sound and (rotary_dim < 2 or rotary_dim % 2):
        source.invalid(key, f"{rotary_dim} of {head_dim} numbers would be rotated, which makes no pairs")
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
    """From `theta_key` and `rope_scaling`, or from `rope_parameters`, where transformers 5 writes both.

    theta: the family's default. layer_type: the one whose entry of `rope_parameters` is read, where the family has a
    rope for each. scaled: whether the older spelling's `rope_scaling` is meant for this rope.
    """
    merged = _parameters(config, layer_type)
    scaling = merged or (config.section("rope_scaling") if scaled else None)
    key, source = ("rope_theta", merged) if merged and merged.get("rope_theta") is not None else (theta_key, config)
    rope = Rope(source.number(key, theta, least=1.0, most=1e15))
    if scaling is None:
        return rope
    kind = scaling.choice("type" if scaling.get("rope_type") is None else "rope_type", "default", SCALINGS)
    if kind in ("linear", "dynamic"):
        return Rope(rope.theta, kind, scaling.number("factor", least=1e-3, most=_LARGEST))
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
        merged.unsupported("rope_parameters", "one rope for each layer type; in this family all layers share one")
    return merged.section(layer_type)


def _read_llama3(scaling: ConfigReader, theta: float) -> Rope:
    low = scaling.number("low_freq_factor", most=_LARGEST)
    high = scaling.number("high_freq_factor", most=_LARGEST)
    if low >= high:
        scaling.invalid("high_freq_factor", f"{high:g} is not above low_freq_factor, {low:g}")
    return Rope(
        theta,
        "llama3",
        factor=scaling.number("factor", least=1e-3, most=_LARGEST),
        low_freq_factor=low,
        high_freq_factor=high,
        original_context=scaling.integer("original_max_position_embeddings"),
    )


def _read_yarn(config: ConfigReader, scaling: ConfigReader, theta: float) -> Rope:
    factor = scaling.number("factor", least=1e-3, most=_LARGEST)
    fast, slow = scaling.number("beta_fast", 32.0, most=_LARGEST), scaling.number("beta_slow", 1.0, most=_LARGEST)
    if fast < slow:
        scaling.invalid("beta_fast", f"{fast:g} is below beta_slow, {slow:g}")
    stated = scaling.get("original_max_position_embeddings") is not None
    return Rope(
        theta,
        "yarn",
        factor=factor,
        original_context=(
            scaling.integer("original_max_position_embeddings")
            if stated
            else config.integer("max_position_embeddings")  # transformers then takes it for the context before YaRN
        ),
        attention_factor=_yarn_attention(scaling, factor),
        beta_fast=fast,
        beta_slow=slow,
        truncate=scaling.flag("truncate", True),
    )


def _yarn_attention(scaling: ConfigReader, factor: float) -> float:
    """As stated, or as the paper computes it; DeepSeek's `mscale` pair refines that, but a single one is ignored."""

    def scale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0

    if scaling.get("attention_factor") is not None:
        return scaling.number("attention_factor", most=_LARGEST)
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        above, below = (scale(scaling.number(key, most=_LARGEST)) for key in ("mscale", "mscale_all_dim"))
        return above / below
    return scale(1.0)


def _read_longrope(config: ConfigReader, scaling: ConfigReader, theta: float, rotary_dim: int) -> Rope:
    """The first context stands beside `rope_scaling` (Phi-3), in it (transformers 5, MiniCPM 4), or is the only one."""
    for key in ("short_mscale", "long_mscale"):
        scaling.refuse(key, [1], "an attention factor of its own for short and long sequences")
    key = "original_max_position_embeddings"
    positions = config.integer("max_position_embeddings")
    beside, inside = config.get(key) is not None, scaling.get(key) is not None
    original = config.integer(key) if beside else scaling.integer(key) if inside else positions
    computed = beside or (inside and scaling.get("factor") is None)
    factor = positions / original if computed else scaling.number("factor", most=_LARGEST)
    if original < 2:
        config.invalid(key, f"{original} token is too short a context")
    if scaling.get("attention_factor") is not None:
        attention = scaling.number("attention_factor", most=_LARGEST)
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
        found = f"{len(value)} of them" if isinstance(value, list) else "something else"
        scaling.invalid(key, f"is a list of numbers, one for each of the {count} pairs that are rotated; found {found}")
        return (1.0,) * count
    if not all(type(x) in (int, float) and 1e-6 <= x <= _LARGEST for x in value):
        scaling.invalid(key, f"holds something that is not a number from 1e-6 to {_LARGEST:g}")
        return (1.0,) * count
    return tuple(float(x) for x in value)


def inverse_frequencies(rope: Rope, rotary_dim: int, *, long: bool = False) -> Table:
    """Radians per position, float32 `[rotary_dim / 2]`. long: those of sequences beyond `switch_at`."""
    exponent = np.arange(0, rotary_dim, 2, dtype=np.float32) / np.float32(rotary_dim)
    # numpy's and torch's float32 `pow` may differ in the last bit: float64, rounded once, is within that of either.
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
    """High frequencies stay, low ones are divided by the factor, those between are blended."""
    wavelength = np.float32(2 * math.pi) / frequencies
    slowed = frequencies / np.float32(rope.factor)
    share = rope.original_context / wavelength - np.float32(rope.low_freq_factor)
    blend = share / np.float32(rope.high_freq_factor - rope.low_freq_factor)
    blended = (1 - blend) * slowed + blend * frequencies
    low = wavelength > rope.original_context / rope.low_freq_factor
    high = wavelength < rope.original_context / rope.high_freq_factor
    return np.where(high, frequencies, np.where(low, slowed, blended)).astype(np.float32)


def _yarn(base: Table, rope: Rope, rotary_dim: int) -> Table:
    """The same with a ramp over pair numbers: from `beta_fast` turns in the first context down to `beta_slow`."""

    def pair_that_turns(times: float) -> float:
        turns = math.log(rope.original_context / (times * 2 * math.pi))
        return rotary_dim * turns / (2 * math.log(rope.theta))

    first, last = pair_that_turns(rope.beta_fast), pair_that_turns(rope.beta_slow)
    if rope.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, rotary_dim - 1)
    if first == last:
        last += 0.001  # transformers' way around the division by 0
    pairs = np.arange(rotary_dim // 2, dtype=np.float32)
    slowness = np.clip((pairs - np.float32(first)) / np.float32(last - first), 0, 1).astype(np.float32)
    kept = 1 - slowness
    return np.asarray(np.float32(1) / (np.float32(rope.factor) * base) * (1 - kept) + np.float32(1) / base * kept)


def rotary_tables(rope: Rope, rotary_dim: int, context: int) -> tuple[Table, Table]:
    """cos and sin, float32 `[rows, rotary_dim / 2]`: half of transformers' tables, which hold everything twice.

    Row p is position p. Where `switch_at` is not None, there are so many such rows, and `context` more follow for
    longer sequences: there position p is row `switch_at + p`.
    """
    switch = rope.switch_at(context)
    parts = [(context, False)] if switch is None else [(switch, False), (context, True)]
    # The product is rounded to float32, as transformers does; at position 100,000 that is 0.004 rad, so it matters.
    angles = [
        np.arange(rows, dtype=np.float32)[:, None] * inverse_frequencies(rope, rotary_dim, long=long)[None, :]
        for rows, long in parts
    ]
    # float64 inside: numpy's float32 cos depends on the CPU's vector unit, and the same input must give the same bytes.
    exact = np.concatenate(angles).astype(np.float64)
    factor = np.float32(rope.attention_factor)
    return np.cos(exact).astype(np.float32) * factor, np.sin(exact).astype(np.float32) * factor
