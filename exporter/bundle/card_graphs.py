"""The model card's facts about models that optimum exported or that were an ONNX file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.bundle.manifest import Manifest

KINDS: Mapping[str, str] = {
    "image": "an image, normalized",
    "ids": "token ids",
    "types": "token types",
    "mask": "1 for a token, 0 for padding",
    "positions": "positions: 0, 1, 2, …",
    "features": "features of sound, computed by the preprocessor",
    "output": "",
    "past": "the KV cache",
    "numbers": "numbers",
}
# Task → the class of optimum that loads `onnx/` as it is.
_CLIENTS: Mapping[str, str] = {
    "audio-classification": "ORTModelForAudioClassification",
    "feature-extraction": "ORTModelForFeatureExtraction",
    "fill-mask": "ORTModelForMaskedLM",
    "image-classification": "ORTModelForImageClassification",
    "question-answering": "ORTModelForQuestionAnswering",
    "text-classification": "ORTModelForSequenceClassification",
    "text-generation": "ORTModelForCausalLM",
    "text2text-generation": "ORTModelForSeq2SeqLM",
    "token-classification": "ORTModelForTokenClassification",
}


def card_facts(manifest: Manifest, preprocessor: Mapping[str, Any]) -> dict[str, Any]:
    """The template's variables. preprocessor: the bundle's preprocessor_config.json, empty where there is none."""
    components = list(manifest.model["inputs"])
    return {
        "kinds": KINDS,
        "names": {component: _variable(component) for component in components},
        "client": _client(manifest, components),
        "image": _image(manifest, preprocessor),
        "preprocessed": bool(preprocessor),
    }


def _client(manifest: Manifest, components: list[str]) -> str | None:
    if manifest.model["family"] == "onnx" or "text_model" in components:
        return None
    if manifest.task == "automatic-speech-recognition":
        return "ORTModelForSpeechSeq2Seq" if "decoder_model" in components else "ORTModelForCTC"
    return _CLIENTS.get(manifest.task)


def _image(manifest: Manifest, preprocessor: Mapping[str, Any]) -> dict[str, list[float]] | None:
    """Mean and standard deviation of each colour, where images are normalized with them."""
    takes = any(port["kind"] == "image" for ports in manifest.model["inputs"].values() for port in ports)
    found = {key: preprocessor.get(f"image_{key}") for key in ("mean", "std")}
    numbers = all(isinstance(v, list) and all(type(x) in (int, float) for x in v) for v in found.values())
    scaled = preprocessor.get("do_rescale", True) is not False and preprocessor.get("do_normalize", True) is not False
    if not (takes and numbers and scaled):
        return None
    return {key: [float(x) for x in value] for key, value in found.items() if value is not None}


def _variable(component: str) -> str:
    """A variable's name in Swift, Kotlin and Python."""
    return re.sub(r"\W", "_", component.removesuffix("_model") or "model")


def python_name(name: str) -> str:
    """An input's name as a Python variable."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{plain}" if not plain or plain[0].isdigit() else plain
