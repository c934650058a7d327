"""Sounds made from formulas, and their spectrograms: speech-like harmonics, notes, chirps, noise, clicks, silence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float64]

KINDS = (
    "speech", "chirp", "notes", "speech in noise", "quiet speech", "chord", "noise bursts", "clicks", "near-silence",
    "notes, quiet", "tone", "speech, loud",
)  # fmt: skip
_LEVELS = {"quiet speech": 0.05, "near-silence": 1e-4, "notes, quiet": 0.03, "speech, loud": 0.95}
_LEVEL = 0.5  # largest amplitude of any other sound, where full scale is 1
_HOP = 0.01  # seconds between two columns of a spectrogram, as in Whisper and most recognizers
_WINDOW = 0.025
_FLOOR = 8.0  # decades below the loudest point, as Whisper's features have it


def sound_name(index: int) -> str:
    """A label for people."""
    return f"{KINDS[index % len(KINDS)]} {index // len(KINDS) + 1}"


def wave(index: int, samples: int, rate: int) -> Wave:
    """`[samples]` within -1 and 1: the sound of the kind `KINDS[index % len(KINDS)]`."""
    rng, kind = np.random.default_rng([index, 3]), KINDS[index % len(KINDS)]
    time = np.arange(samples) / rate
    made = _sound(kind, rng, time, rate) + rng.normal(0, 0.003, samples)  # no microphone is silent
    peak = float(np.abs(made).max()) if samples else 0.0
    return made * _LEVELS.get(kind, _LEVEL) / max(peak, 1e-9)


def _sound(kind: str, rng: np.random.Generator, time: Wave, rate: int) -> Wave:
    match kind:
        case "chirp":
            high = min(4000, 0.4 * rate)
            duration = max(float(time[-1]), 1e-3) if time.size else 1.0
            made = np.sin(2 * np.pi * (100 * time + (high - 100) / 2 * time**2 / duration))
        case "notes" | "notes, quiet" | "chord":
            made = _notes(rng, time, 3 if kind == "chord" else 1)
        case "tone":
            made = np.sin(2 * np.pi * rng.uniform(300, 1200) * time)
        case "noise bursts":
            made = rng.normal(0, 0.3, time.size) * (np.sin(2 * np.pi * 2.5 * time) > 0)
        case "clicks":
            made = 0.05 * np.sin(2 * np.pi * 50 * time)
            made[:: max(1, rate // 7)] = 1
        case "near-silence":
            made = rng.normal(0, 0.3, time.size)
        case _:
            made = _speech(rng, time, rate)
            if kind == "speech in noise":
                made = made + rng.normal(0, 0.3 * float(made.std()) + 1e-9, time.size)
    return made


def _speech(rng: np.random.Generator, time: Wave, rate: int) -> Wave:
    """A gliding voice whose formants change from syllable to syllable, with pauses and hisses between them."""
    pitch = rng.uniform(90, 250) * (1 + 0.15 * np.sin(2 * np.pi * rng.uniform(0.4, 1.5) * time + rng.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    syllable = np.floor(time * rng.uniform(3, 5)).astype(int)
    count = int(syllable[-1]) + 1 if syllable.size else 1
    first, second = rng.uniform(250, 900, count)[syllable], rng.uniform(900, 2600, count)[syllable]
    made = np.zeros_like(time)
    for k in range(1, 24):
        frequency = k * pitch
        loud = np.exp(-(((frequency - first) / 180) ** 2)) + 0.5 * np.exp(-(((frequency - second) / 300) ** 2)) + 0.02
        made += np.where(frequency < 0.45 * rate, loud, 0) * np.sin(k * phase)
    part = time * count / max(float(time[-1]), 1e-3) % 1 if time.size else time
    voiced = ((np.arange(count) < 2) | (rng.uniform(0, 1, count) > 0.3))[syllable]
    envelope = np.sin(np.pi * part) ** 0.5
    spoken: Wave = envelope * np.where(voiced, made, 0.05 * rng.normal(0, 1, time.size))
    return spoken


def _notes(rng: np.random.Generator, time: Wave, together: int) -> Wave:
    """Struck notes of the piano's middle octaves that fade, some at once."""
    made = np.zeros_like(time)
    duration = float(time[-1]) if time.size else 0.0
    for start in np.arange(0, max(duration, 1e-3), 0.35):
        for key in rng.integers(48, 84, together):
            tone = 440 * 2 ** ((int(key) - 69) / 12)
            after = np.clip(time - start, 0, None)
            fading = np.exp(-4 * after) * (time >= start) * np.minimum(1, after / 0.005)
            made += fading * sum(np.sin(2 * np.pi * k * tone * after) / k**1.5 for k in range(1, 6))
    return made


def spectrogram(index: int, bins: int, frames: int, rate: int) -> NDArray[np.float64]:
    """`[bins, frames]`: log10 of the power on the mel scale, at most 8 decades deep, scaled as Whisper's features."""
    hop, width = max(1, round(_HOP * rate)), max(16, round(_WINDOW * rate))
    sound = wave(index, frames * hop + width, rate)
    size = max(512, 1 << (4 * bins - 1).bit_length())
    window = np.hanning(width)
    at = np.arange(frames)[:, None] * hop + np.arange(width)[None]
    power = np.square(np.abs(np.fft.rfft(sound[at] * window, size)))
    mel = np.log10(np.maximum(power @ _mel(bins, size, rate), 1e-10)).T
    scaled: NDArray[np.float64] = (np.maximum(mel, mel.max() - _FLOOR) + 4) / 4
    return scaled


def _mel(bins: int, size: int, rate: int) -> NDArray[np.float64]:
    """Triangular filters `[size / 2 + 1, bins]`, evenly spaced on the mel scale (2595·log10(1 + f/700)), of area 1."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bins + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(size, 1 / rate)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies - low) / np.maximum(middle - low, 1e-9)
    falling = (high - frequencies) / np.maximum(high - middle, 1e-9)
    made: NDArray[np.float64] = np.clip(np.minimum(rising, falling), 0, None) * 2 / (high - low)
    return made
