"""Models with a few calibration texts, for tests that compress."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

from exporter.calibration import corpus, text_writer
from exporter.calibration.session import Session
from exporter.importers.routes import ImportOptions, import_model
from exporter.pipeline.export import ExportResult, export_checkpoint
from exporter.pipeline.fit import open_session
from exporter.pipeline.opened import open_source
from exporter.progress import NoProgress
from support.requests import export_request

HOME_INTENTS = Path(__file__).parents[2] / "samples/home_intents/checkpoint"  # 2.7 M parameters, trained
_FOLDER = TemporaryDirectory()

torch.set_num_threads(1)  # models this small only lose time to a second thread


def few_tokens(patch: pytest.MonkeyPatch, tokens: int = 600) -> None:
    """Of texts, and of what a decoder writes: some twenty texts instead of hundreds."""
    patch.setattr(corpus, "DECODER_TEXT_TOKENS", tokens)
    patch.setattr(text_writer, "DECODER_TEXT_TOKENS", tokens)


@cache
def session_of(checkpoint: Path, tokens: int = 1500) -> Session:
    """The first graph of a checkpoint with that many tokens of the built-in texts."""
    model = open_source(str(checkpoint), None)
    hub = import_model(model.checkpoint, ImportOptions(), Path(_FOLDER.name), model.route).hubs[0]
    with pytest.MonkeyPatch.context() as patch:
        few_tokens(patch, tokens)
        session = open_session(hub, model.tokenizer, None, NoProgress())
    assert isinstance(session, Session)
    return session


def exported(checkpoint: Path, out: Path, **asked: Any) -> ExportResult:
    """Unchecked, for ONNX."""
    return export_checkpoint(export_request(checkpoint, out, formats=("onnx",), **asked), NoProgress())
