"""Where a failed row of a graph went wrong: both sides' intermediate values on its worst sample, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from exporter.graph.passes.simplify import simplify
from exporter.parity.graphs.subjects import GraphSubjects
from exporter.parity.locate.divergence import Divergence, first_divergence
from exporter.parity.locate.mil_values import MilCapture
from exporter.parity.locate.onnx_values import capture_onnx
from exporter.parity.rows import Comparison
from exporter.parity.subjects import Key
from exporter.runners.graphs import program_feeds
from exporter.runners.ort import OnnxSource

if TYPE_CHECKING:
    from exporter.runners.mil import MilModel

Array = NDArray[Any]

_MARGIN_DB = 20.0  # a tensor's signal-to-noise ratio is below its PSNR by its crest factor, some 10 to 20 dB
_LOSSY_DB = 20.0  # rows without a PSNR limit: an error of a tenth of the signal, where meaning begins to go


def locate(
    subjects: GraphSubjects, comparison: Comparison, feeds: Mapping[str, Array], threads: int, mil: MilModel | None
) -> Divergence | None:
    """The first tensor that diverges, None where none that both sides name does, or one side is torch."""
    if comparison.reference == "checkpoint":
        return None  # the exported graph doesn't say which of transformers' modules made a value
    limit = comparison.psnr_limit
    artifact = _captured(subjects, comparison.artifact, feeds, threads, mil)
    reference = _captured(subjects, comparison.reference, feeds, threads, mil)
    if mil is not None and not isinstance(reference, MilCapture):
        named = artifact.by_hub_name(reference) if isinstance(artifact, MilCapture) else artifact
        return first_divergence(reference, named, _LOSSY_DB if limit is None else limit - _MARGIN_DB)
    left, right = (side.values if isinstance(side, MilCapture) else side for side in (reference, artifact))
    return first_divergence(left, right, _LOSSY_DB if limit is None else limit - _MARGIN_DB)


def _captured(
    subjects: GraphSubjects, key: Key, feeds: Mapping[str, Array], threads: int, mil: MilModel | None
) -> dict[str, Array] | MilCapture:
    if key in ("coreml", "coreml unrounded"):
        assert mil is not None
        capture = MilCapture()
        mil.predict(program_feeds(subjects.spec, feeds), fp16_rounding=key == "coreml", observe=capture)
        return capture
    hub = subjects.hub if key == "hub" else subjects.compressed
    if key == "onnx" or hub is None:
        return capture_onnx(OnnxSource(path=subjects.onnx), lambda _: feeds, threads)
    # The Core ML program is written from the simplified graph, whose values it names its own after.
    model = hub.model if mil is None else simplify(hub.model, subjects.spec.shapes)
    return capture_onnx(OnnxSource(model=model), lambda _: feeds, threads)
