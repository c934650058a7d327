"""What an unknown model type has that no importer draws, read from its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_EXPERTS = re.compile(r"(moe_)?(n|num)_(local_|routed_)?experts")
_STATE_SPACE = re.compile(r"mamba_(d|n|expand|chunk).*|ssm_.*|n_mamba_heads")
_RECURRENT_TYPES = frozenset({"rwkv", "rwkv6", "rwkv7", "xlstm", "recurrent_gemma", "retnet"})
_LAYERS = {  # values of `layer_types`, `block_types` and the like → the part
    "mamba": "state-space layers (Mamba)",
    "mamba2": "state-space layers (Mamba)",
    "linear_attention": "layers of linear attention",
    "recurrent": "recurrent layers",
    "conv": "layers of short convolutions",
}


def missing_parts(config: Mapping[str, Any]) -> tuple[str, ...]:
    """In words, sorted; empty where the configuration names nothing of that kind.

    config: config.json, with the configurations nested in it, as models for text and images have them.
    """
    found = {part for section in _sections(config) for part in _parts(section)}
    return tuple(sorted(found))


def _sections(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield config
    yield from (value for key, value in config.items() if isinstance(value, dict) and key.endswith("config"))


def _parts(section: Mapping[str, Any]) -> Iterator[str]:
    kind = str(section.get("model_type", "")).lower()
    counts = [value for key, value in section.items() if _EXPERTS.fullmatch(key)]
    if any(isinstance(n, int) and n > 1 for n in counts) or (not counts and "moe" in re.split(r"[_-]", kind)):
        yield "a mixture of experts"
    if section.get("kv_lora_rank"):
        yield "multi-head latent attention"
    if "mamba" in kind or any(_STATE_SPACE.fullmatch(key) for key in section):
        yield _LAYERS["mamba"]
    if kind in _RECURRENT_TYPES or "lru_width" in section:
        yield _LAYERS["recurrent"]
    if any(key.startswith("linear_") and key.endswith("_heads") for key in section):
        yield _LAYERS["linear_attention"]
    if "conv_L_cache" in section:
        yield _LAYERS["conv"]
    for key in ("layer_types", "layers_block_type", "block_types", "_block_types"):
        listed = section.get(key)
        if isinstance(listed, list):
            yield from (_LAYERS[name] for name in _LAYERS if name in listed)
