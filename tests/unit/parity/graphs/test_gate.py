"""The gate for graphs that we didn't draw: it passes what is right, and finds what was broken on purpose."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from exporter.errors import InputError
from exporter.formats import FLEXIBLE, PORTABLE
from exporter.graph.model import GraphSpec, Hub
from exporter.graph.palette import Palette
from exporter.importers.onnx_file import import_onnx
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.lower.onnx import OnnxOptions, lower_onnx
from exporter.parity.graphs.check import check_graphs
from exporter.parity.graphs.compare import OutputsComparison, mismatch
from exporter.parity.graphs.locate import GraphSearch
from exporter.parity.graphs.merge import merged
from exporter.parity.graphs.subjects import GraphOpener, GraphSubjects
from exporter.parity.options import ParityOptions
from exporter.parity.results import ParityReport

BITS = 6  # of the palettes of `classifier`


def check(subjects: GraphSubjects) -> ParityReport:
    return merged(check_graphs([subjects], ParityOptions(bits=BITS)))


def verdicts(report: ParityReport) -> dict[str, str]:
    return {row.name: row.verdict for row in report.rows}


def test_what_is_right_passes(classifier: GraphSubjects) -> None:
    report = check(classifier)
    assert report.verdict == "passed", [f.message for f in report.findings]
    assert list(verdicts(report)) == [
        "compression", "onnx lowering", "coreml lowering", "fp16", "onnx", "coreml", "onnx vs coreml",
    ]  # fmt: skip
    row = report.row("onnx")
    assert row is not None
    assert row.metrics["top1_or_tie"] == 1
    limited = {"non_finite", "cosine_mean", "unexplained", "top1_or_tie"}
    assert {check.limit.metric for check in row.checks} == limited


def broken(hub: Hub, name: str) -> Hub:
    """The palettes of one weight with the rows in another order: what a wrong grouping looks like."""
    assert hub.palettes[name].shape[0] > 16
    old = hub.palettes[name]
    palette = Palette.of(old.indices[::-1].copy(), old.lut, old.bits, old.group_size)
    plain = replace(hub, palettes={})
    model = hub.model.clone()
    model.graph.initializers[f"{name}/indices"].const_value = ir.tensor(
        np.pad(palette.indices, ((0, -palette.shape[0] % palette.group_size), (0, 0)))
    )
    return replace(plain, model=model, palettes={**hub.palettes, name: palette})


@pytest.mark.parametrize("name", ["kernel", "hidden"])
def test_a_broken_palette_fails_compression_and_is_named(classifier: GraphSubjects, name: str) -> None:
    assert classifier.compressed is not None
    report = check(replace(classifier, compressed=broken(classifier.compressed, name), artifacts={}))
    assert verdicts(report)["compression"] == "failed"
    assert report.findings[0].where == name


def test_a_broken_file_fails_its_lowering_and_is_named(classifier: GraphSubjects, tmp_path: Path) -> None:
    assert classifier.compressed is not None
    other = lower_onnx(broken(classifier.compressed, "hidden"), tmp_path, OnnxOptions()).path
    report = check(replace(classifier, artifacts={PORTABLE: other}))
    found = verdicts(report)
    assert (found["compression"], found["onnx lowering"], found["onnx"]) == ("passed", "failed", "failed")
    by_code = {finding.code: finding for finding in report.findings}
    assert by_code["parity.onnx-lowering"].where == "h"  # the first value behind the broken weight
    assert "because of: onnx lowering" in by_code["parity.onnx"].message


def test_a_broken_program_fails_its_lowering_and_is_named(classifier: GraphSubjects, tmp_path: Path) -> None:
    assert classifier.compressed is not None
    other = lower_coreml(broken(classifier.compressed, "kernel"), tmp_path / "m.mlpackage", CoreMLOptions()).path
    report = check(replace(classifier, artifacts={**classifier.artifacts, FLEXIBLE: other}))
    found = verdicts(report)
    assert (found["onnx"], found["coreml lowering"], found["onnx vs coreml"]) == ("passed", "failed", "failed")
    finding = next(f for f in report.findings if f.code == "parity.coreml-lowering")
    assert finding.where == "c"


def test_files_alone_are_held_against_each_other(classifier: GraphSubjects, tmp_path: Path) -> None:
    """As `kogata check` does it without a checkpoint."""
    alone = replace(classifier, hub=None, compressed=None)
    assert list(verdicts(check(alone))) == ["fp16", "onnx vs coreml"]
    assert classifier.compressed is not None
    other = lower_coreml(broken(classifier.compressed, "kernel"), tmp_path / "m.mlpackage", CoreMLOptions()).path
    assert (
        verdicts(check(replace(alone, artifacts={**classifier.artifacts, FLEXIBLE: other})))["onnx vs coreml"]
        == "failed"
    )


def test_nothing_to_compare(classifier: GraphSubjects) -> None:
    with pytest.raises(InputError, match="nothing to compare"):
        check(GraphSubjects(spec=classifier.spec))


def test_components_are_told_apart(classifier: GraphSubjects) -> None:
    second = replace(classifier, spec=replace(classifier.spec, component="other"))
    reports = check_graphs([classifier, second], ParityOptions(bits=BITS, depth="quick"))
    names = [row.name for row in merged(reports).rows]
    assert names[0] == "model: compression"
    assert names[-1] == "other: onnx vs coreml"


def outputs(*arrays: np.ndarray) -> dict[str, np.ndarray]:
    return {f"y{i}": array for i, array in enumerate(arrays)}


def test_metrics_are_those_of_the_worst_output() -> None:
    """PSNR by its formula: 20·log10(max|ref| / rmse)."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((1, 6, 8)).astype(np.float32), rng.standard_normal((1, 4)).astype(np.float32)
    noise = 1e-2 * rng.standard_normal((1, 4)).astype(np.float32)
    compared = OutputsComparison(decides=False)
    compared.add(outputs(a, b), outputs(a + np.float32(1e-6), b + noise), None)
    metrics = compared.metrics(None)
    decibels = 20 * np.log10(np.abs(b).max() / np.sqrt(np.square(noise).mean()))
    assert metrics["psnr_db"] == pytest.approx(decibels, abs=1e-2)
    cosine = float((b @ (b + noise).T)[0, 0] / np.linalg.norm(b) / np.linalg.norm(b + noise))
    assert metrics["cosine_min"] == pytest.approx(cosine, abs=1e-6)
    assert compared.worst_output == "y1"


