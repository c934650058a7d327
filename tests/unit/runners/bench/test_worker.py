"""What the timing process feeds is what the models would get from an app; the numbers themselves aren't judged.

References: onnxruntime-genai for the shared cache, Kogata's other onnxruntime runner for the growing one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gqa_graph import CONTEXT, HEAD_DIM, VOCABULARY, write_gqa_folder

from exporter.formats import FLEXIBLE, PORTABLE
from exporter.runners.bench import worker
from exporter.runners.bench.coreml_model import CoreMLModel
from exporter.runners.greedy import greedy
from exporter.runners.ort import OnnxDecoder, OnnxSource
from exporter.runners.shipped import Conditions, shipped_file

TOKENS = 9


def request(model: Path, **facts: Any) -> dict[str, Any]:
    usual = {"kind": "decoder", "threads": 1, "seed": 3, "tokens": TOKENS, "contexts": [1, 4, 20], "shared": False}
    return {"model": str(model), "vocabulary": VOCABULARY, "head_dim": HEAD_DIM, **usual, **facts}


def answers(model: Any, asked: dict[str, Any]) -> list[list[int]]:
    return [row["answer"] for row in worker.measured(model, asked)["rows"]]


@pytest.fixture(scope="module")
def gqa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gqa_folder(tmp_path_factory.mktemp("gqa") / "folder")


def test_shared_and_growing_caches_give_the_tokens_of_onnxruntime_genai(gqa: Path) -> None:
    file, folder = request(gqa / "model.onnx"), request(gqa)
    theirs = answers(worker.GenaiModel(folder), folder)
    assert len({tuple(answer) for answer in theirs}) == 3
    assert all(2 not in answer for answer in theirs)  # 2 ends a text, which genai was told not to do
    for shared in (False, True):
        asked = file | {"shared": shared}
        assert answers(worker.OnnxModel(asked), asked) == theirs


def test_the_growing_cache_gives_the_tokens_of_the_other_runner(llama: Any) -> None:
    path, vocabulary = llama.subjects.artifacts[PORTABLE], llama.hub.spec.vocab_size
    asked = request(path, vocabulary=vocabulary)
    made = answers(worker.OnnxModel(asked), asked)
    rng = np.random.default_rng(3)
    rng.integers(0, vocabulary, 1)  # the prompt before anything is timed
    runner = OnnxDecoder(OnnxSource(path=path), 1)
    for context, answer in zip(asked["contexts"], made, strict=True):
        assert answer == greedy(runner, rng.integers(0, vocabulary, context), TOKENS + 1, ())


def test_counts_add_up(llama: Any, bert: Any) -> None:
    asked = request(llama.subjects.artifacts[PORTABLE], vocabulary=llama.hub.spec.vocab_size)
    made = worker.measured(worker.OnnxModel(asked), asked)
    assert [row["context"] for row in made["rows"]] == [1, 4, 20]
    assert all(row["tokens"] == TOKENS == len(row["answer"]) - 1 for row in made["rows"])
    asked = request(
        bert.subjects.artifacts[PORTABLE], kind="encoder", vocabulary=bert.hub.spec.vocab_size, batches=[1, 3]
    )
    made = worker.measured(worker.OnnxModel(asked), asked)
    assert [(row["context"], row["batch"]) for row in made["rows"]] == [(c, b) for c in (1, 4, 20) for b in (1, 3)]
    for row in made["rows"]:
        count, rest = divmod(row["texts"], row["batch"])
        assert rest == 0
        assert worker.MIN_BATCHES <= count <= worker.MAX_BATCHES
        assert row["seconds"] > 0


def test_memory_is_ordered(gqa: Path) -> None:
    asked = request(gqa / "model.onnx")
    memory = worker.measured(worker.OnnxModel(asked), asked)["memory"]
    assert 0 < memory["libraries"] <= memory["loaded"] <= memory["peak"]
    assert memory["load_peak"] <= memory["peak"]


def test_the_resident_set_is_the_systems() -> None:
    held = np.ones(40_000_000 // 8)  # 40 MB that are touched
    fields = [line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()]
    told = next(int(words[1]) * 1024 for words in fields if words[0] == "Rss:")
    assert abs(worker.resident_bytes() - told) < 8e6
    assert worker.peak_bytes() >= told - 8e6
    assert held.nbytes == 40_000_000


def test_threads_reach_onnxruntime_genai(gqa: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime_genai as genai

    told: list[str] = []

    class Config(genai.Config):  # type: ignore[misc]
        def overlay(self, text: str) -> None:
            told.append(text)
            super().overlay(text)

    monkeypatch.setattr(genai, "Config", Config)
    model = worker.GenaiModel(request(gqa, threads=2))
    model.load()
    decoder = {"session_options": {"intra_op_num_threads": 2}}
    assert [json.loads(text) for text in told] == [{"model": {"decoder": decoder}}]


def test_core_ml_programs_are_timed_through_their_runner(llama: Any, bert: Any) -> None:
    """Elsewhere than on macOS the runner is the executor, which `kogata bench` never times."""
    path, vocabulary = llama.subjects.artifacts[FLEXIBLE], llama.hub.spec.vocab_size
    asked = request(path, vocabulary=vocabulary, form=str(FLEXIBLE), pad_id=0, contexts=[4], tokens=2)
    made = worker.measured(CoreMLModel(asked), asked)
    rng = np.random.default_rng(3)
    rng.integers(0, vocabulary, 4)
    runner = shipped_file(FLEXIBLE, path, Conditions()).decoder()
    assert made["rows"][0]["answer"] == greedy(runner, rng.integers(0, vocabulary, 4), 3, ())
    assert made["runner"] == runner.name
    asked |= {
        "vocabulary": bert.hub.spec.vocab_size,
        "model": str(bert.subjects.artifacts[FLEXIBLE]),
        "kind": "encoder",
        "batches": [1],
    }
    assert worker.measured(CoreMLModel(asked), asked)["rows"][0]["batch"] == 1


def test_the_context_of_the_graph_is_enough() -> None:
    assert CONTEXT >= 20 + TOKENS + 1
