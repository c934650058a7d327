"""What decoder families make of their configuration: defaults, spellings, refusals; and of tensors that don't fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import _bpe_tokenizer, _save, edit_config
from support.decoder_checkpoints import DECODERS, SIZES, WINDOW, YARN, longrope, tiny_decoder
from support.decoder_references import reference, reference_logits
from support.hub_sessions import in_pieces
from transformers import Gemma3Config, Gemma3ForConditionalGeneration
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from exporter.checkpoint import open_checkpoint
from exporter.errors import InputError, UnsupportedError
from exporter.graph.model import DecoderSpec
from exporter.importers import import_checkpoint
from exporter.importers.config import ConfigReader
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.families import FAMILIES
from exporter.importers.native import plan_import

REQUIRED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
CASES = [(model_type, variant) for model_type, variants in DECODERS.items() for variant in variants]


def layout(model_type: str, config: dict[str, Any]) -> DecoderLayout:
    reader = ConfigReader(config)
    found = FAMILIES[model_type].layout(reader)
    reader.finish()
    assert isinstance(found, DecoderLayout)
    return found


@pytest.mark.parametrize("model_type", DECODERS)
def test_absent_keys_mean_what_transformers_takes_them_for(model_type: str) -> None:
    """The configuration class's own model, with every value stated and with none but the sizes."""
    stated = CONFIG_MAPPING[model_type]().to_dict()
    if model_type == "ministral":  # its class leaves head_dim null, which its model can't take
        stated["head_dim"] = 128
    sizes = {key: stated[key] for key in REQUIRED}
    assert layout(model_type, sizes) == layout(model_type, stated)


@pytest.mark.parametrize(("model_type", "variant"), CASES)
def test_keys_at_their_default_may_be_left_out(model_type: str, variant: str) -> None:
    config_class = CONFIG_MAPPING[model_type]
    stated = config_class(**(SIZES | {"vocab_size": 331} | DECODERS[model_type][variant])).to_dict()
    defaults = config_class().to_dict()
    sparse = {key: value for key, value in stated.items() if key not in defaults or value != defaults[key]}
    sparse |= {key: stated[key] for key in REQUIRED}
    # Kinds of layers that follow from other keys are a default too (EXAONE's class divides by 0 without windows).
    if "sliding_window" not in sparse or sparse["sliding_window"] is not None:
        followed = config_class(**{key: value for key, value in sparse.items() if key != "layer_types"}).to_dict()
        if followed.get("layer_types") == stated.get("layer_types"):
            sparse.pop("layer_types", None)
    assert len(sparse) < len(stated)
    assert layout(model_type, sparse) == layout(model_type, stated)


def test_windows_wider_than_the_context_are_none(tmp_path: Path) -> None:
    folder = tiny_decoder(tmp_path, "mistral", sliding_window=32)
    wide = import_checkpoint(open_checkpoint(folder)).spec
    narrow = import_checkpoint(open_checkpoint(folder), context=32).spec
    assert isinstance(wide, DecoderSpec)
    assert isinstance(narrow, DecoderSpec)
    assert (wide.windows, narrow.windows) == ((32,), ())


def test_qwen_windows_begin_at_a_layer() -> None:
    config = SIZES | {"vocab_size": 8, "use_sliding_window": True, "sliding_window": WINDOW}
    for first in (0, 1, 3):
        windows = [layer.window for layer in layout("qwen2", config | {"max_window_layers": first}).layers]
        assert windows == [WINDOW if i >= first else None for i in range(3)]
    assert not layout("qwen2", config | {"use_sliding_window": False}).windows


def test_ropes_are_read_from_rope_parameters() -> None:
    """transformers 5's spelling gives the layout of the older one."""
    config = SIZES | {"vocab_size": 8, "head_dim": 12, "sliding_window": WINDOW}
    full, local = {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}, {"rope_type": "default", "rope_theta": 1e4}
    new = config | {"rope_parameters": {"full_attention": full, "sliding_attention": local}}
    old = config | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}, "rope_theta": 1e6}
    assert layout("gemma3_text", new) == layout("gemma3_text", old)
    flat, scaled = {"rope_parameters": YARN | {"rope_theta": 5e5}}, {"rope_scaling": YARN, "rope_theta": 5e5}
    assert layout("qwen3", config | flat) == layout("qwen3", config | scaled)


