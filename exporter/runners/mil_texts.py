"""Shipped Core ML programs in Kogata's reference executor, with or without float16 rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError
from exporter.runners.base import Embeddings, MaskConvention, answer_of, logits_of

if TYPE_CHECKING:
    import torch

    from exporter.runners.mil import MilModel, MilState

Observe = Callable[[str, "torch.Tensor"], None]

MASKED = -4e4  # added to scores that must not count, as in Apple's examples; -inf is NaN on some hardware


class MilDecoder:
    """A stateful decoder program (`inputIds`, `causalMask` → `logits`). mask: the convention of its caller."""

    def __init__(
        self,
        model: MilModel,
        *,
        rounding: bool = True,
        mask: MaskConvention = "swift-transformers",
        observe: Observe | None = None,
    ) -> None:
        self.model, self.rounding, self.mask, self.observe = model, rounding, mask, observe
        self.name = executor_name(rounding)

    def session(self) -> MilDecoderSession:
        """A session with zeroed states."""
        return MilDecoderSession(self)


class MilDecoderSession:
    """One text; the cache lives in the program's states."""

    def __init__(self, runner: MilDecoder) -> None:
        self._runner = runner
        self._state: MilState = runner.model.new_state()
        self._past = 0

    def feed(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """`[q]` token ids → logits `[q, vocab]`."""
        runner = self._runner
        results = runner.model.predict(
            {"inputIds": ids[None].astype(np.int32), "causalMask": causal_mask(self._past, len(ids), runner.mask)},
            self._state,
            fp16_rounding=runner.rounding,
            observe=runner.observe,
        )
        self._past += len(ids)
        return logits_of(results, len(ids))


class MilEncoder:
    """An encoder program with enumerated lengths: a text takes the smallest that it fits in."""

    def __init__(
        self, model: MilModel, *, rounding: bool = True, pad_id: int = 0, observe: Observe | None = None
    ) -> None:
        self.model, self.rounding, self.observe = model, rounding, observe
        self._pad_id = pad_id
        self.name = executor_name(rounding)
        self.lengths = encoder_lengths(model)
        self.typed = takes_types(model)

    def encode(self, ids: NDArray[np.int64], types: NDArray[np.int64] | None = None) -> Embeddings:
        """`[n]` token ids, special tokens included, and token types. Raises InputError where no length fits them."""
        feeds = self.feeds(ids, types)
        results = self.model.predict(feeds, fp16_rounding=self.rounding, observe=self.observe)
        return answer_of(results, len(ids))

    def feeds(self, ids: NDArray[np.int64], types: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.int32]]:
        """The program's inputs."""
        return encoder_feeds(ids, self.lengths, self._pad_id, own_types(ids, types) if self.typed else None)


def executor_name(rounding: bool) -> str:
    """The runner's name in reports."""
    precision = "fp16 rounding" if rounding else "no rounding"
    return f"Core ML program executed by Kogata's reference executor ({precision}); not run on a device"


def causal_mask(past: int, new: int, convention: MaskConvention) -> NDArray[np.float16]:
    """The `causalMask` that a caller sends with `new` tokens after `past` of them.

    "exact": `[1, 1, new, past + new]`, `MASKED` above the diagonal, as Apple's examples send it;
    "swift-transformers": zeros `[1, 1, 1, total + 1]`, as swift-transformers 1.x sends them in prefill and decode.
    """
    total = past + new
    if convention == "swift-transformers":
        return np.zeros((1, 1, 1, total + 1), np.float16)
    hidden = np.arange(total)[None, :] > np.arange(past, total)[:, None]
    return np.where(hidden, np.float16(MASKED), np.float16(0))[None, None]


def encoder_lengths(model: MilModel) -> tuple[int, ...]:
    """The sequence lengths that the program takes, ascending."""
    shape = next((feature for feature in model.inputs if feature.name == "input_ids"), None)
    if shape is None:
        raise InputError.of("parity.coreml-inputs", "the encoder program has no input input_ids")
    return tuple(sorted(s[1] for s in (shape.enumerated or (shape.shape,))))


def takes_types(model: MilModel) -> bool:
    """Whether the program has an input for token types."""
    return any(feature.name == "token_type_ids" for feature in model.inputs)


def own_types(ids: NDArray[np.int64], types: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The token types, 0 where they aren't given."""
    return np.zeros_like(ids) if types is None else types


def encoder_feeds(
    ids: NDArray[np.int64], lengths: tuple[int, ...], pad_id: int, types: NDArray[np.int64] | None = None
) -> dict[str, NDArray[np.int32]]:
    """`input_ids`, `attention_mask` and, where given, `token_type_ids`, `[1, L]` for the smallest L that fits."""
    length = next((n for n in lengths if n >= len(ids)), None)
    if length is None:
        raise InputError.of(
            "parity.coreml-length", f"the text has {len(ids)} tokens; the program takes at most {lengths[-1]}"
        )
    room = (0, length - len(ids))
    rows = np.pad(ids, room, constant_values=pad_id)[None].astype(np.int32)
    feeds = {"input_ids": rows, "attention_mask": np.pad(np.ones_like(ids), room)[None].astype(np.int32)}
    return feeds if types is None else {**feeds, "token_type_ids": np.pad(types, room)[None].astype(np.int32)}
