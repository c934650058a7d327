"""Configurations and tensor names as they are published, in folders whose weights are zeros that take no space.

The tables in tests/published hold what each repository's config.json states of the architecture (dropouts and the like
left out), the tensors that its file has beside those of transformers' class, and what is known of the model: its
parameter count as published, its context, its windows. Names and shapes come from transformers' classes, built without
memory, or from the model's own code where it has no class there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.checkpoints import write_json
from support.newer_spelling import newer

from exporter.checkpoint import open_checkpoint
from exporter.errors import InputError
from exporter.graph.model import EncoderSpec
from exporter.importers import import_checkpoint
from exporter.importers.config import ConfigReader
from exporter.importers.decoder_layout import DecoderLayout
from exporter.importers.encoder_layout import EncoderLayout
from exporter.importers.families import FAMILIES
from exporter.importers.native import plan_import
from exporter.importers.rope import inverse_frequencies
from exporter.importers.routes import route_of
from exporter.pipeline.inspect import inspect_path

Shapes = dict[str, list[Any]]  # name → dtype, sizes

_PUBLISHED = Path(__file__).parents[2] / "published"
_BYTES = {"BF16": 2, "F32": 4, "I64": 8, "BOOL": 1, "U8": 1}
_CONTEXT = 256  # rotary tables of a whole context would take most of the time here


def table(name: str) -> dict[str, Any]:
    rows = [json.loads(line) for line in (_PUBLISHED / f"{name}.jsonl").read_text().splitlines()]
    return {row["name"]: row for row in rows}


DECODERS, ENCODERS = table("decoders"), table("encoders")


def write_zeros(path: Path, tensors: Mapping[str, list[Any]]) -> None:
    """A safetensors file that is one hole: zeros take no space on disk until they are written."""
    header, end = {}, 0
    for name, (dtype, *sizes) in sorted(tensors.items()):
        start, end = end, end + _BYTES[dtype] * math.prod(sizes)
        header[name] = {"dtype": dtype, "shape": sizes, "data_offsets": [start, end]}
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + end)


def model_of(config: dict[str, Any], name: str) -> Any:
    """transformers' model without memory."""
    model_class = getattr(transformers, name)
    own = {key: value for key, value in config.items() if key not in ("auto_map", "architectures")}
    with torch.device("meta"):
        return model_class(model_class.config_class.from_dict(own))


def saved(model: Any, dtype: str) -> Shapes:
    """What `save_pretrained` writes: nothing twice."""
    tied = model._tied_weights_keys if model.config.get_text_config().tie_word_embeddings else None
    return {
        name: [dtype, *tensor.shape]
        for name, tensor in model.state_dict().items()
        if not any(re.search(pattern, name) for pattern in tied or ())
    }


