"""Reads the sizes of a model's inputs from its configuration: of images, texts and sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from exporter.checkpoint import Checkpoint
from exporter.checkpoint.folder import Folder
from exporter.errors import InputError
from exporter.importers.graph_inputs import DEFAULT_TOKENS

_DEFAULT_TEXT_TOKENS = 512  # if neither the configuration nor the tokenizer states a length
_POSITIONS = ("max_position_embeddings", "n_positions", "max_target_positions", "max_length")
# In these model types the first rows of the position table, up to the padding id, belong to no token.
_PADDED_POSITIONS = ("camembert", "data2vec-text", "esm", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta")
_DEFAULT_PIXELS = 224
_DEFAULT_SECONDS = 5  # of sound, if the model takes any length
_SAMPLE_RATE = 16_000  # per second


@dataclass(frozen=True)
class ModelSizes:
    """image: (height, width) in pixels. context: longest text, in tokens. context_given: whether the user stated it.

    vocabulary: token ids are below this. mel, frames: sizes of a spectrogram; None if the model doesn't fix them.
    """

    channels: int
    image: tuple[int, int]
    context: int
    context_given: bool
    vocabulary: int | None
    mel: int | None
    frames: int | None
    seconds_of_samples: int

    @property
    def dummies(self) -> dict[str, int]:
        """optimum's name of a size → size, for tracing. Some models require their own sizes."""
        sizes = {"height": self.image[0], "width": self.image[1], "num_channels": self.channels}
        if self.frames is not None:
            sizes["nb_max_frames"] = self.frames
        if self.mel is not None:
            sizes["feature_size"] = self.mel
        return sizes

    def axes(self, graph: ir.Graph) -> dict[str, int]:
        """optimum's name of an axis in this graph → size."""
        spectrogram = any(value.name == "input_features" for value in graph.inputs)
        waves = any(value.name == "input_values" for value in graph.inputs)
        text = self.context
        source = self.frames if spectrogram and self.frames is not None else text
        if self.frames is not None and not spectrogram:  # two strided convolutions before the decoder halve the length
            source = self.frames // 2
        target = (
            text if self.context_given else min(text, DEFAULT_TOKENS)
        )  # without a cache every step computes the whole text again
        return {
            "batch_size": 1,
            "text_batch_size": 1,
            "image_batch_size": 1,
            "num_channels": self.channels,
            "height": self.image[0],
            "width": self.image[1],
            "sequence_length": self.seconds_of_samples if waves else text,
            "encoder_sequence_length": source,
            "encoder_sequence_length / 2": source,
            "decoder_sequence_length": target,
            "past_sequence_length": 1,
            "past_sequence_length + sequence_length": text + 1,
            **({"feature_size": self.mel} if self.mel is not None else {}),
        }


def read_sizes(checkpoint: Checkpoint, context: int | None) -> ModelSizes:
    """From config.json, preprocessor_config.json and the tokenizer's settings.

    context: as the user states it, or None. Raises InputError if it is more than the model was made for.
    """
    config = checkpoint.config
    folder = Folder.at(checkpoint.root)
    preprocessor = checkpoint.preprocessor
    tokenizer = folder.read_object("tokenizer_config.json") or {}
    longest, stated = _longest(config, tokenizer)
    if context is not None and stated and context > longest:
        message = f"the context of {context} tokens is more than the model's maximum, {longest}"
        raise InputError.of("context.range", message, where="config.json")
    frames = _integer(config, "max_source_positions")
    rate = _integer(preprocessor, "sampling_rate") or _SAMPLE_RATE
    speech = "num_mel_bins" in config
    return ModelSizes(
        channels=_integer(config, "num_channels") or _integer(_section(config, "vision_config"), "num_channels") or 3,
        image=_image(config, preprocessor),
        context=context or min(longest, _DEFAULT_TEXT_TOKENS),
        context_given=context is not None,
        vocabulary=_integer(config, "vocab_size") or _integer(_section(config, "text_config"), "vocab_size"),
        mel=_integer(config, "num_mel_bins"),
        frames=2 * frames if speech and frames else None,
        seconds_of_samples=_DEFAULT_SECONDS * rate,
    )


def _longest(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> tuple[int, bool]:
    """The longest text in tokens that the model was made for, and whether the configuration states it."""
    found = []
    for part in (config, _section(config, "text_config")):
        rows = next((size for key in _POSITIONS[:3] if (size := _integer(part, key))), None)
        if rows is not None:
            padding = part.get("pad_token_id")
            padded = padding if part.get("model_type") in _PADDED_POSITIONS and type(padding) is int else -1
            found.append(max(rows - padded - 1, 1))
    limit = tokenizer.get("model_max_length")
    if isinstance(limit, int) and not isinstance(limit, bool) and 0 < limit < 2**20:  # 1e30 means no limit
        found.append(limit)
    return (min(found), True) if found else (_DEFAULT_TEXT_TOKENS, False)


def _image(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) from the configuration, or else from the preprocessor's settings."""
    for stated in (
        config.get("image_size"),
        _section(config, "vision_config").get("image_size"),
        preprocessor.get("crop_size") if preprocessor.get("do_center_crop", True) else None,
        preprocessor.get("size"),
    ):
        size = _pair(stated)
        if size is not None:
            return size
    return _DEFAULT_PIXELS, _DEFAULT_PIXELS


def _pair(stated: Any) -> tuple[int, int] | None:
    if isinstance(stated, Mapping):
        edge = _integer(stated, "shortest_edge")
        height, width = _integer(stated, "height") or edge, _integer(stated, "width") or edge
    elif isinstance(stated, list) and len(stated) == 2:
        sizes = {"height": stated[0], "width": stated[1]}
        height, width = _integer(sizes, "height"), _integer(sizes, "width")
    else:
        height = width = _integer({"size": stated}, "size")
    return None if height is None or width is None else (height, width)


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, Mapping) else {}


def _integer(config: Mapping[str, Any], key: str) -> int | None:
    """A size from 1 to a million; None for any other value."""
    value = config.get(key)
    return value if type(value) is int and 0 < value < 2**20 else None