def test_phi3_scalings_of_before_the_paper() -> None:
    """Phi-3's first checkpoints said "su", and "yarn" for the same thing."""
    config = SIZES | {"vocab_size": 8, "original_max_position_embeddings": 16}
    layouts = {
        layout("phi3", config | {"rope_scaling": longrope(4) | {"type": kind}}) for kind in ("longrope", "su", "yarn")
    }
    assert len(layouts) == 1
    assert next(iter(layouts)).layers[0].rope == layout("phi3", config | {"rope_scaling": longrope(4)}).layers[0].rope


@pytest.mark.parametrize("renamed", [False, True])
def test_gemma3_text_out_of_a_multimodal_checkpoint(renamed: bool, tmp_path: Path) -> None:
    """As transformers 4.57 saves it, and under the names that the hub's checkpoints have."""
    text = DECODERS["gemma3_text"]["two ropes"]
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(
        text_config=SIZES | text | {"vocab_size": 331, "pad_token_id": 2}, vision_config=vision, mm_tokens_per_image=4
    )
    model = Gemma3ForConditionalGeneration(config)
    _save(model, _bpe_tokenizer(), tmp_path, seed=0, dtype="float32", max_shard_size="5GB")
    ids = np.random.default_rng(0).integers(6, 300, (1, 20))
    expected = reference_logits(reference(tmp_path), ids, np.ones_like(ids), (20,))
    if renamed:
        state = load_file(tmp_path / "model.safetensors")
        hubs = {
            name.replace("model.language_model.", "language_model.model."): tensor for name, tensor in state.items()
        }
        hubs = {name.removeprefix("model.") if "vision" in name else name: tensor for name, tensor in hubs.items()}
        save_file(hubs, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    mine = in_pieces(import_checkpoint(checkpoint), ids, np.ones_like(ids), [7, 13])
    np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    left_out = plan_import(checkpoint, None).binding.unused
    assert left_out
    assert all("vision" in name or "projector" in name for name in left_out)
    assert set(left_out.values()) == {"vision: only text is exported"}


def test_gemma3_multimodal_configurations_may_state_little() -> None:
    """Gemma 3 4B's `text_config` relies on the configuration class for the vocabulary, the heads and more."""
    stated = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
    stated["rope_scaling"] = {"factor": 8.0, "rope_type": "linear"}
    whole = Gemma3Config(text_config=stated).text_config.to_dict()
    assert layout("gemma3", {"text_config": stated}) == layout("gemma3_text", whole)


@pytest.mark.parametrize(
    ("model_type", "changes", "message"),
    [
        ("olmo", {"clip_qkv": 8.0}, "clip_qkv: 8.0 is not supported"),
        ("stablelm", {"qk_layernorm": True}, "qk_layernorm: True is not supported"),
        ("nemotron", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
        ("qwen2", {"layer_types": ["chunked_attention"] * 3}, "layer_types: 'chunked_attention'"),
        ("qwen3", {"hidden_act": "mish"}, "hidden_act: 'mish' is not supported"),
    ],
)
def test_unsupported_values(model_type: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        layout(model_type, SIZES | {"vocab_size": 8, "sliding_window": WINDOW} | changes)


@pytest.mark.parametrize(
    ("model_type", "changes", "message"),
    [
        (
            "qwen2",
            {"layer_types": ["full_attention"]},
            "layer_types: must be a list with one type for each of the 3 layers",
        ),
        ("qwen2", {"layer_types": ["sliding_attention"] * 3, "sliding_window": None}, "sliding_window: is absent"),
        ("qwen2", {"max_window_layers": -1}, "max_window_layers: -1"),
        ("mistral", {"sliding_window": 0}, "sliding_window: 0 is not"),
        ("mistral", {"num_key_value_heads": 3}, "3 doesn't divide num_attention_heads, 4"),
        ("gemma2", {"attn_logit_softcapping": -1.0}, "attn_logit_softcapping: -1.0 is not"),
        ("gemma3_text", {"sliding_window_pattern": 0}, "sliding_window_pattern: 0 is not"),
        ("gemma3", {"text_config": None}, "text_config: is missing"),
        ("granite", {"logits_scaling": 0}, "logits_scaling: 0 is not"),
        ("smollm3", {"no_rope_layers": [1, 0]}, "no_rope_layers: must be a list with 0 or 1 for each of the 3 layers"),
        ("smollm3", {"no_rope_layers": [1, 0, 2]}, "no_rope_layers"),
        ("smollm3", {"no_rope_layer_interval": 0}, "no_rope_layer_interval: 0 is not"),
        ("glm", {"partial_rotary_factor": 0.01}, "partial_rotary_factor: would rotate 1 of 128 elements"),
        ("phi3", {"rope_scaling": longrope(3)}, "short_factor: must be a list of 4 numbers"),
        ("llama", {"num_hidden_layers": 10**9}, "num_hidden_layers: 1000000000"),
        ("hunyuan_v1_dense", {"rope_scaling": {"type": "dynamic", "alpha": -1, "factor": 1.0}}, "alpha: -1 is not"),
    ],
)
def test_invalid_values(model_type: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        layout(model_type, SIZES | {"vocab_size": 8, "sliding_window": WINDOW} | changes)


@pytest.mark.parametrize(
    "model_type", ["mixtral", "qwen2_moe", "qwen3_moe", "phimoe", "olmoe", "granitemoe", "gpt_oss"]
)
def test_mixtures_of_experts_are_no_family(model_type: str) -> None:
    assert model_type not in FAMILIES


FUSED = {
    "phi3": ("model.layers.1.self_attn.qkv_proj.weight", "model.layers.1.mlp.gate_up_proj.weight"),
    "glm": ("model.layers.1.self_attn.k_proj.bias", "model.layers.1.mlp.gate_up_proj.weight"),
    "gpt_neox": ("gpt_neox.layers.1.attention.query_key_value.bias", "gpt_neox.layers.1.mlp.dense_h_to_4h.weight"),
    "qwen3": ("model.layers.1.self_attn.q_norm.weight", "model.layers.1.self_attn.v_proj.weight"),
    "gemma2": ("model.layers.1.pre_feedforward_layernorm.weight", "model.layers.1.post_feedforward_layernorm.weight"),
}


@pytest.mark.parametrize("model_type", FUSED)
def test_missing_misshapen_and_surplus_tensors_are_named_at_once(model_type: str, tmp_path: Path) -> None:
    folder = tiny_decoder(tmp_path, model_type, **next(iter(DECODERS[model_type].values())))
    missing, misshapen = FUSED[model_type]
    state = load_file(folder / "model.safetensors")
    lost, whole = list(state.pop(missing).shape), list(state[misshapen].shape)
    state[misshapen] = torch.zeros(whole[0] + 1, *whole[1:])
    state["model.layers.1.extra.weight"] = torch.zeros(3)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(InputError) as caught:
        import_checkpoint(open_checkpoint(folder))
    messages = [d.message for d in caught.value.diagnostics]
    assert f"{missing} {lost} is missing" in messages
    assert f"{misshapen} has shape {[whole[0] + 1, *whole[1:]]}, config.json implies {whole}" in messages
    assert any(message.startswith("model.layers.1.extra.weight [3] is not part of") for message in messages)
    assert len(messages) == 3


def test_fewer_heads_than_stored_is_a_shape_that_disagrees(tmp_path: Path) -> None:
    folder = tiny_decoder(tmp_path, "phi3", **DECODERS["phi3"]["sliding"])
    edit_config(folder, num_key_value_heads=2)
    with pytest.raises(InputError, match=r"qkv_proj.weight has shape \[96, 32\], config.json implies \[64, 32\]"):
        import_checkpoint(open_checkpoint(folder))
