"""Whole models in torch against onnxruntime on the same graph.

Tolerance: 5e-5 of the largest number of an output. Both sides compute in float32 and differ in the order of sums,
which leaves 1e-6, and 1e-5 where a norm divides by little; a wrong wiring moves these random models by a tenth of the
largest number or more (`checkpoints.draw_weights`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from support.encoder_checkpoints import FAMILIES, HEADS
from support.graph_models import (
    agree,
    feeds_of,
    hub_of,
    in_onnxruntime,
    random_palette,
)
from support.tiny_models import export

from exporter.graph.model import Hub
from exporter.graph.palette import PALETTE_BITS
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.importers.onnx_file import import_onnx
from exporter.runners.torch_graph.graph import TorchGraph

TOLERANCE = 5e-5
DECODER_NAMES = [
    "llama/llama3", "ministral/mixed", "qwen3/plain", "gemma/plain", "gemma2/soft caps", "gemma3_text/two ropes",
    "phi3/longrope", "phi/grouped, normed", "olmo/plain", "smollm3/nope", "stablelm/parallel, biased", "glm/plain",
    "gpt2", "gpt_neo", "opt", "openelm",
]  # fmt: skip
ENCODER_NAMES = [f"{family}:{HEADS[i % len(HEADS)]}" for i, family in enumerate(FAMILIES)]


@pytest.mark.parametrize("name", [*DECODER_NAMES, *ENCODER_NAMES])
def test_outputs_are_onnxruntimes(name: str) -> None:
    hub = hub_of(name)
    graph = TorchGraph(hub)
    for past in (0, 5) if "past_key_values.0.key" in graph.inputs else (0,):
        feeds = feeds_of(hub, past=past)
        agree(graph.run(feeds), in_onnxruntime(hub, feeds), TOLERANCE)
    assert {use.weight for use in graph.uses} == {weight.name for weight in hub.weights}


@pytest.mark.parametrize("family", ["mobilenet-v2", "segformer", "whisper-encoder"])
def test_outputs_of_pictures_and_sounds_are_onnxruntimes(family: str, tmp_path: Path) -> None:
    """Convolutions, pools, batch norms and resizing, in graphs that we didn't draw."""
    model, feeds, _ = export(family, opset=18)
    ir.save(model, str(tmp_path / "model.onnx"))
    hub, _ = import_onnx(tmp_path / "model.onnx", {name: array.shape for name, array in feeds.items()})
    graph = TorchGraph(hub)
    agree(graph.run(feeds), in_onnxruntime(hub, feeds), TOLERANCE)
    assert {use.weight for use in graph.uses} == {weight.name for weight in hub.weights}
    agree(TorchGraph(model).run(feeds), in_onnxruntime(hub, feeds), TOLERANCE)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["llama/plain", "qwen3/plain", "bert:Model"])
def test_short_stored_weights_are_widened(name: str, dtype: str) -> None:
    """They are exact on both sides, so nothing is lost."""
    hub = hub_of(name, dtype=dtype)
    feeds = feeds_of(hub)
    graph = TorchGraph(hub)
    agree(graph.run(feeds), in_onnxruntime(hub, feeds), TOLERANCE)
    assert graph.weight(hub.weights[0].name).dtype == torch.float32


@pytest.mark.parametrize("name", ["llama/plain", "gemma2/soft caps", "bert:Model"])
def test_nothing_is_rounded_to_float32_on_the_way_in_double_precision(name: str) -> None:
    """Weights times 1 + 1e-10, which float32 can't tell from 1, move double precision about as much, and no more.

    Without padding, whose queries see nothing: what those make of it hangs on the dtype.
    """
    hub = hub_of(name)
    feeds = feeds_of(hub, padding=0)
    graph = TorchGraph(hub, dtype=torch.float64)
    exact = graph.run(feeds)
    agree({key: value.float() for key, value in exact.items()}, in_onnxruntime(hub, feeds), TOLERANCE)
    moved = graph.run(feeds, weights=lambda name: graph.weight(name).double() * (1 + 1e-10))
    for key, value in exact.items():
        assert value.dtype == torch.float64
        assert 1e-11 < float((moved[key] - value).abs().max() / value.abs().max()) < 1e-8


@pytest.mark.parametrize("name", ["llama/plain", "gemma2/soft caps", "gemma3_text/two ropes", "opt", "bert:Model"])
def test_products_in_bfloat16_stay_close_and_finite(name: str) -> None:
    """bfloat16 rounds each number by up to 2^-9; these models are rougher than trained ones: a tenth of the largest.

    The second sequence begins with padding, whose queries see nothing of what is real.
    """
    hub = hub_of(name)
    feeds = feeds_of(hub)
    exact, short = TorchGraph(hub).run(feeds), TorchGraph(hub, products=torch.bfloat16).run(feeds)
    key = next(iter(exact))
    assert short[key].dtype == torch.float32
    assert bool(short[key].isfinite().all())
    away = (short[key] - exact[key])[0].square().mean().sqrt() / exact[key][0].square().mean().sqrt()
    assert 1e-4 < float(away) < 0.1


def palettized(hub: Hub, bits: int, group_size: int) -> Hub:
    palettes = {w.name: random_palette(w.shape, bits, group_size, i) for i, w in enumerate(hub.weights)}
    return apply_palettes(hub, palettes)


_NAMES = ("llama/plain", "qwen3/plain", "gpt2", "opt", "modernbert:Model", "mpnet:Model")
PALETTIZED = list(zip(_NAMES, PALETTE_BITS, (24, 16, 24, 9, 5, 999), strict=True))


@pytest.mark.parametrize(("name", "bits", "group_size"), PALETTIZED)
def test_palettes_are_decoded_where_they_are_used(name: str, bits: int, group_size: int) -> None:
    """Whole groups and ragged ones; qwen3's embedding and head are one matrix."""
    hub = palettized(hub_of(name), bits, group_size)
    feeds = feeds_of(hub)
    graph = TorchGraph(hub)
    found = graph.run(feeds)
    agree(found, in_onnxruntime(hub, feeds), TOLERANCE)
    assert {use.weight for use in graph.uses} == {weight.name for weight in hub.weights}
    dense = {name: torch.from_numpy(palette.dense()) for name, palette in hub.palettes.items()}
    agree(TorchGraph(hub_of(name)).run(feeds, weights=dense), {k: v.numpy() for k, v in found.items()}, 1e-6)


def test_a_palette_beside_dense_weights() -> None:
    hub = hub_of("llama/plain")
    some = {w.name: random_palette(w.shape, 3, 16, i) for i, w in enumerate(hub.weights) if i % 3 == 1}
    mixed = apply_palettes(hub, some)
    feeds = feeds_of(mixed)
    agree(TorchGraph(mixed).run(feeds), in_onnxruntime(mixed, feeds), TOLERANCE)
    name = next(iter(some))
    np.testing.assert_array_equal(TorchGraph(mixed).weight(name).numpy(), some[name].dense())
