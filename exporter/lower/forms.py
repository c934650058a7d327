"""The writer of each form: a graph with palettes → the files that an app opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.formats import FLEXIBLE, MOBILE, PORTABLE, Form
from exporter.graph.grid import Grid
from exporter.graph.model import Hub
from exporter.lower.onnx import INTEGERS, OnnxOptions, OnnxWeights, lower_onnx
from exporter.lower.onnx.mobile import MobileOptions, MobileWeights, lower_mobile


@dataclass(frozen=True)
class WriteOptions:
    """metadata: what the file says of itself. license: SPDX id or name, as the checkpoint states it. onnx_weights: how
    an ONNX file stores its matrices. grids: of the matrices that a file for phones stores as they are in it, by name.
    """

    metadata: Mapping[str, str]
    license: str | None = None
    onnx_weights: OnnxWeights = "palette"
    grids: Mapping[str, Grid] = field(default_factory=dict)


def write_form(form: Form, hub: Hub, path: Path, options: WriteOptions) -> None:
    """Writes the graph as `path`: a `.onnx` file, with its data beside it, or an `.mlpackage`.

    Raises UnsupportedError with everything that the form can't express, InputError where files can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _WRITERS[form](hub, path, options)


def _portable(hub: Hub, path: Path, options: WriteOptions) -> None:
    weights = "palette" if options.onnx_weights in INTEGERS else options.onnx_weights
    lower_onnx(hub, path.parent, OnnxOptions(weights, options.metadata))


def _mobile(hub: Hub, path: Path, options: WriteOptions) -> None:
    weights: MobileWeights = "int4" if options.onnx_weights == "int4" else "int8"
    lower_mobile(hub, path.parent, MobileOptions(weights, options.grids, options.metadata))


def _flexible(hub: Hub, path: Path, options: WriteOptions) -> None:
    from exporter.lower.coreml import CoreMLOptions, lower_coreml

    lower_coreml(hub, path, CoreMLOptions(metadata=options.metadata, license=options.license))


_WRITERS: Mapping[Form, Callable[[Hub, Path, WriteOptions], None]] = {
    PORTABLE: _portable,
    MOBILE: _mobile,
    FLEXIBLE: _flexible,
}
