"""Device reports with the metrics and verdicts that `kogata check --device-report` gives them, for the Swift package.

`PYTHONPATH=tests python -m support.swift_verdicts` writes them again. A contract test compares them with the file.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from exporter.formats import PORTABLE
from exporter.parity.device.judge import judge_device
from exporter.parity.device.report import DeviceReport
from exporter.parity.device.vectors import DeviceVectors
from support.paths import ROOT

VERDICTS = ROOT / "ios-demo/KogataKit/Tests/KogataParityTests/Resources/verdicts.json"
ARTIFACT = "onnx/model.onnx"
VOCABULARY, TOP, POSITIONS = 40, 6, 4
DECODER_GATES: tuple[tuple[str, str, float], ...] = (
    ("ids_differ", "max", 0), ("missing", "max", 0), ("non_finite", "max", 0), ("inconsistent", "max", 0),
    ("continuations_differ", "max", 0), ("kl", "max", 0.05), ("top1_or_tie", "min", 0.8), ("vectors_beyond", "max", 0),
)  # fmt: skip
CLASS_GATES = (("missing", "max", 0), ("kl", "max", 0.05), ("top1_or_tie", "min", 0.8), ("vectors_beyond", "max", 0))
SCORE_GATES = (("unexplained", "max", 0.05), ("order", "min", 0.9), ("vectors_beyond", "max", 0))
EMBEDDING_GATES = (
    ("cosine_mean", "min", 0.95), ("cosine_min", "min", 0.9), ("self_retrieval", "min", 0.95),
    ("vectors_beyond", "max", 0),
)  # fmt: skip


def cases() -> list[dict[str, Any]]:
    """name, vectors (device.json), report, and what Python makes of them: passed, and metrics by section."""
    random = np.random.default_rng(17)
    made = [_decoder(random, noise) for noise in (0.01, 0.4)]
    made += [
        _encoder(random, *kind, noise)
        for kind in (
            ("text-classification", "softmax", 1, 4),
            ("text-classification", "sigmoid", 1, 4),
            ("token-classification", "softmax", 3, 5),
            ("text-ranking", "identity", 1, 1),
            ("feature-extraction", None, 1, 8),
        )
        for noise in (0.01, 0.8)
    ]
    decoder = made[0]
    made += [_changed(decoder, name, change) for name, change in _CHANGES.items()]
    made += [_changed(made[-len(_CHANGES) - 1], "an encoder without values", _null_value)]
    return [_judged(*case) for case in made]


def _logprobs(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def _decoder(random: np.random.Generator, noise: float) -> tuple[str, dict, dict]:
    decode, answers = [], []
    for index in range(5):
        ids = random.integers(0, VOCABULARY, 3 + POSITIONS).tolist()
        logits = random.normal(0, 2, (POSITIONS, VOCABULARY))
        reference = _logprobs(logits)
        device = _logprobs(logits + random.normal(0, noise, logits.shape))
        order = np.argsort(-reference, -1)[:, :TOP]
        top1 = device.argmax(-1).tolist()
        ids[4:] = top1[:3]  # the text's own tokens: what the device continues with
        stated = [{"ids": row.tolist(), "logprobs": _rounded(reference[i, row])} for i, row in enumerate(order)]
        name = f"decode-{index}"
        vector = {"id": name, "text": "", "ids": ids, "first": 3, "top": stated, "continuation": top1}
        decode.append(vector)
        own = [_rounded(device[i, row]) for i, row in enumerate(order)]
        answers.append({"id": name, "logprobs": own, "top1": top1, "continuation": top1})
    texts = [{"id": f"tokenizer-{i}", "text": "", "ids": [i, i + 1]} for i in range(3)]
    chats = [{"id": "chat-0", "messages": [{"role": "user", "content": "a"}], "ids": [1, 2, 3]}]
    allowed = {vector["id"]: 0.03 for vector in decode}
    vectors = _vectors("text-generation", None, DECODER_GATES, allowed, tokenizer=texts, chat=chats, decode=decode)
    results = {
        "tokenizer": [{"id": text["id"], "ids": text["ids"]} for text in texts],
        "chat": [{"id": "chat-0", "ids": [1, 2, 3]}],
        "decode": answers,
    }
    return f"a decoder with noise of {noise}", vectors, _report(results)


def _encoder(
    random: np.random.Generator, task: str, activation: str | None, rows: int, width: int, noise: float
) -> tuple[str, dict, dict]:
    section = "embed" if activation is None else "scores"
    values, answers = [], []
    for index in range(6):
        reference = random.normal(0, 2, rows * width)
        name = f"{section}-{index}"
        values.append({"id": name, "text": "", "ids": [1, 2], "values": _rounded(reference), "rows": rows})
        answers.append({"id": name, "values": _rounded(reference + random.normal(0, noise, rows * width))})
    gates = {"identity": SCORE_GATES, None: EMBEDDING_GATES}.get(activation, CLASS_GATES)
    allowed = {value["id"]: 0.05 for value in values}
    vectors = _vectors(task, activation, gates, allowed, **{section: values})
    return f"{task}, {activation}, with noise of {noise}", vectors, _report({section: answers})


def _vectors(task: str, activation: str | None, gates: Any, allowed: dict[str, float], **sections: Any) -> dict:
    stated = [
        {"metric": metric, side: value, "reason": "", **({"allowed": allowed} if metric == "vectors_beyond" else {})}
        for metric, side, value in gates
    ]
    head = {"schema_version": 1, "name": "case", "task": task, "reference": "torch", "near_tie": 0.02}
    return {**head, "activation": activation, "gates": {ARTIFACT: stated}, **sections}


def _report(results: dict) -> dict:
    runtime = {"engine": "onnx", "artifact": ARTIFACT, "form": "portable", "compute_units": "cpuOnly"}
    device = {"model": "x", "system": "y", "memory_bytes": 1}
    bound = {"name": "case", "digest": "0" * 64}
    empty = {name: [] for name in ("tokenizer", "chat", "decode", "embed", "scores", "errors")}
    head = {"schema_version": 1, "bundle": bound, "device": device, "runtime": runtime, "speed": {}}
    return {**head, "results": {**empty, **results}}


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in values]


def _changed(case: tuple[str, dict, dict], name: str, change: Any) -> tuple[str, dict, dict]:
    report = json.loads(json.dumps(case[2]))
    change(report["results"])
    return name, case[1], report


def _null_logprob(results: dict) -> None:
    results["decode"][0]["logprobs"][1][2] = None


def _null_value(results: dict) -> None:
    results["embed"][0]["values"][0] = None


def _missing(results: dict) -> None:
    del results["decode"][1], results["tokenizer"][0]
    results["errors"].append({"id": "decode-1", "message": "too long"})


def _short_row(results: dict) -> None:
    results["decode"][0]["logprobs"][0].pop()


def _torn(results: dict) -> None:
    results["decode"][2]["continuation"][0] = VOCABULARY - 1


def _cut(results: dict) -> None:
    results["decode"][2]["continuation"].pop()


def _too_likely(results: dict) -> None:
    results["decode"][3]["logprobs"][0] = [-0.1] * TOP


def _other_top(results: dict) -> None:
    results["decode"][3]["top1"][3] = VOCABULARY - 2


def _other_ids(results: dict) -> None:
    results["tokenizer"][1]["ids"].append(9)
    results["chat"][0]["ids"] = []


_CHANGES = {
    "a log-probability that isn't finite": _null_logprob,
    "missing answers": _missing,
    "a row that is too short": _short_row,
    "a continuation that leaves the logits": _torn,
    "a continuation that ends early": _cut,
    "probabilities above 1": _too_likely,
    "a top1 that contradicts the log-probabilities": _other_top,
    "other ids": _other_ids,
}


def _judged(name: str, vectors: dict, report: dict) -> dict[str, Any]:
    held = TypeAdapter(DeviceVectors).validate_python(vectors)
    judged = judge_device(held, TypeAdapter(DeviceReport).validate_python(report), PORTABLE, 4.0)
    gated = {gate.metric for gate in held.gates[ARTIFACT]}
    metrics = {
        row.name.removeprefix("device "): {
            metric: value if np.isfinite(value) else None for metric, value in row.metrics.items() if metric in gated
        }
        for row in judged.rows
    }
    passed = all(row.verdict == "passed" for row in judged.rows)
    return {"name": name, "vectors": vectors, "report": report, "passed": passed, "metrics": metrics}


if __name__ == "__main__":
    VERDICTS.parent.mkdir(parents=True, exist_ok=True)
    VERDICTS.write_text(json.dumps(cases(), ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8")
