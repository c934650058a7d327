"""Where a failed row went wrong: captures both sides on the row's worst sample and compares them tensor by tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.formats import Form
from exporter.parity.locate.divergence import Divergence, first_divergence
from exporter.parity.locate.mil_values import MilCapture
from exporter.parity.locate.onnx_values import capture_onnx
from exporter.parity.locate.torch_values import capture_torch, token_feeds
from exporter.parity.subjects import Opener, TextOpener
from exporter.runners.ort import OnnxSession, OnnxSource, declared, decoder_feeds, empty_cache
from exporter.runners.reference import TorchEncoder, torch_feeds
from exporter.runners.shipped import CoreMLFile, MilFile, OnnxFile

if TYPE_CHECKING:
    from exporter.parity.keys import Key
    from exporter.parity.rows import Comparison

Array = NDArray[Any]
Capture = dict[str, Array] | MilCapture
Sample = TypeVar("Sample")
OpenerT = TypeVar("OpenerT", bound=Opener)

_MARGIN_DB = 20.0  # a tensor's signal-to-noise ratio is below its PSNR by its crest factor, some 10 to 20 dB
_LOSSY_DB = 20.0  # rows without a PSNR limit: an error of a tenth of the signal, where meaning begins to go
_TOKENS = 64  # of the text: every intermediate value of both sides is held at once


@dataclass(frozen=True)
class Search(ABC, Generic[OpenerT, Sample]):
    """Finds the first tensor that diverges between the two subjects of a comparison."""

    opener: OpenerT

    def torch(self, sample: Sample) -> dict[str, Array]:  # noqa: ARG002 - a subclass needs it
        """The checkpoint's values by the names of the graph's, {} where nobody knows which is which."""
        return {}

    @abstractmethod
    def execute(self, file: MilFile, sample: Sample) -> None:
        """Runs a Core ML program, which observes its own values."""

    @abstractmethod
    def feeds(self, session: OnnxSession, sample: Sample, beside: CoreMLFile | None) -> Mapping[str, Array]:
        """A graph's inputs. beside: the program that it is compared with, whose values have their own shapes."""

    def source(self, key: Key, beside: CoreMLFile | None) -> OnnxSource:  # noqa: ARG002 - a subclass needs it
        """A graph whose values have the names that the program's have."""
        file = self.opener.file(key)
        assert isinstance(file, OnnxFile)
        return file.source

    def find(self, comparison: Comparison, sample: Sample) -> Divergence | None:
        """None where no shared tensor diverges: then the error comes from how a runtime fuses the whole graph."""
        keys = (comparison.reference, comparison.artifact)
        programs = [program for key in keys if (program := self.opener.program(key)) is not None]
        beside = programs[0] if programs else None
        reference = self._captured(comparison.reference, sample, beside)
        if reference == {}:
            return None
        artifact = self._captured(comparison.artifact, sample, beside)
        limit = comparison.psnr_limit
        return first_divergence(*_by_name(reference, artifact), _LOSSY_DB if limit is None else limit - _MARGIN_DB)

    def _captured(self, key: Key, sample: Sample, beside: CoreMLFile | None) -> Capture:
        if key == "checkpoint":
            return self.torch(sample)
        program = self.opener.program(key)
        if program is None:
            source = self.source(key, beside)
            return capture_onnx(source, lambda session: self.feeds(session, sample, beside), self.opener.threads)
        capture = MilCapture()
        self.execute(program.executed(rounding=isinstance(key, Form), observe=capture), sample)
        return capture


def _by_name(reference: Capture, artifact: Capture) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
    """Both sides by the same names: a graph's where one of them is a graph."""
    if isinstance(reference, MilCapture):
        if isinstance(artifact, MilCapture):
            return reference.values, artifact.values
        return reference.by_hub_name(artifact), artifact
    return reference, artifact.by_hub_name(reference) if isinstance(artifact, MilCapture) else artifact


@dataclass(frozen=True)
class Text:
    """Token ids `[n]` and types `[n]`."""

    ids: NDArray[np.int64]
    types: NDArray[np.int64]

    @classmethod
    def of(cls, ids: NDArray[np.int64], types: NDArray[np.int64] | None = None) -> Text:
        """The beginning of a text; types are 0 where none are given."""
        return cls(ids[:_TOKENS], np.zeros_like(ids[:_TOKENS]) if types is None else types[:_TOKENS])


class TextSearch(Search[TextOpener, Text]):
    """For text models."""

    def torch(self, sample: Text) -> dict[str, Array]:
        """The outputs of the modules at the reference points."""
        runner, points = self.opener.reference(), self.opener.subjects.reference_points
        if isinstance(runner, TorchEncoder):
            inner = {name: f"{runner.inner}{path}" for name, path in points.items()}
            return capture_torch(runner.model, torch_feeds(runner.model, sample.ids, sample.types), inner)
        return capture_torch(runner.model, token_feeds(sample.ids), points)

    def execute(self, file: MilFile, sample: Text) -> None:
        """The whole text in one go."""
        if self.opener.decoder:
            file.decoder().session().feed(sample.ids)
        else:
            file.encoder().encode(sample.ids, sample.types)

    def feeds(self, session: OnnxSession, sample: Text, beside: CoreMLFile | None) -> Mapping[str, Array]:
        """One text; padded as an encoder program gets it, so that tensors have the same shapes."""
        if self.opener.decoder:
            return {**decoder_feeds(session, sample.ids, 0), **empty_cache(session)}
        if beside is None:
            mask = np.ones_like(sample.ids)[None]
            feeds = {"input_ids": sample.ids[None], "attention_mask": mask, "token_type_ids": sample.types[None]}
            return declared(session, feeds)
        rows = beside.executed(rounding=False).encoder().feeds(sample.ids, sample.types)
        room = (0, rows["input_ids"].shape[1] - len(sample.ids))
        return declared(session, {"token_type_ids": np.pad(sample.types, room)[None], **rows})
