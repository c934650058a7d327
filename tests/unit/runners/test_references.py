"""References for families that transformers has no class for, against the models their checkpoints were made from.

Tolerance: 2e-5 of the largest logit. Both sides compute in float32 and differ in the order of sums at most.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import draw_weights, edit_config, tiny_llama
from support.mapped_checkpoints import IN_SHARDS, MAPPED, Make, Storage, tiny_internlm2, tiny_minicpm, tiny_openelm
from transformers import Qwen3Config, Qwen3ForCausalLM

from exporter.errors import InputError
from exporter.runners.reference import TorchDecoder
from exporter.runners.references.openelm import OpenELM

IDS = np.random.default_rng(3).integers(6, 300, 40)


def assert_equal(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def logits_of(model: torch.nn.Module) -> Any:
    with torch.no_grad():
        return model(torch.from_numpy(IDS)[None]).logits[0].numpy()


@pytest.mark.parametrize("storage", [Storage(), IN_SHARDS], ids=["fp32", "bf16 in shards"])
@pytest.mark.parametrize("case", MAPPED)
def test_references_equal_the_models_they_were_made_from(case: str, storage: Storage, tmp_path: Path) -> None:
    make, overrides = MAPPED[case]
    expected = logits_of(make(tmp_path, storage, **overrides))
    runner = TorchDecoder(tmp_path)
    assert_equal(runner.session().feed(IDS), expected)
    session = runner.session()
    assert_equal(np.concatenate([session.feed(piece) for piece in np.split(IDS, [7, 8, 20])]), expected)


@pytest.mark.parametrize(
    ("make", "words"),
    [(tiny_minicpm, "MiniCPM computed by transformers' Granite"), (tiny_openelm, "OpenELM computed by kogata's")],
)
def test_runner_says_what_computes_it(make: Make, words: str, tmp_path: Path) -> None:
    make(tmp_path)
    assert words in TorchDecoder(tmp_path).name
    assert "computed by" not in TorchDecoder(tiny_llama(tmp_path / "llama")).name


def test_first_minicpms_state_only_their_class(tmp_path: Path) -> None:
    expected = logits_of(tiny_minicpm(tmp_path, model_type=...))
    assert_equal(TorchDecoder(tmp_path).session().feed(IDS), expected)


def test_openelm_with_equal_layers_is_qwen3(tmp_path: Path) -> None:
    """The torch module against independent code: Qwen3 has the same q/k norms, grouping, SwiGLU and rotation."""
    settings = {"num_query_heads": [4] * 3, "num_kv_heads": [2] * 3, "ffn_multipliers": [1.75] * 3}
    model = tiny_openelm(tmp_path, **settings, rope_freq_constant=500)
    qwen = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=model.transformer.token_embeddings.num_embeddings,
            hidden_size=32,
            intermediate_size=56,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            rms_norm_eps=1e-6,
            rope_theta=500,
            tie_word_embeddings=True,
            attn_implementation="eager",
        )
    ).eval()
    theirs = model.state_dict()
    state = {"model.embed_tokens.weight": theirs["transformer.token_embeddings.weight"]}
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    state["model.norm.weight"] = theirs["transformer.norm.weight"]
    for i in range(3):
        mine, layer = f"model.layers.{i}", f"transformer.layers.{i}"
        q, k, v = theirs[f"{layer}.attn.qkv_proj.weight"].split([32, 16, 16])
        gate, up = theirs[f"{layer}.ffn.proj_1.weight"].split(56)
        state |= {f"{mine}.self_attn.{n}_proj.weight": t for n, t in zip("qkv", (q, k, v), strict=True)}
        state |= {f"{mine}.mlp.gate_proj.weight": gate, f"{mine}.mlp.up_proj.weight": up}
        for ours, named in (("self_attn.o_proj", "attn.out_proj"), ("self_attn.q_norm", "attn.q_norm"),
                            ("self_attn.k_norm", "attn.k_norm"), ("mlp.down_proj", "ffn.proj_2"),
                            ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm")):  # fmt: skip
            state[f"{mine}.{ours}.weight"] = theirs[f"{layer}.{named}.weight"]
    qwen.load_state_dict(state)
    assert_equal(logits_of(model), logits_of(qwen))


def test_openelm_ignores_padding() -> None:
    config = {"vocab_size": 50, "model_dim": 16, "head_dim": 4, "num_transformer_layers": 2}
    model = OpenELM({**config, "ffn_dim_divisor": 8, "num_gqa_groups": 2, "qkv_multipliers": [0.5, 1.0]}).eval()
    draw_weights(model, 1)
    ids = torch.randint(0, 50, (1, 9), generator=torch.Generator().manual_seed(0))
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), ids], 1)
    mask = torch.cat([torch.zeros(1, 4), torch.ones(1, 9)], 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0).long()
    with torch.no_grad():
        left = model(padded, attention_mask=mask, position_ids=positions).logits[:, 4:]
        assert_equal(left.numpy(), model(ids).logits.numpy())


def test_published_openelm_sizes() -> None:
    """The lists in Apple's OpenELM-270M configuration follow from the multipliers beside them."""
    published = {
        "num_query_heads": [12, 12, 12, 12, 12, 16, 16, 16, 16, 16, 16, 16, 20, 20, 20, 20],
        "num_kv_heads": [3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5],
    }
    config = {"vocab_size": 8, "model_dim": 1280, "head_dim": 64, "num_transformer_layers": 16, "num_gqa_groups": 4}
    with torch.device("meta"):
        model = OpenELM({**config, "qkv_multipliers": [0.5, 1.0], "ffn_multipliers": [0.5, 4.0]})
    sizes = [layer.attn.sizes for layer in model.transformer.layers]
    assert [s.heads for s in sizes] == published["num_query_heads"]
    assert [s.kv_heads for s in sizes] == published["num_kv_heads"]
    assert [sizes[0].inner, sizes[-1].inner] == [768, 5120]


@pytest.mark.parametrize("make", [tiny_minicpm, tiny_internlm2, tiny_openelm])
def test_missing_and_misshapen_weights_are_refused(make: Make, tmp_path: Path) -> None:
    make(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    norm = next(name for name in state if name.endswith("norm.weight") and "layers" not in name)
    save_file({name: tensor for name, tensor in state.items() if name != norm}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"norm\.weight"):
        TorchDecoder(tmp_path)
    save_file(state | {norm: torch.ones(3)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="reference"):
        TorchDecoder(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": ...},
        {"hidden_size": "wide"},
        {"num_attention_heads": 0},
        {"dim_model_base": 0},
        {"rope_scaling": {"rope_type": "longrope"}},
        {"rope_scaling": 3},
    ],
    ids=str,
)
def test_configurations_of_no_model_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    tiny_minicpm(tmp_path)
    edit_config(tmp_path, **changes)
    with pytest.raises(InputError, match="reference"):
        TorchDecoder(tmp_path)
