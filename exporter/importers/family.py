"""The description of a model family: how to read its configuration, and the names of its weights in checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from exporter.importers.config import ConfigReader
from exporter.importers.decoder import DecoderLayout
from exporter.importers.encoder import EncoderLayout


@dataclass(frozen=True)
class Ignorable:
    """Checkpoint tensors that the graph doesn't use. pattern: matches the whole name. why: the reason in reports.

    unless: a role; if the graph has it, this entry doesn't apply.
    """

    pattern: str
    why: str
    unless: str = ""


@dataclass(frozen=True)
class Family:
    """One model family.

    model_type: the value in `config.json`.
    architectures: transformers classes whose checkpoints can be imported natively.
    layout: reads a configuration as the layout of a decoder or encoder.
    names: weight role (see `tensor_shapes` in decoder_layout.py and encoder_layout.py) → name of the checkpoint tensor;
        `{i}` is the layer, `{prefix}` the one of `prefixes` that the checkpoint uses. Roles with the same tensor share
        its rows, in the order of `names`.
    grouped: a tensor shared by q, k and v holds, for each key/value head, its query heads, its key and its value.
    transposed: roles whose matrices are stored `[in, out]`.
    aliases: endings of tensor names in old checkpoints: (ending in `names`, ending in the file).
    copies: name of a tensor that some checkpoints store twice → the role that it must be equal to.
    points: graph value → module of the transformers model with the same output; `{i}` is the layer.
    """

    model_type: str
    architectures: tuple[str, ...]
    layout: Callable[[ConfigReader], DecoderLayout | EncoderLayout]
    prefixes: tuple[str, ...]
    names: Mapping[str, str]
    points: Mapping[str, str]
    ignorable: tuple[Ignorable, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    copies: tuple[tuple[str, str], ...] = ()
    grouped: bool = False
    transposed: frozenset[str] = frozenset()

    def has_bare_class(self, names: Iterable[str]) -> bool:
        """Whether one of `names` is the class without a head of one in `architectures`: Qwen3Model, Gemma3TextModel."""
        stems = {re.sub(r"(For[A-Z][A-Za-z]*|LMHeadModel)$", "", name) for name in self.architectures}
        return not {f"{stem}{end}" for stem in stems for end in ("Model", "TextModel")}.isdisjoint(names)
