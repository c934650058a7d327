"""A decoder of one GroupQueryAttention, as onnxruntime-genai's builder wires it: the cache may be shared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY, HEADS, KV_HEADS, HEAD_DIM, CONTEXT = 96, 4, 2, 16, 64
HIDDEN = HEADS * HEAD_DIM


def write_gqa_folder(folder: Path, **search: object) -> Path:
    """model.onnx, model.onnx.data and genai_config.json. search: settings for its section "search"."""
    folder.mkdir()
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    cache = ["batch", KV_HEADS, "past", "width"]  # an open last axis, as the builder leaves it
    grown = ["batch", KV_HEADS, "total", "width"]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"]),
        *(helper.make_node("MatMul", ["x", f"w_{part}"], [part]) for part in "qkv"),
        helper.make_node("ReduceSum", ["attention_mask", "last_axis"], ["counted"], keepdims=0),
        helper.make_node("Sub", ["counted", "one"], ["last"]),
        helper.make_node("Cast", ["last"], ["lengths"], to=TensorProto.INT32),
        helper.make_node("Shape", ["attention_mask"], ["total_64"], start=1),
        helper.make_node("Squeeze", ["total_64"], ["total_scalar"]),
        helper.make_node("Cast", ["total_scalar"], ["total"], to=TensorProto.INT32),
        helper.make_node(
            "GroupQueryAttention",
            ["q", "k", "v", "past_key_values.0.key", "past_key_values.0.value", "lengths", "total", "cos", "sin"],
            ["attended", "present.0.key", "present.0.value"],
            domain="com.microsoft",
            num_heads=HEADS,
            kv_num_heads=KV_HEADS,
            do_rotary=1,
        ),
        helper.make_node("MatMul", ["attended", "head"], ["logits"]),
    ]
    angles = np.outer(np.arange(CONTEXT), 100.0 ** -np.linspace(0, 1, HEAD_DIM // 2))
    stored = [
        weight("table", VOCABULARY, HIDDEN),
        weight("w_q", HIDDEN, HIDDEN),
        *(weight(f"w_{part}", HIDDEN, KV_HEADS * HEAD_DIM) for part in "kv"),
        weight("head", HIDDEN, VOCABULARY),
        numpy_helper.from_array(np.cos(angles).astype(np.float32), "cos"),
        numpy_helper.from_array(np.sin(angles).astype(np.float32), "sin"),
        numpy_helper.from_array(np.array([1], np.int64), "last_axis"),
        numpy_helper.from_array(np.array(1, np.int64), "one"),
    ]
    parts = [f"0.{part}" for part in ("key", "value")]
    graph = helper.make_graph(
        nodes,
        "gqa",
        [
            *(
                helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", axis])
                for name, axis in (("input_ids", "sequence"), ("attention_mask", "total"))
            ),
            *(helper.make_tensor_value_info(f"past_key_values.{p}", TensorProto.FLOAT, cache) for p in parts),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", VOCABULARY]),
            *(helper.make_tensor_value_info(f"present.{p}", TensorProto.FLOAT, grown) for p in parts),
        ],
        stored,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=1024)
    (folder / "genai_config.json").write_text(json.dumps(genai_config(**search)), encoding="utf-8")
    return folder


def genai_config(**search: object) -> dict[str, dict[str, object]]:
    """As the builder writes it."""
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": HEAD_DIM,
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_hidden_layers": 1,
        "num_key_value_heads": KV_HEADS,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }
    model = {
        "type": "llama",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "context_length": CONTEXT,
        "vocab_size": VOCABULARY,
        "decoder": decoder,
    }
    return {"model": model, "search": {"max_length": CONTEXT, "past_present_share_buffer": True, **search}}
