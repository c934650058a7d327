"""Broken files of the ONNX form for phones fail, and the row says which step broke them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from exporter.errors import InputError
from exporter.formats import MOBILE
from exporter.lower.onnx.mobile import MobileOptions, lower_mobile
from exporter.parity import check_parity
from exporter.parity.options import ParityOptions


@pytest.fixture
def written(wide_llama, tmp_path):
    return lower_mobile(wide_llama.compressed, tmp_path / "phone", MobileOptions(external_data_above=1 << 40)).path


def verdicts(wide_llama, path):
    subjects = replace(wide_llama.subjects, artifacts={MOBILE: path})
    report = check_parity(subjects, ParityOptions(depth="quick", bits=8))
    return {row.name: row.verdict for row in report.rows}, report


def changed(path, change):
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)
    return path


def swap_scales(graph):
    """The first two rows of one matrix get each other's scales, times ten."""
    tensor = next(t for t in graph.initializer if t.name.endswith("up_proj.weight/scales"))
    scales = numpy_helper.to_array(tensor).copy()
    scales[:2] = 10 * scales[1::-1][:2]
    tensor.CopyFrom(numpy_helper.from_array(scales, tensor.name))


def narrow_window(graph):
    for node in graph.node:
        if node.op_type == "GroupQueryAttention":
            node.attribute.append(onnx.helper.make_attribute("local_window_size", 3))


def test_a_good_file_passes_every_row(wide_llama, written):
    found, report = verdicts(wide_llama, written)
    assert {name for name, verdict in found.items() if verdict == "failed"} == set()
    assert list(found)[:5] == [
        "import",
        "onnx mobile weights",
        "onnx mobile lowering",
        "onnx mobile int8",
        "onnx mobile",
    ]
    assert report.row("onnx mobile lowering").metrics["psnr_db"] > 100
    assert "compression" not in found  # no file with palettes ships


@pytest.mark.parametrize(
    ("change", "row"), [(swap_scales, "onnx mobile weights"), (narrow_window, "onnx mobile lowering")]
)
def test_a_broken_file_fails_where_it_is_broken(wide_llama, written, change, row):
    found, report = verdicts(wide_llama, changed(written, change))
    assert found[row] == "failed"
    others = {"onnx mobile weights", "onnx mobile lowering", "onnx mobile int8"} - {row}
    assert all(found[other] == "passed" for other in others)
    if change is swap_scales:
        assert "up_proj.weight" in report.findings[0].where


def test_a_matrix_of_another_shape_is_an_error(wide_llama, written):
    def cut(graph):
        tensor = next(t for t in graph.initializer if t.name.endswith("up_proj.weight/scales"))
        tensor.CopyFrom(numpy_helper.from_array(np.ones((3, 1), np.float32), tensor.name))

    with pytest.raises(InputError, match="stores fewer numbers"):
        verdicts(wide_llama, changed(written, cut))
