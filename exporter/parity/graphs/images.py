"""Pictures made from formulas, the same on every machine: scenes, written pages, patterns; of high and low contrast.

Values are 0 to 1. Patterns alone would be a poor probe: a detector of text or of objects finds nothing in them, and
what it says of nothing is noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float64]

KINDS = (
    "scene", "page", "texture", "sign", "gradient", "dark scene", "faint page", "stripes", "disc", "rings", "blobs",
    "edges", "checkerboard",
)  # fmt: skip
# Letters of 5 × 7 dots: seven rows from the top, five bits each
_FONT = {
    "A": "0E11111F111111", "B": "1E11111E11111E", "C": "0E11101010110E", "D": "1E11111111111E", "E": "1F10101E10101F",
    "F": "1F10101E101010", "H": "1111111F111111", "K": "11121418141211", "L": "1010101010101F", "N": "11191513111111",
    "O": "0E11111111110E", "R": "1E11111E141211", "S": "0F10100E01011E", "T": "1F040404040404", "X": "11110A040A1111",
    "2": "0E11010204081F", "5": "1F101E0101110E", "8": "0E11110E11110E",
}  # fmt: skip


def picture(index: int, channels: int, height: int, width: int) -> Planes:
    """`[channels, height, width]`: the picture of the kind `KINDS[index % len(KINDS)]`."""
    rng, kind = np.random.default_rng([index, 11]), KINDS[index % len(KINDS)]
    match kind:
        case "scene" | "dark scene":
            planes = _scene(rng, channels, height, width)
        case "page" | "faint page":
            planes = _written(rng, channels, height, width, largest=max(1, height // 160))
        case "sign":
            planes = _written(rng, channels, height, width, largest=max(1, height // 40), paper=0.3)
        case _:
            planes = np.stack([_pattern(kind, index, channel, height, width) for channel in range(channels)])
    noise = rng.normal(0, 0.01, planes.shape)  # of a camera
    contrast = {"dark scene": (0.02, 0.25), "faint page": (0.55, 0.25)}.get(kind, (0.0, 1.0))
    return np.clip(contrast[0] + contrast[1] * planes + noise, 0, 1)


def _scene(rng: np.random.Generator, channels: int, height: int, width: int) -> Planes:
    """A sky, a ground, and things with edges, shading and texture before them."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    horizon = rng.uniform(0.4, 0.6) * height / max(height, width)
    grain = rng.uniform(-1, 1, (height, width))
    ground = y > horizon + 0.03 * np.sin(9 * x)
    sky, earth = rng.uniform(0.5, 1, (2, channels, 1, 1)) * np.array([1.0, 0.6]).reshape(2, 1, 1, 1)
    planes = np.where(ground, earth * (0.8 + 0.2 * grain), sky * (1 - 0.4 * y))
    for number in range(6):
        top, left, tall, wide = rng.uniform((0, 0, 0.1, 0.1), (0.8, 0.8, 0.5, 0.4))
        if number % 2:
            inside = ((y - top) / tall) ** 2 + ((x - left) / wide) ** 2 < 0.5
        else:
            inside = (y > top) & (y < top + tall) & (x > left) & (x < left + wide)
        shade = np.clip(1 - 0.8 * (x - left) / wide, 0.3, 1.2) + 0.1 * (number % 3) * grain
        planes = np.where(inside, rng.uniform(0, 1, (channels, 1, 1)) * shade, planes)
    return planes


def _written(
    rng: np.random.Generator, channels: int, height: int, width: int, *, largest: int, paper: float = 0.95
) -> Planes:
    """Lines of words, dark on light paper or light on dark. largest: pixels of a dot of the largest letters."""
    ink = np.zeros((height, width))
    letters, top = list(_FONT), largest
    while top + 7 * largest <= height:
        dot = int(rng.integers(max(1, largest // 2), largest + 1))
        left = dot
        while left + 5 * dot <= width:
            for _ in range(int(rng.integers(2, 8))):
                if left + 5 * dot > width:
                    break
                glyph = np.kron(_glyph(letters[int(rng.integers(len(letters)))]), np.ones((dot, dot)))
                ink[top : top + 7 * dot, left : left + 5 * dot] = glyph
                left += 6 * dot
            left += 4 * dot
        top += 11 * dot
    back = paper * rng.uniform(0.9, 1, (channels, 1, 1))
    front = rng.uniform(0, 0.15, (channels, 1, 1)) if paper > 0.5 else rng.uniform(0.8, 1, (channels, 1, 1))
    return np.where(ink > 0, front, back)


def _glyph(letter: str) -> NDArray[np.float64]:
    rows = bytes.fromhex(_FONT[letter])
    return np.array([[row >> (4 - column) & 1 for column in range(5)] for row in rows], np.float64)


def _pattern(kind: str, index: int, channel: int, height: int, width: int) -> Planes:
    """One colour of a pattern, values 0.05 to 0.95."""
    rng = np.random.default_rng([index, channel])
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 1)
    along = x * np.cos(angle) + y * np.sin(angle)
    centre = rng.uniform(0.3, 0.7, 2)
    distance = np.hypot(y - centre[0], x - centre[1])
    match kind:
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
            plane = _texture(rng, height, width)
    low, high = float(np.min(plane)), float(np.max(plane))
    scaled: Planes = (plane - low) / max(high - low, 1e-9) * 0.9 + 0.05
    return scaled


def _texture(rng: np.random.Generator, height: int, width: int) -> Planes:
    """A coarse pattern with ever finer, ever weaker ones on top."""
    plane = np.zeros((height, width))
    for octave in range(1, 5):
        grid = rng.uniform(0, 1, (2**octave, 2**octave))
        tile = np.ones((-(-height // 2**octave), -(-width // 2**octave)))
        plane += np.kron(grid, tile)[:height, :width] / octave
    return plane