def internlm2(config: dict[str, Any]) -> Shapes:
    """Names as in `modeling_internlm2.py` beside the weights."""
    hidden, inner, rows = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    fused = hidden + 2 * config["num_key_value_heads"] * (hidden // config["num_attention_heads"])
    layer = {
        "attention.wqkv": [fused, hidden], "attention.wo": [hidden, hidden], "attention_norm": [hidden],
        "ffn_norm": [hidden], "feed_forward.w1": [inner, hidden], "feed_forward.w2": [hidden, inner],
        "feed_forward.w3": [inner, hidden],
    }  # fmt: skip
    shapes = {"model.tok_embeddings": [rows, hidden], "model.norm": [hidden], "output": [rows, hidden]}
    shapes |= {f"model.layers.{i}.{k}": v for i in range(config["num_hidden_layers"]) for k, v in layer.items()}
    return {f"{name}.weight": ["BF16", *shape] for name, shape in shapes.items()}


def openelm(config: dict[str, Any]) -> Shapes:
    """Names as in `modeling_openelm.py` beside the weights; widths of the MLPs are multiples of 256."""
    hidden, width = config["model_dim"], config["head_dim"]
    shapes = {"token_embeddings": [config["vocab_size"], hidden], "norm": [hidden]}
    for i, share in enumerate(config["ffn_multipliers"]):
        queries, keys = config["num_query_heads"][i] * width, config["num_kv_heads"][i] * width
        inner = math.floor(share * hidden / 256 + 0.5) * 256
        layer = {
            "attn.qkv_proj": [queries + 2 * keys, hidden], "attn.q_norm": [width], "attn.k_norm": [width],
            "attn.out_proj": [hidden, queries], "attn_norm": [hidden], "ffn_norm": [hidden],
            "ffn.proj_1": [2 * inner, hidden], "ffn.proj_2": [hidden, inner],
        }  # fmt: skip
        shapes |= {f"layers.{i}.{name}": shape for name, shape in layer.items()}
    return {f"transformer.{name}.weight": ["BF16", *shape] for name, shape in shapes.items()}


def build(folder: Path, row: dict[str, Any]) -> Any:
    """The folder as published; returns transformers' model where that has a class for it."""
    config, model = row["config"], None
    name = row.get("class") or config.get("architectures", [""])[0]
    if name.startswith("InternLM2"):
        tensors = internlm2(config)
    elif name.startswith("OpenELM"):
        tensors = openelm(config)
    elif name.startswith(("MiniCPM", "InternLM3")):  # Llama's names
        alike = {"tie_word_embeddings": name.startswith("MiniCPM"), **config, "rope_scaling": None}
        tensors = saved(model_of({**alike, "model_type": "llama"}, "LlamaForCausalLM"), "BF16")
    else:
        model = model_of(config, name)
        tensors = saved(model, "BF16")
    for old, new in row.get("renamed", ()):
        tensors = {name.replace(old, new, 1): tensor for name, tensor in tensors.items()}
    layers = range(config.get("num_hidden_layers") or config.get("n_layer") or 1)
    for template, tensor in row.get("extra", {}).items():
        tensors |= {template.format(i=i): tensor for i in layers}
    write_zeros(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", config)
    return model


@pytest.mark.parametrize("name", DECODERS)
def test_a_published_decoder_imports(name: str, tmp_path: Path) -> None:
    row, expected = DECODERS[name], DECODERS[name]["expected"]
    model = build(tmp_path, row)
    checkpoint = open_checkpoint(tmp_path)
    assert route_of(checkpoint) == "native"
    plan = plan_import(checkpoint, None)
    layout = plan.layout
    assert isinstance(layout, DecoderLayout)
    found = {"context": layout.context, "windows": list(layout.windows), "tied": layout.tied}
    found["parameters"] = sum(math.prod(bound.tensor.shape.numpy()) for bound in plan.binding.weights.values())
    hub = import_checkpoint(checkpoint, context=_CONTEXT)
    assert found | {"family": hub.family} == expected
    assert hub.task == "text-generation"
    assert_only_known_are_unused(plan.binding.unused, row)
    if model is not None:
        check_rotations(layout, model)


def assert_only_known_are_unused(unused: Mapping[str, str], row: dict[str, Any]) -> None:
    """All that the table lists as surplus, and towers that aren't for text."""
    listed = [re.escape(template).replace(r"\{i\}", r"\d+") for template in row.get("extra", {})]
    known = re.compile("|".join([*listed, "(vision_tower|multi_modal_projector)[.].+"]))
    assert [name for name in unused if not known.fullmatch(name)] == []


def check_rotations(layout: DecoderLayout, model: Any) -> None:
    """Frequencies and magnitude of every rope, as transformers' own module computes them for this configuration."""
    module = next((module for module in model.modules() if hasattr(module, "rope_init_fn")), None)
    if module is None:
        return
    for rope, near in dict.fromkeys((layer.rope, layer.window is not None) for layer in layout.layers):
        config, kind = deepcopy(module.config), type(module)
        if near and hasattr(config, "rope_local_base_freq"):
            config.rope_theta, config.rope_scaling = config.rope_local_base_freq, None
        elif near and config.model_type == "olmo3":
            config.rope_scaling = None
        if rope is None:
            continue
        theirs = kind(config)
        np.testing.assert_allclose(inverse_frequencies(rope, layout.rotary_dim), theirs.inv_freq, rtol=2e-6)
        assert rope.attention_factor == pytest.approx(theirs.attention_scaling)
        if rope.switch_at(layout.context) is not None:
            long, factor = theirs.rope_init_fn(config, None, seq_len=layout.context)
            np.testing.assert_allclose(inverse_frequencies(rope, layout.rotary_dim, long=True), long, rtol=2e-6)
            assert rope.attention_factor == pytest.approx(factor)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_published_encoder_imports(name: str, tmp_path: Path) -> None:
    row = ENCODERS[name]
    build(tmp_path, row)
    if row.get("sentence"):
        kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
        types = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
        write_json(tmp_path / "modules.json", types)
        write_json(tmp_path / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    checkpoint = open_checkpoint(tmp_path)
    assert route_of(checkpoint) == "native"
    hub = import_checkpoint(checkpoint)
    spec = hub.spec
    assert isinstance(spec, EncoderSpec)
    found = {key: getattr(spec, key) for key in ("task", "context", "scores", "pairs", "pooling")}
    assert found | {"labels": len(spec.labels)} == row["expected"]
    assert hub.family == row["config"]["model_type"]
    heads = "(cls|lm_head|predictions|sop_classifier|discriminator_predictions|.*pooler)[.].+"
    listed = row.get("extra", {})
    assert all(name in listed or re.fullmatch(heads, name) for name in plan_import(checkpoint, None).binding.unused)


def layout_of(config: dict[str, Any]) -> DecoderLayout | EncoderLayout:
    reader = ConfigReader(config)
    found = FAMILIES[config["model_type"]].layout(reader)
    reader.finish()
    return found


ROTATED = [
    *(row for row in DECODERS.values() if row["config"].get("model_type") not in (None, "gpt2", "opt", "openelm")),
    *(row for row in ENCODERS.values() if row["config"]["model_type"] == "modernbert"),
]


@pytest.mark.parametrize("row", ROTATED, ids=[row["name"] for row in ROTATED])
def test_what_transformers_5_writes_means_the_same(row: dict[str, Any]) -> None:
    config = row["config"]
    assert "rope_theta" not in newer(config)
    assert layout_of(newer(config)) == layout_of(config)


def test_inspect_shows_a_published_checkpoint(tmp_path: Path) -> None:
    build(tmp_path, DECODERS["google/gemma-2-2b-it"])
    facts = inspect_path(str(tmp_path), None).facts
    assert (facts["family"], facts["export"], facts["context"]) == ("gemma2", "native", 8192)
    assert facts["parameters"] == 2_614_341_888
    assert facts["sliding window"] == "4096 tokens in 13 layers"
    assert facts["attention"] == "grouped: 8 query heads on 4, of 256"


WRAPPED = [
    (lambda name: f"_orig_mod.{name}", "torch.compile", "model._orig_mod.save_pretrained"),
    (lambda name: name.replace(".self_attn.", "._orig_mod.self_attn."), "torch.compile", "_orig_mod"),
    (lambda name: f"module.{name}", "several devices", "unwrap_model"),
    (lambda name: f"base_model.model.{name}", "PEFT", "merge_and_unload"),
    (lambda name: name.replace("q_proj.", "q_proj.base_layer."), "PEFT", "merge_and_unload"),
]


@pytest.mark.parametrize(("rename", "whose", "hint"), WRAPPED)
def test_names_of_a_wrapped_model_are_one_problem(rename: Any, whose: str, hint: str, tmp_path: Path) -> None:
    config = DECODERS["HuggingFaceTB/SmolLM2-135M-Instruct"]["config"]
    names = saved(model_of(config, "LlamaForCausalLM"), "BF16")
    write_zeros(tmp_path / "model.safetensors", {rename(name): tensor for name, tensor in names.items()})
    write_json(tmp_path / "config.json", config)
    with pytest.raises(InputError) as caught:
        import_checkpoint(open_checkpoint(tmp_path))
    (problem,) = caught.value.diagnostics
    assert problem.code == "tensor.wrapped"
    assert whose in problem.message
    assert hint in problem.hint


def test_another_models_tensors_are_not_listed_one_by_one(tmp_path: Path) -> None:
    config = DECODERS["HuggingFaceTB/SmolLM2-135M-Instruct"]["config"]
    names = saved(model_of(config, "LlamaForCausalLM"), "BF16")
    write_zeros(tmp_path / "model.safetensors", {f"llm.{name}": tensor for name, tensor in names.items()})
    write_json(tmp_path / "config.json", config)
    with pytest.raises(InputError) as caught:
        import_checkpoint(open_checkpoint(tmp_path))
    messages = [problem.message for problem in caught.value.diagnostics]
    left = len(names) - 20
    assert len(messages) == 2 * 21
    assert messages[20] == messages[41] == f"and {left} more tensors with the same problem"
    assert "is missing" in messages[0]
    assert "llm." in messages[21]
    assert "is not part of" in messages[21]


def test_a_class_that_nobody_knows_is_told_what_is_drawn(tmp_path: Path) -> None:
    config = DECODERS["HuggingFaceTB/SmolLM2-135M-Instruct"]["config"] | {"architectures": ["LlamaForCausalLMEagle"]}
    build(tmp_path, {"config": config, "class": "LlamaForCausalLM"})
    (problem,) = inspect_path(str(tmp_path), None).diagnostics
    assert "LlamaForCausalLMEagle is not supported" in problem.message
    assert "LlamaForCausalLM" in problem.hint
