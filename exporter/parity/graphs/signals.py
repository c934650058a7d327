"""Images, sounds and spectrograms with structure, made from formulas: the same on every machine, nothing to ship.

Noise alone would be a poor probe: it looks the same to every layer, and a network that answers one of two images with
the other's result would pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_IMAGES = ("gradient", "stripes", "disc", "checkerboard", "rings", "blobs", "edges", "texture")
_RATE = 16_000  # samples a second, where the checkpoint doesn't say


def image_names(count: int) -> list[str]:
    """Labels of the first `count` images."""
    return [f"{_IMAGES[i % len(_IMAGES)]} {i // len(_IMAGES) + 1}" for i in range(count)]


def image(index: int, shape: tuple[int, ...], preprocessor: Mapping[str, Any]) -> Floats:
    """`[batch, channels, height, width]`, normalized with the checkpoint's `image_mean` and `image_std`.

    Without these, values spread around 0 with a deviation of about 0.5.
    """
    batch, channels, height, width = shape
    planes = np.stack([_plane(index, channel, height, width) for channel in range(channels)])
    normalized = preprocessor.get("do_normalize", True) is not False
    mean, std = (_per_channel(preprocessor.get(key), channels) for key in ("image_mean", "image_std"))
    pixels = (planes - mean) / std if normalized else planes
    return np.broadcast_to(pixels.astype(np.float32), (batch, channels, height, width)).copy()


def _per_channel(stated: Any, channels: int) -> NDArray[np.float64]:
    """`[channels, 1, 1]`: what the checkpoint states, else 0.5."""
    values = stated if isinstance(stated, list) and len(stated) == channels else [0.5] * channels
    known = [float(v) if type(v) in (int, float) and 0 < abs(v) < 1e6 else 0.5 for v in values]
    return np.asarray(known, np.float64)[:, None, None]


def _plane(index: int, channel: int, height: int, width: int) -> NDArray[np.float64]:
    """One colour of one image, values 0 to 1."""
    rng = np.random.default_rng([index, channel])
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 1)
    along = x * np.cos(angle) + y * np.sin(angle)
    centre = rng.uniform(0.3, 0.7, 2)
    distance = np.hypot(y - centre[0], x - centre[1])
    match _IMAGES[index % len(_IMAGES)]:
        case "gradient":
            plane = along + phase
        case "stripes":
            plane = np.sin(2 * np.pi * (rng.integers(3, 9) * along + phase))
        case "disc":
            plane = (distance < rng.uniform(0.15, 0.35)).astype(float)
        case "checkerboard":
            plane = ((x * 8).astype(int) + (y * 8).astype(int) + channel) % 2 * rng.uniform(0.4, 1.0)
        case "rings":
            plane = np.sin(2 * np.pi * (rng.integers(4, 10) * distance + phase))
        case "blobs":
            centres = rng.uniform(0, 1, (6, 2))
            plane = np.stack([np.exp(-(((y - a) ** 2 + (x - b) ** 2) / 0.01)) for a, b in centres]).sum(0)
        case "edges":
            plane = np.where(along > rng.uniform(0.3, 0.8), 1.0, rng.uniform(0, 0.4))
        case _:
            plane = np.zeros((height, width))
            for octave in range(1, 5):  # a coarse pattern with ever finer, ever weaker ones on top
                grid = rng.uniform(0, 1, (2**octave, 2**octave))
                tile = np.ones((-(-height // 2**octave), -(-width // 2**octave)))
                plane += np.kron(grid, tile)[:height, :width] / octave
    low, high = float(np.min(plane)), float(np.max(plane))
    texture = rng.normal(0, 0.02, (height, width))
    values: NDArray[np.float64] = np.clip((plane - low) / max(high - low, 1e-9) * 0.9 + 0.05 + texture, 0, 1)
    return values


def features(index: int, shape: tuple[int, ...], preprocessor: Mapping[str, Any]) -> Floats:
    """A waveform `[batch, samples]`, or a spectrogram `[batch, …, …]` in the range of a log-mel one."""
    if len(shape) == 2:
        rate = preprocessor.get("sampling_rate")
        rate = rate if type(rate) is int and rate > 0 else _RATE
        return np.broadcast_to(_wave(index, shape[1], rate), shape).copy()
    rng = np.random.default_rng([index, 7])
    rows, columns = np.mgrid[0 : shape[-2], 0 : shape[-1]]
    rows, columns = rows / shape[-2], columns / shape[-1]
    spectrum = np.zeros(shape[-2:])
    for _ in range(5):  # formants that glide, with pauses
        pitch = rng.uniform(0.05, 0.95) + 0.1 * np.sin(2 * np.pi * (rng.uniform(0.5, 3) * columns + rng.uniform(0, 1)))
        voiced = np.sin(2 * np.pi * (rng.uniform(1, 6) * columns + rng.uniform(0, 1))) > -0.5
        spectrum += voiced * np.exp(-(((rows - pitch) / 0.04) ** 2))
    spectrum = np.clip(spectrum, 0, 2) - 1 + rng.normal(0, 0.05, spectrum.shape)
    return np.broadcast_to(spectrum.astype(np.float32), shape).copy()


def _wave(index: int, samples: int, rate: int) -> Floats:
    """Gliding harmonics with pauses, deviation about 1: what feature extractors that normalize hand over."""
    rng = np.random.default_rng([index, 3])
    time = np.arange(samples) / rate
    pitch = rng.uniform(90, 250) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.5, 2) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    wave = np.zeros(samples)
    for k in range(1, 12):
        wave += np.sin(k * phase + rng.uniform(0, 6)) / k
    wave = wave * (np.sin(2 * np.pi * rng.uniform(1, 4) * time + rng.uniform(0, 6)) > -0.6)
    wave = wave + rng.normal(0, 0.01, samples)
    scaled: Floats = ((wave - wave.mean()) / max(float(wave.std()), 1e-6)).astype(np.float32)
    return scaled


def numbers(index: int, shape: tuple[int, ...]) -> Floats:
    """Normally distributed around 0, for an input whose meaning isn't known."""
    return np.random.default_rng([index, 1]).standard_normal(shape).astype(np.float32)
