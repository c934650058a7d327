"""An export reads, plans and routes each thing once: every caller of these functions is counted."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from support.checkpoints import tiny_bert, tiny_llama
from support.other_checkpoints import tiny_model
from support.requests import export_request

from exporter import texts
from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens import tokenizer
from exporter.importers import decoder, encoder, native, optimum, routes
from exporter.parity import task
from exporter.parity.prompts import every_prompt
from exporter.pipeline import gates
from exporter.pipeline.export import export_checkpoint
from exporter.pipeline.settings import Budget
from exporter.progress import NoProgress
from exporter.texts import PromptFile

COUNTED = (
    routes.route_of, routes.import_model, native.plan_import, decoder.build_decoder, encoder.build_encoder,
    optimum.import_through_optimum, tokenizer.load_tokenizer, texts.read_prompts, task.read_tasks,
    gates.budget_findings, gates.kept_findings,
)  # fmt: skip


@pytest.fixture
def calls() -> Iterator[Counter[str]]:
    """Name of a function, or of a checkpoint's file → how often it was called or read, by whatever module."""
    counted: Counter[str] = Counter()
    names = {function.__code__: function.__name__ for function in COUNTED}

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in names:
            counted[names[frame.f_code]] += 1
        elif event == "call" and frame.f_code is Folder.read_bytes.__code__:
            counted[frame.f_locals["name"]] += 1

    sys.setprofile(profile)
    yield counted
    sys.setprofile(None)


@pytest.mark.parametrize("budget", [None, Budget("size", 300_000, "300kB")])
def test_a_decoder(budget: Budget | None, calls: Counter[str], tmp_path: Path) -> None:
    """With a budget, too, whose sizes are found by writing files; and with prompts and tasks of the user's."""
    prompts, tasks = tmp_path / "p.txt", tmp_path / "t.jsonl"
    prompts.write_text("hello world\nthe cat sat\n")
    tasks.write_text('{"prompt": "hello", "expected": "world"}\n')
    checkpoint = tiny_llama(tmp_path / "tiny", max_position_embeddings=8192)  # longer than the default cache
    asked = {
        "prompts": PromptFile(prompts),
        "tasks": task.TaskFile(tasks),
        "calibrate": "none",
        "budget": budget,
        "max_task_drop": 100,
    }
    every_prompt()  # the package's own prompts are kept
    calls.clear()
    export_checkpoint(export_request(checkpoint, tmp_path / "out", parity="quick", **asked), NoProgress())
    once = ("route_of", "import_model", "plan_import", "build_decoder", "load_tokenizer", "read_prompts", "read_tasks")
    once += ("budget_findings", "kept_findings")
    assert {name: calls[name] for name in once} == dict.fromkeys(once, 1)


def test_an_encoder(calls: Counter[str], tmp_path: Path) -> None:
    checkpoint = tiny_bert(tmp_path / "tiny")
    export_checkpoint(export_request(checkpoint, tmp_path / "out", parity="quick", calibrate="none"), NoProgress())
    once = ("route_of", "plan_import", "build_encoder", "load_tokenizer")
    assert {name: calls[name] for name in once} == dict.fromkeys(once, 1)


def test_a_model_that_optimum_exports(calls: Counter[str], tmp_path: Path) -> None:
    checkpoint = tiny_model(tmp_path / "tiny", "vit")
    export_checkpoint(export_request(checkpoint, tmp_path / "out", parity="quick", calibrate="none"), NoProgress())
    once = ("route_of", "import_through_optimum", "preprocessor_config.json")
    assert {name: calls[name] for name in once} == dict.fromkeys(once, 1)
