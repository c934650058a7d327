"""transformers' decoders as the reference: logits with its own cache, and the outputs of its modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, DynamicCache

from exporter.graph.model import DecoderSpec, Hub
from support.hub_sessions import open_session, positions_of

Ids = NDArray[np.int64]


def reference(folder: Path) -> Any:
    """The checkpoint in its own class, float32, eager attention."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def reference_logits(model: Any, ids: Ids, mask: Ids, pieces: Sequence[int]) -> NDArray[np.float32]:
    """Logits `[batch, sequence, vocab]` when `ids` are fed in pieces of these lengths."""
    cache, start, logits = DynamicCache(config=model.config), 0, []
    positions = torch.from_numpy(positions_of(mask))
    for piece in pieces:
        end = start + piece
        with torch.no_grad():
            output = model(
                input_ids=torch.from_numpy(ids[:, start:end]),
                attention_mask=torch.from_numpy(mask[:, :end]),
                position_ids=positions[:, start:end],
                past_key_values=cache,
                use_cache=True,
            )
        logits.append(output.logits.numpy())
        start = end
    return np.concatenate(logits, axis=1)


def observed(
    model: torch.nn.Module, modules: Iterable[str], run: Callable[[torch.nn.Module], object]
) -> dict[str, NDArray[np.float32]]:
    """Module path → what it returned (first of a tuple) while `run` ran."""
    seen: dict[str, NDArray[np.float32]] = {}
    for path in set(modules):

        def keep(_module: Any, _inputs: Any, output: Any, path: str = path) -> None:
            seen[path] = (output[0] if isinstance(output, tuple) else output).detach().numpy().copy()

        model.get_submodule(path).register_forward_hook(keep)
    run(model)
    return seen


def observed_in_hub(hub: Hub, names: Sequence[str], ids: Ids, mask: Ids) -> dict[str, NDArray[np.float32]]:
    """Hub value → what it holds when everything is fed at once."""
    assert isinstance(hub.spec, DecoderSpec)
    model = hub.model.clone()
    values = {value.name: value for node in model.graph for value in node.outputs}
    extra = [name for name in names if name not in {value.name for value in model.graph.outputs}]
    for name in extra:
        values[name].type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.outputs.append(values[name])
    session = open_session(replace(hub, model=model), check=False)  # the checker wants shapes of outputs
    feeds: dict[str, NDArray[Any]] = {"input_ids": ids, "attention_mask": mask, "position_ids": positions_of(mask)}
    for i, heads in enumerate(hub.spec.cache.kv_heads):
        for kind in ("key", "value"):
            empty = np.zeros((len(ids), heads, 0, hub.spec.cache.head_dim), np.float32)
            feeds[f"past_key_values.{i}.{kind}"] = empty
    wanted = list(names)
    return dict(zip(wanted, session.run(wanted, feeds), strict=True))
