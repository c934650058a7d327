"""Splits a graph that embeds texts and images (CLIP, for example) into a graph for each: apps run them separately."""

from __future__ import annotations

import onnx_ir as ir

TOWERS = {"text_model": ("text_embeds", "pixel_values"), "vision_model": ("image_embeds", "input_ids")}


def split_towers(model: ir.Model) -> dict[str, ir.Model] | None:
    """The graphs `text_model` (output `text_embeds`) and `vision_model` (output `image_embeds`).

    None if the graph doesn't consist of two such independent parts.
    """
    outputs = {value.name for value in model.graph.outputs}
    if not {output for output, _ in TOWERS.values()} <= outputs:
        return None
    towers = {name: _tower(model, output) for name, (output, _) in TOWERS.items()}
    mixed = any(
        other in {value.name for value in tower.graph.inputs}
        for tower, (_, other) in zip(towers.values(), TOWERS.values(), strict=True)
    )
    return None if mixed else towers


def _tower(model: ir.Model, output: str) -> ir.Model:
    """A copy that computes only `output`; tensors are shared."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    tower = model.clone()
    graph = tower.graph
    kept = [value for value in graph.outputs if value.name == output]
    graph.outputs.clear()
    graph.outputs.extend(kept)
    RemoveUnusedNodesPass()(tower)
    for value in [value for value in graph.inputs if not value.uses()]:
        graph.inputs.remove(value)
    return tower
