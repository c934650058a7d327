"""A model with its texts: which are fitted to and which judge, and distances that others can compute, too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.calibrated import few_tokens
from support.checkpoints import tiny_bert, tiny_llama
from torch import Tensor

from exporter.calibration import session as sessions
from exporter.calibration import text_writer
from exporter.calibration.corpus import Reader
from exporter.calibration.feeds import Batch
from exporter.calibration.session import FitRequest, Session, start_session
from exporter.calibration.text_writer import TextCollection
from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.tokens.tokenizer import Tokenizer, load_tokenizer
from exporter.errors import UnsupportedError
from exporter.graph.model import Hub
from exporter.importers import import_checkpoint
from exporter.progress import NoProgress

Opened = tuple[Hub, Tokenizer]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """With room for answers."""
    folder = tiny_llama(tmp_path_factory.mktemp("llama"), max_position_embeddings=512)
    return import_checkpoint(open_checkpoint(folder)), load_tokenizer(open_checkpoint(folder))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tiny_bert(tmp_path_factory.mktemp("bert"))
    return import_checkpoint(open_checkpoint(folder)), load_tokenizer(open_checkpoint(folder))


def session_of(opened: Opened, patch: pytest.MonkeyPatch, *, chat: bool = True, tokens: int = 3000) -> Session:
    few_tokens(patch, tokens)
    hub, tokenizer = opened
    tokenizer = tokenizer if chat else replace(tokenizer, chat_template=None)
    return start_session(hub, tokenizer, Reader(hub.spec, tokenizer), NoProgress())


def texts(batches: tuple[Batch, ...]) -> list[tuple[int, ...]]:
    return [
        tuple(ids[real].tolist())
        for batch in batches
        for ids, real in zip(batch.feeds["input_ids"], batch.real, strict=True)
    ]


def test_texts_that_judge_are_kept_apart(llama: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in eight, of what was given and of what the model wrote."""
    session = session_of(llama, monkeypatch)
    fitted, given, own = texts(session.fitting_batches), *map(texts, session.held_out_batches)
    assert not set(fitted) & {*given, *own}
    assert len(fitted) == pytest.approx(7 * (len(given) + len(own)), abs=8)
    assert sorted(texts(session.training_set.batches)) == sorted(fitted)
    assert len(session.training_set.batches) > 1
    known = {tuple(ids.tolist()) for ids in Reader(llama[0].spec, llama[1]).read().ids}
    assert set(given) <= known
    assert not set(own) & known
    assert all(any(text[: len(start)] == start for start in known) for text in own)  # conversations, answered
    total = sum(map(len, (*fitted, *given, *own)))
    written = total - sum(map(len, known))
    assert session.description == f"{total:,} tokens of the built-in texts, {written:,} of them the model's own"


