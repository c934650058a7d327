"""Feeds saved decoder programs as apps do, and the logits that transformers computes for the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from exporter.runners.mil import MilModel
from exporter.runners.mil.model import MilState

MaskOf = Callable[[int, int], np.ndarray]


def swift_mask(past: int, new: int) -> np.ndarray:
    """What swift-transformers sends: zeros, one wider than all tokens so far."""
    return np.zeros((1, 1, 1, past + new + 1), np.float16)


def exact_mask(past: int, new: int) -> np.ndarray:
    """What Apple's example sends."""
    hidden = np.triu(np.ones((new, past + new), bool), past + 1)
    return np.where(hidden, -np.inf, 0)[None, None].astype(np.float16)


def feed(
    model: MilModel, chunks: Sequence[Sequence[int]], mask_of: MaskOf, state: MilState | None = None, past: int = 0
) -> np.ndarray:
    """Logits `[tokens, vocab]` of all chunks, fed one after another."""
    state = state or model.new_state()
    logits = []
    for chunk in chunks:
        inputs = {"inputIds": np.array([chunk], np.int32), "causalMask": mask_of(past, len(chunk))}
        logits.append(model.predict(inputs, state)["logits"][0])
        past += len(chunk)
    return np.concatenate(logits).astype(np.float32)


def reference(folder: Path, ids: Sequence[int]) -> np.ndarray:
    """Logits `[tokens, vocab]` of the checkpoint in transformers, in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return model(torch.tensor([list(ids)])).logits[0].numpy()
