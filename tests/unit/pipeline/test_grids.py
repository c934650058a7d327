"""Exports with int4 weights: fitted to text, alone or beside palettes, with mixed bits, and with a plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from support.calibrated import exported, few_tokens, session_of
from support.checkpoints import tiny_llama

from exporter.compress import Choice
from exporter.compress.gridding import GridOptions, rounded_grids
from exporter.errors import InputError, UsageError
from exporter.formats import MOBILE, Form
from exporter.graph.spill import Spill
from exporter.pipeline.fit import decoder
from exporter.pipeline.grids import fitted_grids
from exporter.pipeline.parts import candidates
from exporter.pipeline.settings import Budget
from exporter.progress import NoProgress

USUAL = GridOptions(Choice(4, block=32))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    return tiny_llama(folder, hidden_size=64, intermediate_size=128, head_dim=16)


def test_fitted_grids_change_the_outputs_less(llama: Path, tmp_path: Path) -> None:
    """The facts are those of the session; the grids that don't ship are the rounded ones."""
    session = session_of(llama)
    tensors = candidates(session.hub)
    fitted = fitted_grids(session, tensors, USUAL, NoProgress(), Spill(tmp_path))
    rounded = rounded_grids(tensors, USUAL, NoProgress())
    assert fitted.facts is not None
    assert fitted.facts.plain == pytest.approx(session.distance(decoder(rounded.grids)))
    assert fitted.facts.shipped == pytest.approx(session.distance(fitted.decoded))
    assert fitted.facts.shipped < 0.9 * fitted.facts.plain
    assert not fitted.compression.palettes
    for decision in fitted.compression.decisions:
        grid = fitted.grids.get(decision.name)
        assert (grid is None) == decision.kept
        if grid is not None:
            assert (decision.bits, decision.block, decision.stored_bytes) == (4, 32, grid.stored_bytes)
            error = np.square(session.weight(decision.name) - grid.dense(), dtype=np.float64).mean()
            assert decision.mse == pytest.approx(error)


def test_without_texts_weights_are_rounded(llama: Path, tmp_path: Path) -> None:
    tensors = candidates(session_of(llama).hub)
    fitted = fitted_grids(None, tensors, USUAL, NoProgress(), Spill(tmp_path))
    rounded = rounded_grids(tensors, USUAL, NoProgress())
    assert fitted.facts is None
    for name, grid in rounded.grids.items():
        np.testing.assert_array_equal(fitted.grids[name].dense(), grid.dense())


def test_damage_is_named(llama: Path, tmp_path: Path) -> None:
    tensors = candidates(session_of(llama).hub)
    first = next(tensor for tensor in tensors if tensor.palettizable)
    bad = replace(first, load=lambda rows: np.full((len(range(*rows.indices(first.shape[0]))), first.shape[1]), np.nan))
    with pytest.raises(InputError, match="nan at") as caught:
        rounded_grids([bad, *(t for t in tensors if t is not first)], USUAL, NoProgress())
    assert caught.value.diagnostics[0].where == first.name


def stored_bits(path: Path) -> dict[str, tuple[int, int]]:
    """Bits and block of every product and look-up of a file, by the name of its integers."""
    nodes = [node for node in ir.load(str(path)).graph if node.op_type in ("MatMulNBits", "GatherBlockQuantized")]
    places = {"MatMulNBits": 1, "GatherBlockQuantized": 0}
    return {
        str(value.name): (node.attributes["bits"].as_int(), node.attributes["block_size"].as_int())
        for node in nodes
        if (value := node.inputs[places[node.op_type]]) is not None
    }


def test_an_export_states_what_the_file_stores(llama: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        few_tokens(patch)
        done = exported(llama, tmp_path / "out", onnx_weights="int4")
    facts = done.manifest.compression
    assert facts.grids
    assert (facts.bits, facts.group_size) == (4, None)
    assert {t.get("block") for t in facts.tensors if t["bits"] is not None} == {32}
    assert [fit.used for fit in facts.calibration] == ["fitted"]
    stored = stored_bits(done.path / "onnx/model.onnx")
    assert set(stored.values()) == {(4, 32)}
    assert [a.form for a in done.manifest.artifacts] == [Form("onnx", "mobile")] == [MOBILE]


def test_mixed_bits_and_their_plan(llama: Path, tmp_path: Path) -> None:
    """The file keeps the budget, and a plan of it makes the same file again."""
    asked = {"onnx_weights": "int4", "calibrate": "none"}
    first = exported(llama, tmp_path / "first", budget=Budget("bpw", 6.5, "6.5"), **asked)
    assert first.manifest.compression.bpw <= 6.5
    plan = first.path / "plan.json"
    kinds = {(t["bits"], t.get("block")) for t in json.loads(plan.read_bytes())["tensors"]}
    assert len(kinds) > 1
    again = exported(llama, tmp_path / "again", plan=plan, **asked)
    model = Path("onnx/model.onnx")
    assert stored_bits(first.path / model) == stored_bits(again.path / model)
    for file in sorted((first.path / "onnx").iterdir()):
        if file.suffix in (".onnx", ".data"):
            assert file.read_bytes() == (again.path / "onnx" / file.name).read_bytes()
    with pytest.raises(UsageError, match="needs a group_size, the plan states a block"):
        exported(llama, tmp_path / "palettes", onnx_weights="int8", calibrate="none", plan=plan)


def test_a_size_is_kept(llama: Path, tmp_path: Path) -> None:
    asked = {"onnx_weights": "int4", "calibrate": "none"}
    usual = exported(llama, tmp_path / "usual", **asked).manifest.artifacts[0].bytes
    limit = usual + 12_000  # room for 8 bits in some matrices, and for what is set aside for configurations
    small = exported(llama, tmp_path / "small", budget=Budget("size", limit, str(limit)), **asked).manifest
    assert small.artifacts[0].bytes <= limit
    assert {t["bits"] for t in small.compression.tensors if t["bits"] is not None} == {4, 8}
    with pytest.raises(UsageError, match="the smallest files take"):
        exported(llama, tmp_path / "none", budget=Budget("size", 1000, "1000"), **asked)


def test_int4_weights_have_no_luts_to_train(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no LUTs to train"):
        exported(llama, tmp_path / "out", onnx_weights="int4", recover=5)
