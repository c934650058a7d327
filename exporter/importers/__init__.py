"""Builds a graph from a checkpoint's configuration and tensors, without running the model."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.checkpoint import Checkpoint
from exporter.graph.model import DecoderSpec, Hub
from exporter.importers import decoder, embedder, encoder
from exporter.importers.decoder import DecoderLayout
from exporter.importers.families import FAMILIES
from exporter.importers.native import NativePlan, plan_import

_HEADS = ("logits", "head", "head/product")  # a decoder's values behind the bare model

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
    if isinstance(plan.layout, DecoderLayout) and plan.layout.sentence is not None:
        return embedder.build_embedder(plan.layout, plan.binding.weights, plan.family.model_type)
    if isinstance(plan.layout, DecoderLayout):
        return decoder.build_decoder(plan.layout, plan.binding.weights, plan.family.model_type)
    return encoder.build_encoder(plan.layout, plan.binding.weights, plan.family.model_type)


def reference_points(hub: Hub) -> dict[str, str]:
    """Graph value → path of the transformers module with the same output (the first of a tuple), in graph order.

    Paths start at the model that the checkpoint's `architectures` name for decoders, at the bare `AutoModel` for
    encoders and for decoders that embed texts. Values that aren't in this graph are left out.
    """
    points = FAMILIES[hub.family].points
    if not isinstance(hub.spec, DecoderSpec) and "token_embeddings" in _names(hub):
        points = _inside_bare_model(points, hub)
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


def _inside_bare_model(points: Mapping[str, str], hub: Hub) -> dict[str, str]:
    """Paths without their first part where all have the same one: `model.norm` is `norm` of the bare model."""
    within = {value: path for value, path in points.items() if value not in _HEADS}
    last = hub.model.graph.outputs[0].producer()
    if "norm" in within and last is not None and last.op_type.endswith("Normalization"):
        within["token_embeddings"] = within["norm"]  # an output has its own name
    wrapped = len({path.partition(".")[0] for path in within.values()}) == 1
    return {value: path.partition(".")[2] if wrapped else path for value, path in within.items()}


def _names(hub: Hub) -> list[str]:
    return [value.name or "" for node in hub.model.graph for value in node.outputs]
