"""The `onnx/` folder of every decoder family as onnxruntime-genai loads it: the same greedy tokens as in torch.

Three families run by default, chosen for what onnxruntime-genai has no type of its own for; the others are slow.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoints import SENTENCES
from support.decoder_checkpoints import DECODERS, tiny_decoder
from support.mapped_checkpoints import MAPPED, SAVED_BY_TRANSFORMERS
from transformers import AutoModelForCausalLM, AutoTokenizer

from exporter.bundle.onnx_files import genai_config
from exporter.checkpoint import open_checkpoint
from exporter.graph.model import DecoderSpec
from exporter.importers import import_checkpoint
from exporter.lower.onnx import OnnxOptions, lower_onnx

STEPS = 12  # greedy tokens: enough to run the cache well past the prompt
BY_TRANSFORMERS = [f"{model_type}: {variant}" for model_type, them in DECODERS.items() for variant in them]
OURS = {**MAPPED, **SAVED_BY_TRANSFORMERS}
FAST = {
    "openelm": "every layer has other key/value heads than num_key_value_heads says",
    "opt": "learned positions",
    "gemma3_text: two ropes": "sliding windows",
}


def checkpoint_of(case: str, folder: Path) -> torch.nn.Module:
    """Writes the case's checkpoint and returns the model in torch."""
    if case in OURS:
        make, overrides = OURS[case]
        return make(folder, **overrides)
    model_type, variant = case.split(": ")
    tiny_decoder(folder, model_type, **DECODERS[model_type][variant])
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def greedy(model: torch.nn.Module, ids: list[int], end: int) -> list[int]:
    """Plain greedy decoding in torch, without a cache: the simplest form there is. The end token is left out."""
    ids = list(ids)
    with torch.no_grad():
        for _ in range(STEPS):
            chosen = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if chosen == end:
                break
            ids.append(chosen)
    return ids


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in FAST else pytest.mark.slow) for case in [*BY_TRANSFORMERS, *OURS]]
)
def test_onnxruntime_genai_generates_the_same_tokens(case: str, tmp_path: Path) -> None:
    import onnxruntime_genai as genai

    reference = checkpoint_of(case, tmp_path / "checkpoint")
    checkpoint = open_checkpoint(tmp_path / "checkpoint")
    hub = import_checkpoint(checkpoint)
    assert isinstance(hub.spec, DecoderSpec)
    lower_onnx(hub, tmp_path / "onnx", OnnxOptions())
    config = genai_config(hub.spec, hub.family, hub.spec.context, checkpoint.config, checkpoint.generation_config)
    (tmp_path / "onnx" / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    model = genai.Model(str(tmp_path / "onnx"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "checkpoint")
    said = 0
    for text in SENTENCES[:3]:
        ids = tokenizer(text)["input_ids"]
        wanted = greedy(reference, ids, tokenizer.eos_token_id)
        params = genai.GeneratorParams(model)
        params.set_search_options(max_length=len(ids) + STEPS, do_sample=False)
        generator = genai.Generator(model, params)
        generator.append_tokens(np.array(ids, np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        found = generator.get_sequence(0).tolist()
        assert found[: len(wanted)] == wanted
        assert found[len(wanted) :] in ([], [tokenizer.eos_token_id])  # whether it keeps that one is its own affair
        said += len(wanted) - len(ids)
    assert said >= STEPS, "mostly answers, not one end token after the other"