def test_padding_is_not_compared() -> None:
    a = np.ones((1, 6, 8), np.float32)
    b = a.copy()
    b[:, 4:] = np.nan
    compared = OutputsComparison(decides=False)
    compared.add(outputs(a), outputs(b), 4)
    assert compared.metrics(None)["non_finite"] == 0
    assert compared.metrics(None)["psnr_db"] == 300
    compared.add(outputs(a), outputs(b), 5)
    assert compared.metrics(None)["non_finite"] == 8


@pytest.mark.parametrize("artifact", [{}, {"y0": np.ones((1, 3), np.float32)}])
def test_wrong_shapes_and_missing_outputs_are_counted(artifact: dict[str, np.ndarray]) -> None:
    compared = OutputsComparison(decides=False)
    compared.add(outputs(np.ones((1, 4), np.float32)), artifact, None)
    assert compared.metrics(None) == {"shapes": 1, "prompts": 1}


def test_classes_that_flip_are_counted() -> None:
    logits = np.array([[1.0, 0.0, 3.0]], np.float32)
    compared = OutputsComparison(decides=True)
    compared.add({"logits": logits}, {"logits": logits}, None)
    compared.add({"logits": logits}, {"logits": logits[:, ::-1]}, None)
    assert compared.metrics(None)["top1"] == 0.5


def test_the_source_file_is_compared_as_it_is(classifier: GraphSubjects, tmp_path: Path) -> None:
    """The imported graph saved is the source; one with other weights fails the import, not what follows from it."""
    assert classifier.hub is not None
    path = tmp_path / "source.onnx"
    ir.save(classifier.hub.model, path)
    report = check(replace(classifier, source=path))
    assert report.verdict == "passed", [f.message for f in report.findings]
    row = report.row("import")
    assert row is not None
    assert row.compares == "source file against imported graph"
    assert row.metrics["psnr_db"] == 300
    model = ir.load(path)
    weight = model.graph.initializers["hidden"]
    weight.const_value = ir.tensor(2 * np.asarray(weight.const_value), name="hidden")
    ir.save(model, path)
    found = verdicts(check(replace(classifier, source=path)))
    assert (found["import"], found["onnx lowering"], found["onnx"]) == ("failed", "passed", "failed")


