"""Rotary position embeddings: the frequencies of each scaling, and the cos/sin tables that the graph holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.importers.config import ConfigReader

# "dynamic" (NTK) changes frequencies only beyond max_position_embeddings, which is where our context ends.
SCALINGS = ("default", "linear", "dynamic", "llama3")


@dataclass(frozen=True)
class Rope:
    """theta: the base wavelength. The other fields are those of `rope_scaling` in `config.json`.

    original_context: the context, in tokens, that the model was first trained with (llama3).
    """

    theta: float
    scaling: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192


def read_rope(config: ConfigReader) -> Rope:
    """From `rope_theta` and `rope_scaling`, or from `rope_parameters`, where transformers 5 writes both."""
    merged = config.section("rope_parameters")
    scaling = config.section("rope_scaling") if merged is None else merged
    theta = (config if merged is None or merged.get("rope_theta") is None else merged).number(
        "rope_theta", 10000.0, least=1.0, most=1e15
    )
    if scaling is None:
        return Rope(theta)
    kind = scaling.choice("rope_type" if scaling.get("type") is None else "type", "default", SCALINGS)
    factor = 1.0 if kind == "default" else scaling.number("factor", least=1e-3, most=1e6)
    if kind != "llama3":
        return Rope(theta, kind, factor)
    low = scaling.number("low_freq_factor", most=1e6)
    high = scaling.number("high_freq_factor", most=1e6)
    if low >= high:
        scaling.invalid("high_freq_factor", f"{high:g} is not above low_freq_factor, {low:g}")
    return Rope(theta, kind, factor, low, high, scaling.integer("original_max_position_embeddings"))


def inverse_frequencies(rope: Rope, head_dim: int) -> NDArray[np.float32]:
    """Radians per position, float32 `[head_dim / 2]`, rounded where transformers rounds.

    Source: `modeling_rope_utils.py` of transformers; llama3 scaling after Llama 3.1's reference code.
    """
    exponent = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    # numpy's and torch's float32 `pow` may differ in the last bit: float64, rounded once, is within that of either.
    base = np.power(rope.theta, exponent.astype(np.float64)).astype(np.float32)
    frequencies = np.float32(1) / base
    if rope.scaling == "linear":
        return (frequencies / np.float32(rope.factor)).astype(np.float32)
    if rope.scaling == "llama3":
        return _llama3(frequencies, rope)
    return frequencies


def _llama3(frequencies: NDArray[np.float32], rope: Rope) -> NDArray[np.float32]:
    """High frequencies stay, low ones are divided by the factor, those between are blended."""
    wavelength = np.float32(2 * math.pi) / frequencies
    slowed = frequencies / np.float32(rope.factor)
    share = rope.original_context / wavelength - np.float32(rope.low_freq_factor)
    blend = share / np.float32(rope.high_freq_factor - rope.low_freq_factor)
    blended = (1 - blend) * slowed + blend * frequencies
    low = wavelength > rope.original_context / rope.low_freq_factor
    high = wavelength < rope.original_context / rope.high_freq_factor
    return np.where(high, frequencies, np.where(low, slowed, blended)).astype(np.float32)


def rotary_tables(rope: Rope, head_dim: int, context: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin, float32 `[context, head_dim / 2]`: half of transformers' tables, which hold everything twice."""
    # The product is rounded to float32, as transformers does; at position 100,000 that is 0.004 rad, so it matters.
    angles = np.arange(context, dtype=np.float32)[:, None] * inverse_frequencies(rope, head_dim)[None, :]
    # float64 inside: numpy's float32 cos depends on the CPU's vector unit, and the same input must give the same bytes.
    exact = angles.astype(np.float64)
    return np.cos(exact).astype(np.float32), np.sin(exact).astype(np.float32)
