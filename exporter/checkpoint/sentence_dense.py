"""Reads sentence-transformers' `Dense` module: a linear layer after the pooling, with weights in safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.safetensors_header import read_header
from exporter.checkpoint.tensors import Shard, TensorStore
from exporter.errors import InputError

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class SentenceDense:
    """A linear layer after the pooling: `activation(x · weightᵀ + bias)`.

    path: its folder. activation: torch's class name, for example "Tanh".
    tensors: `linear.weight` `[out_features, in_features]`, and `linear.bias` `[out_features]` where it has one.
    """

    path: str
    in_features: int
    out_features: int
    activation: str
    tensors: Mapping[str, ir.TensorProtocol] = field(repr=False)


def read_dense(folder: Folder, path: str, files: list[str], unsupported: list[str]) -> list[SentenceDense]:
    """The layer in the folder `path`. Empty where it can't be exported; the reason is then added to `unsupported`."""
    name, weights = f"{path}/config.json", f"{path}/model.safetensors"
    settings = folder.read_object(name, small_integers=True) if path else None
    if settings is None:
        raise InputError.of("checkpoint.sentence", f"modules.json names {path!r}, but {name} is missing", where=name)
    files.append(name)
    place = folder.find(weights)
    if place is None:
        unsupported.append(f"the module Dense without {weights} (pickle files are never read)")
        return []
    files.append(weights)
    if settings.get("use_residual"):
        unsupported.append("the module Dense with a residual")
        return []
    ends = [settings.get(key) for key in ("module_input_name", "module_output_name")]
    if any(end not in (None, "sentence_embedding") for end in ends):
        unsupported.append("the module Dense on an input other than the sentence embedding")
        return []
    sizes = [settings.get(key) for key in ("in_features", "out_features")]
    tensors = TensorStore([Shard(place, weights, read_header(place, weights))])
    shapes = {"linear.weight": (sizes[1], sizes[0]), "linear.bias": (sizes[1],)}
    expected = list(shapes)[: 2 if settings.get("bias", True) else 1]
    stored_shapes = {tensor: stored.shape for tensor, stored in tensors.stored.items()}
    if stored_shapes != {tensor: shapes[tensor] for tensor in expected}:
        message = f"{weights} holds {stored_shapes}, but its config.json implies {shapes}"
        raise InputError.of("checkpoint.sentence", message, where=weights)
    activation = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh"))
    package, _, kind = activation.rpartition(".")
    if package.split(".")[0] != "torch":
        unsupported.append(f"the module Dense with the activation {activation[:80]!r}")
        return []
    return [SentenceDense(path, int(sizes[0] or 0), int(sizes[1] or 0), kind, tensors)]
