"""Task heads of encoders: which head a checkpoint has, and how it is built.

Source: the `…ForSequenceClassification`, `…ForTokenClassification`, `…ForMaskedLM` and `…ForQuestionAnswering` classes
of transformers. They differ in the dense layer before the output, in its activation and in the norm after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import onnx_ir as ir

from exporter.graph.model import Scores, Task
from exporter.importers.activation import Activation, activate
from exporter.importers.config import ConfigReader
from exporter.importers.parts import LayerBuilder

Slot = Literal["sequence", "token", "mask", "answer"]
SLOTS: Mapping[str, Slot | None] = {  # end of the class name, after the family's → head
    "Model": None,
    "ForSequenceClassification": "sequence",
    "ForTokenClassification": "token",
    "ForMaskedLM": "mask",
    "ForQuestionAnswering": "answer",
}
_TASKS: Mapping[Slot, Task] = {
    "sequence": "text-classification",
    "token": "token-classification",
    "mask": "fill-mask",
    "answer": "question-answering",
}
PAIR_SLOTS: tuple[Slot, ...] = ("sequence", "answer")  # heads that may read two texts at once
_MAX_LABELS = 100_000
_MAX_LABEL_CHARACTERS = 1000  # characters


@dataclass(frozen=True)
class HeadStyle:
    """How a family builds one of its heads.

    dense: the activation after a linear layer `[width, hidden]`; None: no such layer. norm: whether a norm follows.
    width: of the dense layer's result; None: the encoder's width.
    biases: which of "dense", "norm" and "output" have a bias.
    """

    dense: Activation | None = None
    norm: bool = False
    width: int | None = None
    biases: frozenset[str] = frozenset({"dense", "norm", "output"})
    pooling: Literal["cls", "mean"] = "cls"


@dataclass(frozen=True)
class Head:
    """A head and its task. tied: fill-mask uses the word embeddings as its output matrix."""

    slot: Slot
    style: HeadStyle
    task: Task
    labels: tuple[str, ...] = ()
    scores: Scores | None = None
    tied: bool = False

    def shapes(self, hidden: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
        """Weight role → shape."""
        style, slot = self.style, self.slot
        width = hidden if style.dense is None else style.width or hidden
        rows = {"mask": vocabulary, "answer": 2}.get(slot, len(self.labels))
        shapes: dict[str, tuple[int, ...]] = {}
        if style.dense is not None:
            shapes[f"{slot}.dense"] = (width, hidden)
            shapes[f"{slot}.dense.bias"] = (width,)
        if style.norm:
            shapes[f"{slot}.norm"] = shapes[f"{slot}.norm.bias"] = (width,)
        shapes[f"{slot}.output"] = (rows, width)
        shapes[f"{slot}.output.bias"] = (rows,)
        if self.tied:
            del shapes[f"{slot}.output"]
        absent = {f"{slot}.{part}.bias" for part in ("dense", "norm", "output") if part not in style.biases}
        return {role: shape for role, shape in shapes.items() if role not in absent}


def encoder_classes(prefix: str, *slots: str) -> tuple[str, ...]:
    """The names of a family's classes: with all endings in `SLOTS`, or with those in `slots`."""
    return tuple(f"{prefix}{ending}" for ending in slots or SLOTS)


def read_head(config: ConfigReader, prefix: str, styles: Mapping[Slot, HeadStyle]) -> Head | None:
    """The head of the class that `architectures` names. None for a model without a head or if no class is stated."""
    stated = config.get("architectures")
    names = [name for name in stated if isinstance(name, str)] if isinstance(stated, list) else []
    endings = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    slot = next((SLOTS[ending] for ending in endings if ending in SLOTS), None)
    if slot is None:
        return None
    style = styles[slot]
    if slot == "mask":
        return Head(slot, style, _TASKS[slot], tied=config.flag("tie_word_embeddings", True))
    if slot == "answer":
        return Head(slot, style, _TASKS[slot])
    labels = read_labels(config)
    if slot == "token":
        return Head(slot, style, _TASKS[slot], labels, "softmax")
    task, scores = _scores(config, labels)
    return Head(slot, style, task, labels, scores)


def read_labels(config: ConfigReader) -> tuple[str, ...]:
    """The labels in the order of the logits; LABEL_0, LABEL_1, … as in transformers if none are stated."""
    stated, count = config.get("id2label"), config.get("num_labels")
    if stated is None:
        return tuple(f"LABEL_{i}" for i in range(config.integer("num_labels", 2, maximum=_MAX_LABELS)))
    if not isinstance(stated, Mapping) or not 0 < len(stated) <= _MAX_LABELS:
        config.invalid("id2label", f"must be an object with 1 to {_MAX_LABELS} labels")
        return ("",)
    labels = [stated.get(str(i)) for i in range(len(stated))]
    if not all(isinstance(label, str | int) and len(str(label)) <= _MAX_LABEL_CHARACTERS for label in labels):
        config.invalid("id2label", f"must have the keys 0 to {len(stated) - 1} and only strings as labels")
        return ("",) * len(stated)
    if count is not None and count != len(stated):
        config.invalid("num_labels", f"is {str(count)[:20]}, but id2label has {len(stated)} labels")
    return tuple(str(label) for label in labels)


