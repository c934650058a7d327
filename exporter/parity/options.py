"""What parity compares, and how thoroughly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer
    from exporter.graph.model import Hub, Scores, Task
    from exporter.runners.base import MaskConvention

Depth = Literal["full", "quick"]
OnnxWeights = Literal["palette", "int4", "int8", "fp16", "fp32"]
Judged = Literal["tokens", "classes", "scores", "embeddings"]  # what the outputs are, and so how they are compared
CoreMLRunner = Literal["auto", "reference", "system"]


@dataclass(frozen=True)
class Subjects:
    """The things to compare; each of them may be absent, and rows that need it are then absent too.

    context: tokens that the artifacts were made for; longer prompts are cut to it.
    checkpoint: folder that transformers loads as the reference.
    hub, compressed: the graph before and after compression; the same object (or None) where nothing was compressed.
    onnx: shipped `model.onnx`; coreml: shipped `.mlpackage`.
    reference_points: hub value name → module path in transformers' model whose output is the same tensor.
    coreml_callers: the causalMask conventions that the decoder program promises to serve.
    rope_switch: as in `DecoderSpec`. scores: as in `EncoderSpec`.
    """

    task: Task
    context: int
    tokenizer: Tokenizer
    checkpoint: Path | None = None
    hub: Hub | None = None
    compressed: Hub | None = None
    onnx: Path | None = None
    coreml: Path | None = None
    reference_points: Mapping[str, str] = field(default_factory=dict)
    coreml_callers: tuple[MaskConvention, ...] = ("swift-transformers", "exact")
    rope_switch: int | None = None
    scores: Scores | None = None


def judged(task: Task, scores: Scores | None) -> Judged:
    """What a text model's outputs are: logits over a vocabulary, over classes, free numbers, or embeddings."""
    if task in ("text-generation", "fill-mask"):
        return "tokens"
    if task == "text-ranking" or scores == "identity":
        return "scores"
    return "classes" if task in ("text-classification", "token-classification", "question-answering") else "embeddings"


@dataclass(frozen=True)
class ParityOptions:
    """How to compare.

    depth: "full": all prompts, a greedy continuation of each, all tasks; "quick": a quarter of both, no continuation.
    bits: bits per palettized weight, the mean where they are mixed; 16 where nothing is compressed.
    onnx_weights: how the ONNX file stores its weights; only "palette" holds the very numbers of the Core ML file.
    prompts: the user's file; None: the built-in set. max_prompts: more are thinned out evenly.
    tasks: task file, see `exporter.parity.task`; max_task_drop: points of accuracy that an artifact may lose,
        None: by bits (`exporter.parity.thresholds.TASK_DROP`).
    limits: metric name → limit on the end-to-end rows instead of the one by bits: a budget or a target's tolerance.
    coreml_runner: "system" is Core ML itself (macOS), "reference" Kogata's executor, "auto" the first where it exists.
    threads: for torch and onnxruntime; fixed, so that two runs on a machine give the same last digit. None: 1 for
        small models, which lose more by waiting than they gain, and up to 4 for large ones.
    """

    depth: Depth = "full"
    bits: float = 16
    onnx_weights: OnnxWeights = "palette"
    prompts: Path | None = None
    max_prompts: int = 200
    tasks: Path | None = None
    max_task_drop: float | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    coreml_runner: CoreMLRunner = "auto"
    threads: int | None = None
