"""What bits cost, measured on text: the numbers against palettes put into the model, and budgets that are kept to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from support.calibrated import HOME_INTENTS, exported, few_tokens, session_of
from support.checkpoints import tiny_llama

from exporter.calibration.session import FitRequest, Session
from exporter.compress import Choice
from exporter.compress.fit_task import row_costs
from exporter.compress.fitting import fit_palette
from exporter.compress.search import Offer
from exporter.errors import InputError, UsageError
from exporter.graph.spill import Spill
from exporter.pipeline import decide
from exporter.pipeline import sensitivity as measuring
from exporter.pipeline.bits import KL_MARGIN
from exporter.pipeline.parts import candidates
from exporter.pipeline.sensitivity import FACTOR_RANGE, PROBE_BITS, QUICK, TextSensitivity
from exporter.pipeline.settings import Budget, read_budget
from exporter.progress import NoProgress
from exporter.targets import load_target

KEPT = Choice(16)
CHOICES = (*(Choice(bits, 16) for bits in (1, 2, 3, 4, 6, 8)), Choice(3, 4), KEPT)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama") / "tiny", hidden_size=64, intermediate_size=176)


@pytest.fixture(scope="module")
def session(llama: Path) -> Session:
    return session_of(llama)


def offers_of(session: Session) -> list[Offer]:
    return [Offer(c, CHOICES) for c in candidates(session.hub) if c.palettizable]


@pytest.fixture(scope="module")
def sensitivity(session: Session, tmp_path_factory: pytest.TempPathFactory) -> TextSensitivity:
    return TextSensitivity(session, Spill(tmp_path_factory.mktemp("spill")))


@pytest.fixture(scope="module")
def costs(sensitivity: TextSensitivity, session: Session) -> dict[str, list[float]]:
    return {name: list(own) for name, own in sensitivity.costs(offers_of(session), NoProgress()).items()}


@pytest.fixture(scope="module")
def fit_request(session: Session) -> dict[str, FitRequest]:
    found: dict[str, FitRequest] = {}
    session.visit(lambda own: found.update({own.name: own}), sequential=False)
    return found


def test_costs_are_numbers_that_fall_with_the_bits(costs: dict[str, list[float]], session: Session) -> None:
    assert list(costs) == [offer.candidate.name for offer in offers_of(session)]
    for name, own in costs.items():
        assert np.isfinite(own).all(), name
        assert own[CHOICES.index(KEPT)] == 0
        by_bits = own[:6]
        assert by_bits == sorted(by_bits, reverse=True), name
        assert by_bits[-1] > 0
        assert 0 < own[CHOICES.index(Choice(3, 4))] < own[CHOICES.index(Choice(3, 16))]  # of smaller groups


def alone(session: Session, name: str, dense: NDArray[np.float32]) -> float:
    """The mean KL on the judged texts with one matrix replaced, by torch's own formula."""
    total, count = 0.0, 0
    for batch in (batch for kind in session.held_out_batches for batch in kind):
        with torch.no_grad():
            old, new = (
                session.graph.run(batch.feeds, ["logits"], weights=weights)["logits"][batch.real].log_softmax(-1)
                for weights in ({}, {name: torch.from_numpy(dense)})
            )
        total += float(torch.nn.functional.kl_div(new, old, reduction="sum", log_target=True))
        count += batch.tokens
    return total / count


