"""Sizes that a configuration implies for the inputs of an exported model: of images, texts and sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from exporter.checkpoint import Checkpoint
from exporter.checkpoint.folder import Folder
from exporter.errors import InputError
from exporter.importers.graph_inputs import LENGTH

_LONGEST = 512  # tokens of a text, where neither the configuration nor the tokenizer says
_POSITIONS = ("max_position_embeddings", "n_positions", "max_target_positions", "max_length")
# Position tables of these begin with rows for padding, up to its id: they hold fewer tokens than rows.
_PADDED_POSITIONS = ("camembert", "data2vec-text", "esm", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta")
_PIXELS = 224
_SECONDS = 5  # of sound, where the model takes any length
_RATE = 16_000  # samples a second


@dataclass(frozen=True)
class ModelSizes:
    """image: (height, width) in pixels. context: longest text, in tokens; asked: whether the user named it.

    vocabulary: token ids are below this. mel, frames: of a spectrogram, where the model fixes them.
    """

    channels: int
    image: tuple[int, int]
    context: int
    asked: bool
    vocabulary: int | None
    mel: int | None
    frames: int | None
    seconds_of_samples: int

    @property
    def dummies(self) -> dict[str, int]:
        """By optimum's names: what it traces with. Some models insist on their own sizes even then."""
        sizes = {"height": self.image[0], "width": self.image[1], "num_channels": self.channels}
        if self.frames is not None:
            sizes["nb_max_frames"] = self.frames
        if self.mel is not None:
            sizes["feature_size"] = self.mel
        return sizes

    def axes(self, graph: ir.Graph) -> dict[str, int]:
        """Size by the name that optimum gives an axis of this graph."""
        spectrogram = any(value.name == "input_features" for value in graph.inputs)
        waves = any(value.name == "input_values" for value in graph.inputs)
        text = self.context
        source = self.frames if spectrogram and self.frames is not None else text
        if self.frames is not None and not spectrogram:  # the decoder sees what two strided convolutions leave
            source = self.frames // 2
        target = text if self.asked else min(text, LENGTH)  # every step computes all of it again
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

    context: what the user asks for. Raises InputError where that is more than the model was made for.
    """
    config = checkpoint.config
    folder = Folder.at(checkpoint.root)
    preprocessor = checkpoint.preprocessor
    tokenizer = folder.read_object("tokenizer_config.json") or {}
    longest, stated = _longest(config, tokenizer)
    if context is not None and stated and context > longest:
        message = f"a context of {context} tokens was asked for; the model was made for {longest}"
        raise InputError.of("context.range", message, where="config.json")
    frames = _integer(config, "max_source_positions")
    rate = _integer(preprocessor, "sampling_rate") or _RATE
    speech = "num_mel_bins" in config
    return ModelSizes(
        channels=_integer(config, "num_channels") or _integer(_section(config, "vision_config"), "num_channels") or 3,
        image=_image(config, preprocessor),
        context=context or min(longest, _LONGEST),
        asked=context is not None,
        vocabulary=_integer(config, "vocab_size") or _integer(_section(config, "text_config"), "vocab_size"),
        mel=_integer(config, "num_mel_bins"),
        frames=2 * frames if speech and frames else None,
        seconds_of_samples=_SECONDS * rate,
    )


def _longest(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> tuple[int, bool]:
    """Tokens that the model was made for, and whether anything says so."""
    found = []
    for part in (config, _section(config, "text_config")):
        rows = next((size for key in _POSITIONS[:3] if (size := _integer(part, key))), None)
        if rows is not None:
            padding = part.get("pad_token_id")
            padded = padding if part.get("model_type") in _PADDED_POSITIONS and type(padding) is int else -1
            found.append(max(rows - padded - 1, 1))
    limit = tokenizer.get("model_max_length")
    if isinstance(limit, int) and not isinstance(limit, bool) and 0 < limit < 2**20:  # 1e30 means: no limit
        found.append(limit)
    return (min(found), True) if found else (_LONGEST, False)


def _image(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) that the model was trained with, else what its images are brought to."""
    for stated in (
        config.get("image_size"),
        _section(config, "vision_config").get("image_size"),
        preprocessor.get("crop_size") if preprocessor.get("do_center_crop", True) else None,
        preprocessor.get("size"),
    ):
        size = _pair(stated)
        if size is not None:
            return size
    return _PIXELS, _PIXELS


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
    """A positive size below a million, None for anything else."""
    value = config.get(key)
    return value if type(value) is int and 0 < value < 2**20 else None