def test_a_source_with_dequantize_linear_runs_as_it_is_written(tmp_path: Path) -> None:
    """onnxruntime fuses it with MatMul and rounds the input to 8 bits; numpy has the graph's own numbers."""
    rng = np.random.default_rng(3)
    weight = rng.integers(-127, 128, (64, 32)).astype(np.int8)
    nodes = [
        onnx.helper.make_node("DequantizeLinear", ["w", "s"], ["d"]),
        onnx.helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    value = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT)
    held = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.float32(0.01), "s")]
    graph = onnx.helper.make_graph(nodes, "g", [value("x", shape=[1, 64])], [value("y", shape=[1, 32])], held)
    path = tmp_path / "source.onnx"
    opset = [onnx.helper.make_opsetid("", 21)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    hub, _ = import_onnx(path, {})
    assert isinstance(hub.spec, GraphSpec)
    subjects = GraphSubjects(spec=hub.spec, hub=hub, source=path)
    opener = GraphOpener(subjects, ParityOptions(depth="quick", bits=16))
    x = rng.standard_normal((1, 64)).astype(np.float32)
    made = opener.open("source").run({"x": x})["y"]
    np.testing.assert_allclose(made, x @ (weight * np.float32(0.01)), rtol=1e-5, atol=1e-5)
    row = check_graphs([subjects], ParityOptions(depth="quick", bits=16))["model"].row("import")
    assert row is not None
    assert row.verdict == "passed"
    assert "without onnxruntime's optimization" in row.note


def test_a_failed_row_without_a_tensor_to_blame_keeps_its_verdict(
    classifier: GraphSubjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime may lack a kernel for the graph whose values the search looks at."""

    def refuse(*_: object) -> None:
        raise InputError.of("parity.onnx-load", "onnxruntime refuses the graph: no RoiAlign of opset 22")

    path = tmp_path / "source.onnx"
    model = classifier.hub.model.clone()
    weight = model.graph.initializers["hidden"]
    weight.const_value = ir.tensor(2 * np.asarray(weight.const_value), name="hidden")
    ir.save(model, path)
    monkeypatch.setattr(GraphSearch, "find", refuse)
    report = check(replace(classifier, source=path))
    assert verdicts(report)["import"] == "failed"
    assert any("was not found: onnxruntime refuses the graph: no RoiAlign" in f.message for f in report.findings)


def test_a_source_that_no_runtime_loads_is_a_note(classifier: GraphSubjects, tmp_path: Path) -> None:
    path = tmp_path / "source.onnx"
    path.write_bytes(b"no model")
    report = check(replace(classifier, source=path))
    assert report.verdict == "passed"
    assert "import" not in verdicts(report)
    assert "not compared as it is" in report.note
    assert "parity.source" in [finding.code for finding in report.findings]


def test_what_is_made_up_stands_beside_the_verdict(classifier: GraphSubjects) -> None:
    report = check(classifier)
    name = classifier.spec.inputs[0].name
    assert f"nothing is known of {name}" in report.note
    assert "--prompts FILE.npz" in report.note
    assert report.as_json()["note"] == report.note
    stated = check(replace(classifier, preprocessor={"image_mean": [0.5] * 3}))
    assert "nothing is known" not in stated.note


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"boxes": np.zeros((12, 4))}, "output 'boxes' has 12 results instead of 14, 2 fewer"),
        ({"boxes": np.zeros((15, 4))}, "output 'boxes' has 15 results instead of 14, 1 more"),
        ({"boxes": np.zeros((2, 7, 4))}, "output 'boxes' has the shape [2, 7, 4] instead of [14, 4]"),
        ({"other": np.zeros(3)}, "the outputs have other names"),
        ({"boxes": np.ones((14, 4))}, ""),
    ],
)
def test_another_number_of_results_is_said(made: dict[str, np.ndarray], words: str) -> None:
    assert mismatch({"boxes": np.zeros((14, 4))}, made) == words
