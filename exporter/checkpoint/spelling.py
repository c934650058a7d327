"""Converts a configuration to the keys of transformers 4, which loads the references and the traced exports.

transformers 5 writes a rope's base and scaling as `rope_parameters`. transformers 4 silently ignores that key and uses
its default rope, which computes another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LAYER_TYPES = ("full_attention", "sliding_attention")
_THETA_KEYS = {"gpt_neox": "rotary_emb_base", "modernbert": "global_rope_theta"}
_LOCAL_THETA_KEYS = {"gemma3_text": "rope_local_base_freq", "modernbert": "local_rope_theta"}
_ROTARY_SHARE_KEYS = {"gpt_neox": "rotary_pct"}
# Model types whose rope_scaling must hold "type" and exactly these keys.
_SCALING_KEYS = {"olmo": ("factor",), "olmo2": ("factor",), "phi3": ("short_factor", "long_factor")}


def older_spelling(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json, or a section of it, with the keys that transformers 4.57 reads; equal to `config` if it has them.

    Where the two versions read one value differently, the result has transformers 5's meaning, which is the corrected
    one: "gelu" in Gemma 1's first configurations means the tanh approximation.
    """
    restated = {key: older_spelling(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    model_type = str(config.get("model_type"))
    if model_type == "gemma" and config.get("hidden_act") == "gelu":
        restated["hidden_act"] = "gelu_pytorch_tanh"
    if model_type == "modernbert":
        restated |= _every_nth(config)
    scaling = config.get("rope_scaling")
    if isinstance(scaling, Mapping) and scaling.get("rope_type") is not None and "type" in scaling:
        # Where both exist, transformers 4 reads "type".
        restated["rope_scaling"] = {**scaling, "type": scaling["rope_type"]}
    rope = config.get("rope_parameters")
    if not isinstance(rope, Mapping):
        return restated
    del restated["rope_parameters"]
    everywhere, near = (rope.get(kind) for kind in _LAYER_TYPES)
    if isinstance(near, Mapping) and model_type in _LOCAL_THETA_KEYS:
        restated[_LOCAL_THETA_KEYS[model_type]] = near.get("rope_theta")
    return restated | _rope(everywhere if isinstance(everywhere, Mapping) else rope, config, model_type)


def _rope(rope: Mapping[str, Any], config: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """The entries of `rope` as transformers 4's top-level keys."""
    merged = ("rope_theta", "partial_rotary_factor", "rope_type", "type")
    kind = rope.get("rope_type", rope.get("type", "default"))
    scaling = None if kind == "default" else {"rope_type": kind, **{k: v for k, v in rope.items() if k not in merged}}
    if scaling is not None and model_type in _SCALING_KEYS:
        scaling = {"type": kind, **{key: scaling.get(key) for key in _SCALING_KEYS[model_type]}}
    older: dict[str, Any] = {"rope_scaling": scaling}
    if rope.get("rope_theta") is not None:
        older[_THETA_KEYS.get(model_type, "rope_theta")] = rope["rope_theta"]
    if rope.get("partial_rotary_factor") is not None:
        older[_ROTARY_SHARE_KEYS.get(model_type, "partial_rotary_factor")] = rope["partial_rotary_factor"]
    first = "original_max_position_embeddings"
    if model_type == "phi3" and config.get(first) is None and rope.get(first) is not None:
        older[first] = rope[first]
    return older


def _every_nth(config: Mapping[str, Any]) -> dict[str, Any]:
    """`global_attn_every_n_layers`, where `layer_types` has full attention at every nth layer from the first on."""
    kinds = config.get("layer_types")
    if not isinstance(kinds, list) or not kinds:
        return {}
    full = [kind == "full_attention" for kind in kinds]
    each = next((n for n in range(1, len(full) + 1) if full == [i % n == 0 for i in range(len(full))]), None)
    return {} if each is None else {"global_attn_every_n_layers": each}
