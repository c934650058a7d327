"""Builds a graph from a checkpoint's configuration and tensors, without running the model."""

from __future__ import annotations

from exporter.checkpoint import Checkpoint
from exporter.graph.model import Hub
from exporter.importers import decoder, encoder
from exporter.importers.decoder import DecoderLayout
from exporter.importers.families import FAMILIES
from exporter.importers.native import NativePlan, plan_import

__all__ = ["build_graph", "import_checkpoint", "reference_points"]


def import_checkpoint(checkpoint: Checkpoint, *, context: int | None = None) -> Hub:
    """Imports a checkpoint natively. Returns its graph, whose tensors stay memory-mapped.

    context: longest sequence in tokens, at most what the model was made for; this is also the default.
    Raises UnsupportedError for a model that can't be expressed, InputError for a damaged checkpoint or an impossible
    context; each with all problems at once.
    """
    return build_graph(plan_import(checkpoint, context))


def build_graph(plan: NativePlan) -> Hub:
    """Builds the graph of a planned import; its tensors stay memory-mapped."""
    if isinstance(plan.layout, DecoderLayout):
        return decoder.build_decoder(plan.layout, plan.binding.weights, plan.family.model_type)
    return encoder.build_encoder(plan.layout, plan.binding.weights, plan.family.model_type)


def reference_points(hub: Hub) -> dict[str, str]:
    """Graph value → path of the transformers module with the same output (the first of a tuple), in graph order.

    Paths start at the model that the checkpoint's `architectures` name for decoders, at the bare `AutoModel` for
    encoders. Values that aren't in this graph are left out.
    """
    points = FAMILIES[hub.family].points
    layers = 0
    while any(name.startswith(f"layers.{layers}/") for name in _names(hub)):
        layers += 1
    # A template with `{i}` in the module but not in the value means the last layer.
    paths = {
        value.format(i=i): module.format(i=i)
        for value, module in points.items()
        for i in (range(layers) if "{i}" in value else [layers - 1])
    }
    return {name: paths[name] for name in _names(hub) if name in paths}


def _names(hub: Hub) -> list[str]:
    return [value.name or "" for node in hub.model.graph for value in node.outputs]
