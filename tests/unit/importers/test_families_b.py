"""MiniCPM, InternLM 2 and 3, OpenELM, GPT-2 and OPT: hub graphs in onnxruntime against torch.

The references are the very models that the checkpoints were made from (see `mapped_checkpoints`): transformers'
Granite, Llama, GPT-2 and OPT, and the torch module written after OpenELM's paper; never our own graph.

Tolerance: 2e-5 of the largest logit. Both sides compute in float32 and differ only in the order of sums, which over
a few layers leaves about 1e-6; the weights make any wrong wiring move logits by a tenth of the largest or more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from support.checkpoints import SENTENCES, edit_config
from support.hub_sessions import in_pieces, positions_of
from support.mapped_checkpoints import (
    FAMILIES,
    IN_SHARDS,
    LONGROPE,
    MAPPED,
    SAVED_BY_TRANSFORMERS,
    Make,
    Storage,
    drawn,
    tiny_gpt2,
    tiny_gpt_neo,
    tiny_internlm2,
    tiny_minicpm,
    tiny_openelm,
    tiny_opt,
)
from transformers import AutoTokenizer

from exporter.checkpoint import open_checkpoint
from exporter.errors import InputError, UnsupportedError
from exporter.graph.model import DecoderSpec, Hub
from exporter.importers import import_checkpoint, reference_points
from exporter.importers.native import plan_import
from exporter.importers.routes import route_of
from exporter.parity.locate.onnx_values import capture_onnx
from exporter.parity.locate.torch_values import capture_torch, token_feeds
from exporter.runners.ort import OnnxSource, decoder_feeds, empty_cache
from exporter.runners.reference import TorchDecoder

CASES = MAPPED | SAVED_BY_TRANSFORMERS
TOLERANCE = 2e-5


def logits_of(model: torch.nn.Module, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    with torch.no_grad():
        return model(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            position_ids=torch.from_numpy(positions_of(mask)),
        ).logits.numpy()


def batch(folder: Path, *texts: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and mask, padded on the left."""
    made = AutoTokenizer.from_pretrained(folder)(list(texts), padding=True, return_tensors="np")
    return made["input_ids"].astype(np.int64), made["attention_mask"].astype(np.int64)


def assert_equal(actual: Any, expected: Any, where: NDArray[np.int64]) -> None:
    assert np.isfinite(actual).all()
    real = where.astype(bool)
    np.testing.assert_allclose(actual[real], expected[real], rtol=0, atol=TOLERANCE * np.abs(expected[real]).max())


def assert_imported(folder: Path, model: torch.nn.Module) -> Hub:
    """Prefill, and cached decoding in uneven pieces, of a batch that is padded on the left."""
    hub = import_checkpoint(open_checkpoint(folder))
    ids, mask = batch(folder, *SENTENCES[:3])
    assert (mask[:, 0] == 0).any()
    expected, length = logits_of(model, ids, mask), ids.shape[1]
    assert_equal(in_pieces(hub, ids, mask, [length]), expected, mask)
    assert_equal(in_pieces(hub, ids, mask, [5, 1, 1, 7, 1, length - 15]), expected, mask)
    return hub


@pytest.mark.parametrize("storage", [Storage(), IN_SHARDS], ids=["fp32", "bf16 in shards"])
@pytest.mark.parametrize("case", CASES)
def test_logits_equal_the_reference(case: str, storage: Storage, tmp_path: Path) -> None:
    make, overrides = CASES[case]
    assert_imported(tmp_path, make(tmp_path, storage, **overrides))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("family", FAMILIES)
def test_random_configurations(family: str, seed: int, tmp_path: Path) -> None:
    make, overrides = drawn(family, seed)
    assert_imported(tmp_path, make(tmp_path, Storage(seed=seed), **overrides))


