"""Where a failed row went wrong: captures both sides on the row's worst text and compares them tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from exporter.parity.locate.divergence import Divergence, first_divergence
from exporter.parity.locate.mil_values import MilCapture
from exporter.parity.locate.onnx_values import capture_onnx
from exporter.parity.locate.torch_values import capture_torch, token_feeds
from exporter.runners.mil_texts import MilDecoder, MilEncoder
from exporter.runners.ort import OnnxSession, declared, decoder_feeds, empty_cache
from exporter.runners.reference import TorchDecoder, TorchEncoder, torch_feeds

if TYPE_CHECKING:
    from exporter.parity.rows import Comparison
    from exporter.parity.subjects import Key, Opener

Array = NDArray[Any]
GraphKey = Literal["hub", "compressed", "onnx"]

_MARGIN_DB = 20.0  # a tensor's signal-to-noise ratio is below its PSNR by its crest factor, some 10 to 20 dB
_LOSSY_DB = 20.0  # rows without a PSNR limit: an error of a tenth of the signal, where meaning begins to go
_TOKENS = 64  # of the text: every intermediate value of both sides is held at once


@dataclass(frozen=True)
class Text:
    """Token ids `[n]` and types `[n]`."""

    ids: NDArray[np.int64]
    types: NDArray[np.int64]


@dataclass(frozen=True)
class Search:
    """Finds the first tensor that diverges between the two subjects of a comparison."""

    opener: Opener

    def find(
        self, comparison: Comparison, ids: NDArray[np.int64], types: NDArray[np.int64] | None = None
    ) -> Divergence | None:
        """None where no shared tensor diverges: then the error comes from how a runtime fuses the whole graph."""
        text = Text(ids[:_TOKENS], np.zeros_like(ids[:_TOKENS]) if types is None else types[:_TOKENS])
        limit = comparison.psnr_limit
        reference, artifact = self._captures(comparison.reference, comparison.artifact, text)
        return first_divergence(reference, artifact, _LOSSY_DB if limit is None else limit - _MARGIN_DB)

    def _captures(self, reference: Key, artifact: Key, text: Text) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        if reference == "checkpoint":
            points = self._torch(text)
            if artifact == "coreml":
                return points, self._mil(text, rounding=True).by_hub_name(points)
            return points, self._graph(_graph_key(artifact), text, pad=False)
        if artifact in ("coreml", "coreml unrounded"):
            program = self._mil(text, rounding=artifact == "coreml")
            if reference == "coreml unrounded":
                return self._mil(text, rounding=False).values, program.values
            graph = self._graph(_graph_key(reference), text, pad=True)
            return graph, program.by_hub_name(graph)
        return self._graph(_graph_key(reference), text, pad=False), self._graph(_graph_key(artifact), text, pad=False)

    def _torch(self, text: Text) -> dict[str, Array]:
        runner, points = self.opener.open("checkpoint"), self.opener.subjects.reference_points
        if isinstance(runner, TorchEncoder):
            inner = {name: f"{runner.inner}{path}" for name, path in points.items()}
            return capture_torch(runner.model, torch_feeds(runner.model, text.ids, text.types), inner)
        assert isinstance(runner, TorchDecoder)
        return capture_torch(runner.model, token_feeds(text.ids), points)

    def _graph(self, key: GraphKey, text: Text, *, pad: bool) -> dict[str, Array]:
        def feeds(onnx: OnnxSession) -> Mapping[str, Array]:
            if self.opener.decoder:
                return {**decoder_feeds(onnx, text.ids, 0), **empty_cache(onnx)}
            types = text.types[None]
            if not pad:
                mask = np.ones_like(text.ids)[None]
                return declared(onnx, {"input_ids": text.ids[None], "attention_mask": mask, "token_type_ids": types})
            rows = self._padded(text)
            room = (0, rows["input_ids"].shape[1] - len(text.ids))
            return declared(onnx, {"token_type_ids": np.pad(types, ((0, 0), room)), **rows})

        return capture_onnx(self.opener.onnx_source(key), feeds, self.opener.threads)

    def _padded(self, text: Text) -> Mapping[str, Array]:
        """The very input that the encoder program gets, so that tensors have the same shapes."""
        runner = self.opener.mil(rounding=False, mask="exact")
        assert isinstance(runner, MilEncoder)
        return runner.feeds(text.ids, text.types)

    def _mil(self, text: Text, *, rounding: bool) -> MilCapture:
        capture = MilCapture()
        runner = self.opener.mil(rounding=rounding, mask=self.opener.subjects.coreml_callers[0], observe=capture)
        if isinstance(runner, MilDecoder):
            runner.session().feed(text.ids)
        else:
            assert isinstance(runner, MilEncoder)
            runner.encode(text.ids, text.types)
        return capture


def _graph_key(key: Key) -> GraphKey:
    if key not in ("hub", "compressed", "onnx"):
        raise ValueError(f"{key} is no ONNX graph")
    return key
