"""What parity compares, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer
    from exporter.formats import Form
    from exporter.graph.model import Hub, Scores, Task
    from exporter.parity.fit_limits import FitCost
    from exporter.parity.task import TaskFile
    from exporter.runners.base import MaskConvention
    from exporter.runners.shipped import CoreMLRunner
    from exporter.texts import PromptFile

Depth = Literal["full", "quick"]
OnnxWeights = Literal["palette", "fp16", "fp32", "int8", "int4"]
Judged = Literal["tokens", "classes", "scores", "embeddings"]  # what the outputs are, and so how they are compared


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What every model has to compare. Each of them may be absent, and rows that need it are then absent too.

    hub: the imported graph. compressed: the graph that the files were written from; `hub` itself where nothing was
        compressed; None where that graph isn't known, and nobody can say whether a file was lowered correctly.
    artifacts: form → shipped `.onnx` file or `.mlpackage`.
    """

    hub: Hub | None = None
    compressed: Hub | None = None
    artifacts: Mapping[Form, Path] = field(default_factory=dict)

    @property
    def folder(self) -> Path | None:
        """The checkpoint's folder; None where there is no checkpoint in torch to compare with."""
        return None


@dataclass(frozen=True, kw_only=True)
class Subjects(Compared):
    """A text model: the checkpoint, its graphs, and what ships.

    context: tokens that the artifacts were made for; longer prompts are cut to it.
    checkpoint: the folder that transformers loads as the reference.
    reference_points: hub value name → module path in transformers' model whose output is the same tensor.
    coreml_callers: the causalMask conventions that the decoder program promises to serve.
    rope_switch: as in `DecoderSpec`. scores: as in `EncoderSpec`.
    """

    task: Task
    context: int
    tokenizer: Tokenizer
    checkpoint: Path | None = None
    reference_points: Mapping[str, str] = field(default_factory=dict)
    coreml_callers: tuple[MaskConvention, ...] = ("swift-transformers", "exact")
    rope_switch: int | None = None
    scores: Scores | None = None

    @property
    def folder(self) -> Path | None:
        """`checkpoint`."""
        return self.checkpoint


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

    depth: "full": all prompts, a greedy continuation of each, all tasks; "quick": a quarter of the prompts and tasks,
        no continuation.
    bits: bits per palettized weight, the mean where they are mixed; 16 where nothing is compressed.
    onnx_weights: how portable ONNX files store weights; "fp16" rounds them.
    prompts: the user's file; None: the built-in set. max_prompts: more are thinned out evenly.
    tasks: task file, see `exporter.parity.task`; max_task_drop: points of accuracy that an artifact may lose,
        None: `exporter.parity.thresholds.TASK_DROP`.
    limits: metric name → limit on the end-to-end rows, in place of the limit by bits: a budget or a target's tolerance.
    cost: what fitting the palettes measured; None where nothing was fitted.
    coreml_runner: as in `runners.shipped.Conditions`.
    device_vectors: whether the report gets test vectors for a device, see `exporter.parity.device`.
    threads: of torch and onnxruntime; None: by the model's size, as `runners.threads.threads_for` says.
    """

    depth: Depth = "full"
    bits: float = 16
    onnx_weights: OnnxWeights = "palette"
    prompts: PromptFile | None = None
    max_prompts: int = 200
    tasks: TaskFile | None = None
    max_task_drop: float | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    cost: FitCost | None = None
    coreml_runner: CoreMLRunner = "auto"
    device_vectors: bool = False
    threads: int | None = None
