"""Outputs of modules inside transformers' model, under the names that the hub graph gives the same tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]


_RESULTS = ("logits", "start_logits", "end_logits")  # what the model itself returns, under the hub's names


def token_feeds(ids: NDArray[np.int64]) -> dict[str, torch.Tensor]:
    """A text `[n]` as a batch of one."""
    import torch

    return {"input_ids": torch.from_numpy(ids)[None]}


def capture_torch(model: Any, feeds: Mapping[str, torch.Tensor], points: Mapping[str, str]) -> dict[str, Array]:
    """Hub value name → output of the torch module at that path (the first, where it returns several).

    feeds: the model's inputs. The logits that the model returns come last.
    points: hub value name → module path, `layers.0/attention` → `model.layers.0.self_attn` say. A module that runs
    several times keeps its last output. Raises InputError for a path that the model doesn't have.
    """
    import torch

    modules = dict(model.named_modules())
    found: dict[str, Array] = {}
    hooks = []
    for name, path in points.items():
        if path not in modules:
            raise InputError.of("parity.reference-point", f"transformers' model has no module {path!r}", where=name)
        hooks.append(modules[path].register_forward_hook(_keep(found, name)))
    try:
        with torch.inference_mode():
            results = model(**feeds)
    finally:
        for hook in hooks:
            hook.remove()
    own = {name: found[name] for name in points if name in found}
    return own | {name: np.array(results[name].numpy()) for name in _RESULTS if name in results}


def _keep(found: dict[str, Array], name: str) -> Any:
    def hook(_module: Any, _inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, (tuple, list)) else output
        found[name] = np.array(first.detach().float().numpy())  # a copy: modules may write in place afterwards

    return hook
