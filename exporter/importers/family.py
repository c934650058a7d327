"""What a family file states: how its configuration reads, and what its checkpoint calls each weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exporter.importers.config import ConfigReader
from exporter.importers.decoder import DecoderLayout
from exporter.importers.encoder import EncoderLayout


@dataclass(frozen=True)
class Ignorable:
    """Checkpoint tensors that the graph does without: `pattern` matches the whole name, `why` goes into the report.

    unless: a role; where the graph has it, these tensors must be accounted for like any others.
    """

    pattern: str
    why: str
    unless: str = ""


@dataclass(frozen=True)
class Family:
    """One model family, as data.

    model_type: the value in `config.json`.
    architectures: transformers classes whose checkpoints are read; others of the type have a head we don't export.
    layout: configuration → what the parametric decoder or encoder draws.
    names: weight role (see `tensor_shapes` of decoder_layout.py and encoder.py) → checkpoint tensor; `{i}` is the
        layer, `{prefix}` one of `prefixes`, whichever the checkpoint uses. Roles with the same tensor share its rows,
        in the order of `names`.
    grouped: a tensor that q, k and v share holds, for each key/value head, its query heads, the key and the value.
    transposed: roles whose matrices are stored `[in, out]`.
    aliases: endings of old checkpoints: (ending in `names`, ending in the file).
    copies: tensors that some checkpoints store beside the one they are tied to → the role they must equal.
    points: hub value → module of the transformers model that computes the same; `{i}` is the layer.
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
