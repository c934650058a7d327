"""Saves a checkpoint folder that every version of transformers, and other tools, read alike."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


def _update_json(path: Path, drop: tuple[str, ...] = (), **values: Any) -> None:
    """Drop and set keys of a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content = {key: value for key, value in content.items() if key not in drop} | values
    text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)
    path.write_text(f"{text}\n", encoding="utf-8", newline="\n")


def save_checkpoint(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Write the weights in fp16 (the model keeps its own), the configuration and the tokenizer."""
    copy.deepcopy(model).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Newer transformers write "dtype", which older readers do not know; all know "torch_dtype".
    _update_json(folder / "config.json", drop=("dtype",), torch_dtype="float16")
    # Defaults are not saved, but an exporter should not have to know the default.
    _update_json(folder / "generation_config.json", do_sample=False)
    # safetensors creates the file for its owner only.
    (folder / "model.safetensors").chmod(0o644)
