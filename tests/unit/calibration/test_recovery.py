"""LUTs that are trained: against torch's own Adam on dense, gathered matrices, and what may never happen to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.graph_models import hub_of, random_palette
from support.recovery import OPTIONS, TIED, distillation_of, palettes_of, same, trained, whole
from torch import Tensor

from exporter.calibration.feeds import Batch
from exporter.calibration.objective import Objective
from exporter.calibration.recovery import Distillation, _stored, recover
from exporter.graph.palette import Palette
from exporter.graph.spill import Spill
from exporter.progress import NoProgress
from exporter.runners.torch_graph.matrices import Lookup


def gathered(palette: Palette, lut: Tensor) -> Tensor:
    groups = torch.arange(palette.shape[0]) // palette.group_size
    return lut[groups[:, None], torch.from_numpy(palette.indices).long()]


def kl(distillation: Distillation, batch: Batch, weights: dict[str, Tensor]) -> Tensor:
    """Mean over tokens, from its definition."""
    p, q = (
        torch.log_softmax(distillation.graph.run(batch.feeds, ["logits"], weights=w)["logits"][batch.real], -1)
        for w in (None, weights)
    )
    return (p.detach().exp() * (p.detach() - q)).sum(-1).mean()


def gaps_of(lut: Tensor) -> Tensor:
    """Between neighbouring entries, on average."""
    return lut.diff(dim=1).mean(1, keepdim=True)


def test_steps_are_those_of_adam_on_the_gathered_matrices() -> None:
    """An entry is its start plus z gaps, so that torch's Adam, to which a gradient's scale is nothing, takes one rate.

    Steps are near the sign of the gradient where that is small, and LUTs are rounded to float16, 2^-11 of a number.
    """
    hub = hub_of(TIED)
    distillation, start = distillation_of(hub), palettes_of(hub)
    done = recover(distillation, start, OPTIONS, NoProgress())
    luts = {n: torch.from_numpy(p.lut.astype(np.float32)) for n, p in start.items()}
    gaps = {n: gaps_of(lut) for n, lut in luts.items()}
    z = {n: torch.zeros_like(lut).requires_grad_() for n, lut in luts.items()}
    adam = torch.optim.Adam(z.values(), lr=1.0, betas=OPTIONS.betas, eps=1e-12)
    order: list[int] = []
    for step in range(OPTIONS.steps):
        if not order:
            around = step // len(distillation.training)
            order = np.random.default_rng((OPTIONS.seed, around)).permutation(len(distillation.training)).tolist()
        adam.param_groups[0]["lr"] = OPTIONS.rate_at(step)
        adam.zero_grad()
        dense = {n: gathered(p, luts[n] + gaps[n] * z[n]) for n, p in start.items()}
        kl(distillation, distillation.training[order.pop(0)], dense).backward()
        adam.step()
    assert done.after < done.before
    for name, palette in done.palettes.items():
        expected = (luts[name] + gaps[name] * z[name]).detach().numpy()
        moved = np.abs(expected - start[name].lut).mean()
        error = np.abs(palette.dense() - gathered(start[name], torch.from_numpy(expected)).numpy()).mean()
        assert error < 0.05 * moved


def test_distances_are_those_of_the_batches_that_judge() -> None:
    hub = hub_of(TIED)
    distillation = distillation_of(hub)
    done, start = whole(), palettes_of(hub)
    parts = (*distillation.held_out, *distillation.training)
    assert {id(b) for b in parts} == {id(b) for b in distillation.batches}
    assert len(distillation.held_out) + len(distillation.training) == len(distillation.batches)
    for palettes, told in ((start, done.before), (done.palettes, done.after)):
        dense = {name: torch.from_numpy(palette.dense()) for name, palette in palettes.items()}
        parts = [(float(kl(distillation, b, dense)) * b.tokens, b.tokens) for b in distillation.held_out]
        assert told == pytest.approx(sum(p for p, _ in parts) / sum(n for _, n in parts), rel=1e-4)
    assert done.after < 0.97 * done.before
    same(done, trained(hub))  # nothing is left to chance


def test_another_seed_is_another_order_of_the_same_batches() -> None:
    assert trained(hub_of(TIED), replace(OPTIONS, seed=1)).after != whole().after


@pytest.mark.parametrize(
    "name", ["llama/plain", "gpt2", "bert:Model", "bert:ForSequenceClassification", "bert:ForQuestionAnswering"]
)
def test_every_kind_of_answer(name: str) -> None:
    hub = hub_of(name)
    done = recover(distillation_of(hub, 24), palettes_of(hub), replace(OPTIONS, rate=0.005), NoProgress())
    assert 0 <= done.after < done.before
    assert done.steps == OPTIONS.steps
    assert not done.notes


def test_products_in_bfloat16_train_too() -> None:
    hub = hub_of("llama/plain")
    done = recover(distillation_of(hub, products=torch.bfloat16), palettes_of(hub), OPTIONS, NoProgress())
    assert done.after < done.before


@pytest.mark.parametrize("rate", [30.0, 1e30])
def test_a_bad_rate_gives_back_the_start(rate: float) -> None:
    """Also where LUTs are beyond float16, and where logits are no numbers any more."""
    hub = hub_of("llama/plain")
    start = palettes_of(hub)
    done = recover(distillation_of(hub), start, replace(OPTIONS, rate=rate), NoProgress())
    assert done.after == done.before
    assert all(done.palettes[name] is palette for name, palette in start.items())


class Broken(Objective):
    """NaN from the third distance on that is asked for under autograd."""

    calls: list[int] = []  # noqa: RUF012

    def distance(self, reference, found, batch):  # type: ignore[no-untyped-def]
        distance = super().distance(reference, found, batch)
        if not distance.requires_grad:
            return distance
        self.calls.append(0)
        return distance * (float("nan") if len(self.calls) > 2 * 2 else 1.0)


def test_training_stops_before_numbers_that_are_none() -> None:
    """A batch has two texts, whose distances are asked for one by one: two steps come through."""
    hub = hub_of("llama/plain")
    distillation = replace(distillation_of(hub), objective=Broken(("logits",), "softmax"))
    Broken.calls.clear()
    done = recover(distillation, palettes_of(hub), OPTIONS, NoProgress())
    assert done.steps == 2
    assert done.after <= done.before
    assert all(np.isfinite(palette.lut).all() for palette in done.palettes.values())
    assert [note.code for note in done.notes] == ["recovery.diverged"]


def test_entries_that_no_index_uses_stay() -> None:
    hub = hub_of(TIED)
    start = palettes_of(hub, bits=3, group_size=2)
    name = hub.weights[1].name
    old = start[name]
    start[name] = replace(old, packed=Palette.of(np.minimum(old.indices, 5), old.lut, 3, 2).packed)
    done = recover(distillation_of(hub), start, OPTIONS, NoProgress()).palettes[name]
    assert done.lut is not old.lut
    np.testing.assert_array_equal(done.lut[:, 6:], old.lut[:, 6:])
    assert (done.lut[:, :6] != old.lut[:, :6]).any(1).all()


def test_weights_without_a_palette_stay_as_they_are() -> None:
    hub = hub_of(TIED)
    few = dict(list(palettes_of(hub).items())[-3:-1])
    done = recover(distillation_of(hub), few, OPTIONS, NoProgress())
    assert done.palettes.keys() == few.keys()
    assert done.after < done.before
    nothing = recover(distillation_of(hub), {}, replace(OPTIONS, steps=2), NoProgress())
    assert (nothing.palettes, nothing.before, nothing.after) == ({}, 0, 0)


@pytest.mark.parametrize(("bits", "group_size"), [(1, 1), (3, 2), (8, 4), (4, 30)])
@pytest.mark.parametrize("spilled", [False, True])
def test_entries_that_crossed_are_sorted_and_indices_follow(
    bits: int, group_size: int, spilled: bool, tmp_path: Path
) -> None:
    palette = random_palette((9, 7), bits, group_size, 0)
    lut = torch.from_numpy(np.random.default_rng(1).standard_normal(palette.lut.shape).astype(np.float16))
    spill = Spill(tmp_path) if spilled else None
    if spill is not None:
        spill.append(np.zeros(5, np.uint8))
    found = _stored(palette, lut, spill)
    assert (np.diff(found.lut) >= 0).all()
    assert found.lut.dtype == np.float16
    np.testing.assert_array_equal(found.dense(), Lookup(palette, lut).decoded(torch.float32).numpy())
    kept = _stored(palette, lut.sort(1).values, spill)
    assert kept.packed is palette.packed


def test_what_is_refused() -> None:
    hub = hub_of(TIED)
    distillation = distillation_of(hub)
    with pytest.raises(ValueError, match="two batches"):
        replace(distillation, batches=distillation.batches[:1])
    name = hub.weights[0].name
    with pytest.raises(ValueError, match="its palette"):
        recover(distillation, {name: random_palette((3, 3), 2, 1, 0)}, OPTIONS, NoProgress())
    with pytest.raises(KeyError):
        recover(distillation, {"other": random_palette((3, 3), 2, 1, 0)}, OPTIONS, NoProgress())


class Told(NoProgress):
    def __init__(self) -> None:
        self.told: list[str] = []

    def stage(self, name: str, total: int) -> None:
        self.told.append(f"{name} {total}")

    def advance(self, item: str = "") -> None:
        self.told.append(item)


def test_each_step_is_told() -> None:
    hub, told = hub_of(TIED), Told()
    recover(distillation_of(hub), palettes_of(hub), replace(OPTIONS, steps=3), told)
    begun, *steps, judged = told.told
    assert (begun, judged) == ("recover 3", "judge trained LUTs 1")
    assert [item.split(" ")[0] for item in steps] == ["loss"] * 3
    assert all(float(item.split(" ")[1]) > 0 for item in steps)
