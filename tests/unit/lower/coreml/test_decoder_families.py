"""Core ML programs of decoder families, executed from disk, against transformers.

The program computes in float16, which keeps 11 bits: rounding after each of some 30 ops a layer leaves less than a
fiftieth of the largest logit on these random weights, and less than a thousandth on average. A wrong wiring moves most
logits by a tenth of the largest or more. Where the most likely token differs, the reference's own margin is smaller
than what rounding may move two logits by.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.decoder_checkpoints import DECODERS, tiny_decoder
from support.decoder_references import reference, reference_logits

from exporter.checkpoint import open_checkpoint
from exporter.importers import import_checkpoint
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.runners.mil import MilModel, load_mlpackage

PIECES = (9, 1, 1, 8, 1)  # 20 tokens: past the windows and past LongRoPE's first context
# Of most families the first variant; of those whose others differ in the graph, two.
TWICE = {
    "qwen3",
    "gemma2",
    "gemma3_text",
    "phi3",
    "phi",
    "cohere",
    "cohere2",
    "smollm3",
    "exaone4",
    "gpt_neox",
    "stablelm",
}
CASES = [
    (model_type, variant)
    for model_type, variants in DECODERS.items()
    for variant in list(variants)[: 2 if model_type in TWICE else 1]
]
Mask = Callable[[int, int], NDArray[np.float16]]


def swift_mask(past: int, new: int) -> NDArray[np.float16]:
    """What swift-transformers sends: zeros, one wider than all tokens so far."""
    return np.zeros((1, 1, 1, past + new + 1), np.float16)


def exact_mask(past: int, new: int) -> NDArray[np.float16]:
    """What Apple's example sends."""
    hidden = np.triu(np.ones((new, past + new), bool), past + 1)
    return np.where(hidden, -np.inf, 0)[None, None].astype(np.float16)


def predict(model: MilModel, ids: NDArray[np.int64], mask_of: Mask) -> NDArray[np.float32]:
    """Logits `[tokens, vocab]`, prefill and decode in `PIECES`."""
    state, past, logits = model.new_state(), 0, []
    for piece in PIECES:
        inputs = {"inputIds": ids[:, past : past + piece].astype(np.int32), "causalMask": mask_of(past, piece)}
        logits.append(model.predict(inputs, state)["logits"][0])
        past += piece
    return np.concatenate(logits).astype(np.float32)


@pytest.mark.parametrize(("model_type", "variant"), CASES)
def test_prefill_and_decode_equal_transformers(model_type: str, variant: str, tmp_path: Path) -> None:
    folder = tiny_decoder(tmp_path / "checkpoint", model_type, seed=3, **DECODERS[model_type][variant])
    lower_coreml(import_checkpoint(open_checkpoint(folder)), tmp_path / "m.mlpackage", CoreMLOptions())
    model = load_mlpackage(tmp_path / "m.mlpackage")
    ids = np.random.default_rng(0).integers(6, 331, (1, sum(PIECES)))
    expected = reference_logits(reference(folder), ids, np.ones_like(ids), PIECES)[0]
    mask_of = swift_mask if variant == next(iter(DECODERS[model_type])) else exact_mask
    got = predict(model, ids, mask_of)
    error, largest = np.abs(got - expected), np.abs(expected).max()
    assert error.max() < 2e-2 * largest
    assert error.mean() < 1.5e-3 * largest
    chosen = np.take_along_axis(expected, got.argmax(-1)[:, None], axis=-1)[:, 0]
    assert (expected.max(-1) - chosen <= 2 * error.max(-1)).all()