def test_costs_are_what_palettes_do_to_the_answers(
    costs: dict[str, list[float]], session: Session, fit_request: dict[str, FitRequest],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    """At the probes' bits, each matrix alone; where nothing is measured, half of its moments' cost stands for that."""
    monkeypatch.setattr(measuring, "MAX_SOLO_FLOPS", 0)
    unmeasured = TextSensitivity(session, Spill(tmp_path)).costs(offers_of(session), NoProgress())
    factors = []
    for name, own in fit_request.items():
        for bits in (PROBE_BITS, 1):
            at = CHOICES.index(Choice(bits, 16))
            fit = fit_palette(own.weight, bits, 16, own.moments, QUICK)
            predicted = row_costs(own.weight, fit.palette.dense(), own.moments).sum() / (2 * session.saliency.count)
            assert unmeasured[name][at] == pytest.approx(predicted, rel=1e-4)
            measured = alone(session, name, fit.palette.dense())
            factors.append(measured / predicted)
            expected = predicted * min(max(measured / predicted, FACTOR_RANGE[0]), FACTOR_RANGE[1])
            assert costs[name][at] == pytest.approx(expected, rel=2e-3)
        of_1, of_2, of_3, *of_more = np.array(costs[name][:6]) / unmeasured[name][:6]
        assert min(of_1, of_3) < of_2 < max(of_1, of_3)
        assert of_more == pytest.approx([of_3] * 3)  # nothing is known of more bits than the probe's
    assert len(factors) == 2 * len(costs)
    assert max(factors) / min(factors) > 1.2  # they do say something


def test_errors_lie_on_a_line_between_those_that_are_known() -> None:
    quick = {Choice(1, 16): 64.0, Choice(2, 16): 8.0, Choice(3, 16): 1.0, Choice(4, 16): 0.5, KEPT: 0.0}
    known = {Choice(3, 16): 10.0, Choice(1, 16): 640.0 * 9}
    found = measuring._scaled(quick, known)
    assert found == pytest.approx([5760, 80 * 3, 10, 5, 0])
    assert measuring._scaled(quick, {Choice(3, 16): 10.0}) == pytest.approx([640, 80, 10, 5, 0])


def test_few_texts_are_enough_where_all_would_take_long(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One batch of each kind at least; and none where even that takes too long."""
    kinds = tuple(tuple(batch for _ in range(6) for batch in kind) for kind in session.held_out_batches)
    long = replace(session, held_out_batches=kinds)
    for share, count in ((1, 6), (0.5, 3), (0.3, 2), (1e-9, 1)):
        short = long.with_fewer_texts(share * long.operations).held_out_batches
        assert [len(kind) for kind in short] == [count * len(kind) for kind in session.held_out_batches]
    runs: list[float] = []
    monkeypatch.setattr(Session, "distance", lambda self, *_, **__: runs.append(self.operations) or 1.0)
    offers = offers_of(session)
    TextSensitivity(long, Spill(tmp_path)).costs(offers, NoProgress())
    assert set(runs) == {long.with_fewer_texts(measuring.SOLO_SHARE * long.operations).operations}
    assert runs[0] == pytest.approx(long.operations / 3)  # two batches of six
    work = session.operations * 2 * len(offers)
    monkeypatch.setattr(measuring, "SOLO_FLOPS", work / 3)
    for longest, measured in ((1.1 * work, True), (0.9 * work, False)):
        monkeypatch.setattr(measuring, "MAX_SOLO_FLOPS", longest)
        runs.clear()
        TextSensitivity(session, Spill(tmp_path)).costs(offers, NoProgress())
        assert len(runs) == (2 * len(offers) if measured else 0)


def test_joint_errors_are_distances(
    sensitivity: TextSensitivity, costs: dict[str, list[float]], session: Session, fit_request: dict[str, FitRequest]
) -> None:
    names = list(costs)
    assert sensitivity.joint({}) == 0
    assert sensitivity.joint(dict.fromkeys(names, KEPT)) == 0
    one = names[1]
    fit = fit_palette(fit_request[one].weight, 2, 16, fit_request[one].moments, QUICK)
    expected = alone(session, one, fit.palette.dense())
    assert sensitivity.joint({**dict.fromkeys(names, KEPT), one: Choice(2, 16)}) == pytest.approx(expected, rel=1e-3)
    found = [sensitivity.joint(dict.fromkeys(names, Choice(bits, 16))) for bits in (2, 4, 8)]
    assert found[0] > found[1] > found[2] > 0
    assert found[2] < 0.01 * found[0]


def test_what_other_texts_may_suffer_counts_for_a_limit(
    session: Session, sensitivity: TextSensitivity, costs: dict[str, list[float]], fit_request: dict[str, FitRequest],
    tmp_path: Path,
) -> None:  # fmt: skip
    bound = TextSensitivity(session, Spill(tmp_path), bound=True)
    bound.costs(offers_of(session), NoProgress())
    choices = dict.fromkeys(costs, Choice(3, 16))
    dense = {n: fit_palette(w.weight, 3, 16, w.moments, QUICK).palette.dense() for n, w in fit_request.items()}
    kinds = [
        replace(session, held_out_batches=(kind,)).distance(dense.get, bound=True) for kind in session.held_out_batches
    ]
    assert len(kinds) == 2
    assert bound.joint(choices) == pytest.approx(max(kinds), rel=1e-6)
    assert sensitivity.joint(choices) < max(kinds)


def test_what_was_measured_is_not_measured_again(
    sensitivity: TextSensitivity, costs: dict[str, list[float]], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = dict.fromkeys(costs, Choice(2, 16))
    before = sensitivity.joint(choices)
    monkeypatch.setattr(Session, "visit", None)
    monkeypatch.setattr(Session, "distance", None)
    assert sensitivity.joint(dict(reversed(choices.items()))) == before
    assert {name: list(own) for name, own in sensitivity.costs(offers_of(session), NoProgress()).items()} == costs


def test_fewer_measurements_where_each_takes_long(
    sensitivity: TextSensitivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = sensitivity.session.operations
    for quickly, long, expected in (
        (1e6, 1e6, measuring.MAX_MEASUREMENTS), (50.5, 1e6, 50), (1, 1e6, measuring.USUAL_MEASUREMENTS), (1, 10.5, 10),
        (1, 1, measuring.MIN_MEASUREMENTS),
    ):  # fmt: skip
        monkeypatch.setattr(measuring, "EXTRA_FLOPS", quickly * work)
        monkeypatch.setattr(measuring, "MEASURING_FLOPS", long * work)
        assert sensitivity.measurements == expected


def test_weights_that_are_no_numbers_are_named(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, with bits for each and with the same for all."""
    few_tokens(monkeypatch, 300)
    broken = tiny_llama(tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    names = ["model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.q_proj.weight"]
    for name in names:
        tensors[name][1, 2] = float("nan")
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    for asked in ({"bits": 3}, {"budget": read_budget(4.0, None, None)}):
        with pytest.raises(InputError) as caught:
            exported(broken, tmp_path / "out", **asked)
        assert sorted(d.where for d in caught.value.diagnostics) == names


def budget(*, bpw: float | None = None, kl: float | None = None) -> Budget:
    found = read_budget(bpw, None, kl)
    assert found is not None
    return found


def test_bits_per_weight_are_met_and_replayed(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_tokens(monkeypatch)
    done = exported(llama, tmp_path / "out", budget=budget(bpw=3.7))
    facts = done.manifest.compression
    assert done.passed
    assert 0.99 * 3.7 <= facts.stored_bytes * 8 / facts.parameters <= 3.7
    (fit,) = facts.calibration
    assert fit.used == "fitted"
    plan = json.loads((done.path / "plan.json").read_text())
    assert "KL in nats" in json.dumps(plan)
    assert len({tensor["bits"] for tensor in plan["tensors"]}) > 1
    again = exported(llama, tmp_path / "again", plan=done.path / "plan.json")
    files = [path.relative_to(done.path) for path in (done.path / "onnx").iterdir()]
    assert files
    for file in files:
        assert (done.path / file).read_bytes() == (again.path / file).read_bytes(), file
    assert again.manifest.compression.calibration == facts.calibration


def test_sizes_that_nothing_meets_are_refused_before_texts_are_read(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decide, "open_session", None)
    for asked, told in ((read_budget(0.5, None, None), "the least is"), (read_budget(None, "1kB", None), "smallest")):
        with pytest.raises(UsageError, match=told):
            exported(llama, tmp_path / "out", budget=asked)


def kept_limits(checkpoint: Path, out: Path, limits: list[float]) -> list[int]:
    """Bytes of the tensors for each limit on KL, which is used and kept to."""
    sizes = []
    for limit in limits:
        done = exported(checkpoint, out / str(limit), budget=budget(kl=limit))
        assert done.passed
        (fit,) = done.manifest.compression.calibration
        assert 0.3 * limit < min(fit.fitted, fit.plain) <= KL_MARGIN * limit
        sizes.append(done.manifest.compression.stored_bytes)
    return sizes


def test_a_limit_on_kl_is_kept_to(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_tokens(monkeypatch)
    large, small = kept_limits(llama, tmp_path, [0.1, 1.0])
    assert small < 0.9 * large


def test_a_limit_that_nothing_keeps(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_tokens(monkeypatch)
    narrow = replace(load_target("android"), bits=(2, 4))
    with pytest.raises(UsageError, match="the least that was measured"):
        exported(llama, tmp_path / "out", budget=budget(kl=1e-6), targets=(narrow,))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_trained_model_keeps_to_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_tokens(monkeypatch, 1000)
    monkeypatch.setattr(measuring, "MAX_MEASUREMENTS", 32)
    large, small = kept_limits(HOME_INTENTS, tmp_path, [0.02, 0.2])
    assert small < 0.8 * large
