"""Falcon with alibi through optimum, against numpy written from the weights.

transformers 4.57 adds the alibi bias twice in its eager attention (the mask that it builds holds the bias already) and
once in its default one, so eager attention can neither be traced nor be the reference.
"""

from __future__ import annotations

from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from numpy.typing import NDArray
from transformers import FalconConfig, FalconForCausalLM

from exporter.checkpoint import open_checkpoint
from exporter.importers.optimum import import_through_optimum
from exporter.runners.reference import TorchDecoder

Array = NDArray[Any]
HIDDEN, HEADS, LAYERS, LENGTH = 32, 4, 2, 12
SIZE = HIDDEN // HEADS
GELU = np.vectorize(lambda z: 0.5 * z * (1 + erf(z / 2**0.5)))


def falcon(folder: Path) -> dict[str, Array]:
    """A small random Falcon with alibi, saved; its weights in double precision."""
    torch.manual_seed(0)
    config = FalconConfig(
        vocab_size=60, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, alibi=True,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = FalconForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def computed(weights: dict[str, Array], ids: Array) -> Array:
    """Logits by the definition: alibi slopes of 4 heads are 2^-2, 2^-4, 2^-6, 2^-8, added once and before scaling."""

    def norm(x: Array, name: str) -> Array:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    count, x = len(ids), weights["transformer.word_embeddings.weight"][ids]
    alibi = 2.0 ** (-2 * np.arange(1, HEADS + 1))[:, None, None] * np.arange(count)
    for layer in range(LAYERS):
        name = f"transformer.h.{layer}"
        h = norm(x, f"{name}.input_layernorm")
        qkv = h @ weights[f"{name}.self_attention.query_key_value.weight"].T
        q = qkv[:, :HIDDEN].reshape(count, HEADS, SIZE).transpose(1, 0, 2)
        k, v = qkv[:, HIDDEN : HIDDEN + SIZE], qkv[:, HIDDEN + SIZE :]
        scores = np.where(np.tril(np.ones((count, count), bool)), (q @ k.T + alibi) / SIZE**0.5, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = (shares @ v).transpose(1, 0, 2).reshape(count, HIDDEN)
        wide = GELU(h @ weights[f"{name}.mlp.dense_h_to_4h.weight"].T)
        x = x + mixed @ weights[f"{name}.self_attention.dense.weight"].T
        x = x + wide @ weights[f"{name}.mlp.dense_4h_to_h.weight"].T
    logits: Array = norm(x, "transformer.ln_f") @ weights["transformer.word_embeddings.weight"].T
    return logits


def test_falcon_with_alibi(tmp_path: Path) -> None:
    folder, work = tmp_path / "falcon", tmp_path / "work"
    work.mkdir()
    weights = falcon(folder)
    ids = np.random.default_rng(0).integers(3, 60, LENGTH)
    expected = computed(weights, ids)
    tolerance = 1e-5 * np.abs(expected).max()  # float32 against float64; alibi twice is 1e-2 off

    reference = TorchDecoder(folder)
    assert reference.name.endswith("fp32 sdpa")
    np.testing.assert_allclose(reference.session().feed(ids), expected, rtol=0, atol=tolerance)

    (hub,), _ = import_through_optimum(open_checkpoint(folder), {}, None, work)
    feeds = {"input_ids": ids[None], "attention_mask": np.ones((1, LENGTH), np.int64)}
    feeds["position_ids"] = np.arange(LENGTH)[None]
    session = onnxruntime.InferenceSession(ir.to_proto(hub.model).SerializeToString())
    for given in session.get_inputs():
        if given.name not in feeds:
            sizes = [1 if isinstance(n, str) and "batch" in n else 0 if isinstance(n, str) else n for n in given.shape]
            feeds[given.name] = np.zeros(sizes, np.float32)
    (logits,) = session.run(["logits"], {given.name: feeds[given.name] for given in session.get_inputs()})
    np.testing.assert_allclose(logits[0], expected, rtol=0, atol=tolerance)