def _scores(config: ConfigReader, labels: tuple[str, ...]) -> tuple[Task, Scores]:
    """The task of a sequence classifier and the meaning of its logits, as in transformers' pipeline and CrossEncoder.

    A model with a single unnamed label and without `problem_type` is a reranker, such as BGE's: for a regression
    transformers' Trainer would have stated "regression".
    """
    problem = config.choice(
        "problem_type", "", ["regression", "single_label_classification", "multi_label_classification"]
    )
    section = config.get("sentence_transformers")
    stated = section.get("activation_fn") if isinstance(section, Mapping) else None
    stated = stated or config.get("sbert_ce_default_activation_function")
    ranks = stated is not None or isinstance(section, Mapping) or (labels == ("LABEL_0",) and not problem)
    if len(labels) == 1 and ranks:
        return "text-ranking", _activation(config, stated)
    if problem == "regression":
        return "text-classification", "identity"
    multiple = problem == "multi_label_classification"
    return "text-classification", "sigmoid" if multiple or len(labels) == 1 else "softmax"


def _activation(config: ConfigReader, stated: Any) -> Scores:
    """The activation of a CrossEncoder's logit, from torch's class name; sigmoid if none is stated."""
    name = str(stated or "Sigmoid").rsplit(".", 1)[-1]
    if name not in ("Identity", "Sigmoid"):
        config.unsupported("sentence_transformers", f"the activation {name[:60]!r} is not supported")
    return "identity" if name == "Identity" else "sigmoid"


def as_cross_encoder(config: ConfigReader, head: Head | None, activation: str | None) -> Head | None:
    """The head as a reranker's, if sentence-transformers' `modules.json` says that the model is a CrossEncoder."""
    if head is None or head.slot != "sequence":
        config.unsupported("modules.json", "a cross-encoder without a head for classification is not supported")
        return head
    if len(head.labels) > 1:
        return head
    return replace(head, task="text-ranking", scores=_activation(config, activation))


def build_head(layers: LayerBuilder, head: Head, x: ir.Value, norm_eps: float) -> dict[str, ir.Value]:
    """Builds the head. Returns output name → value. x: `[batch, seq, hidden]`; `[batch, hidden]` for "sequence"."""
    b, slot, style = layers.builder, head.slot, head.style
    if style.dense is not None:
        x = activate(b, layers.linear(x, f"{slot}.dense", "dense"), style.dense, "activation")
    if style.norm:
        scale = layers.vector(f"{slot}.norm")
        bias = layers.vector(f"{slot}.norm.bias") if "norm" in style.biases else None
        inputs = [x, scale] if bias is None else [x, scale, bias]
        x = b.op("LayerNormalization", *inputs, axis=-1, epsilon=norm_eps, name="norm")
    if slot == "mask":
        return {"logits": _vocabulary(layers, head, x)}
    logits = _rows(layers, f"{slot}.output", x)
    if slot != "answer":
        return {"logits": logits}
    return {name: _column(layers, logits, i, name) for i, name in enumerate(("start_logits", "end_logits"))}


def _vocabulary(layers: LayerBuilder, head: Head, x: ir.Value) -> ir.Value:
    """Logits over the vocabulary. The matrix, the word embeddings or the head's own, can be compressed."""
    b, bound = layers.builder, layers.weights["embedding" if head.tied else "mask.output"]
    bias = layers.vector("mask.output.bias") if "output" in head.style.biases else None
    return b.linear(x, bound.tensor, bound.name, bias, "output")


def _rows(layers: LayerBuilder, role: str, x: ir.Value) -> ir.Value:
    """A linear layer that isn't compressed: it has few rows, and each label depends on a single one."""
    b = layers.builder
    product = b.op("MatMul", x, b.op("Transpose", layers.vector(role), perm=[1, 0], name="turned"), name="product")
    bias = f"{role}.bias"
    return b.op("Add", product, layers.vector(bias), name="output") if bias in layers.weights else product


def _column(layers: LayerBuilder, logits: ir.Value, index: int, name: str) -> ir.Value:
    bounds = (layers.integers(index), layers.integers(index + 1), layers.integers(2))
    column = layers.builder.op("Slice", logits, *bounds, name=f"{name}/column")
    return layers.builder.op("Squeeze", column, layers.integers(2), name=name)
