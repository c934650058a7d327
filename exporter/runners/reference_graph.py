"""The reference for exported models: the checkpoint in transformers, called as its own documentation calls it.

fp32, transformers' default attention, local files only, safetensors only, no remote code, and without the exporter's
patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError
from exporter.graph.model import GraphSpec
from exporter.runners.base import SENTENCE
from exporter.runners.pooling import SentencePooling
from exporter.runners.reference import load_reference

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]


@dataclass(frozen=True)
class TorchReference:
    """The checkpoint in transformers: its folder, and the class that it was saved from."""

    folder: Path
    architecture: str


class TorchGraph:
    """One component of the model in torch."""

    def __init__(self, reference: TorchReference, spec: GraphSpec) -> None:
        self._model, self.name = load_reference(reference.folder, reference.architecture)
        self._spec = spec
        self._pooling = SentencePooling.read(reference.folder) if SENTENCE in spec.outputs else None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs that transformers' model has under the same names. Raises InputError where it has none."""
        import torch

        tensors = {name: torch.from_numpy(np.array(array)) for name, array in feeds.items()}
        with torch.inference_mode():
            made = self._outputs(tensors)
        found = {name: made[name] for name in self._spec.outputs if isinstance(made.get(name), torch.Tensor)}
        if not found:
            names = ", ".join(self._spec.outputs)
            raise InputError.of("parity.reference", f"transformers' model has none of these outputs: {names}")
        return {name: tensor.float().numpy() for name, tensor in found.items()}

    def _outputs(self, feeds: dict[str, torch.Tensor]) -> Mapping[str, Any]:
        match self._spec.component:
            case "encoder_model":
                return _mapping(self._model.get_encoder()(**feeds))
            case "decoder_model":
                return _mapping(self._decode(feeds))
            case "text_model":
                return {"text_embeds": _normalized(self._model.get_text_features(**feeds))}
            case "vision_model":
                return {"image_embeds": _normalized(self._model.get_image_features(**feeds))}
            case _:
                made = _mapping(self._model(**feeds))
                return made if self._pooling is None else {**made, SENTENCE: _pooled(self._pooling, made, feeds)}

    def _decode(self, feeds: dict[str, torch.Tensor]) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        encoded = BaseModelOutput(last_hidden_state=feeds["encoder_hidden_states"])
        masks = {"attention_mask": feeds["encoder_attention_mask"]} if "encoder_attention_mask" in feeds else {}
        return self._model(decoder_input_ids=feeds["input_ids"], encoder_outputs=encoded, use_cache=False, **masks)


def _pooled(pooling: SentencePooling, made: Mapping[str, Any], feeds: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The sentence embeddings `[batch, width]`, each from its text's own tokens."""
    import torch

    hidden = made["last_hidden_state"]
    mask = feeds.get("attention_mask", torch.ones(hidden.shape[:2]))
    return torch.stack([pooling.apply(tokens[own.bool()]) for tokens, own in zip(hidden, mask, strict=True)])


def _mapping(output: Any) -> Mapping[str, Any]:
    return dict(output.items()) if hasattr(output, "items") else {}


def _normalized(features: Any) -> torch.Tensor:
    """Scaled to length 1, as the whole model returns its embeddings."""
    tensor = features if hasattr(features, "norm") else features.pooler_output
    normalized: torch.Tensor = tensor / tensor.norm(p=2, dim=-1, keepdim=True)
    return normalized
