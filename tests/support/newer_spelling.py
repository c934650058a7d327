"""config.json as transformers 5 writes it, from what transformers 4 wrote. Compared with what 5.23 saves, once."""

from __future__ import annotations

from typing import Any


def newer(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as transformers 5 writes it: ropes in one place, with the kinds of layers they are for."""
    kept = dict(config)
    if "text_config" in kept:
        return kept | {"text_config": newer(kept["text_config"])}
    model_type = kept["model_type"]
    theta = kept.pop("rope_theta", None)
    theta = kept.pop("rotary_emb_base", theta)
    scaling = kept.pop("rope_scaling", None) or {"rope_type": "default"}
    full = {"rope_type": scaling.get("type"), **scaling, "rope_theta": theta or 10000.0}
    for key in ("partial_rotary_factor", "rotary_pct"):
        if key in kept and model_type != "cohere2":
            full["partial_rotary_factor"] = kept.pop(key)
    near = {"rope_type": "default", "rope_theta": full["rope_theta"]}
    if model_type == "gemma3_text":
        full["rope_theta"], near["rope_theta"] = theta or 1e6, kept.pop("rope_local_base_freq", 1e4)
    if model_type == "modernbert":
        full["rope_theta"], near["rope_theta"] = kept.pop("global_rope_theta"), kept.pop("local_rope_theta")
        every = kept.pop("global_attn_every_n_layers")
        kinds = ("sliding_attention", "full_attention")
        kept["layer_types"] = [kinds[i % every == 0] for i in range(kept["num_hidden_layers"])]
    by_kind = model_type in ("gemma3_text", "modernbert", "olmo3")
    rope = {"full_attention": full, "sliding_attention": near} if by_kind else full
    return kept | {"rope_parameters": rope, "dtype": kept.pop("torch_dtype", "float32")}
