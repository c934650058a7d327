"""How large files become: they are written with empty palettes or grids of the right sizes, and measured."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.bundle.canonical import canonical_json
from exporter.compress import Choice
from exporter.compress.search import Choices
from exporter.formats import FORMS, Form, artifact_path
from exporter.graph.bits import packed_size
from exporter.graph.grid import Grid
from exporter.graph.model import Hub
from exporter.graph.palette import Palette
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.lower.forms import write_form
from exporter.pipeline.bits import Mixed
from exporter.pipeline.opened import OpenModel
from exporter.pipeline.parts import component_of, write_options
from exporter.pipeline.settings import Settings

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
        lut = np.zeros((-(-rows // choice.group_size), 1 << choice.bits), np.uint16)
        lut[:, -1] = number % 0x7BFF + 1  # as float16 a positive number, so that LUTs ascend
        palettes[name] = Palette(
            Zeros(packed_size(rows * columns, choice.bits)),
            (rows, columns),
            lut.view(np.float16),
            choice.bits,
            choice.group_size,
        )
    return palettes


def hollow_grids(shapes: Mapping[str, tuple[int, ...]], choices: Mapping[str, Choice]) -> dict[str, Grid]:
    """A grid for each matrix that is to be one. No two have the same scales."""
    grids = {}
    for number, (name, choice) in enumerate(choices.items(), 1):
        if choice.block is None:
            continue
        bits, block = choice.grid
        rows, columns = shapes[name]
        blocks = -(-columns // block)
        scales = np.full((rows, blocks), number, np.float32)
        grids[name] = Grid(Zeros(rows * blocks * block * bits // 8), (rows, columns), scales, bits, block)
    return grids


@dataclass(frozen=True)
class FileSizes:
    """How large the files of a model become with given bits. Calling it gives the bytes of the largest form."""

    model: OpenModel
    hubs: tuple[Hub, ...]
    settings: Settings
    name: str
    folder: Path
    _known: dict[frozenset[tuple[str, Choice]], Mapping[Form, int]] = field(default_factory=dict, repr=False)

    def __call__(self, choices: Choices) -> int:
        """Bytes of the largest form, with the files that lie beside it."""
        return max(self.by_form(choices).values())

    def by_form(self, choices: Choices) -> Mapping[Form, int]:
        """Form → bytes. Files are in the work area while they are measured."""
        key = frozenset(choices.items())
        if key not in self._known:
            self._known[key] = {form: self._size(form, choices) for form in self.settings.forms}
        return self._known[key]

    def _size(self, form: Form, choices: Choices) -> int:
        size = self._beside if FORMS[form].client_files else 0
        mixed = Mixed(choices, "")
        for hub in self.hubs:
            shapes = {weight.name: weight.shape for weight in hub.weights}
            compressed = apply_palettes(hub, hollow_palettes(shapes, mixed.of(hub, self.hubs)))
            options = write_options(self.name, self.model.checkpoint, hub, self.settings.weights_of(form))
            options = replace(options, grids=hollow_grids(shapes, mixed.of(hub, self.hubs)))
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                write_form(form, compressed, Path(scratch) / artifact_path(form, self.name, component_of(hub)), options)
                size += sum(file.stat().st_size for file in Path(scratch).rglob("*") if file.is_file())
        return size

    @cached_property
    def _beside(self) -> int:
        """Bytes of tokenizer and configuration, which lie beside the model of some forms; rather too many."""
        checkpoint = self.model.checkpoint
        shipped = self.model.shipped_tokenizer.files.values()
        files = sum(len(held) if isinstance(held, bytes) else held.stat().st_size for held in shipped)
        stated = (checkpoint.config, checkpoint.generation_config, checkpoint.preprocessor)
        template = (checkpoint.chat_template or "").encode("utf-8", "backslashreplace")
        chat = self.model.chat if self.hubs[0].task == "text-generation" else None
        pieces = b"" if chat is None else canonical_json(chat.as_json())
        return files + sum(len(canonical_json(config)) for config in stated) + len(template) + len(pieces) + GENAI
