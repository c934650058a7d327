"""The report and the facts that a parity page shows, with any text wherever a name or a message goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from exporter.errors import Diagnostic
from exporter.formats import FLEXIBLE, PORTABLE
from exporter.parity.results import Check, ParityReport, PromptScore, Row, TaskScore
from exporter.parity.thresholds import Limit


def report(text: str = "Hm?", *, kl: float = 0.02) -> dict[str, Any]:
    """Real parity types, so that the page follows their JSON."""
    rng = np.random.default_rng(0)
    limits = (Limit("non_finite", 0, "never"), Limit("kl", 0.25, f"because {text}"))
    metrics = {"non_finite": 0, "kl": kl, "psnr_db": 37.1, "top1": 0.99967}
    samples = {"kl": tuple(kl * rng.lognormal(size=40)), "psnr_db": tuple(37 + rng.normal(size=40))}
    rows = tuple(
        Row(
            name,
            f"{text} against {name}",
            artifacts,
            ("torch", text),
            metrics,
            tuple(Check(limit, metrics[limit.metric]) for limit in limits),
            (PromptScore(3, text, "kl", kl),),
            samples,
            text,
        )
        for name, artifacts in (("compression", (PORTABLE, FLEXIBLE)), ("onnx", (PORTABLE,)), ("coreml", (FLEXIBLE,)))
    )
    same = Row(
        "onnx lowering", "a against b", (PORTABLE,), ("a", "b"), {"psnr_db": 300.0}, (), samples={"psnr_db": (300.0,)}
    )
    task = TaskScore("onnx", (PORTABLE,), text, 3, 4, {}, ((text, text, text),), 4, None, text)
    finding = Diagnostic("parity.diverges", text, text, text)
    return ParityReport("full", 4, 40, text, (*rows, same), (task,), (finding,)).as_json()


def compression(text: str = "layer.weight") -> dict[str, Any]:
    tensors = [
        {
            "name": f"{text}.{i}",
            "shape": [8, 4],
            "bits": 4,
            "group_size": 8,
            "stored_bytes": 48,
            "reason": text,
            "psnr_db": 30.0 + i,
        }
        for i in range(5)
    ]
    kept = {
        "name": "norm",
        "shape": [4],
        "bits": None,
        "group_size": None,
        "stored_bytes": 16,
        "reason": "norm: rank 1",
    }
    return {"bits": 4, "group_size": 8, "bpw": 4.5, "parameters": 164, "stored_bytes": 256, "tensors": [*tensors, kept]}
