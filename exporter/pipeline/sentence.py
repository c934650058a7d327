"""The modules of sentence-transformers that a bundle's ONNX folder has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exporter.bundle import ArtifactPlan
from exporter.bundle.sentence_files import sentence_files
from exporter.checkpoint import Checkpoint
from exporter.formats import FORMS
from exporter.graph.model import Task
from exporter.importers.sentence_graph import TOKENS, stated_width


def sentence_modules(
    checkpoint: Checkpoint, task: Task, artifacts: Iterable[ArtifactPlan], context: int | None
) -> Mapping[str, bytes]:
    """Path beside the model → content; empty for a model that isn't sentence-transformers'.

    sentence-transformers pools the tokens' embeddings itself, so one of the files must output them.
    """
    if checkpoint.sentence is not None and checkpoint.sentence.cross_encoder:
        return sentence_files(checkpoint.sentence, 0, context)
    outputs = [port for a in artifacts if FORMS[a.form].client_files for port in a.interface.outputs]
    tokens = next((port for port in outputs if port.name == TOKENS and port.shape), None)
    if tokens is None or task != "feature-extraction":
        return {}
    width = tokens.shape[-1]
    return sentence_files(checkpoint.sentence, width if isinstance(width, int) else stated_width(checkpoint), context)
