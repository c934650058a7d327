"""What the ONNX lowering is asked for, and what it yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

OnnxWeights = Literal["palette", "fp16", "fp32"]

# One file is what apps like best: it can be read from an asset and handed over as bytes. While it loads, though, the
# runtime holds the file and its parsed copy; external data is memory-mapped instead. 100 MB is what a phone affords.
EXTERNAL_DATA_ABOVE = 100_000_000


@dataclass(frozen=True)
class OnnxOptions:
    """How to store the model.

    weights: "palette" stores palettes packed, as the hub has them (a hub without palettes stays as it is); "fp16"
        and "fp32" store every matrix that compression may touch dense (palettes decoded: the numbers are the same).
        Norms, biases and other small tensors keep the checkpoint's dtype in all three.
    metadata: the model's metadata properties, source and version say. Written in sorted order.
    external_data_above: when the tensors take more bytes than this, they go to `model.onnx.data`.
    """

    weights: OnnxWeights = "palette"
    metadata: Mapping[str, str] = field(default_factory=dict)
    external_data_above: int = EXTERNAL_DATA_ABOVE


@dataclass(frozen=True)
class OnnxBytes:
    """Where the stored bytes went; the four add up to `OnnxArtifact.stored_bytes`.

    indices: packed palette indices; luts: LUTs; kept: every other tensor of the checkpoint and the graph's
    own tables; overhead: nodes, names, the helper functions' text, alignment.
    """

    indices: int
    luts: int
    kept: int
    overhead: int


@dataclass(frozen=True)
class OnnxArtifact:
    """A written model.

    path: `folder/model.onnx`, or that of a component; files: names of all its files inside that folder; stored_bytes:
        their sum.
    """

    path: Path
    files: tuple[str, ...]
    stored_bytes: int
    accounting: OnnxBytes
