"""The files that sentence-transformers needs beside `model.onnx`, so that it pools as the checkpoint does.

Without them it takes the mean of all tokens and the tokenizer's own length, and says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.bundle.canonical import canonical_json

if TYPE_CHECKING:
    from exporter.checkpoint.sentence import SentenceModules
    from exporter.checkpoint.sentence_dense import SentenceDense

MODULES = "modules.json"
SETTINGS = "sentence_bert_config.json"  # of the transformer, such as its max_seq_length

_PACKAGE = "sentence_transformers.models"  # the names that versions 2 to 5 write, and all later ones read
# Version 5.4 and newer; older ones score pairs without these files.
_SCORING = "sentence_transformers.base.modules.transformer.Transformer"
_SCORES = {
    "transformer_task": "sequence-classification",
    "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
    "module_output_name": "scores",
}
# Pooling → its flag; sentence-transformers reads a flag that is absent as False, except for the mean.
_FLAGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def sentence_files(modules: SentenceModules | None, width: int, context: int | None) -> dict[str, bytes]:
    """Path beside the model → content; empty for a model that neither pools nor scores pairs.

    width: elements of a token's embedding. context: longest text in tokens; None where nothing limits it.
    """
    if modules is None or not (modules.cross_encoder or modules.pooling):
        return {}
    lengths = [length for length in (modules.max_seq_length, context) if length is not None]
    # The shipped tokenizer makes text lower case itself where the checkpoint asks for it.
    text: dict[str, Any] = {"do_lower_case": False} | ({"max_seq_length": min(lengths)} if lengths else {})
    if modules.cross_encoder:
        return {
            MODULES: canonical_json([{"idx": 0, "name": "0", "path": "", "type": _SCORING}]),
            SETTINGS: canonical_json(text | _SCORES),
            "config_sentence_transformers.json": canonical_json(_general(modules)),
        }
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    pooling = {flag: name == modules.pooling for name, flag in _FLAGS.items()}
    files = {
        "1_Pooling/config.json": canonical_json({"word_embedding_dimension": width, "include_prompt": True, **pooling})
    }
    for dense in modules.dense:
        path = f"{len(kinds)}_Dense"
        kinds.append((path, "Dense"))
        files[f"{path}/config.json"] = canonical_json(_dense_config(dense))
        files[f"{path}/model.safetensors"] = _dense_weights(dense)
    if modules.normalize:
        kinds.append((f"{len(kinds)}_Normalize", "Normalize"))
    files[MODULES] = canonical_json(
        [{"idx": i, "name": str(i), "path": p, "type": f"{_PACKAGE}.{kind}"} for i, (p, kind) in enumerate(kinds)]
    )
    files[SETTINGS] = canonical_json(text)
    files["config_sentence_transformers.json"] = canonical_json(_general(modules))
    return files


def _dense_config(dense: SentenceDense) -> dict[str, Any]:
    return {
        "in_features": dense.in_features,
        "out_features": dense.out_features,
        "bias": "linear.bias" in dense.tensors,
        "activation_function": f"torch.nn.modules.activation.{dense.activation}"
        if dense.activation != "Identity"
        else "torch.nn.modules.linear.Identity",
    }


def _dense_weights(dense: SentenceDense) -> bytes:
    from safetensors.numpy import save

    arrays = {name: dense.tensors[name].numpy().astype(np.float32) for name in sorted(dense.tensors)}
    weights: bytes = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return weights


def _general(modules: SentenceModules) -> dict[str, Any]:
    """What holds for the whole model."""
    general: dict[str, Any] = {
        "model_type": "CrossEncoder" if modules.cross_encoder else "SentenceTransformer",
        "prompts": dict(modules.prompts),
        "default_prompt_name": modules.default_prompt,
        "activation_fn": modules.activation,
        "truncate_dim": modules.truncate,
    }
    return {key: value for key, value in general.items() if value is not None or key == "default_prompt_name"}
