"""sentence-transformers' modules behind the model, in torch: computed independently of what the importer made of it.

Source: `Pooling`, `Dense` and `Normalize` of sentence-transformers.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from exporter.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    import torch

# In the order in which they are concatenated.
_POOLINGS = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
_GENERAL_CONFIG = "config_sentence_transformers.json"
_ACTIVATIONS = ("GELU", "Identity", "ReLU", "SiLU", "Tanh")  # of torch.nn


@dataclass(frozen=True)
class Dense:
    """A linear layer and its activation, a torch module each."""

    linear: Any
    activation: Any


class SentencePooling:
    """Pooling, Dense and Normalize modules for one unpadded text. truncate: elements to keep in the end, None: all."""

    def __init__(
        self, modes: tuple[str, ...], normalize: bool, dense: tuple[Dense, ...] = (), truncate: int | None = None
    ) -> None:
        self.modes, self.normalize, self.dense, self.truncate = modes, normalize, dense, truncate

    @classmethod
    def read(cls, folder: Path) -> SentencePooling | None:
        """The modules that `modules.json` lists; None without that file or without a Pooling module.

        Raises InputError for a damaged file, UnsupportedError for an unknown module.
        """
        if not (folder / "modules.json").is_file():
            return None
        modules = _read_json(folder, "modules.json", list)
        modes: tuple[str, ...] = ()
        normalize, dense = False, []
        for module in modules:
            kind = str(module.get("type", "")) if isinstance(module, dict) else ""
            match kind.rsplit(".", 1)[-1]:
                case "Transformer" | "Dropout":
                    pass
                case "Pooling":
                    modes = _modes(_read_json(folder, f"{module.get('path', '')}/config.json", dict))
                case "Dense":
                    dense.append(_dense(folder, str(module.get("path", ""))))
                case "Normalize":
                    normalize = True
                case other:
                    raise UnsupportedError.of(
                        "parity.sentence-module",
                        f"parity can't compute the sentence-transformers module {other!r}",
                        where="modules.json",
                    )
        general = folder / _GENERAL_CONFIG
        stated = _read_json(folder, _GENERAL_CONFIG, dict) if general.is_file() else {}
        return cls(modes, normalize, tuple(dense), stated.get("truncate_dim")) if modes else None

    def apply(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[n, hidden]` → `[hidden × modes]`, or the last dense layer's width."""
        import torch

        vector: torch.Tensor = torch.cat([_pooled(hidden, mode) for mode in self.modes])
        for module in self.dense:
            vector = module.activation(module.linear(vector))
        vector = torch.nn.functional.normalize(vector, dim=0) if self.normalize else vector
        return vector[: self.truncate]


def _pooled(hidden: torch.Tensor, mode: str) -> torch.Tensor:
    import torch

    match mode:
        case "cls_token":
            return hidden[0]
        case "max_tokens":
            return hidden.amax(0)
        case "mean_tokens":
            return hidden.sum(0) / len(hidden)
        case "mean_sqrt_len_tokens":
            return hidden.sum(0) / math.sqrt(len(hidden))
        case "lasttoken":
            return hidden[-1]
        case _:  # weightedmean_tokens
            weights = torch.arange(1, len(hidden) + 1, dtype=hidden.dtype)
            return (hidden * weights[:, None]).sum(0) / weights.sum()


def _modes(config: dict[str, Any]) -> tuple[str, ...]:
    stated = config.get("pooling_mode")  # the newer spelling: "mean", or a list
    if stated is not None:
        named = [stated] if isinstance(stated, str) else list(stated)
        asked = {mode if mode in _POOLINGS else f"{mode}_token{'' if mode == 'cls' else 's'}" for mode in named}
    else:
        flags = {"pooling_mode_mean_tokens": True} | config  # True where it isn't stated
        asked = {
            key.removeprefix("pooling_mode_") for key, on in flags.items() if key.startswith("pooling_mode_") and on
        }
    if not asked or asked - set(_POOLINGS):
        raise UnsupportedError.of(
            "parity.pooling",
            f"parity can't compute the pooling {sorted(asked - set(_POOLINGS)) or 'none'}",
            where="Pooling/config.json",
        )
    return tuple(mode for mode in _POOLINGS if mode in asked)


def _dense(folder: Path, path: str) -> Dense:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    settings = _read_json(folder, f"{path}/config.json", dict)
    name = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    if name not in _ACTIVATIONS:
        raise UnsupportedError.of(
            "parity.sentence-module", f"parity can't compute the activation {name[:60]!r}", where=path
        )
    try:
        linear = torch.nn.Linear(settings["in_features"], settings["out_features"], bool(settings.get("bias", True)))
        tensors = load_file(_inside(folder, f"{path}/model.safetensors"))
        linear.load_state_dict({key.removeprefix("linear."): tensor.float() for key, tensor in tensors.items()})
    except (OSError, LookupError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError.of("parity.reference", f"the dense layer can't be loaded: {error}", where=path) from error
    return Dense(linear.eval(), getattr(torch.nn, name)())


def _inside(folder: Path, name: str) -> Path:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise InputError.of("checkpoint.path", "a path leaves the checkpoint's folder", where=name)
    return folder / name


def _read_json(folder: Path, name: str, kind: type) -> Any:
    try:
        value = json.loads(_inside(folder, name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError.of("checkpoint.json", f"can't be read: {error}", where=name) from error
    if not isinstance(value, kind):
        raise InputError.of("checkpoint.json", f"should hold a {kind.__name__}", where=name)
    return value
