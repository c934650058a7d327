"""Where a failed row of a graph went wrong: both sides' intermediate values on its worst sample, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from exporter.graph.passes.simplify import simplify
from exporter.parity.graphs.subjects import GraphOpener
from exporter.parity.keys import Key
from exporter.parity.locate.search import Search
from exporter.runners.ort import OnnxSession, OnnxSource
from exporter.runners.shipped import CoreMLFile, MilFile

Array = NDArray[Any]
Feeds = Mapping[str, Array]


class GraphSearch(Search[GraphOpener, Feeds]):
    """For graphs, whose samples are their feeds."""

    def execute(self, file: MilFile, sample: Feeds) -> None:
        """One prediction."""
        file.graph(self.opener.subjects.spec).run(sample)

    def feeds(self, session: OnnxSession, sample: Feeds, beside: CoreMLFile | None) -> Feeds:  # noqa: ARG002
        """The sample itself."""
        return sample

    def source(self, key: Key, beside: CoreMLFile | None) -> OnnxSource:
        """A Core ML program is written from the simplified graph, and names its values after that graph's."""
        if beside is not None and key in ("hub", "compressed"):
            return OnnxSource(model=simplify(self.opener.hub(key).model, self.opener.subjects.spec.shapes))
        return super().source(key, beside)
