"""Imported decoders against transformers' own `LlamaForCausalLM` (fp32, eager attention) on random weights.

Tolerance: 2e-5 of the largest logit. Both sides compute in float32 and differ only in the order of sums, which over
two layers leaves about 1e-6; the tests' weights make any wrong wiring move logits by a tenth of the largest or more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from support.checkpoints import SENTENCES, tiny_llama
from support.hub_sessions import DecoderRun, in_pieces, open_session, positions_of
from transformers import AutoModelForCausalLM, AutoTokenizer

from exporter.checkpoint import open_checkpoint
from exporter.graph.model import DecoderSpec, Hub
from exporter.importers import import_checkpoint, reference_points
from exporter.importers.native import plan_import

TOLERANCE = 2e-5
SAMPLE = Path(__file__).parents[3] / "samples" / "home_intents" / "checkpoint"

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all biases": {"attention_bias": True, "mlp_bias": True},
    "tied": {"tie_word_embeddings": True},
    "tied bf16 in shards": {"tie_word_embeddings": True, "dtype": "bfloat16", "max_shard_size": "20KB"},
    "fp16": {"dtype": "float16", "attention_bias": True},
    "one kv head, head_dim 24": {"num_key_value_heads": 1, "head_dim": 24},
    "no grouping, head_dim from hidden": {"num_key_value_heads": 4, "head_dim": None, "hidden_size": 40},
    "one layer, large eps": {"num_hidden_layers": 1, "rms_norm_eps": 0.3},
    "linear rope": {"rope_scaling": {"type": "linear", "factor": 2.5}},
    "dynamic rope": {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}, "rope_theta": 500.0},
    "llama3 rope": {"rope_scaling": LLAMA3, "rope_theta": 5e5, "head_dim": 16, "attention_bias": True},
}


def reference(folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def logits_of(model: torch.nn.Module, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    with torch.no_grad():
        return model(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            position_ids=torch.from_numpy(positions_of(mask)),
        ).logits.numpy()


def tokens(folder: Path, *texts: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    batch = AutoTokenizer.from_pretrained(folder)(list(texts), padding=True, return_tensors="np")
    return batch["input_ids"].astype(np.int64), batch["attention_mask"].astype(np.int64)


def assert_equal(
    actual: NDArray[np.float32], expected: NDArray[np.float32], where: NDArray[np.int64] | None = None
) -> None:
    assert np.isfinite(actual).all()
    real = slice(None) if where is None else where.astype(bool)
    np.testing.assert_allclose(actual[real], expected[real], rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_transformers_whole_and_in_pieces(variant: str, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path, **VARIANTS[variant])
    hub = import_checkpoint(open_checkpoint(folder))
    ids, mask = tokens(folder, *SENTENCES[:3])
    assert (mask[:, 0] == 0).any(), "the batch is meant to be padded on the left"
    expected = logits_of(reference(folder), ids, mask)
    length = ids.shape[1]
    assert_equal(in_pieces(hub, ids, mask, [length]), expected, mask)
    assert_equal(in_pieces(hub, ids, mask, [5, 1, 1, 7, 1, length - 15]), expected, mask)


def test_cache_equals_transformers(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path, attention_bias=True)
    ids, mask = tokens(folder, SENTENCES[0])
    run = DecoderRun(import_checkpoint(open_checkpoint(folder)))
    run.feed(ids, mask)
    with torch.no_grad():
        layers = reference(folder)(torch.from_numpy(ids), use_cache=True).past_key_values.layers
    for mine, theirs in zip(run.cache, [t for layer in layers for t in (layer.keys, layer.values)], strict=True):
        assert_equal(mine, theirs.numpy())


def test_context_is_usable_to_the_last_position_and_not_beyond(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path, rope_scaling=LLAMA3, max_position_embeddings=48)
    ids = np.random.default_rng(0).integers(6, 300, (1, 48))
    mask = np.ones_like(ids)
    hub = import_checkpoint(open_checkpoint(folder))
    assert_equal(in_pieces(hub, ids, mask, [40, 8]), logits_of(reference(folder), ids, mask))
    shorter = import_checkpoint(open_checkpoint(folder), context=32)
    assert isinstance(shorter.spec, DecoderSpec)
    assert shorter.spec.context == 32
    assert shorter.model.graph.initializers["rope/cos"].shape == ir.Shape([32, 6])
    expected = logits_of(reference(folder), ids[:, :32], mask[:, :32])
    assert_equal(in_pieces(shorter, ids[:, :32], mask[:, :32], [32]), expected)
    with pytest.raises(Exception, match="RotaryEmbedding"):
        in_pieces(shorter, ids[:, :33], mask[:, :33], [33])


def test_prefix_free_names_and_stored_frequencies(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path)
    ids, mask = tokens(folder, SENTENCES[0])
    expected = logits_of(reference(folder), ids, mask)
    state = {name.removeprefix("model."): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    state["layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(6)
    save_file(state, folder / "model.safetensors")
    checkpoint = open_checkpoint(folder)
    assert_equal(in_pieces(import_checkpoint(checkpoint), ids, mask, [len(ids[0])]), expected)
    assert list(plan_import(checkpoint, None).binding.unused) == ["layers.0.self_attn.rotary_emb.inv_freq"]


def test_head_beside_tied_embedding_is_known_when_equal(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path, tie_word_embeddings=True, dtype="bfloat16")
    state = load_file(folder / "model.safetensors")
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    save_file(state, folder / "model.safetensors")
    checkpoint = open_checkpoint(folder)
    hub = import_checkpoint(checkpoint)
    assert list(plan_import(checkpoint, None).binding.unused) == ["lm_head.weight"]
    assert "lm_head.weight" not in hub.model.graph.initializers
    assert hub.weights[0].roles == ("embedding", "linear")


def test_transformers_5_rope_parameters(tmp_path: Path) -> None:
    """transformers 5 writes `rope_parameters`; the same model in the old spelling is the reference."""
    old = tiny_llama(tmp_path / "old", rope_scaling=LLAMA3, rope_theta=5e5)
    checkpoint = open_checkpoint(old)
    config = {key: value for key, value in checkpoint.config.items() if key not in ("rope_scaling", "rope_theta")}
    new = replace(checkpoint, config=config | {"rope_parameters": {**LLAMA3, "rope_theta": 5e5}})
    ids, mask = tokens(old, SENTENCES[0])
    expected = logits_of(reference(old), ids, mask)
    assert_equal(in_pieces(import_checkpoint(new), ids, mask, [len(ids[0])]), expected)


def test_spec_and_interface_are_the_hubs(tmp_path: Path) -> None:
    hub = import_checkpoint(open_checkpoint(tiny_llama(tmp_path, tie_word_embeddings=True)))
    assert hub.task == "text-generation"
    assert hub.family == "llama"
    assert isinstance(hub.spec, DecoderSpec)
    assert (hub.spec.vocab_size, hub.spec.hidden_size, hub.spec.heads, hub.spec.context) == (331, 32, (4, 4), 64)
    assert (hub.spec.cache.layers, hub.spec.cache.kv_heads, hub.spec.cache.head_dim) == (2, (2, 2), 12)
    names = [value.name for value in hub.model.graph.inputs]
    past = [f"past_key_values.{i}.{kind}" for i in range(2) for kind in ("key", "value")]
    assert names == ["input_ids", "attention_mask", "position_ids", *past]
    present = [name.replace("past_key_values", "present") for name in past]
    assert [value.name for value in hub.model.graph.outputs] == ["logits", *present]
    assert len(hub.weights) == 1 + 2 * 7
    assert not [w.name for w in hub.weights if "norm" in w.name]


def test_every_layer_shares_the_mask_and_takes_the_positions_directly(tmp_path: Path) -> None:
    """The Core ML lowering replaces the value `mask` and the input `position_ids`, and nothing else."""
    graph = import_checkpoint(open_checkpoint(tiny_llama(tmp_path))).model.graph
    attentions = [node for node in graph if node.op_type == "Attention"]
    rotations = [node for node in graph if node.op_type == "RotaryEmbedding"]
    assert (len(attentions), len(rotations)) == (2, 4)
    assert {node.inputs[3].name for node in attentions if node.inputs[3]} == {"mask"}
    assert {node.inputs[3].name for node in rotations if node.inputs[3]} == {"position_ids"}
    users = {
        node.outputs[0].name for node in graph for value in node.inputs if value and value.name == "attention_mask"
    }
    assert users
    assert all(str(name).startswith("mask/") for name in users)


@pytest.mark.parametrize("biased", [False, True])
def test_reference_points_name_the_same_tensors(biased: bool, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path, attention_bias=biased, mlp_bias=biased)
    hub = import_checkpoint(open_checkpoint(folder))
    points = reference_points(hub)
    assert len(points) == 1 + 2 * 10 + 2
    ids, mask = tokens(folder, SENTENCES[0])
    expected = observed(reference(folder), points.values(), lambda m: logits_of(m, ids, mask))
    seen = observed_in_hub(hub, list(points), ids, mask)
    for value, module in points.items():
        assert_equal(seen[value], expected[module])


def observed(
    model: torch.nn.Module, modules: Any, run: Callable[[torch.nn.Module], object]
) -> dict[str, NDArray[np.float32]]:
    seen: dict[str, NDArray[np.float32]] = {}
    for path in set(modules):

        def keep(_module: Any, _inputs: Any, output: Any, path: str = path) -> None:
            seen[path] = (output[0] if isinstance(output, tuple) else output).detach().numpy()

        model.get_submodule(path).register_forward_hook(keep)
    run(model)
    return seen


def observed_in_hub(
    hub: Hub, names: list[str], ids: NDArray[np.int64], mask: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    model = hub.model.clone()
    values = {value.name: value for node in model.graph for value in node.outputs}
    extra = [name for name in names if name not in {value.name for value in model.graph.outputs}]
    for name in extra:
        values[name].type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.append(values[name])
    session = open_session(replace(hub, model=model), check=False)  # the checker wants shapes of outputs
    feeds = {"input_ids": ids, "attention_mask": mask, "position_ids": positions_of(mask)}
    for value in model.graph.inputs[3:]:
        feeds[str(value.name)] = np.zeros((1, 2, 0, 12), np.float32)
    return dict(zip(["logits", *extra], session.run(["logits", *extra], feeds), strict=True))


def test_tensors_stay_unread_and_large_models_are_cheap(tmp_path: Path) -> None:
    """Llama 3.1 8B's configuration with tensors that fail when read: 16 GB are named, none is touched."""
    checkpoint = open_checkpoint(tiny_llama(tmp_path, num_hidden_layers=1))
    config = dict(checkpoint.config) | {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rope_scaling": LLAMA3 | {"original_max_position_embeddings": 8192},
    }

    def unread() -> ir.TensorProtocol:
        raise AssertionError("the importer read a tensor")

    matrices = {"q_proj": (4096, 4096), "k_proj": (1024, 4096), "v_proj": (1024, 4096), "o_proj": (4096, 4096)}
    mlp = {"gate_proj": (14336, 4096), "up_proj": (14336, 4096), "down_proj": (4096, 14336)}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (128256, 4096), "model.norm.weight": (4096,)}
    shapes["lm_head.weight"] = (128256, 4096)
    for i in range(32):
        layer = f"model.layers.{i}"
        shapes |= {f"{layer}.self_attn.{name}.weight": shape for name, shape in matrices.items()}
        shapes |= {f"{layer}.mlp.{name}.weight": shape for name, shape in mlp.items()}
        shapes |= {f"{layer}.{name}.weight": (4096,) for name in ("input_layernorm", "post_attention_layernorm")}
    tensors: Any = {
        name: ir.LazyTensor(unread, dtype=ir.DataType.BFLOAT16, shape=ir.Shape(shape), name=name)
        for name, shape in shapes.items()
    }
    hub = import_checkpoint(replace(checkpoint, config=config, tensors=tensors), context=4096)
    assert len(hub.weights) == 2 + 32 * 7
    assert sum(rows * columns for rows, columns in (w.shape for w in hub.weights)) > 8e9


def test_home_intents_answers_like_transformers() -> None:
    """The trained sample: greedy text from the hub graph equals transformers' own `generate`."""
    hub, model = import_checkpoint(open_checkpoint(SAMPLE)), reference(SAMPLE)
    tokenizer = AutoTokenizer.from_pretrained(SAMPLE)
    requests = (
        "dim the bedroom lamp to thirty percent at nine",
        "明日の朝7時に起こして",
        "play some jazz in the kitchen",
    )
    for request in requests:
        chat = [{"role": "user", "content": request}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="np").astype(np.int64)
        with torch.no_grad():
            expected = model.generate(
                torch.from_numpy(prompt), attention_mask=torch.ones(prompt.shape), do_sample=False, max_new_tokens=48
            )[0, prompt.shape[1] :].tolist()
        run, answer, ids = DecoderRun(hub), [], prompt
        while len(answer) < len(expected):
            total = prompt.shape[1] + len(answer)
            answer.append(int(run.feed(ids, np.ones((1, total), np.int64))[0, -1].argmax()))
            ids = np.array([answer[-1:]])
        assert tokenizer.decode(answer) == tokenizer.decode(expected)
        assert len(set(answer)) > 5, "an answer, not one token over and over"
