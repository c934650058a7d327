"""Tiny models as hubs, feeds for them, and what onnxruntime makes of those."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from exporter.checkpoint import open_checkpoint
from exporter.graph.model import DecoderSpec, Hub
from exporter.graph.palette import Palette
from exporter.importers import import_checkpoint
from support.decoder_checkpoints import DECODERS, tiny_decoder
from support.encoder_checkpoints import tiny_encoder
from support.hub_sessions import open_session, positions_of
from support.mapped_checkpoints import MAPPED, SAVED_BY_TRANSFORMERS

Arrays = dict[str, np.ndarray]
_FOLDERS = TemporaryDirectory()  # hubs read their weights from files, for as long as the tests run


@cache
def hub_of(name: str, **settings: Any) -> Hub:
    """By name: `family/variant` of a decoder, `family:Head` of an encoder, or one of `mapped_checkpoints`."""
    folder = Path(_FOLDERS.name) / str(len(list(Path(_FOLDERS.name).iterdir())))
    if "/" in name:
        family, variant = name.split("/")
        tiny_decoder(folder, family, **DECODERS[family][variant], **settings)
    elif ":" in name:
        tiny_encoder(folder, *name.split(":"), **settings)
    else:
        make, own = (MAPPED | SAVED_BY_TRANSFORMERS)[name]
        make(folder, **own, **settings)
    return import_checkpoint(open_checkpoint(folder))


def feeds_of(hub: Hub, tokens: int = 12, *, past: int = 0, padding: int = 3) -> Arrays:
    """Two sequences of ids, the first tokens of the second one padding, after a past of random keys and values."""
    rng = np.random.default_rng(0)
    mask = np.ones((2, past + tokens), np.int64)
    mask[1, :padding] = 0
    feeds = {"input_ids": rng.integers(5, 200, (2, tokens)), "attention_mask": mask}
    if isinstance(hub.spec, DecoderSpec):
        feeds["position_ids"] = positions_of(mask)[:, past:]
        for i, heads in enumerate(hub.spec.cache.kv_heads):
            for kind in ("key", "value"):
                cache = rng.standard_normal((2, heads, past, hub.spec.cache.head_dim))
                feeds[f"past_key_values.{i}.{kind}"] = cache.astype(np.float32)
    elif "token_type_ids" in {value.name for value in hub.model.graph.inputs}:
        feeds["token_type_ids"] = rng.integers(0, 2, (2, tokens))
    return feeds


def batches_of(hub: Hub) -> list[Arrays]:
    """Two batches of different lengths, one with padding."""
    return [feeds_of(hub, 7), feeds_of(hub, 4, padding=0)]


def in_onnxruntime(hub: Hub, feeds: Arrays) -> Arrays:
    """All outputs of the hub."""
    session = open_session(hub, check=False)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def agree(found: dict[str, torch.Tensor], expected: Arrays, tolerance: float) -> None:
    """Every output to `tolerance` of its largest number."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        ours = found[name].detach().numpy()
        assert ours.shape == array.shape
        np.testing.assert_allclose(ours, array, rtol=0, atol=tolerance * np.abs(array).max(), err_msg=name)


def random_palette(shape: tuple[int, int], bits: int, group_size: int, seed: int) -> Palette:
    """Any numbers, about as large as the weights that `checkpoints.draw_weights` draws."""
    rng = np.random.default_rng(seed)
    groups = -(-shape[0] // group_size)
    lut = np.sort(rng.standard_normal((groups, 2**bits)) * 1.5 / shape[1] ** 0.5, 1).astype(np.float16)
    return Palette.of(rng.integers(0, 2**bits, shape).astype(np.uint8), lut, bits, group_size)
