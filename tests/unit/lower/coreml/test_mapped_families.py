"""Core ML programs of MiniCPM, InternLM, OpenELM, GPT-2 and OPT, executed from disk, against torch.

Both callers' masks, prefill and decode. Tolerance: 2 % of the largest logit. float16 keeps 11 bits; rounding after each
of some 30 ops a layer was seen to leave up to 0.5 % on these random weights (trained ones amplify less), and a wrong
wiring moves logits by a tenth of the largest or more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.mapped_checkpoints import FAMILIES, MAPPED, SAVED_BY_TRANSFORMERS, Storage, drawn

from exporter.checkpoint import open_checkpoint
from exporter.importers import import_checkpoint
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.runners.mil import MilModel, load_mlpackage

PIECES = (9, 1, 1, 8, 1)  # 20 tokens: past LongRoPE's first context
TOLERANCE = 2e-2
CASES = {f"{family} drawn": drawn(family, 11) for family in FAMILIES} | MAPPED | SAVED_BY_TRANSFORMERS


def predict(model: MilModel, ids: NDArray[np.int64], *, exact: bool) -> NDArray[np.float32]:
    """Logits `[tokens, vocab]`. exact: masks as Apple's example sends them, else zeros as swift-transformers does."""
    state, past, logits = model.new_state(), 0, []
    for new in PIECES:
        mask = np.zeros((1, 1, 1, past + new + 1), np.float16)
        if exact:
            hidden = np.triu(np.ones((new, past + new), bool), past + 1)
            mask = np.where(hidden, -np.inf, 0)[None, None].astype(np.float16)
        inputs = {"inputIds": ids[None, past : past + new].astype(np.int32), "causalMask": mask}
        logits.append(model.predict(inputs, state)["logits"][0])
        past += new
    return np.concatenate(logits).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_program_equals_torch(case: str, tmp_path: Path) -> None:
    make, overrides = CASES[case]
    reference = make(tmp_path / "checkpoint", Storage(seed=3), **overrides)
    lower_coreml(import_checkpoint(open_checkpoint(tmp_path / "checkpoint")), tmp_path / "m.mlpackage", CoreMLOptions())
    model = load_mlpackage(tmp_path / "m.mlpackage")
    ids = np.random.default_rng(0).integers(6, 331, sum(PIECES))
    with torch.no_grad():
        expected = reference(torch.from_numpy(ids)[None]).logits[0].numpy()
    rows = np.arange(len(ids))
    for exact in (False, True):
        got = predict(model, ids, exact=exact)
        largest = np.abs(expected).max()
        assert np.abs(got - expected).max() < TOLERANCE * largest
        # Another first choice only where the reference itself hardly prefers its own.
        gap = expected.max(-1) - expected[rows, got.argmax(-1)]
        assert gap.max() < TOLERANCE * largest
