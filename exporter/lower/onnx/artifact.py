"""The options and the result of the ONNX lowering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

OnnxWeights = Literal["palette", "fp16", "fp32", "int8", "int4"]
INTEGERS: tuple[OnnxWeights, ...] = ("int8", "int4")  # of the form for phones; the others are of the portable form

# A single file is the easiest for apps: they can read it from an asset and pass it as bytes. But the runtime then holds
# the file and a parsed copy of it in memory, while it maps external data. Up to 100 MB a phone has memory for both.
EXTERNAL_DATA_ABOVE = 100_000_000


@dataclass(frozen=True)
class OnnxOptions:
    """How to store the model.

    weights: "palette" stores packed palettes; weights without a palette keep their dtype. "fp16" and "fp32" store every
        matrix that can be compressed densely, with palettes decoded (the numbers are the same). Norms, biases and other
        small tensors keep the checkpoint's dtype in all three.
    metadata: the model's metadata properties, such as source and version, written in sorted order.
    external_data_above: if the tensors take more bytes than this, they are written to `model.onnx.data`.
    """

    weights: OnnxWeights = "palette"
    metadata: Mapping[str, str] = field(default_factory=dict)
    external_data_above: int = EXTERNAL_DATA_ABOVE


@dataclass(frozen=True)
class OnnxBytes:
    """The stored bytes by use; the four numbers add up to `OnnxArtifact.stored_bytes`.

    indices: packed palette indices. luts: LUTs. kept: all other tensors of the checkpoint, and constant tables
    of the graph. overhead: nodes, names, functions, alignment.
    """

    indices: int
    luts: int
    kept: int
    overhead: int


@dataclass(frozen=True)
class OnnxArtifact:
    """A written model.

    path: `folder/model.onnx`, or `folder/COMPONENT.onnx`. files: names of all its files in that folder. stored_bytes:
        the sum of their sizes.
    """

    path: Path
    files: tuple[str, ...]
    stored_bytes: int
    accounting: OnnxBytes
