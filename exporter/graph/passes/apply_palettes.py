"""Given a graph and palettes for some of its weights,
Result: the same graph, in which each of these initializers is replaced by `LutToDense(indices, lut)` of the same name.
Refuses: a palette for a weight that doesn't exist or has another shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from exporter.graph.lut import DOMAIN, NAME, lut_to_dense
from exporter.graph.model import OPSET, Hub
from exporter.graph.palette import Palette


def apply_palettes(hub: Hub, palettes: Mapping[str, Palette]) -> Hub:
    """Returns a new hub; `hub` keeps its dense weights (tensors are shared, not copied)."""
    shapes = {w.name: w.shape for w in hub.weights}
    for name, palette in palettes.items():
        if shapes.get(name) != palette.shape:
            raise ValueError(f"palette {palette.shape} for {name!r}, weight is {shapes.get(name)}")
    if not palettes:
        return hub
    model = hub.model.clone()
    for name, palette in palettes.items():
        _replace(model.graph, name, palette)
    model.graph.opset_imports[DOMAIN] = 1
    function = lut_to_dense(model.graph.opset_imports.get("", OPSET))
    model.functions[function.identifier()] = function
    return replace(hub, model=model, palettes={**hub.palettes, **palettes})


def _replace(graph: ir.Graph, name: str, palette: Palette) -> None:
    old = graph.initializers.pop(name)
    # An incomplete last group is padded to a whole one, so that the lookup stays a single gather; Slice drops the rest.
    rows = palette.lut.shape[0] * palette.group_size
    surplus = rows - palette.shape[0]
    indices = _add(graph, f"{name}/indices", _whole_groups(palette, rows))
    lut = _add(graph, f"{name}/lut", ir.tensor(palette.lut))
    nodes = [ir.node(NAME, [indices, lut], domain=DOMAIN)]
    nodes[0].outputs[0].name = f"{name}/padded" if surplus else name
    if surplus:
        bounds = [
            _add(graph, f"{name}/{key}", ir.tensor(np.array([value], np.int64)))
            for key, value in (("start", 0), ("end", palette.shape[0]), ("axis", 0))
        ]
        nodes.append(ir.node("Slice", [nodes[0].outputs[0], *bounds]))
        nodes[1].outputs[0].name = name
    for node in nodes:
        node.name = node.outputs[0].name
    dense = nodes[-1].outputs[0]
    dense.type, dense.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(palette.shape)
    for use in list(old.uses()):
        if use.node.op_type == "Cast":  # LutToDense gives float32 already: the cast from the stored dtype is removed
            cast = use.node.outputs[0]
            ir.convenience.replace_all_uses_with(cast, dense)
            graph.remove(use.node, safe=True)
        else:
            use.node.replace_input_with(use.idx, dense)
    graph.insert_before(graph[0], nodes)


def _whole_groups(palette: Palette, rows: int) -> ir.TensorProtocol:
    """The indices for `rows` rows, uint8, padded with zeros at the end; unpacked at each access."""
    surplus = rows - palette.shape[0]
    return ir.LazyTensor(
        lambda: ir.tensor(np.pad(palette.indices, ((0, surplus), (0, 0))) if surplus else palette.indices),
        dtype=ir.DataType.UINT8,
        shape=ir.Shape((rows, palette.shape[1])),
    )


def _add(graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    tensor.name = name
    value = ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy()), const_value=tensor
    )
    graph.register_initializer(value)
    return value
