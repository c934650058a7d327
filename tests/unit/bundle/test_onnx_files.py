"""The files beside `model.onnx`, judged by the programs that read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from exporter.bundle import Interface, Port, genai_config, onnx_interface
from exporter.bundle.canonical import canonical_json
from exporter.bundle.onnx_files import end_tokens, generation_config, model_config
from exporter.graph.model import CacheSpec, DecoderSpec

SPEC = DecoderSpec(
    vocab_size=64, hidden_size=32, heads=(4, 4), context=4096, cache=CacheSpec(kv_heads=(2, 2), head_dim=12)
)
CONFIG = {"model_type": "llama", "bos_token_id": 1, "eos_token_id": 2}


def made(config: dict[str, Any] | None = None, generation: dict[str, Any] | None = None) -> dict[str, Any]:
    return genai_config(SPEC, "llama", 128, CONFIG if config is None else config, generation or {})


def test_genai_config_states_the_real_sizes() -> None:
    model = made()["model"]
    assert model["type"] == "llama"
    assert (model["context_length"], model["vocab_size"]) == (128, 64)
    decoder = model["decoder"]
    assert decoder["head_size"] == 12  # not hidden_size / heads, which is 8
    sizes = ("hidden_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads")
    assert [decoder[key] for key in sizes] == [32, 4, 2, 2]
    assert decoder["inputs"]["past_key_names"] % 1 == "past_key_values.1.key"
    assert decoder["outputs"]["present_value_names"] % 0 == "present.0.value"
    assert made()["search"]["max_length"] == 128
    assert made()["search"]["past_present_share_buffer"] is False


@pytest.mark.parametrize(
    ("config", "generation", "ids"),
    [
        (CONFIG, {}, (1, 2, 2)),
        (CONFIG, {"eos_token_id": [5, 6], "pad_token_id": 7}, (1, [5, 6], 7)),
        (CONFIG, {"eos_token_id": [5, 6]}, (1, [5, 6], 5)),
        (CONFIG, {"eos_token_id": [5]}, (1, 5, 5)),
        (CONFIG, {"pad_token_id": -1}, (1, 2, 2)),  # an old way to say "none"
        ({"eos_token_id": 0, "pad_token_id": None}, {}, (0, 0, 0)),
        ({"eos_token_id": 3, "bos_token_id": None}, {"bos_token_id": 9}, (9, 3, 3)),
    ],
)
def test_token_ids(config: dict[str, Any], generation: dict[str, Any], ids: tuple[Any, ...]) -> None:
    model = made(config, generation)["model"]
    assert (model["bos_token_id"], model["eos_token_id"], model["pad_token_id"]) == ids


@pytest.mark.parametrize("value", [None, [], ["</s>"], True, "2"])
def test_without_an_end_token_there_is_no_config(value: object) -> None:
    assert end_tokens({"eos_token_id": value}, {}) == ()
    with pytest.raises(ValueError, match="no end-of-text token"):
        made({"eos_token_id": value})


def test_sampling_follows_the_checkpoint() -> None:
    search = made(generation={"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.9})["search"]
    assert (search["do_sample"], search["temperature"], search["top_k"], search["top_p"]) == (True, 0.6, 20, 0.9)
    assert made()["search"]["do_sample"] is False
    odd = made(generation={"do_sample": "yes", "temperature": None, "top_k": "many"})["search"]
    assert (odd["do_sample"], odd["temperature"], odd["top_k"]) == (False, 1.0, 50)


@pytest.mark.parametrize(("family", "name"), [("llama", "llama"), ("qwen3", "qwen3"), ("openelm", "decoder")])
def test_onnxruntime_genai_reads_it(tmp_path: Path, family: str, name: str) -> None:
    """Its parser refuses keys and types that it does not know; the model itself is only opened later."""
    import onnxruntime_genai as genai

    generation = {"eos_token_id": [2, 3], "temperature": 0.7, "top_k": 40, "do_sample": True}
    config = genai_config(SPEC, family, 128, CONFIG, generation)
    assert config["model"]["type"] == name
    (tmp_path / "genai_config.json").write_bytes(canonical_json(config))
    genai.Config(str(tmp_path))
    config["model"]["decoder"]["no_such_key"] = 1
    (tmp_path / "genai_config.json").write_bytes(canonical_json(config))
    with pytest.raises(Exception, match="no_such_key"):
        genai.Config(str(tmp_path))


def test_transformers_reads_the_configs(tmp_path: Path) -> None:
    from transformers import AutoConfig, GenerationConfig

    (tmp_path / "config.json").write_bytes(canonical_json(model_config({**CONFIG, "hidden_size": 32})))
    (tmp_path / "generation_config.json").write_bytes(canonical_json(generation_config(CONFIG, {})))
    assert AutoConfig.from_pretrained(tmp_path).hidden_size == 32
    generation = GenerationConfig.from_pretrained(tmp_path)
    assert (generation.bos_token_id, generation.eos_token_id, generation.pad_token_id) == (1, 2, None)


def test_the_checkpoints_generation_config_is_kept() -> None:
    theirs = {"temperature": 0.6, "eos_token_id": [2, 3], "_name_or_path": "/home/author"}
    assert generation_config(CONFIG, theirs) == {"temperature": 0.6, "eos_token_id": [2, 3]}


def test_interface_of_a_file(tmp_path: Path) -> None:
    """Sizes, named sizes, types; a weight that is listed as an input, as old exporters do, is none."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["ids"], ["out"], to=TensorProto.FLOAT16)],
        "g",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", 4]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT16, ["batch", None])],
        [helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    assert onnx_interface(tmp_path / "model.onnx") == Interface(
        (Port("ids", "int64", ("batch", 4)),), (Port("out", "float16", ("batch", "?")),)
    )


def test_the_context_of_the_artifacts_counts_not_the_models() -> None:
    config = genai_config(replace(SPEC, context=131072), "llama", 512, CONFIG, {})
    assert (config["model"]["context_length"], config["search"]["max_length"]) == (512, 512)
