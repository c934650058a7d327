"""Runs hub graphs in onnxruntime, for tests: the checker first, then a session, and feeds for decoders and encoders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from exporter.graph.model import DecoderSpec, Hub

Cache = list[NDArray[np.float32]]


def open_session(hub: Hub, *, check: bool = True) -> onnxruntime.InferenceSession:
    """The hub's model in onnxruntime on one thread, after onnx's full check (types and shapes included)."""
    proto = ir.to_proto(hub.model)
    if check:
        onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def positions_of(mask: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position ids as transformers' `generate` makes them: padding doesn't count."""
    return np.maximum(mask.cumsum(1) - 1, 0)


class DecoderRun:
    """A decoder that is fed piece by piece and keeps its cache."""

    def __init__(self, hub: Hub, batch: int = 1) -> None:
        assert isinstance(hub.spec, DecoderSpec)
        self._session = open_session(hub)
        cache = hub.spec.cache
        self.cache: Cache = [
            np.zeros((batch, heads, 0, cache.head_dim), np.float32) for heads in cache.kv_heads for _ in range(2)
        ]

    def feed(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """`ids` `[batch, sequence]`, `mask` over everything so far `[batch, total]`; logits of the new ids."""
        sequence = ids.shape[1]
        feeds = {"input_ids": ids, "attention_mask": mask, "position_ids": positions_of(mask)[:, -sequence:]}
        names = [f"past_key_values.{i}.{kind}" for i in range(len(self.cache) // 2) for kind in ("key", "value")]
        logits, *self.cache = self._session.run(None, feeds | dict(zip(names, self.cache, strict=True)))
        return logits


def in_pieces(hub: Hub, ids: NDArray[np.int64], mask: NDArray[np.int64], pieces: Sequence[int]) -> NDArray[np.float32]:
    """Logits `[batch, sequence, vocab]` when `ids` are fed in pieces of these lengths."""
    run, start, logits = DecoderRun(hub, len(ids)), 0, []
    for piece in pieces:
        logits.append(run.feed(ids[:, start : start + piece], mask[:, : start + piece]))
        start += piece
    assert start == ids.shape[1]
    return np.concatenate(logits, axis=1)
