"""Whole models of many families: exported by torch, simplified, lowered, saved, read back and executed.

Three comparisons, each against an independent side. The simplified graph against torch: float32 on both sides, 1e-4 of
the largest value (deep batch-norm stacks amplify last bits). The program in float32 against onnxruntime on weights that
were rounded to float16 as the program's are: the same numbers, 1e-4. The program rounding as a device does, against
torch: a few thousandths; looser where a family amplifies (below).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from support.op_graphs import as_hub, run_coreml, run_onnx
from support.tiny_models import FAMILIES, export

from exporter.graph.passes.simplify import simplify

# Batch norms of few values, cosine attention whose logits reach 100: such models amplify what float16 rounds.
LOOSE = {"mobilenet-v1": 0.1, "mobilenet-v2": 0.1, "levit": 0.1, "swinv2": 0.1}
# Their batch norms are folded into one factor and offset, whose own rounding the rounded reference doesn't have.
FOLDED = {"mobilevit": 2e-3, "levit": 3e-2}
OTHERS = frozenset(  # much like another one; `make test-slow` runs them
    {
        *("deit", "yolos", "hubert", "ast", "poolformer", "regnet", "mobilenet-v1", "convnextv2", "swinv2"),
        *("siglip-text", "albert", "electra", "xlm-roberta", "distilbert", "mpnet", "roformer", "squeezebert"),
        "nystromformer",
    }
)


@pytest.mark.parametrize("name", [n if n not in OTHERS else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES])
def test_a_family_computes_what_torch_computes(name: str, tmp_path: Path) -> None:
    model, feeds, expected = export(name)
    fixed = simplify(model, {key: value.shape for key, value in feeds.items()})
    assert open_values(fixed) == []
    scale = np.abs(expected).max()
    assert np.abs(run_onnx(fixed, feeds)["output"] - expected).max() < 1e-4 * scale

    hub = as_hub(fixed)
    exact = run_coreml(hub, feeds, tmp_path / "m.mlpackage", rounding=False)["output"]
    rounded = run_coreml(hub, feeds, tmp_path / "m.mlpackage")["output"]
    assert np.abs(rounded - expected).max() < LOOSE.get(name, 5e-3) * scale

    round_weights(fixed)
    halves = run_onnx(fixed, {key: half(value) for key, value in feeds.items()})["output"]
    assert np.abs(exact - halves).max() < FOLDED.get(name, 1e-4) * scale


@pytest.mark.parametrize(("name", "opset"), [("vit", 14), ("t5-encoder", 14), ("bert", 20), ("convnext", 20)])
def test_other_opsets_of_the_exporter(name: str, opset: int) -> None:
    model, feeds, expected = export(name, opset)
    fixed = simplify(model, {key: value.shape for key, value in feeds.items()})
    assert open_values(fixed) == []
    assert np.abs(run_onnx(fixed, feeds)["output"] - expected).max() < 1e-5 * np.abs(expected).max()
    kinds = {node.op_type for node in fixed.graph}
    assert kinds.isdisjoint({"Shape", "Erf", "Pow", "ReduceMean", "ConstantOfShape", "Dropout"})


def open_values(model: ir.Model) -> list[str]:
    """Nodes whose results have sizes that aren't known."""
    return [
        str(node.name)
        for node in model.graph
        if any(v.shape is None or not all(isinstance(size, int) for size in v.shape) for v in node.outputs)
    ]


def half(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float32:
        return array
    return np.where(np.abs(array) > 6e4, array, array.clip(-6e4, 6e4).astype(np.float16).astype(np.float32))


def round_weights(model: ir.Model) -> None:
    """Every float in the graph as float16 holds it, but for masks, which are as good as infinite on both sides."""
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.dtype == ir.DataType.FLOAT:
            value.const_value = ir.tensor(half(value.const_value.numpy()))
