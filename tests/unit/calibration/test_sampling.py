"""Text that a decoder writes by itself, against the same graph run from the start for every token, one text at a time.

The random numbers are drawn here as the module says: one for each text of a batch, the longest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from support.graph_models import hub_of
from support.other_checkpoints import tiny_model

from exporter.calibration import sampling
from exporter.calibration.feeds import text_batches
from exporter.calibration.sampling import Sampler
from exporter.checkpoint import open_checkpoint
from exporter.graph.model import Hub
from exporter.importers.optimum import import_through_optimum
from exporter.progress import NoProgress
from exporter.runners.torch_graph.graph import TorchGraph

RNG = np.random.default_rng(29)
ASKED = [RNG.integers(5, 200, length) for length in (3, 14, 2, 9)]
DECODERS = ("llama/plain", "gpt2", "opt", "gemma2/soft caps", "mistral/sliding", "gpt_neo")


def writer_of(name: str, ends: tuple[int, ...] = (), seed: int = 0) -> Sampler:
    hub = hub_of(name)
    return Sampler(TorchGraph(hub), hub, ends, seed)


def next_token(graph: TorchGraph, hub: Hub, text: Sequence[int]) -> np.ndarray:
    """Probabilities after the whole text, without a cache and without padding."""
    (batch,) = text_batches(hub, [text], tokens=len(text))
    with torch.no_grad():
        logits = graph.run(batch.feeds, ["logits"])["logits"][0, -1].double().numpy()
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()


def written(
    writer: Sampler, asked: Sequence[Sequence[int]], tokens: int, ends: Sequence[int] = (), number: int = 0
) -> list[list[int]]:
    """Each text with what follows it: the token at which the probabilities' sum first exceeds the random number."""
    generator = torch.Generator().manual_seed(writer.seed * 7919 + number)
    order = sorted(range(len(asked)), key=lambda i: -len(asked[i]))
    texts, done = [[int(i) for i in text] for text in asked], set()
    for _ in range(tokens):
        if len(done) == len(asked):
            break
        for i, level in zip(order, torch.rand(len(asked), 1, generator=generator)[:, 0].tolist(), strict=True):
            if i not in done:
                token = int(np.searchsorted(np.cumsum(next_token(writer.graph, writer.hub, texts[i])), level))
                texts[i].append(token)
                done |= {i} if token in ends else set()
    return texts


def lists(found: Sequence[np.ndarray]) -> list[list[int]]:
    assert all(ids.dtype == np.int64 for ids in found)
    return [ids.tolist() for ids in found]


@pytest.mark.parametrize("name", DECODERS)
def test_every_token_is_that_of_a_run_without_cache_and_padding(name: str) -> None:
    """Texts of 2 to 14 tokens in one batch, and windows of 5: what is padding for one is never seen."""
    writer = writer_of(name)
    assert writer.can_sample
    found = lists(writer.answers(ASKED, 10, NoProgress()))
    assert [len(text) for text in found] == [len(text) + 10 for text in ASKED]
    assert found == written(writer, ASKED, 10)


def test_answers_end_with_the_end() -> None:
    """The first tokens that were drawn are ends now: texts stop there, the others go on and stay the same."""
    free = lists(writer_of("llama/plain").answers(ASKED, 12, NoProgress()))
    ends = (free[0][len(ASKED[0]) + 3], free[1][len(ASKED[1])])
    writer = writer_of("llama/plain", ends)
    found = lists(writer.answers(ASKED, 12, NoProgress()))
    assert found == written(writer, ASKED, 12, ends)
    for whole, cut, asked in zip(free, found, ASKED, strict=True):
        places = [i for i, token in enumerate(whole) if token in ends and i >= len(asked)]
        assert cut == (whole[: places[0] + 1] if places else whole)
    assert len(found[1]) == len(ASKED[1]) + 1


def test_documents_begin_at_the_start_and_go_on_past_ends() -> None:
    writer = writer_of("llama/plain", tuple(range(300)))
    found = lists(writer.documents(2, 3, 9, NoProgress()))
    assert found == written(writer, [[2]] * 3, 8)
    assert len({tuple(text) for text in found}) == 3


def test_blocks_have_numbers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "BATCH_SEQUENCES", 2)
    writer = writer_of("llama/plain")
    assert lists(writer.documents(2, 3, 5, NoProgress())) == [
        *written(writer, [[2]] * 2, 4),
        *written(writer, [[2]], 4, number=2),
    ]
    order = sorted(range(len(ASKED)), key=lambda i: -len(ASKED[i]))
    found = lists(writer.answers(ASKED, 4, NoProgress()))
    for first in (0, 2):
        block = order[first : first + 2]
        assert [found[i] for i in block] == written(writer, [ASKED[i] for i in block], 4, number=first)


def test_only_the_seed_makes_a_difference() -> None:
    first, again, other = (
        lists(writer_of("llama/plain", seed=seed).answers(ASKED, 6, NoProgress())) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_weights_without_room_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = lists(writer_of("llama/plain").answers(ASKED, 4, NoProgress()))
    monkeypatch.setattr(sampling, "MAX_CACHED_WEIGHTS", 2000)
    assert lists(writer_of("llama/plain").answers(ASKED, 4, NoProgress())) == kept


@pytest.fixture
def bloom(tmp_path: Path) -> Hub:
    (hub,), _ = import_through_optimum(open_checkpoint(tiny_model(tmp_path / "bloom", "bloom")), {}, None, tmp_path)
    return hub


def test_a_decoder_that_optimum_traced(bloom: Hub) -> None:
    """Its positions come from the mask alone."""
    writer = Sampler(TorchGraph(bloom), bloom)
    assert writer.can_sample
    assert lists(writer.answers(ASKED, 10, NoProgress())) == written(writer, ASKED, 10)


@pytest.mark.parametrize("name", ["bert:Model", "bert:ForMaskedLM"])
def test_encoders_do_not_write(name: str) -> None:
    assert not writer_of(name).can_sample


def test_graphs_that_cannot_write(bloom: Hub) -> None:
    """One that keeps a part of its cache, one that takes a single text, one with a cache of a fixed size."""
    graph = bloom.model.graph
    ids, past, last = graph.inputs[0], graph.inputs[1], graph.outputs[-1]
    assert last.name == "present.1.value"
    del graph.outputs[-1]
    assert not Sampler(TorchGraph(bloom), bloom).can_sample
    graph.outputs.append(last)
    assert Sampler(TorchGraph(bloom), bloom).can_sample
    for value, shape in ((ids, (1, "seq")), (past, ("batch", 2, 8, 16))):
        before, value.shape = value.shape, ir.Shape(shape)
        assert not Sampler(TorchGraph(bloom), bloom).can_sample
        value.shape = before
