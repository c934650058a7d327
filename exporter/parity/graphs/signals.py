"""Images, sounds, spectrograms and numbers as a graph takes them: shaped, and scaled as the checkpoint says.

Noise alone would be a poor probe: it looks the same to every layer, and a network that answers one of two images with
the other's result would pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.parity.graphs import images, sounds

Floats = NDArray[np.float32]

_RATE = 16_000  # samples a second, where the checkpoint doesn't say
_SOUND = 2000  # numbers in a row that may be a sound
_MELS = (32, 40, 64, 80, 96, 128)  # rows of a spectrogram in published models
_SCALES = (1.0, 0.25, 3.0)  # of numbers whose meaning isn't known


def image_names(count: int) -> list[str]:
    """Labels of the first `count` images."""
    return [f"{images.KINDS[i % len(images.KINDS)]} {i // len(images.KINDS) + 1}" for i in range(count)]


def image(index: int, shape: tuple[int, ...], preprocessor: Mapping[str, Any]) -> Floats:
    """`[batch, channels, height, width]`, normalized with the checkpoint's `image_mean` and `image_std`.

    Without these, half of the images have values from -1 to 1 and the others from 0 to 1.
    """
    batch, channels, height, width = shape
    planes = images.picture(index, channels, height, width)
    stated = "image_mean" in preprocessor or "do_normalize" in preprocessor
    normalized = preprocessor.get("do_normalize", True) is not False if stated else index % 2 == 0
    mean, std = (_per_channel(preprocessor.get(key), channels) for key in ("image_mean", "image_std"))
    pixels = (planes - mean) / std if normalized else planes
    return np.broadcast_to(pixels.astype(np.float32), (batch, channels, height, width)).copy()


def bytes_image(index: int, shape: tuple[int, ...]) -> Floats:
    """A picture from 0 to 255, for inputs of whole numbers; colours stand first, or last where there are 1 or 3."""
    last = shape[-1] in (1, 3) and shape[1] not in (1, 3)
    channels, height, width = (shape[3], shape[1], shape[2]) if last else shape[1:]
    planes = np.rint(255 * images.picture(index, channels, height, width))
    made = np.moveaxis(planes, 0, -1) if last else planes
    return np.broadcast_to(made.astype(np.float32), shape).copy()


def _per_channel(stated: Any, channels: int) -> NDArray[np.float64]:
    """`[channels, 1, 1]`: what the checkpoint states, else 0.5."""
    values = stated if isinstance(stated, list) and len(stated) == channels else [0.5] * channels
    known = [float(v) if type(v) in (int, float) and 0 < abs(v) < 1e6 else 0.5 for v in values]
    return np.asarray(known, np.float64)[:, None, None]


def features(index: int, shape: tuple[int, ...], preprocessor: Mapping[str, Any]) -> Floats:
    """A waveform `[batch, samples]`, or a spectrogram `[batch, …, …]` in the range of a log-mel one.

    A waveform is within -1 and 1; where the checkpoint normalizes, it has a mean of 0 and a deviation of 1.
    """
    stated = preprocessor.get("sampling_rate")
    rate = stated if type(stated) is int and stated > 0 else _RATE
    if len(shape) > 2 and min(shape[-2:]) > 1:
        bins, frames = sorted(shape[-2:])
        known = [preprocessor.get(key) for key in ("num_mel_bins", "feature_size")]
        if frames in known and bins not in known:
            bins, frames = frames, bins
        made = sounds.spectrogram(index, bins, frames, rate)
        made = made if shape[-2] == bins else made.T
    else:
        made = sounds.wave(index, int(np.prod(shape[1:])) if len(shape) > 2 else shape[-1], rate)
        if preprocessor.get("do_normalize") is True:
            made = (made - made.mean()) / np.sqrt(made.var() + 1e-7)  # as transformers' feature extractors
        made = made.reshape(shape[1:]) if len(shape) > 2 else made
    return np.broadcast_to(made.astype(np.float32), shape).copy()


def guessed(index: int, shape: tuple[int, ...]) -> Floats | None:
    """What a shape looks like, for an input that nothing else is known of: a waveform, a spectrogram, or a picture
    whose colours stand last. None where it looks like nothing in particular."""
    longest = max(shape, default=0)
    if longest >= _SOUND and int(np.prod(shape)) == longest:
        return features(index, (1, longest), {}).reshape(shape)
    if len(shape) == 3 and shape[0] == 1 and min(shape[1:]) in _MELS and max(shape[1:]) >= min(shape[1:]):
        return features(index, shape, {})
    if len(shape) == 4 and shape[-1] in (1, 3) and min(shape[1:3]) >= 16:
        planes = image(index, (shape[0], shape[3], shape[1], shape[2]), {})
        return np.moveaxis(planes, 1, -1)
    return None


def numbers(index: int, shape: tuple[int, ...]) -> Floats:
    """For an input whose meaning isn't known: normally distributed around 0 at three scales, smooth curves, shares."""
    rng = np.random.default_rng([index, 1])
    scale = _SCALES[index % len(_SCALES)]
    noise = rng.standard_normal(shape)
    if index % 8 == 5:
        made = rng.uniform(0, 1, shape)
    elif index % 8 == 7 and shape:
        turns = rng.uniform(0.5, 4, (*shape[:-1], 1)) * np.linspace(0, 2 * np.pi, shape[-1])
        made = scale * np.sin(turns + rng.uniform(0, 6, (*shape[:-1], 1))) + 0.05 * noise
    else:
        made = scale * noise
    return np.asarray(made, np.float32)
