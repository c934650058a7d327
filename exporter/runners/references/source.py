"""Reads a checkpoint for references: its configuration, and its tensors as float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tensors import TensorStore
from exporter.checkpoint.weights import open_weights
from exporter.errors import InputError

if TYPE_CHECKING:
    import torch

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """A checkpoint's `config.json` and its memory-mapped tensors."""

    config: Config
    tensors: TensorStore

    def floats(self, name: str) -> torch.Tensor:
        """The tensor `name` as float32, a copy."""
        import torch

        return torch.from_numpy(self.tensors[name].numpy().astype(np.float32))


@dataclass(frozen=True)
class Loaded:
    """A model in eval mode that takes what transformers' decoders take; missing: weights it needs and didn't get."""

    model: Any
    missing: tuple[str, ...]


def read_config(folder: Path) -> Config:
    """`config.json`; empty where there is none."""
    return Folder.at(folder).read_object("config.json", small_integers=True) or {}


def read_source(folder: Path) -> Source:
    """Opens the folder. Raises InputError for what is missing or damaged."""
    if not (config := read_config(folder)):
        raise InputError.of("checkpoint.config", "the checkpoint has no config.json", where="config.json")
    tensors, _ = open_weights(Folder.at(folder))
    return Source(config, tensors)


def load_transformers(model_class: Any, config: Any, weights: dict[str, torch.Tensor]) -> Loaded:
    """A model of transformers with these weights (its own names), float32, attention as transformers chooses."""
    import torch

    model, info = model_class.from_pretrained(
        None,
        config=config,
        state_dict=weights,
        torch_dtype=torch.float32,  # `dtype` only from transformers 4.56 on
        output_loading_info=True,
    )
    return Loaded(model.eval(), tuple(sorted(info["missing_keys"])))


def rope_of(config: Config) -> tuple[float, dict[str, Any] | None]:
    """Base and scaling, where transformers 4 writes them or where transformers 5 does; no scaling is None."""
    merged = config.get("rope_parameters")
    if merged is None:
        scaling = config.get("rope_scaling")
        if scaling:  # "type" is the old name, which some of transformers' classes no longer know
            scaling = {"rope_type": scaling.get("type"), **scaling}
        return config.get("rope_theta") or 10000.0, scaling or None
    theta = merged.get("rope_theta") or config.get("rope_theta") or 10000.0
    return theta, None if merged.get("rope_type", "default") == "default" else dict(merged)
