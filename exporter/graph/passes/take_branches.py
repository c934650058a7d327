"""Given any ONNX graph,
Result: each If whose condition is the same for all inputs is replaced by the branch that it takes, also where the
condition follows from sizes that the graph states. Torch writes such a branch for a `squeeze` of an axis.
Refuses: nothing; other branches don't change.
"""

from __future__ import annotations

import onnx_ir as ir

from exporter.errors import InputError
from exporter.graph.passes.fold_constants import fold_constants, inline_branch
from exporter.graph.passes.rewrite import Rewriter, is_standard


def take_branches(model: ir.Model) -> None:
    """Replaces in place."""
    while conditions := _known_conditions(model):
        rewriter = Rewriter(model.graph)
        for node in list(model.graph):
            if is_standard(node, "If") and node.outputs[0].name in conditions:
                inline_branch(rewriter, node, conditions[node.outputs[0].name])


def _known_conditions(model: ir.Model) -> dict[str | None, bool]:
    """First output of an If → its condition, where that is known."""
    if not any(is_standard(node, "If") for node in model.graph):
        return {}
    copy = model.clone()
    taken: dict[str | None, bool] = {}
    try:
        fold_constants(copy, taken)
    except InputError:  # sizes that contradict the graph are reported later, with a hint
        return {}
    here = {node.outputs[0].name for node in model.graph if is_standard(node, "If")}
    return {name: condition for name, condition in taken.items() if name in here}
