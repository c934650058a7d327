"""Checkpoint to hub graph, without running the model: configuration and tensors are all it takes."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.checkpoint import Checkpoint
from exporter.graph.model import Hub
from exporter.importers import decoder, encoder
from exporter.importers.decoder import DecoderLayout
from exporter.importers.drawing import plan_import
from exporter.importers.families import FAMILIES

__all__ = ["import_checkpoint", "reference_points", "supported", "unused_tensors"]


def import_checkpoint(checkpoint: Checkpoint, *, context: int | None = None) -> Hub:
    """The checkpoint as a hub graph; its tensors stay memory-mapped.

    context: longest sequence in tokens, at most what the model was made for, which is also the default.
    Raises UnsupportedError for a model that can't be expressed, InputError for a damaged checkpoint or an impossible
    context; each with all problems at once.
    """
    plan = plan_import(checkpoint, context)
    if isinstance(plan.layout, DecoderLayout):
        return decoder.draw_decoder(plan.layout, plan.binding.weights, plan.family.model_type)
    return encoder.draw_encoder(plan.layout, plan.binding.weights, plan.family.model_type)


def unused_tensors(checkpoint: Checkpoint) -> Mapping[str, str]:
    """Checkpoint tensors that the graph does without → why, sorted by name. Raises as `import_checkpoint` does."""
    return plan_import(checkpoint, None).binding.unused


def supported() -> tuple[str, ...]:
    """The `model_type`s that can be imported, sorted."""
    return tuple(sorted(FAMILIES))


def reference_points(hub: Hub) -> dict[str, str]:
    """Hub value → path of the transformers module whose output (first of a tuple) is the same tensor, in graph order.

    Paths start at the model that the checkpoint's `architectures` name for decoders, at the bare `AutoModel` for
    encoders. Values that aren't in this hub are left out.
    """
    points = FAMILIES[hub.family].points
    layers = 0
    while any(name.startswith(f"layers.{layers}/") for name in _names(hub)):
        layers += 1
    # A template with `{i}` only in the module speaks of the last layer.
    paths = {
        value.format(i=i): module.format(i=i)
        for value, module in points.items()
        for i in (range(layers) if "{i}" in value else [layers - 1])
    }
    return {name: paths[name] for name in _names(hub) if name in paths}


def _names(hub: Hub) -> list[str]:
    return [value.name or "" for node in hub.model.graph for value in node.outputs]
