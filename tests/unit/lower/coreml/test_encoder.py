"""The encoder program, executed from the saved package, against transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoints import tiny_bert
from transformers import AutoModel

from exporter.checkpoint import open_checkpoint
from exporter.importers import import_checkpoint
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.runners.mil import load_mlpackage

IDS = [2, 9, 31, 17, 8, 3]


def reference(folder: Path, pooling: str | None, normalize: bool) -> tuple[np.ndarray, np.ndarray | None]:
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        tokens = model(torch.tensor([IDS])).last_hidden_state[0]
    sentence = {"mean": tokens.mean(0), "cls": tokens[0], None: None}[pooling]
    if sentence is not None and normalize:
        sentence = sentence / sentence.norm()
    return tokens.numpy(), None if sentence is None else sentence.numpy()


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("mean", False), ("cls", True), (None, False)])
def test_every_pooling_at_every_length(tmp_path: Path, pooling: str | None, normalize: bool) -> None:
    folder = tiny_bert(tmp_path / "bert", pooling=pooling, normalize=normalize)
    hub = import_checkpoint(open_checkpoint(folder))
    lower_coreml(hub, tmp_path / "b.mlpackage", CoreMLOptions())
    model = load_mlpackage(tmp_path / "b.mlpackage")
    tokens, sentence = reference(folder, pooling, normalize)
    lengths = [shape[1] for shape in model.inputs[0].enumerated]
    assert max(lengths) == hub.spec.context
    for length in lengths:
        ids, mask = np.full((1, length), 7, np.int32), np.zeros((1, length), np.int32)
        ids[0, : len(IDS)], mask[0, : len(IDS)] = IDS, 1
        out = model.predict({"input_ids": ids, "attention_mask": mask})
        # a few units of fp16's last place, whatever stands in the padding
        assert np.abs(out["token_embeddings"][0, : len(IDS)] - tokens).max() < 1e-2 * np.abs(tokens).max()
        if sentence is None:
            assert set(out) == {"token_embeddings"}
        else:
            assert np.abs(out["sentence_embedding"][0] - sentence).max() < 1e-2 * np.abs(sentence).max()


def test_a_shorter_context_gives_fewer_lengths(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert", max_position_embeddings=128)
    hub = import_checkpoint(open_checkpoint(folder), context=48)
    lower_coreml(hub, tmp_path / "b.mlpackage", CoreMLOptions())
    model = load_mlpackage(tmp_path / "b.mlpackage")
    assert sorted(shape[1] for shape in model.inputs[0].enumerated) == [32, 48]


def test_a_context_below_the_smallest_length_is_the_only_length(tmp_path: Path) -> None:
    """coremltools enumerates no fewer than two shapes."""
    folder = tiny_bert(tmp_path / "bert")
    lower_coreml(import_checkpoint(open_checkpoint(folder), context=17), tmp_path / "b.mlpackage", CoreMLOptions())
    model = load_mlpackage(tmp_path / "b.mlpackage")
    assert (model.inputs[0].enumerated, tuple(model.inputs[0].shape)) == ((), (1, 17))
    tokens, _ = reference(folder, "mean", True)
    ids, mask = np.full((1, 17), 7, np.int32), np.zeros((1, 17), np.int32)
    ids[0, : len(IDS)], mask[0, : len(IDS)] = IDS, 1
    out = model.predict({"input_ids": ids, "attention_mask": mask})
    assert np.abs(out["token_embeddings"][0, : len(IDS)] - tokens).max() < 1e-2 * np.abs(tokens).max()
