"""Branches that sizes decide: the same results in onnxruntime, which refuses two nodes or values of one name."""

from __future__ import annotations

import numpy as np
from support.graphs import kinds, normal, parse, run, shape

from exporter.graph.passes.take_branches import take_branches

NESTED = """g (float[2, 3] x) => (float[2, 3] y) {
    size = Shape<start = 1, end = 2>(x)
    three = Equal(size, wanted)
    yes = Squeeze(three)
    first, second = If(yes) <
        then_branch = t () => (float[2, 3] a, float[2, 3] b) { a = Neg(x) b = Abs(x) },
        else_branch = e () => (float[2, 3] a, float[2, 3] b) {
            a, b = If(yes) <
                then_branch = tt () => (float[2, 3] c, float[2, 3] d) { c = Abs(x) d = Abs(x) },
                else_branch = ee () => (float[2, 3] c, float[2, 3] d) { c = Exp(x) d = Relu(x) }
            >
        }
    >
    y = Sub(first, second)
}"""
X = {"x": normal(2, 3)}


def test_nodes_without_a_name() -> None:
    """torch writes no names in branches; both branches of the same If and nested ones get different names."""
    for wanted in (3, 4):
        model = parse(NESTED, {"wanted": shape(wanted)})
        right = run(model, X)
        take_branches(model)
        assert "If" not in kinds(model)
        np.testing.assert_array_equal(run(model, X)[0], right[0])


def test_nodes_with_names_of_others() -> None:
    """A node of a branch may have the name that a node outside gets or has."""
    model = parse(NESTED, {"wanted": shape(4)})
    right = run(model, X)
    for node in model.graph:
        node.name = "If/Neg" if node.op_type == "Sub" else "branch" if node.op_type == "If" else None
    take_branches(model)
    names = [node.name for node in model.graph if node.name]
    assert len(names) == len(set(names))
    np.testing.assert_array_equal(run(model, X)[0], right[0])
