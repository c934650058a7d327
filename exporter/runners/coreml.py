"""Core ML itself, on macOS."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError, RuntimeMissingError
from exporter.runners.base import Embeddings, MaskConvention, answer_of, logits_of
from exporter.runners.mil_texts import causal_mask, encoder_feeds, own_types


def available() -> bool:
    """Whether this machine has Core ML."""
    return sys.platform == "darwin"


class CoreMLDecoder:
    """A stateful decoder program, compiled and run by the system."""

    def __init__(self, path: Path, mask: MaskConvention = "swift-transformers") -> None:
        self._model, self.name = load(path)
        self._mask = mask

    def session(self) -> CoreMLDecoderSession:
        """A session with zeroed states."""
        return CoreMLDecoderSession(self._model, self._mask)


class CoreMLDecoderSession:
    """One text; the cache lives in the program's states."""

    def __init__(self, model: Any, mask: MaskConvention) -> None:
        self._model, self._mask = model, mask
        self._state = model.make_state()
        self._past = 0

    def feed(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """`[q]` token ids → logits `[q, vocab]`."""
        feeds: dict[str, NDArray[Any]] = {
            "inputIds": ids[None].astype(np.int32),
            "causalMask": causal_mask(self._past, len(ids), self._mask),
        }
        results = predict(self._model, feeds, self._state)
        self._past += len(ids)
        return logits_of(results, len(ids))


class CoreMLEncoder:
    """An encoder program, compiled and run by the system.

    lengths: the sequence lengths that it takes; typed: whether it takes token types.
    """

    def __init__(self, path: Path, lengths: tuple[int, ...], pad_id: int = 0, *, typed: bool = False) -> None:
        self._model, self.name = load(path)
        self._lengths, self._pad_id, self._typed = lengths, pad_id, typed

    def encode(self, ids: NDArray[np.int64], types: NDArray[np.int64] | None = None) -> Embeddings:
        """`[n]` token ids, special tokens included, and token types."""
        kinds = own_types(ids, types) if self._typed else None
        feeds: dict[str, NDArray[Any]] = dict(encoder_feeds(ids, self._lengths, self._pad_id, kinds))
        return answer_of(predict(self._model, feeds, None), len(ids))


def load(path: Path) -> tuple[Any, str]:
    """The model and its runner's name. Raises RuntimeMissingError on anything but macOS, InputError for a bad file."""
    if not available():
        raise RuntimeMissingError.of(
            "parity.coreml-runtime",
            f"Core ML runs on macOS only; this is {platform.system()}",
            hint="use the runner auto: it falls back on the reference executor",
        )
    import coremltools

    try:
        model = coremltools.models.MLModel(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError.of("parity.coreml-load", f"Core ML refuses the program: {error}", where=path.name) from error
    return model, f"Core ML, macOS {platform.mac_ver()[0]} {platform.machine()}, all compute units"


def predict(model: Any, feeds: dict[str, NDArray[Any]], state: Any) -> dict[str, NDArray[Any]]:
    """Outputs by name. Raises InputError where Core ML fails."""
    try:
        return dict(model.predict(feeds) if state is None else model.predict(feeds, state))
    except (RuntimeError, ValueError) as error:
        raise InputError.of("parity.coreml-run", f"Core ML failed to run the program: {error}") from error
