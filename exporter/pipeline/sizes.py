"""How large files become, found by writing them: with palettes of the right sizes that hold nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.bundle.canonical import canonical_json
from exporter.checkpoint import Checkpoint
from exporter.checkpoint.tokens.shipping import shipped_tokenizer
from exporter.compress import Choice
from exporter.formats import Format
from exporter.graph.bits import packed_size
from exporter.graph.model import Hub
from exporter.graph.palette import Palette
from exporter.graph.passes.apply_palettes import apply_palettes

Write = Callable[[Hub, Path, Format], Path]
GENAI = 4096  # bytes at most of genai_config.json, and of the fields that shipped configurations gain


@dataclass(frozen=True)
class Zeros:
    """Packed indices that take no memory."""

    size: int

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Zeros."""
        return np.zeros(stop - start, np.uint8)


def hollow_palettes(shapes: Mapping[str, tuple[int, ...]], choices: Mapping[str, Choice]) -> dict[str, Palette]:
    """A palette for each matrix that isn't kept. No two LUTs are the same: a writer might store these only once."""
    palettes = {}
    for number, (name, choice) in enumerate(choices.items(), 1):
        if choice.group_size is None:
            continue
        rows, columns = shapes[name]
        dim = choice.cluster_dim
        lut = np.zeros((-(-rows // choice.group_size), 1 << choice.bits, dim), np.uint16)
        lut[:, -1] = number % 0x7BFF + 1  # as float16 a positive number, so that LUTs ascend
        palettes[name] = Palette(
            Zeros(packed_size(rows * columns // dim, choice.bits)),
            (rows, columns),
            (lut if dim > 1 else lut[..., 0]).view(np.float16),
            choice.bits,
            choice.group_size,
        )
    return palettes


def weighed(
    hub: Hub, choices: Mapping[str, Choice], formats: Iterable[Format], folder: Path, write: Write
) -> dict[Format, int]:
    """Format → bytes of the graph's files with these choices. They are for a moment in `folder`."""
    shapes = {weight.name: weight.shape for weight in hub.weights}
    compressed = apply_palettes(hub, hollow_palettes(shapes, choices))
    sizes: dict[Format, int] = {}
    for kind in formats:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            write(compressed, Path(scratch), kind)
            sizes[kind] = sum(file.stat().st_size for file in Path(scratch).rglob("*") if file.is_file())
    return sizes


def beside_onnx(checkpoint: Checkpoint) -> int:
    """Bytes of what lies in `onnx/` besides the graphs: tokenizer and configuration; rather too much."""
    shipped = shipped_tokenizer(checkpoint).files if checkpoint.tokenizer_files else {}
    files = [len(held) if isinstance(held, bytes) else held.stat().st_size for held in shipped.values()]
    stated = [checkpoint.config, checkpoint.generation_config, checkpoint.preprocessor]
    template = (checkpoint.chat_template or "").encode("utf-8", "backslashreplace")
    return sum(files) + sum(len(canonical_json(config)) for config in stated) + len(template) + GENAI
