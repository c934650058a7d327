"""Folders that are no whole checkpoint, told by what lies in them: what they are, and what to pass instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exporter.checkpoint.folder import Folder
from exporter.errors import InputError, KogataError, UnsupportedError

ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_MERGE = "merge it first: `AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload().save_pretrained(out)`"
_METHODS = {
    "awq": "AWQ", "gptq": "GPTQ", "bitsandbytes": "bitsandbytes", "compressed-tensors": "compressed-tensors",
    "fp8": "FP8", "fbgemm_fp8": "FP8", "mxfp4": "MXFP4", "hqq": "HQQ", "aqlm": "AQLM", "quanto": "Quanto",
    "eetq": "EETQ", "torchao": "torchao", "bitnet": "BitNet", "vptq": "VPTQ", "auto-round": "AutoRound",
    "modelopt": "ModelOpt",
}  # fmt: skip
_NAMED = 5  # folders listed in one message


def refuse_adapter(folder: Folder) -> None:
    """`UnsupportedError` for a folder that holds an adapter: alone, or unmerged beside a model."""
    names = folder.names()
    if not set(_ADAPTER_WEIGHTS) & set(names) and (ADAPTER_CONFIG not in names or "config.json" in names):
        return  # a whole model; merging leaves the adapter's configuration behind at times
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
    """`UnsupportedError` for weights that were quantized: their values are gone, and their tensors no weights.

    base_models: what the model card says it was made from.
    """
    nested = config.get("text_config")
    for section in (config, nested if isinstance(nested, dict) else {}):
        for key in ("quantization_config", "compression_config", "quantization"):
            settings = section.get(key)
            if isinstance(settings, dict) and settings:
                method = settings.get("quant_method", "MLX" if key == "quantization" else None)
                name = _METHODS.get(str(method), _shown(method)) or "an unnamed method"
                source = f": {', '.join(base_models[:_NAMED])}" if base_models else ""
                raise UnsupportedError.of(
                    "checkpoint.quantized",
                    f"the weights are quantized already, by {name}",
                    where=f"config.json: {key}",
                    hint=f"export the model that it was made from{source}",
                )


def no_config(folder: Folder) -> KogataError:
    """Why there is no config.json, from what else there is."""
    names = folder.names()
    if "model_index.json" in names:
        return UnsupportedError.of(
            "checkpoint.diffusers",
            "the folder holds a diffusers pipeline, which is several models",
            where="model_index.json",
            hint="language models, encoders and single vision models are exported",
        )
    if "params.json" in names:
        return InputError.of(
            "checkpoint.config",
            "there is no config.json: this is the format of the model's makers, with params.json",
            where="params.json",
            hint="take the repository in transformers' format (Meta's end in -hf), or convert it with its script",
        )
    inner = [name for name in names if _is_checkpoint(folder, name)]
    hint = "a checkpoint is a folder as transformers' `save_pretrained` writes it"
    if "modules.json" in names and inner:
        hint = (
            f"sentence-transformers kept the model in a folder of its own ({inner[0]}) before its version 2; "
            "load and save it once more: `SentenceTransformer(folder).save(new_folder)`"
        )
    elif inner:
        hint = f"pass one of the folders in it: {', '.join(inner[:_NAMED])}"
    return InputError.of("checkpoint.config", "there is no config.json", where="config.json", hint=hint)


def _is_checkpoint(folder: Folder, name: str) -> bool:
    try:
        return name.isprintable() and folder.find(f"{name}/config.json") is not None
    except KogataError:
        return False


def _shown(text: Any) -> str:
    """`text` where it can be shown in one line, else ''."""
    return text if isinstance(text, str) and text.isprintable() and len(text) <= 200 else ""
