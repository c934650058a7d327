"""Given a graph of opset 7 or newer,
Result: the same graph in a newer opset, with its subgraphs: attributes that became inputs are inputs, renamed ops have
their new names, and ops that changed their meaning (softmax over several axes, scales per group) are replaced by nodes
with the old meaning. Known shapes and types make them fewer and simpler; without them the nodes work for any.
Refuses: older opsets, and loops of opset 8, whose batch axis was removed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from exporter.errors import UnsupportedError
from exporter.graph.lut import DOMAIN
from exporter.graph.model import OPSET
from exporter.graph.passes.rewrite import Rewriter, all_graphs, is_standard, static_shape

OLDEST = 7  # the first with numpy's broadcasting; onnxruntime doesn't run older ones either
# The lowest IR version that an opset allows, from ONNX's docs/Versioning.md: older runtimes on phones read it.
_IR_VERSIONS = {18: 8, 20: 9, 22: 10, 23: 11}
_Upgrade = Callable[[Rewriter, ir.Node], None]


def upgrade_opset(model: ir.Model, target: int = OPSET) -> None:
    """Upgrades in place; graphs of opset `target` or newer don't change. Raises UnsupportedError below opset 7."""
    version = model.graph.opset_imports.get("", 0)
    if version < OLDEST:
        raise UnsupportedError.of(
            "onnx.opset",
            f"the model has opset {version}; Kogata reads {OLDEST} and newer",
            hint=f"export it again with opset {target}",
        )
    if version >= target:
        return
    whole = Rewriter(model.graph)
    for graph in list(all_graphs(model.graph)):
        rewriter = whole if graph is model.graph else whole.inside(graph)
        for node in list(graph):
            for since, kinds, upgrade in _UPGRADES:
                if version < since <= target and is_standard(node, *kinds.split()):
                    upgrade(rewriter, node)
        graph.opset_imports[""] = target
    for function in model.functions.values():  # Kogata's own: none of their ops changed since opset 18
        if function.domain == DOMAIN:
            function.opset_imports[""] = target
    model.ir_version = max(model.ir_version or 0, min(_IR_VERSIONS[since] for since in _IR_VERSIONS if since >= target))


def _to_input(rewriter: Rewriter, node: ir.Node, name: str, index: int, dtype: type[np.generic] = np.int64) -> None:
    """Turns the attribute `name` into input `index`."""
    if name not in node.attributes:
        return
    array = np.asarray(node.attributes.pop(name).value, dtype)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, rewriter.constant(array, f"{node.name}/{name}"))


def _axes(rewriter: Rewriter, node: ir.Node) -> None:
    _to_input(rewriter, node, "axes", 1)


def _bounds(rewriter: Rewriter, node: ir.Node) -> None:
    dtype = node.inputs[0].dtype if node.inputs[0] is not None and node.inputs[0].dtype else ir.DataType.FLOAT
    for name, index, outermost in (("min", 1, -3.4028234663852886e38), ("max", 2, 3.4028234663852886e38)):
        if name in node.attributes and node.attributes[name].as_float() == outermost:
            node.attributes.pop(name)  # the attribute's default, which means no bound
        _to_input(rewriter, node, name, index, dtype.numpy().type)


def _slice(rewriter: Rewriter, node: ir.Node) -> None:
    for index, name in enumerate(("starts", "ends", "axes"), 1):
        _to_input(rewriter, node, name, index)


def _pad(rewriter: Rewriter, node: ir.Node) -> None:
    _to_input(rewriter, node, "pads", 1)
    _to_input(rewriter, node, "value", 2, np.float32)


def _topk(rewriter: Rewriter, node: ir.Node) -> None:
    if "k" in node.attributes:
        node.attributes["k"] = ir.AttrInt64s("k", [node.attributes["k"].as_int()])
    _to_input(rewriter, node, "k", 1)


def _upsample(rewriter: Rewriter, node: ir.Node) -> None:
    """Upsample, and Resize before opset 11: only scales, asymmetric coordinates, rounded down."""
    scales = node.inputs[1] if len(node.inputs) > 1 else None
    if scales is None:
        array = np.asarray(node.attributes.pop("scales").as_floats(), np.float32)
        scales = rewriter.constant(array, f"{node.name}/scales")
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "nearest"
    result = rewriter.op(
        node,
        "Resize",
        [node.inputs[0], None, scales],
        mode="linear" if mode in ("linear", "bilinear") else mode,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    _stand_in(rewriter, node, result)


def _dropout(rewriter: Rewriter, node: ir.Node) -> None:
    """Replaces Dropout by Identity: at inference it changes nothing, whatever its ratio."""
    for name in ("ratio", "seed", "is_test"):
        node.attributes.pop(name, None)
    if all(not tuple(value.uses()) for value in node.outputs[1:]):
        source = node.inputs[0]
        _stand_in(rewriter, node, rewriter.op(node, "Identity", [source]))


def _split(rewriter: Rewriter, node: ir.Node) -> None:
    _to_input(rewriter, node, "split", 1)
    if len(node.inputs) < 2 or node.inputs[1] is None:
        node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(node.outputs))


