"""What transformers 5 saved is compared with the model that it is, though the reference here is transformers 4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoints import write_json
from support.decoder_checkpoints import DECODERS, tiny_decoder
from support.encoder_checkpoints import tiny_encoder
from support.newer_spelling import newer

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.spelling import older_spelling
from exporter.importers.optimum_export import _load
from exporter.runners.reference import load_reference

SPELLED = [
    ("llama", "llama3"),
    ("qwen2", "yarn, layer types"),
    ("qwen3", "plain"),
    ("gemma3_text", "two ropes"),
    ("phi3", "longrope"),
    ("phi", "grouped, normed"),
    ("olmo2", "grouped, biased"),
    ("olmo3", "windows"),
    ("glm4", "unbiased"),
    ("cohere", "plain"),
    ("hunyuan_v1_dense", "alpha"),
    ("gpt_neox", "sequential, unbiased"),
]


def outputs(folder: Path, auto: str) -> torch.Tensor:
    model, _ = load_reference(folder, auto)
    ids = torch.randint(5, 200, (1, 20), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]


def respell(folder: Path) -> dict[str, Any]:
    """Rewrites config.json; returns what it was."""
    stated: dict[str, Any] = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", newer(stated))
    return stated


@pytest.mark.parametrize(("model_type", "variant"), SPELLED)
def test_the_reference_of_a_decoder_is_the_same_in_either_spelling(
    model_type: str, variant: str, tmp_path: Path
) -> None:
    theta = {} if model_type == "gpt_neox" else {"rope_theta": 2e5}  # never the default
    folder = tiny_decoder(tmp_path, model_type, **{**DECODERS[model_type][variant], **theta})
    before = outputs(folder, "AutoModelForCausalLM")
    stated = respell(folder)
    assert "rope_theta" not in json.loads((folder / "config.json").read_text())
    assert torch.equal(outputs(folder, "AutoModelForCausalLM"), before)
    assert older_spelling(stated) == stated


def test_the_reference_of_modernbert_is_the_same_in_either_spelling(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path, "modernbert", local_rope_theta=50.0, global_attn_every_n_layers=2)
    before = outputs(folder, "AutoModel")
    respell(folder)
    assert torch.equal(outputs(folder, "AutoModel"), before)


def test_what_optimum_traces_is_the_same_in_either_spelling(tmp_path: Path) -> None:
    folder = tiny_decoder(tmp_path, "llama", **DECODERS["llama"]["llama3"], rope_theta=2e5)
    before = _load(open_checkpoint(folder), "LlamaForCausalLM").model.rotary_emb.inv_freq
    respell(folder)
    after = _load(open_checkpoint(folder), "LlamaForCausalLM").model.rotary_emb.inv_freq
    assert torch.equal(after, before)


def test_gelu_in_gemma_is_its_tanh_approximation(tmp_path: Path) -> None:
    """As transformers 5 computes Gemma 1, whose first configurations say "gelu"."""
    plain = tiny_decoder(tmp_path / "tanh", "gemma", head_dim=12)
    stated = tiny_decoder(tmp_path / "gelu", "gemma", head_dim=12, hidden_act="gelu")
    auto = "AutoModelForCausalLM"
    assert torch.equal(outputs(stated, auto), outputs(plain, auto))


def test_what_is_spelled_the_same_stays_as_it_is() -> None:
    config = {
        "model_type": "phi3",
        "rope_scaling": {"type": "longrope", "short_factor": [1.0]},
        "id2label": {"0": "a"},
        "vision_config": {"rope_theta": 1e4, "hidden_size": 4},
    }
    assert older_spelling(config) == config


def test_of_two_names_for_a_scaling_the_newer_counts() -> None:
    scaling = {"type": "mrope", "rope_type": "default"}
    assert older_spelling({"rope_scaling": scaling})["rope_scaling"] == {"type": "default", "rope_type": "default"}