@pytest.mark.parametrize("make", [tiny_minicpm, tiny_internlm2, tiny_opt, tiny_gpt2])
def test_names_without_the_models_prefix(make: Make, tmp_path: Path) -> None:
    """As the bare model's `save_pretrained` writes them; all of these are tied or store their head by its own name."""
    model = make(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    bare = {name.removeprefix("model.").removeprefix("transformer."): tensor for name, tensor in state.items()}
    assert set(bare) != set(state)
    save_file(bare, tmp_path / "model.safetensors")
    assert_imported(tmp_path, model)


@pytest.mark.parametrize("case", CASES)
def test_reference_points_name_the_same_tensors(case: str, tmp_path: Path) -> None:
    """What a failed parity row would be traced with: the same value in the hub and in the gate's own reference."""
    make, overrides = CASES[case]
    make(tmp_path, **overrides)
    hub = import_checkpoint(open_checkpoint(tmp_path))
    ids, _ = batch(tmp_path, SENTENCES[0])
    points = reference_points(hub)
    expected = capture_torch(TorchDecoder(tmp_path).model, token_feeds(ids[0]), points)
    made = capture_onnx(OnnxSource(model=hub.model), lambda s: {**decoder_feeds(s, ids[0], 0), **empty_cache(s)}, 1)
    assert len(points) >= 3 + 3 * hub.spec.cache.layers
    for value in points:
        assert_equal(made[value], expected[value], np.ones(1))


def test_openelms_layers_differ_in_the_cache(tmp_path: Path) -> None:
    hub = assert_imported(tmp_path, tiny_openelm(tmp_path))
    assert isinstance(hub.spec, DecoderSpec)
    assert hub.spec.heads == (2, 4, 4)
    assert hub.spec.cache.kv_heads == (1, 2, 2)
    assert hub.spec.cache.head_dim == 8


def test_first_minicpms_state_only_their_class(tmp_path: Path) -> None:
    model = tiny_minicpm(tmp_path, model_type=..., auto_map={"AutoModelForCausalLM": "modeling_minicpm.X"})
    assert assert_imported(tmp_path, model).family == "minicpm"


@pytest.mark.parametrize("context", [8, 16, 17, 40])
def test_minicpms_longrope_depends_on_the_model_alone(context: int, tmp_path: Path) -> None:
    """Its code picks the factors by the model's context, so a shorter export or text must not change them."""
    model = tiny_minicpm(tmp_path, rope_scaling=LONGROPE)
    hub = import_checkpoint(open_checkpoint(tmp_path), context=context)
    ids = np.random.default_rng(0).integers(6, 300, (1, context))
    mask = np.ones_like(ids)
    expected = logits_of(model, ids, mask)
    assert_equal(in_pieces(hub, ids, mask, [context]), expected, mask)
    assert_equal(in_pieces(hub, ids, mask, [3, 1, context - 4]), expected, mask)


def test_minicpms_sparse_attention_is_dense_up_to_its_dense_length(tmp_path: Path) -> None:
    tiny_minicpm(tmp_path, sparse_config={"dense_len": 48, "topk": 64})
    hub = import_checkpoint(open_checkpoint(tmp_path))
    assert isinstance(hub.spec, DecoderSpec)
    assert hub.spec.context == 48


def test_buffers_of_old_gpt2_checkpoints(tmp_path: Path) -> None:
    model = tiny_gpt2(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    for i in range(2):
        state[f"transformer.h.{i}.attn.bias"] = torch.ones(1, 1, 64, 64).tril()
        state[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(state, tmp_path / "model.safetensors")
    assert_imported(tmp_path, model)
    unused = plan_import(open_checkpoint(tmp_path), None).binding.unused
    assert sorted(unused) == [f"transformer.h.{i}.attn.{kind}" for i in range(2) for kind in ("bias", "masked_bias")]


def test_a_head_beside_tied_embeddings_must_equal_them(tmp_path: Path) -> None:
    model = tiny_internlm2(tmp_path, tie_word_embeddings=True)
    state = load_file(tmp_path / "model.safetensors")
    state["output.weight"] = state["model.tok_embeddings.weight"].clone()
    save_file(state, tmp_path / "model.safetensors")
    assert_imported(tmp_path, model)
    save_file(state | {"output.weight": state["output.weight"] + 1}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"output\.weight differs"):
        import_checkpoint(open_checkpoint(tmp_path))


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (tiny_internlm2, "model.layers.1.attention.wqkv.weight", "[64, 32]"),
        (tiny_openelm, "transformer.layers.0.attn.qkv_proj.weight", "[32, 32]"),
        (tiny_openelm, "transformer.layers.1.ffn.proj_1.weight", "[80, 32]"),
        (tiny_gpt2, "transformer.h.1.attn.c_attn.weight", "[32, 96]"),
        (tiny_gpt2, "transformer.wpe.weight", "[64, 32]"),
        (tiny_opt, "model.decoder.embed_positions.weight", "[66, 32]"),
        (tiny_minicpm, "model.layers.0.self_attn.k_proj.weight", "[16, 32]"),
    ],
)
def test_missing_surplus_and_misshapen_tensors_are_named(make: Make, name: str, expected: str, tmp_path: Path) -> None:
    make(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file({key: tensor for key, tensor in state.items() if key != name}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="is missing") as caught:
        import_checkpoint(open_checkpoint(tmp_path))
    assert [(d.where, expected in d.message) for d in caught.value.diagnostics] == [(name, True)]
    save_file(state | {name: torch.ones(3, 5)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"\[3, 5\]") as caught:
        import_checkpoint(open_checkpoint(tmp_path))
    assert [(d.where, expected in d.message) for d in caught.value.diagnostics] == [(name, True)]
    surplus = name.replace(".1.", ".9.") if ".1." in name else f"{name}.extra"
    save_file(state | {surplus: torch.ones(3, 5)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="is not part of") as caught:
        import_checkpoint(open_checkpoint(tmp_path))
    assert [d.where for d in caught.value.diagnostics] == [surplus]


@pytest.mark.parametrize(
    ("make", "changes", "word"),
    [
        (tiny_minicpm, {"model_type": "minicpm3", "q_lora_rank": 768}, "minicpm3"),
        (tiny_minicpm, {"hidden_act": "fatrelu"}, "fatrelu"),
        (tiny_minicpm, {"num_experts": 8}, "num_experts"),
        (tiny_minicpm, {"sparse_config": {"dense_len": -1}}, "sparse_config"),
        (tiny_internlm2, {"hidden_act": "gelu"}, "hidden_act"),
        (tiny_openelm, {"normalization_layer_name": "layer_norm"}, "normalization_layer_name"),
        (tiny_openelm, {"activation_fn_name": "prelu"}, "prelu"),
        (tiny_gpt2, {"add_cross_attention": True}, "add_cross_attention"),
        (tiny_gpt2, {"activation_function": "prelu"}, "prelu"),
        (tiny_opt, {"activation_function": "prelu"}, "prelu"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_cannot_be_expressed_is_said(make: Make, changes: dict[str, Any], word: str, tmp_path: Path) -> None:
    make(tmp_path)
    edit_config(tmp_path, **changes)
    with pytest.raises(UnsupportedError, match=word):
        import_checkpoint(open_checkpoint(tmp_path))


def test_minicpm3_is_refused_for_what_it_is(tmp_path: Path) -> None:
    tiny_minicpm(tmp_path)
    edit_config(tmp_path, model_type="minicpm3", architectures=["MiniCPM3ForCausalLM"])
    with pytest.raises(UnsupportedError, match="multi-head latent attention"):
        route_of(open_checkpoint(tmp_path))


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (tiny_minicpm, {"scale_emb": 0}),
        (tiny_minicpm, {"dim_model_base": "wide"}),
        (tiny_minicpm, {"num_key_value_heads": 3}),
        (tiny_internlm2, {"num_attention_heads": 5}),
        (tiny_openelm, {"num_query_heads": [2, 4]}),
        (tiny_openelm, {"num_kv_heads": [2, 3, 4]}),
        (tiny_openelm, {"num_kv_heads": "many"}),
        (tiny_openelm, {"ffn_multipliers": [0.5, 1.0, -1.0]}),
        (tiny_openelm, {"ffn_multipliers": [1e308] * 3}),
        (tiny_openelm, {"num_query_heads": ..., "qkv_multipliers": [1.0, 2.0, 3.0, 4.0]}),
        (tiny_gpt2, {"n_head": 5}),
        (tiny_gpt2, {"n_embd": ...}),
        (tiny_gpt_neo, {"num_heads": 5}),
        (tiny_gpt_neo, {"attention_types": [[["global", "local"], 1]]}),
        (tiny_gpt_neo, {"attention_types": [[["global", "sparse", "local"], 1]]}),
        (tiny_gpt_neo, {"attention_types": [[["global"], 10**9]]}),
        (tiny_opt, {"word_embed_proj_dim": 0}),
        (tiny_opt, {"num_attention_heads": 3}),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_configurations_of_no_model_are_refused(make: Make, changes: dict[str, Any], tmp_path: Path) -> None:
    make(tmp_path)
    edit_config(tmp_path, **changes)
    with pytest.raises(InputError, match=list(changes)[-1]):
        import_checkpoint(open_checkpoint(tmp_path))
