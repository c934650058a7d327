"""Errors for folders that aren't a whole checkpoint: what the folder holds, and what to pass instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exporter.checkpoint.folder import Folder
from exporter.errors import InputError, KogataError, UnsupportedError

ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_MERGE = "merge it first: `AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload().save_pretrained(out)`"
_QUANTIZATION_METHODS = {
    "awq": "AWQ", "gptq": "GPTQ", "bitsandbytes": "bitsandbytes", "compressed-tensors": "compressed-tensors",
    "fp8": "FP8", "fbgemm_fp8": "FP8", "mxfp4": "MXFP4", "hqq": "HQQ", "aqlm": "AQLM", "quanto": "Quanto",
    "eetq": "EETQ", "torchao": "torchao", "bitnet": "BitNet", "vptq": "VPTQ", "auto-round": "AutoRound",
    "modelopt": "ModelOpt",
}  # fmt: skip
_MAX_LISTED = 5  # names in one message


def refuse_adapter(folder: Folder) -> None:
    """Raises `UnsupportedError` for a folder with an adapter (LoRA), alone or unmerged beside a model."""
    names = folder.names()
    if not set(_ADAPTER_WEIGHTS) & set(names) and (ADAPTER_CONFIG not in names or "config.json" in names):
        return  # a whole model; merging sometimes leaves adapter_config.json in the folder
    settings = folder.read_object(ADAPTER_CONFIG) or {}
    base = _shown(settings.get("base_model_name_or_path"))
    whole = any(name.startswith("model") and name.endswith(".safetensors") for name in names)
    what = "an adapter (LoRA) beside a model" if whole else "an adapter (LoRA), not a whole model"
    raise UnsupportedError.of(
        "checkpoint.adapter",
        f"the folder holds {what}" + (f"; it belongs to {base}" if base else ""),
        where=ADAPTER_CONFIG,
        hint=f"{_MERGE}; if it is merged already, remove the adapter_* files" if whole else _MERGE,
    )


def refuse_quantized(config: Mapping[str, Any], base_models: Sequence[str]) -> None:
    """Raises `UnsupportedError` for quantized weights: their original values are lost, and codes and scales are stored.

    base_models: the hub ids that the model card says the model was made from.
    """
    nested = config.get("text_config")
    for section in (config, nested if isinstance(nested, dict) else {}):
        for key in ("quantization_config", "compression_config", "quantization"):
            settings = section.get(key)
            if isinstance(settings, dict) and settings:
                method = settings.get("quant_method", "MLX" if key == "quantization" else None)
                name = _QUANTIZATION_METHODS.get(str(method), _shown(method)) or "an unnamed method"
                source = f": {', '.join(base_models[:_MAX_LISTED])}" if base_models else ""
                raise UnsupportedError.of(
                    "checkpoint.quantized",
                    f"the weights are quantized already, by {name}",
                    where=f"config.json: {key}",
                    hint=f"export the model that it was quantized from{source}",
                )


def no_config(folder: Folder) -> KogataError:
    """The error for a folder without config.json; it depends on the other files in the folder."""
    names = folder.names()
    if "model_index.json" in names:
        return UnsupportedError.of(
            "checkpoint.diffusers",
            "the folder holds a diffusers pipeline, which consists of several models",
            where="model_index.json",
            hint="export a language model, an encoder or a single vision model",
        )
    if "params.json" in names:
        return InputError.of(
            "checkpoint.config",
            "there is no config.json: with params.json, this is the original format of the model's authors",
            where="params.json",
            hint="take the repository in transformers' format (Meta's end in -hf), or convert it with its script",
        )
    inner = [name for name in names if _is_checkpoint(folder, name)]
    hint = "pass a folder that transformers' `save_pretrained` wrote"
    if "modules.json" in names and inner:
        hint = (
            f"sentence-transformers before version 2 saved the model in a subfolder ({inner[0]}); "
            "load and save it again: `SentenceTransformer(folder).save(new_folder)`"
        )
    elif inner:
        hint = f"pass one of its subfolders: {', '.join(inner[:_MAX_LISTED])}"
    return InputError.of("checkpoint.config", "there is no config.json", where="config.json", hint=hint)


def _is_checkpoint(folder: Folder, name: str) -> bool:
    try:
        return name.isprintable() and folder.find(f"{name}/config.json") is not None
    except KogataError:
        return False


def _shown(text: Any) -> str:
    """`text` if it can be shown in one line, else ''."""
    return text if isinstance(text, str) and text.isprintable() and len(text) <= 200 else ""
