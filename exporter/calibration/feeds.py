"""Turns token sequences into padded batches of graph inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from exporter.errors import Diagnostic, UnsupportedError
from exporter.graph.model import GraphSpec, Hub, InputKind
from exporter.runners.torch_graph.attributes import torch_dtype

Ids = Sequence[int] | NDArray[np.integer[Any]]

_KINDS: dict[str, InputKind] = {
    "attention_mask": "mask", "input_ids": "ids", "position_ids": "positions", "token_type_ids": "types"
}  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Some sequences, padded to one length.

    feeds: input name → tensor, for each input of the graph. real: bool `[batch, seq]`, false for padding.
    rows: the numbers of these sequences among those that `text_batches` got.
    loss_weights: float32 `[batch, seq]`, the weight of each position in the loss, 0 for padding; None: all equal.
    """

    feeds: Mapping[str, Tensor]
    real: Tensor
    rows: tuple[int, ...]
    loss_weights: Tensor | None = None

    @property
    def tokens(self) -> int:
        """The number of tokens, without padding."""
        return int(self.real.sum())


def text_batches(
    hub: Hub, sequences: Sequence[Ids], *, tokens: int, types: Sequence[Ids] | None = None,
    loss_weights: Sequence[NDArray[np.float32]] | None = None, pad_id: int = 0,
) -> tuple[Batch, ...]:  # fmt: skip
    """Batches of up to `tokens` tokens, padding included; a longer sequence gets a batch of its own.

    Sequences are sorted by length, the longest first, and padded at the end; positions count from 0 and a decoder's
    past is empty. types: token types of each sequence, zeros unless given. loss_weights: float32 `[n]` for each
    sequence, the weight of each position in the loss. pad_id: the token id of padding.

    Raises UnsupportedError for a graph with inputs that can't be made from a text or with a fixed batch size above 1;
    ValueError for an empty sequence, or for one that is longer than the graph's fixed sequence length.
    """
    ports = _ports(hub)
    lengths = [len(ids) for ids in sequences]
    if 0 in lengths:
        raise ValueError(f"sequence {lengths.index(0)} has no tokens")
    order = sorted(range(len(sequences)), key=lambda i: (-lengths[i], i))
    fixed = next((port.sizes[1] for port in ports if port.kind == "ids"), None)
    single = any(port.sizes[0] == 1 for port in ports)
    batches: list[Batch] = []
    while order:
        longest = lengths[order[0]]
        if fixed is not None and longest > fixed:
            raise ValueError(f"a sequence has {longest} tokens, the graph takes {fixed}")
        width = longest if fixed is None else fixed
        count = 1 if single else max(1, tokens // width)
        rows, order = order[:count], order[count:]
        texts = _Texts([sequences[i] for i in rows], None if types is None else [types[i] for i in rows], width, pad_id)
        weights = None if loss_weights is None else texts.filled([loss_weights[i] for i in rows], 0, torch.float32)
        batches.append(Batch({port.name: texts.feed(port) for port in ports}, texts.real, tuple(rows), weights))
    return tuple(batches)


@dataclass(frozen=True)
class _Port:
    """An input of the graph. sizes: None for each size that the graph leaves open."""

    name: str
    kind: InputKind
    sizes: tuple[int | None, ...]
    dtype: torch.dtype


def _ports(hub: Hub) -> list[_Port]:
    kinds: dict[str, InputKind] = {}
    if isinstance(hub.spec, GraphSpec):
        kinds = {port.name: port.kind for port in hub.spec.inputs}
    ports, problems = [], []
    for value in hub.model.graph.inputs:
        name = str(value.name)
        kind = kinds.get(name) or _KINDS.get(name) or ("past" if name.startswith("past_key_values.") else "numbers")
        sizes = tuple(size if isinstance(size, int) else None for size in value.shape or ())
        message = ""
        if kind not in ("ids", "mask", "positions", "types", "past") or len(sizes) < 2:
            message = f"the graph's input {name!r} can't be made from a text"
        elif sizes[0] not in (None, 1):
            message = f"the graph's input {name!r} has the fixed batch size {sizes[0]}; it must be 1 or open"
        if message:
            hint = "--calibrate none compresses without running the model"
            problems.append(Diagnostic("calibration.inputs", message, where=name, hint=hint))
            continue
        dtype = torch_dtype(value.dtype or ir.DataType.INT64, torch.float32)
        assert dtype is not None
        ports.append(_Port(name, kind, sizes, dtype))
    UnsupportedError.raise_all(problems)
    return ports


class _Texts:
    """Some sequences, padded to one length."""

    def __init__(self, ids: Sequence[Ids], types: Sequence[Ids] | None, width: int, pad_id: int) -> None:
        self._ids = ids
        self._types = types
        self._width = width
        self._pad_id = pad_id
        lengths = torch.tensor([len(row) for row in ids])
        self.real = torch.arange(width)[None] < lengths[:, None]

    def feed(self, port: _Port) -> Tensor:
        """The tensor for one input of the graph."""
        match port.kind:
            case "ids":
                made = self.filled(self._ids, self._pad_id)
            case "types":
                made = torch.zeros(self.real.shape, dtype=torch.int64)
                made = made if self._types is None else self.filled(self._types, 0)
            case "mask":
                made = self.real
            case "positions":
                made = torch.arange(self._width).expand(self.real.shape)
            case _:  # a past `[batch, heads, tokens, head_dim]` without tokens
                made = torch.zeros([len(self._ids), *(size or 0 for size in port.sizes[1:])])
        return made.to(port.dtype)

    def filled(
        self, rows: Sequence[Sequence[int] | NDArray[Any]], padding: int, dtype: torch.dtype = torch.int64
    ) -> Tensor:
        """The rows as one tensor `[batch, seq]`, filled up with `padding`."""
        made = torch.full(self.real.shape, padding, dtype=dtype)
        for i, row in enumerate(rows):
            made[i, : len(row)] = torch.as_tensor(np.asarray(row))
        return made
