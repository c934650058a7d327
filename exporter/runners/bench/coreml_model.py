"""A Core ML program for the process that times models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.formats import FLEXIBLE, read_form
from exporter.runners.base import DecoderRunner, EncoderRunner
from exporter.runners.shipped import Conditions, shipped_file

Ids = NDArray[np.int64]


class CoreMLModel:
    """A program as the system compiles and runs it (macOS). An encoder takes one text at a time."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request, self.name = request, "Core ML"

    def load(self) -> None:
        """Compile the program, and open it as a decoder or as an encoder."""
        form, path = read_form(self._request["form"]) or FLEXIBLE, Path(self._request["model"])
        file = shipped_file(form, path, Conditions(pad_id=self._request["pad_id"]))
        opened: DecoderRunner | EncoderRunner
        opened = file.decoder() if self._request["kind"] == "decoder" else file.encoder()
        self._opened, self.name = opened, opened.name

    def start(self, length: int) -> Callable[[Ids], int]:  # noqa: ARG002 - the states have a fixed length
        """A new text. The step takes `[q]` ids and gives the next token."""
        if not isinstance(self._opened, DecoderRunner):
            raise ValueError("not a decoder")
        session = self._opened.session()
        return lambda ids: int(session.feed(ids)[-1].argmax())

    def encode(self, ids: Ids) -> None:
        """`[1, n]` ids."""
        if not isinstance(self._opened, EncoderRunner):
            raise ValueError("not an encoder")
        self._opened.encode(ids[0])
