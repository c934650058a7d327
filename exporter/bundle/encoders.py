"""An encoder in the manifest and the card: how its embeddings are pooled, or what its logits mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.bundle.manifest import Manifest
    from exporter.checkpoint.sentence import SentenceModules
    from exporter.graph.model import EncoderSpec

EMBEDS = "feature-extraction"
OPTIMUM: Mapping[str, str] = {  # task → the class of optimum that loads `onnx/`
    "text-classification": "ORTModelForSequenceClassification",
    "text-ranking": "ORTModelForSequenceClassification",
    "token-classification": "ORTModelForTokenClassification",
    "fill-mask": "ORTModelForMaskedLM",
    "question-answering": "ORTModelForQuestionAnswering",
}
_PAIRED = ("text-classification", "text-ranking", "question-answering")  # tasks whose input may be two texts


def encoder_facts(spec: EncoderSpec) -> Mapping[str, Any]:
    """The encoder's part of `model` in the manifest."""
    if spec.task == EMBEDS:
        return {"pooling": spec.pooling, "normalize": spec.normalize}
    known = {"labels": list(spec.labels), "scores": spec.scores}
    return {key: value for key, value in known.items() if value}


def sentence_facts(modules: SentenceModules | None) -> Mapping[str, Any]:
    """The part of `model` in the manifest that sentence-transformers' modules state; empty without an embedding."""
    if modules is None or modules.cross_encoder:
        return {}
    facts: dict[str, Any] = {"pooling": modules.pooling, "normalize": modules.normalize}
    if modules.truncate is not None:
        facts["truncate_dim"] = modules.truncate
    if modules.prompts:
        facts["prompts"] = dict(modules.prompts)
    if modules.default_prompt is not None:
        facts["default_prompt_name"] = modules.default_prompt
    return facts


def default_prompt(model: Mapping[str, Any]) -> str:
    """The text that goes before every text, from `model` in the manifest; empty where there is none."""
    prompts, name = model.get("prompts", {}), model.get("default_prompt_name")
    return str(prompts.get(name, "")) if name is not None else ""


def task_facts(manifest: Manifest) -> dict[str, Any]:
    """The card's facts about an encoder with a head; `task` is False for any other model."""
    inputs = {a.kind: {port.name for port in manifest.io[a.path].inputs} for a in manifest.artifacts}
    labels = manifest.model.get("labels", [])
    return {
        "task": manifest.task in OPTIMUM,
        "optimum": OPTIMUM.get(manifest.task, ""),
        "typed": "token_type_ids" in inputs.get("coreml", ()),
        "onnx_typed": "token_type_ids" in inputs.get("onnx", ()) and manifest.task in _PAIRED,
        # Core ML's own classifier outputs: the same condition as in `class_labels` of the Core ML writer.
        "classifier": manifest.task == "text-classification"
        and manifest.model.get("scores") == "softmax"
        and len(set(labels)) == len(labels)
        and all(labels),
    }
