"""Whether optimum can run a decoder. It makes the first, empty cache from the configuration by rules of its own.

Where these give another shape than the model has, the first step fails, whoever exported the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# optimum-onnx 0.1, `ORTModelForCausalLM.__init__` in optimum/onnxruntime/modeling_decoder.py: the model types of which
# it reads head_dim and num_key_value_heads. For all others it takes hidden_size / heads, and as many heads as queries.
READS_HEAD_DIM = frozenset({"gemma", "gemma3_text", "gpt_oss", "nemotron"})
READS_KV_HEADS = frozenset(
    {
        "arcee", "cohere", "gemma", "gemma3_text", "glm", "gpt_bigcode", "gpt_oss", "granite", "helium", "llama",
        "mistral", "nemotron", "qwen2", "qwen3", "qwen3_moe", "smollm3", "stablelm",
    }
)  # fmt: skip
# Decoders whose configuration is code of the checkpoint: a bundle has no code, and transformers doesn't know them.
NOT_IN_TRANSFORMERS = frozenset({"internlm2", "internlm3", "minicpm", "openelm"})


def optimum_obstacle(model: Mapping[str, Any]) -> str:
    """Why `ORTModelForCausalLM` can't run the decoder, as a clause; empty where it can.

    model: of the manifest, with `family`, `hidden_size`, `heads`, `kv_heads` and `head_dim`.
    """
    family, heads, kv_heads, head_dim = (model[key] for key in ("family", "heads", "kv_heads", "head_dim"))
    width = model["hidden_size"] // heads
    if family in NOT_IN_TRANSFORMERS:
        return f"transformers, which it needs, has no model type {family}"
    if family not in READS_HEAD_DIM and head_dim != width:
        return f"it takes heads of this family to be hidden_size / heads = {width} wide, and they are {head_dim}"
    if family not in READS_KV_HEADS and kv_heads != heads:
        return f"it takes this family to have a key/value head for each query head, {heads}, and it has {kv_heads}"
    return ""