def test_answers_count_as_much_as_all_that_is_given(llama: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each at the position before it, so that nothing that was asked is among them."""
    monkeypatch.setattr(text_writer, "MAX_LOSS_WEIGHT", 1e9)
    session = session_of(llama, monkeypatch)
    asked = {tuple(ids.tolist()): len(ids) for ids in Reader(llama[0].spec, llama[1]).read().ids}
    own, rest = [], []
    for batch in (*session.fitting_batches, *sum(session.held_out_batches, ())):
        assert batch.loss_weights is not None
        for text, counts in zip(texts((batch,)), batch.loss_weights.numpy(), strict=True):
            start = next((n for ids, n in asked.items() if n < len(text) and text[:n] == ids), len(text))
            own += counts[start - 1 : len(text) - 1].tolist()
            rest += [*counts[: start - 1], *counts[len(text) - 1 : len(text)]]
            assert not counts[len(text) :].any()
    assert set(rest) == {1}
    assert len(set(own)) == 1
    assert sum(own) == pytest.approx(sum(rest), rel=1e-5)


def test_a_few_answers_do_not_stand_for_everything() -> None:
    ids = (np.arange(100), np.arange(10))
    (given, asked) = TextCollection(ids, None, (None, slice(7, 9))).loss_weights or ()
    assert given.tolist() == [1] * 100
    assert asked.tolist() == [1] * 7 + [text_writer.MAX_LOSS_WEIGHT] * 2 + [1]
    assert TextCollection(ids, None, (None, None)).loss_weights is None
    assert TextCollection(ids[:1], None, (slice(None),)).loss_weights is None


@pytest.mark.parametrize("chat", [True, False])
def test_training_reads_new_text(chat: bool, llama: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as much is read as there is; none of it is about what judges, and it is the same again."""
    session = session_of(llama, monkeypatch, chat=chat)
    known = texts(session.training_set.batches)
    assert texts(session.training_set.batches_for(2, NoProgress())) == known  # there is enough
    steps = 20
    found = texts(session.training_set.batches_for(steps, NoProgress()))
    assert found[: len(known)] == known
    new = found[len(known) :]
    wanted = steps * session.training_set.tokens / sessions.READS_PER_TEXT
    assert 0.9 * wanted < sum(map(len, found)) < 1.4 * wanted  # all conversations are answered as often
    assert not set(new) & {*known, *texts(session.held_out_batches[1])}
    assert texts(session.training_set.batches_for(steps, NoProgress())) == found
    asked = [tuple(ids.tolist()) for ids in Reader(llama[0].spec, llama[1]).read().ids]
    if chat:
        starts = {next(start for start in asked if text[: len(start)] == start) for text in new}
        assert not any(text[: len(start)] in starts for text in texts(session.held_out_batches[1]) for start in asked)
    else:
        assert {len(text) for text in new} == {256}


def test_documents_do_not_crowd_out_a_user_s_texts(
    llama: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Answers to them are new text, too."""
    few_tokens(monkeypatch, 600)
    (path := tmp_path / "own.txt").write_text("".join(f"Line {i} of a file.\n" for i in range(40)))
    hub, tokenizer = llama
    for template in (None, tokenizer.chat_template):
        own = replace(tokenizer, chat_template=template)
        training_set = start_session(hub, own, Reader(hub.spec, own, path), NoProgress()).training_set
        assert (len(training_set.batches_for(20, NoProgress())) > len(training_set.batches)) == (template is not None)


def test_a_base_model_writes_documents(llama: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(llama, monkeypatch, chat=False)
    _, own = map(texts, session.held_out_batches)
    assert {len(text) for text in own} == {256}
    assert {text[0] for text in own} == {llama[1].bos_id}


def test_an_encoder_s_texts_are_of_one_kind(bert: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(bert, monkeypatch)
    assert len(session.held_out_batches) == 1
    assert "own" not in session.description
    assert session.objective.kind == "distance"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_texts(count: int, bert: Opened, tmp_path: Path) -> None:
    """A single one is fitted to and judges; two lessons want three texts."""
    path = tmp_path / "few.txt"
    path.write_text("".join(f"Line {i} of a file.\n" for i in range(count)))
    hub, tokenizer = bert
    session = start_session(hub, tokenizer, Reader(hub.spec, tokenizer, path), NoProgress())
    assert (len(texts(session.fitting_batches)), len(texts(session.held_out_batches[0]))) == (max(1, count - 1), 1)
    assert len(session.training_set.batches) == max(1, count - 1)


@pytest.mark.parametrize("room", [0, 1 << 26])
def test_distances_are_means_over_tokens_and_bounds_count_texts(
    room: int, llama: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the model's own answers are kept or made again each time."""
    session = session_of(llama, monkeypatch)
    assert len(session.held_out_batches) == 2
    monkeypatch.setattr(sessions, "MAX_CACHED_OUTPUTS", room)
    name = session.graph.uses[3].weight
    other = session.weight(name) * np.float32(1.1)
    bounds, sums, counts = [], 0.0, 0.0
    for kind in session.held_out_batches:
        texts: list[Tensor] = []
        shares: list[Tensor] = []
        for batch in kind:
            with torch.no_grad():
                old = session.graph.run(batch.feeds, ["logits"])["logits"][batch.real].log_softmax(-1)
                given = {name: torch.from_numpy(other)}
                new = session.graph.run(batch.feeds, ["logits"], weights=given)["logits"][batch.real].log_softmax(-1)
            each = torch.nn.functional.kl_div(new, old, reduction="none", log_target=True).sum(1).double()
            assert batch.loss_weights is not None
            assert not batch.loss_weights[~batch.real].any()
            shares += batch.loss_weights[batch.real].double().split(batch.real.sum(1).tolist())
            texts += each.split(batch.real.sum(1).tolist())
        rows, share = torch.cat(texts), torch.cat(shares)
        mean = (rows * share).sum() / share.sum()
        apart = sum(
            (((text - mean) * own).sum() ** 2 for text, own in zip(texts, shares, strict=True)), torch.zeros(())
        )
        error = (apart / (1 - 1 / max(2, len(texts)))) ** 0.5 / share.sum()
        bounds.append(float(mean + sessions.STANDARD_ERRORS * error))
        sums, counts = sums + float((rows * share).sum()), counts + float(share.sum())
    for _ in range(2):
        assert session.distance({name: other}.get) == pytest.approx(sums / counts, rel=1e-4)
        assert session.distance({name: other}.get, bound=True) == pytest.approx(max(bounds), rel=1e-4)
        assert session.distance({}.get) == 0
    assert len(session._references) == (0 if room == 0 else sum(map(len, session.held_out_batches)))


def test_every_weight_is_visited_once(bert: Opened, llama: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    for opened in (bert, llama):
        session = session_of(opened, monkeypatch, tokens=600)
        seen: list[str] = []

        def look(request: FitRequest, seen: list[str] = seen, session: Session = session) -> None:
            seen.append(request.name)
            assert request.weight.shape == request.moments.coefficients.shape[:1] + request.moments.bases.shape[1:2]
            assert np.array_equal(request.weight, session.weight(request.name))

        session.visit(look)
        assert seen == list(dict.fromkeys(use.weight for use in session.graph.uses))


def test_answers_that_are_no_numbers(llama: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_llama(tmp_path / "broken")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = float("inf")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    hub = import_checkpoint(open_checkpoint(folder))
    with pytest.raises(UnsupportedError, match="NaN or infinite"):
        session_of((hub, llama[1]), monkeypatch, tokens=300)
