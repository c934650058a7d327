"""What an app writes after running `parity/device.json`, made here with onnxruntime, tokenizers and transformers alone.

The reference implementation of a device report: it reads nothing but the bundle's files, and shares no code with the
exporter.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoTokenizer

Arrays = dict[str, NDArray[Any]]
_DTYPES = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(float16)": np.float16}


def device_report(bundle: Path, **runtime: Any) -> dict[str, Any]:
    """The report of a run of the ONNX file. runtime: replaces entries of `runtime`."""
    vectors = json.loads((bundle / "parity/device.json").read_text("utf-8"))
    session = onnxruntime.InferenceSession(str(bundle / "onnx/model.onnx"), providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer/tokenizer.json"))
    results: dict[str, Any] = {
        "tokenizer": [{"id": v["id"], "ids": tokenizer.encode(v["text"]).ids} for v in vectors["tokenizer"]],
        "chat": [{"id": v["id"], "ids": _chat(bundle, v["messages"])} for v in vectors["chat"]],
        "decode": [_decode(session, vector) for vector in vectors["decode"]],
        "embed": [_values(session, vector) for vector in vectors["embed"]],
        "scores": [_values(session, vector) for vector in vectors["scores"]],
        "errors": [],
    }
    ran = {"engine": "onnx", "artifact": "onnx/model.onnx", "form": "portable", "compute_units": "cpuOnly", **runtime}
    return {
        "schema_version": 1,
        "bundle": {"name": vectors["name"], "digest": hashlib.sha256((bundle / "SHA256SUMS").read_bytes()).hexdigest()},
        "device": {"model": "iPhone17,1", "system": "iOS 26.1", "memory_bytes": 8589934592},
        "runtime": ran,
        "results": results,
        "speed": {
            "load_seconds": 0.41,
            "first_token_seconds": 0.052,
            "prefill_tokens_per_second": 812.5,
            "decode_tokens_per_second": 61.25,
            "peak_memory_bytes": None,
        },
    }


def _chat(bundle: Path, messages: list[dict[str, str]]) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(str(bundle / "tokenizer"))
    return list(map(int, tokenizer.apply_chat_template(messages, add_generation_prompt=True)))


def _decode(session: onnxruntime.InferenceSession, vector: dict[str, Any]) -> dict[str, Any]:
    ids, first = vector["ids"], vector["first"]
    logits, _ = _step(session, ids, {})
    logprobs = _log_softmax(logits[first:])
    stated = [[float(row[i]) for i in top["ids"]] for row, top in zip(logprobs, vector["top"], strict=True)]
    said: list[int] = []
    cache: Arrays = {}
    fed = ids[: first + 1]
    while len(said) < len(vector["continuation"]):
        step, cache = _step(session, fed, cache)
        said.append(int(step[-1].argmax()))
        fed = said[-1:]
    top1 = logprobs.argmax(-1).tolist()
    return {"id": vector["id"], "logprobs": stated, "top1": top1, "continuation": said}


def _step(session: onnxruntime.InferenceSession, ids: list[int], cache: Arrays) -> tuple[NDArray[Any], Arrays]:
    """Logits `[len(ids), vocab]` after everything in the cache, and the cache with these tokens."""
    past = next((value.shape[2] for value in cache.values()), 0)
    feeds: Arrays = {}
    for port in session.get_inputs():
        match port.name:
            case "input_ids":
                feeds[port.name] = np.array([ids], np.int64)
            case "attention_mask":
                feeds[port.name] = np.ones((1, past + len(ids)), np.int64)
            case "position_ids":
                feeds[port.name] = np.arange(past, past + len(ids))[None]
            case name:
                empty = np.zeros((1, port.shape[1], 0, port.shape[3]), _DTYPES[port.type])
                feeds[name] = cache.get(name.replace("past_key_values", "present"), empty)
    names = [port.name for port in session.get_outputs()]
    made = dict(zip(names, session.run(names, feeds), strict=True))
    return made.pop("logits")[0].astype(np.float64), made


def _values(session: onnxruntime.InferenceSession, vector: dict[str, Any]) -> dict[str, Any]:
    ids = np.array([vector["ids"]], np.int64)
    types = np.array([vector.get("types", [0] * ids.size)], np.int64)
    every = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
    feeds = {port.name: every[port.name] for port in session.get_inputs()}
    names = [port.name for port in session.get_outputs()]
    made = dict(zip(names, session.run(names, feeds), strict=True))
    if "start_logits" in made:
        values = np.stack([made["start_logits"][0], made["end_logits"][0]])
    elif "logits" in made:
        values = made["logits"][0]
    elif "sentence_embedding" in made:
        values = made["sentence_embedding"][0]
    else:
        values = made[next(name for name in made)][0][0]
    if "positions" in vector:
        values = values[vector["positions"]]
    return {"id": vector["id"], "values": [float(value) for value in values.reshape(-1)]}


def _log_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    shifted = logits - logits.max(-1, keepdims=True)
    result: NDArray[Any] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result