def _softmax(rewriter: Rewriter, node: ir.Node) -> None:
    """Up to opset 12, softmax ran over all axes from `axis` (default 1) on together."""
    source = node.inputs[0]
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    if source is not None and source.shape is not None:
        rank, shape = len(source.shape), static_shape(source)
        axis %= max(rank, 1)
        if axis == rank - 1 or (shape is not None and math.prod(shape[axis + 1 :]) == 1):
            node.attributes["axis"] = ir.AttrInt64("axis", axis)
            return
    if axis == -1:  # the last axis alone, whatever the rank
        return
    flat = rewriter.op(node, "Flatten", [source], axis=axis)
    result = rewriter.op(node, node.op_type, [flat], axis=1)
    size = rewriter.op(node, "Shape", [source])
    _stand_in(rewriter, node, rewriter.op(node, "Reshape", [result, size]))


def _batch_norm(_: Rewriter, node: ir.Node) -> None:
    node.attributes.pop("spatial", None)


def _group_norm(rewriter: Rewriter, node: ir.Node) -> None:
    """Up to opset 20, scale and bias were per group; since then they are per channel."""
    source, groups = node.inputs[0], node.attributes["num_groups"].as_int()
    channels = None if source is None or source.shape is None else source.shape[1]
    if isinstance(channels, int):
        share = _ints(rewriter, node, [1, channels // groups])
    else:
        axis = rewriter.op(node, "Shape", [source], start=1, end=2)
        each = rewriter.op(node, "Div", [axis, _ints(rewriter, node, [groups])])
        share = rewriter.op(node, "Concat", [_ints(rewriter, node, [1]), each], axis=0)
    for index in (1, 2):
        column = rewriter.op(node, "Reshape", [node.inputs[index], _ints(rewriter, node, [groups, 1])])
        repeated = rewriter.op(node, "Expand", [column, share])
        node.replace_input_with(index, rewriter.op(node, "Reshape", [repeated, _ints(rewriter, node, [-1])]))


def _scatter(rewriter: Rewriter, node: ir.Node) -> None:
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    _stand_in(rewriter, node, rewriter.op(node, "ScatterElements", list(node.inputs), axis=axis))


def _grid_sample(_: Rewriter, node: ir.Node) -> None:
    names = {"bilinear": "linear", "bicubic": "cubic"}
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "bilinear"
    node.attributes["mode"] = ir.AttrString("mode", names.get(mode, mode))


def _fourier(rewriter: Rewriter, node: ir.Node) -> None:
    axis = node.attributes.pop("axis").as_int() if "axis" in node.attributes else 1
    node.resize_inputs(3)
    node.replace_input_with(2, rewriter.constant(np.array(axis, np.int64), f"{node.name}/axis"))


def _scan(_: Rewriter, node: ir.Node) -> None:
    raise UnsupportedError.of(
        "onnx.opset",
        "Scan of opset 8 isn't supported",
        where=node.name or node.op_type,
        hint="export the model again with opset 9 or newer",
    )


def _ints(rewriter: Rewriter, node: ir.Node, values: Sequence[int]) -> ir.Value:
    return rewriter.constant(np.array(values, np.int64), f"{node.name}/shape")


def _stand_in(rewriter: Rewriter, node: ir.Node, result: ir.Value) -> None:
    rewriter.replace(node.outputs[0], result)
    rewriter.drop(node)


# (first opset that needs no upgrade, ops, upgrade); several upgrades of an op run in this order
_UPGRADES: tuple[tuple[int, str, _Upgrade], ...] = (
    (9, "Scan", _scan),
    (10, "Slice", _slice),
    (10, "TopK", _topk),
    (11, "Upsample Resize", _upsample),
    (11, "Clip", _bounds),
    (11, "Pad", _pad),
    (11, "Scatter", _scatter),
    (12, "Dropout", _dropout),
    (13, "Squeeze Unsqueeze ReduceSum", _axes),
    (13, "Softmax LogSoftmax Hardmax", _softmax),
    (18, "Split", _split),
    (9, "BatchNormalization", _batch_norm),
    (
        18,
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare",
        _axes,
    ),
    (21, "GroupNormalization", _group_norm),
    (20, "GridSample", _grid_sample),
    (20, "DFT", _fourier),
)
