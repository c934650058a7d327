"""Shipped files by form: every form has a runtime, and it opens a file as what it holds."""

from __future__ import annotations

import os

import numpy as np
import pytest

from exporter.formats import FLEXIBLE, FORMS, MOBILE, PORTABLE
from exporter.runners.shipped import RUNTIMES, Conditions, CoreMLFile, rounds, shipped_file
from exporter.runners.threads import LARGE_MODEL, fixed_threads, stored_bytes, threads_for

IDS = np.array([5, 30, 100, 7], np.int64)


def test_every_form_has_a_runtime():
    assert list(RUNTIMES) == list(FORMS)
    assert {form: rounds(form) for form in FORMS} == {PORTABLE: None, MOBILE: "int8", FLEXIBLE: "float16"}


@pytest.mark.parametrize("form", [PORTABLE, FLEXIBLE], ids=str)
def test_a_file_opens_as_decoder_or_encoder(llama, bert, form):
    """The two runtimes agree on the same palettes to float16's accuracy."""
    conditions = Conditions(coreml="reference")
    decoder = shipped_file(form, llama.subjects.artifacts[form], conditions).decoder()
    exact = shipped_file(PORTABLE, llama.subjects.artifacts[PORTABLE], conditions).decoder()
    np.testing.assert_allclose(decoder.session().feed(IDS), exact.session().feed(IDS), atol=0.02)
    encoder = shipped_file(form, bert.subjects.artifacts[form], conditions).encoder()
    assert encoder.encode(IDS).tokens.shape[0] == len(IDS)


def test_a_program_is_read_once_and_runs_without_rounding(llama):
    file = shipped_file(FLEXIBLE, llama.subjects.artifacts[FLEXIBLE], Conditions(coreml="reference"))
    assert isinstance(file, CoreMLFile)
    assert file.model is file.executed(rounding=False).model
    assert "no rounding" in file.executed(rounding=False).decoder().name
    assert "fp16 rounding" in file.decoder().name


def test_threads_are_fixed_by_size(tmp_path):
    import torch

    assert threads_for(LARGE_MODEL - 1) == 1
    assert threads_for(LARGE_MODEL) == min(4, os.cpu_count() or 1)
    (tmp_path / "model.onnx").write_bytes(b"12345")
    (tmp_path / "model.onnx.data").write_bytes(b"123")
    assert stored_bytes(tmp_path / "model.onnx") == stored_bytes(tmp_path) == 8
    before = torch.get_num_threads()
    with fixed_threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
