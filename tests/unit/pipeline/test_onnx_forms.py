"""Which form of ONNX an export writes, and how it stores weights there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.checkpoints import tiny_bert, tiny_llama

from exporter.checkpoint import open_checkpoint
from exporter.errors import UnsupportedError, UsageError
from exporter.formats import FLEXIBLE, MOBILE, PORTABLE, Form, artifact_path
from exporter.graph.model import Hub
from exporter.importers import import_checkpoint
from exporter.lower.onnx import OnnxWeights
from exporter.pipeline.options import OutputOptions
from exporter.pipeline.settings import Settings, Widths, read_budget, settle


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Hub]:
    folder = tmp_path_factory.mktemp("forms")
    made = {
        "decoder": tiny_llama(folder / "decoder", hidden_size=64, head_dim=16),
        "narrow": tiny_llama(folder / "narrow", hidden_size=48, head_dim=12),
        "encoder": tiny_bert(folder / "encoder"),
    }
    return {name: import_checkpoint(open_checkpoint(path)) for name, path in made.items()}


USUAL = Widths()


def settled(widths: Widths = USUAL, **outputs: Any) -> Settings:
    return settle(OutputOptions(**outputs), widths)


def test_decoders_get_the_form_for_phones(hubs: dict[str, Hub]) -> None:
    assert settled().for_model([hubs["decoder"]]).forms == (MOBILE, FLEXIBLE)
    assert settled().for_model([hubs["encoder"]]).forms == (PORTABLE, FLEXIBLE)
    assert settled().for_model([hubs["narrow"]]).forms == (PORTABLE, FLEXIBLE)  # no kernel takes heads of 12
    assert settled(formats=("coreml",)).for_model([hubs["decoder"]]).forms == (FLEXIBLE,)


def test_bits_that_only_palettes_have_bring_the_portable_form(hubs: dict[str, Hub]) -> None:
    budgets = [read_budget(3.5, None, None), read_budget(None, "5MB", None), read_budget(None, None, 0.1)]
    for widths in (Widths(bits=16), Widths(bits=3), *(Widths(budget=budget) for budget in budgets)):
        assert settled(widths).for_model([hubs["decoder"]]).forms == (PORTABLE, FLEXIBLE)


def test_weights_of_the_form_for_phones(hubs: dict[str, Hub]) -> None:
    def weights(widths: Widths, **changes: Any) -> str:
        settings = replace(settled(widths), **changes).for_model([hubs["decoder"]])
        return settings.weights_of(settings.forms[0])

    assert [weights(Widths(bits=bits)) for bits in (4, 6, 8)] == ["int4", "int8", "int8"]
    assert weights(Widths(group_size=32)) == "int8"  # only palettes have groups of rows
    assert weights(Widths(), luts=True) == "int8"


def test_the_form_that_was_asked_for(hubs: dict[str, Hub]) -> None:
    for forms in ((PORTABLE,), (MOBILE,), (PORTABLE, MOBILE)):
        for model in ("decoder", "encoder"):
            assert settled(forms=forms, formats=("onnx",)).for_model([hubs[model]]).forms == forms
    with pytest.raises(UnsupportedError, match="multiple of 8, and these are 12 wide"):
        settled(forms=(MOBILE,)).for_model([hubs["narrow"]])


@pytest.mark.parametrize(
    ("weights", "form"),
    [("palette", PORTABLE), ("fp16", PORTABLE), ("fp32", PORTABLE), ("int8", MOBILE), ("int4", MOBILE)],
)
def test_weights_bring_their_form(weights: OnnxWeights, form: Form, hubs: dict[str, Hub]) -> None:
    settings = settled(onnx_weights=weights, formats=("onnx",)).for_model([hubs["decoder"]])
    assert settings.forms == (form,)
    assert settings.weights_of(form) == weights
    other = PORTABLE if form == MOBILE else MOBILE
    with pytest.raises(UsageError, match=f"only the form {form.name} stores weights as {weights}"):
        settled(onnx_weights=weights, forms=(other,))
    both = settled(onnx_weights=weights, forms=(PORTABLE, MOBILE))
    assert both.weights_of(form) == weights
    assert both.weights_of(other) == settled().weights_of(other)


def test_options_of_onnx_need_an_onnx_file() -> None:
    for outputs in ({"forms": (MOBILE,)}, {"onnx_weights": "int8"}):
        with pytest.raises(UsageError, match="nothing is exported to ONNX"):
            settled(formats=("coreml",), **outputs)


def test_the_first_form_lies_where_apps_look(tmp_path: Path) -> None:
    assert artifact_path(PORTABLE, "m", forms=(PORTABLE, FLEXIBLE)) == "onnx/model.onnx"
    assert artifact_path(MOBILE, "m", forms=(PORTABLE, MOBILE)) == "onnx/model.onnx"
    assert artifact_path(PORTABLE, "m", forms=(PORTABLE, MOBILE)) == "onnx-portable/model.onnx"
