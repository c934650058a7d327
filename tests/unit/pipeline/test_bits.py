"""Mixed bits from end to end: budgets are kept to by the files on disk, plans make the same files again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import tiny_llama
from support.requests import export_request

from exporter.bundle import verify_bundle
from exporter.checkpoint import Checkpoint
from exporter.compress import Choice
from exporter.compress.search import ErrorKind, Offer
from exporter.errors import InputError, UnsupportedError, UsageError
from exporter.importers.routes import ImportOptions, import_model, open_model
from exporter.pipeline.bits import planned
from exporter.pipeline.export import ExportResult, export_checkpoint
from exporter.pipeline.inspect import inspect_path
from exporter.pipeline.options import OutputOptions
from exporter.pipeline.settings import Widths, read_budget, settle
from exporter.pipeline.sizes import hollow_palettes
from exporter.progress import NoProgress, Progress
from exporter.targets import load_target


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama") / "tiny", hidden_size=64, intermediate_size=176)


def export(llama: Path, out: Path, bpw: float | None = None, size: str | None = None, **asked: object) -> ExportResult:
    budget = read_budget(bpw, size, None)
    request = export_request(llama, out, budget=budget, calibrate="none", **asked)
    return export_checkpoint(request, NoProgress())


class Measured:
    """A KL made up from the weights' sizes. Together, errors are twice what they are alone."""

    kind: ErrorKind = "kl"
    words = "made up"
    measurements = 32

    def __init__(self) -> None:
        self.offers: dict[str, Offer] = {}

    def cost(self, offer: Offer, choice: Choice) -> float:
        return 0.0 if choice.kept else offer.candidate.parameters * 4.0**-choice.bits / 1e4

    def costs(self, offers: Sequence[Offer], progress: Progress) -> Mapping[str, Sequence[float]]:  # noqa: ARG002
        self.offers = {offer.candidate.name: offer for offer in offers}
        return {name: [self.cost(offer, choice) for choice in offer.choices] for name, offer in self.offers.items()}

    def joint(self, choices: Mapping[str, Choice]) -> float:
        return 2 * sum(self.cost(self.offers[name], choice) for name, choice in choices.items())


@pytest.mark.parametrize("bpw", [3.7, 5.5])
def test_bits_per_weight_are_met_and_not_exceeded(llama: Path, tmp_path: Path, bpw: float) -> None:
    result = export(llama, tmp_path / "out", bpw)
    facts = result.manifest.compression
    assert result.passed
    assert 0.99 * bpw <= facts.stored_bytes * 8 / facts.parameters <= bpw
    assert (facts.bits, facts.group_size, facts.mixed) == (None, None, f"--bpw {bpw:g}")
    palettes = [(t["bits"], np.prod(t["shape"])) for t in facts.tensors if t["bits"]]
    assert facts.palette_bits == pytest.approx(sum(b * n for b, n in palettes) / sum(n for _, n in palettes))
    assert verify_bundle(result.path).ok
    plan = json.loads((result.path / "plan.json").read_text())
    assert plan["stored_bytes"] == facts.stored_bytes
    stated = {t["name"]: t["bits"] for t in plan["tensors"]}
    assert {t["name"]: t["bits"] or 16 for t in facts.tensors if t["name"] in stated} == stated
    assert "plan.json" in (result.path / "SHA256SUMS").read_text()
    assert "bits that differ by tensor" in (result.path / "README.md").read_text()
    assert inspect_path(str(result.path), None).facts["bits per weight"] == f"mixed, {facts.bpw:.2f}"


@pytest.mark.parametrize("size", ["100kB", "130kB"])
def test_files_are_no_larger_than_asked_for(llama: Path, tmp_path: Path, size: str) -> None:
    """Tokenizer and configuration included, as the manifest counts them; and within 5 % of what was asked for."""
    result = export(llama, tmp_path / "out", size=size)
    largest = max(artifact.bytes for artifact in result.manifest.artifacts)
    budget = read_budget(None, size, None)
    assert budget is not None
    assert result.passed
    assert 0.95 * budget.value - 4096 <= largest <= budget.value  # 4,096: room for genai_config.json


def test_a_plan_makes_the_same_files(llama: Path, tmp_path: Path) -> None:
    first = export(llama, tmp_path / "first", 3.7)
    again = export(llama, tmp_path / "again", plan=first.path / "plan.json")
    for kind in ("onnx", "coreml"):
        files = [f.relative_to(first.path) for f in (first.path / kind).rglob("*") if f.is_file()]
        assert files
        for file in files:
            assert (first.path / file).read_bytes() == (again.path / file).read_bytes(), file
    assert again.manifest.compression.mixed == "--plan"
    assert not again.findings
    data = json.loads((first.path / "plan.json").read_text())
    data["model"]["digest"] = "sha256:other"
    (tmp_path / "other.json").write_text(json.dumps(data))
    other = export(llama, tmp_path / "other", plan=tmp_path / "other.json")
    assert [finding.code for finding in other.findings] == ["plan.source"]
    assert other.passed


def test_plans_that_do_not_fit(llama: Path, tmp_path: Path) -> None:
    first = export(llama, tmp_path / "first", 3.7)
    data = json.loads((first.path / "plan.json").read_text())
    removed = data["tensors"].pop()
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="missing"):
        export(llama, tmp_path / "out", plan=path)
    data["tensors"] = [t | {"bits": 3, "group_size": 16} for t in (*data["tensors"], removed)]
    path.write_text(json.dumps(data))
    narrow = replace(load_target("iphone"), bits=(4, 16))
    with pytest.raises(UnsupportedError, match="3 bits"):
        export(llama, tmp_path / "out", plan=path, targets=(narrow,))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("bpw", "size", "kl", "told"),
    [
        (0.5, None, None, "the least is"),
        (60.0, None, None, "the most is 32.000"),
        (None, "1kB", None, "the smallest files take"),
        (None, None, 0.1, "it needs calibration text"),
    ],
)
def test_budgets_that_nothing_meets(
    llama: Path, tmp_path: Path, bpw: float | None, size: str | None, kl: float | None, told: str
) -> None:
    budget = read_budget(bpw, size, kl)
    request = export_request(llama, tmp_path / "out", budget=budget, calibrate="none")
    with pytest.raises(UsageError, match=told):
        export_checkpoint(request, NoProgress())
    assert not list(tmp_path.iterdir())


def test_what_is_told_as_the_least_can_be_asked_for(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        export(llama, tmp_path / "out", 0.5)
    least = float(caught.value.diagnostics[0].message.split()[3])
    assert export(llama, tmp_path / "out", least).passed


def hubs(checkpoint: Checkpoint, tmp_path: Path) -> tuple:
    return import_model(checkpoint, ImportOptions(), tmp_path).hubs


def test_a_quality_is_looked_for_with_headroom(llama: Path, tmp_path: Path) -> None:
    sensitivity = Measured()
    graphs = hubs(open_model(str(llama)), tmp_path)
    settings = settle(OutputOptions(), Widths(budget=read_budget(None, None, 0.5)))
    mixed = planned(graphs, settings, sensitivity, lambda _: 0, NoProgress())
    assert sensitivity.joint(mixed.choices) <= 0.45
    assert mixed.found is not None
    assert mixed.found.chosen.measured == sensitivity.joint(mixed.choices) >= 0.3
    narrow = replace(load_target("iphone"), bits=(2, 4))
    tight = settle(OutputOptions((), (narrow,)), Widths(budget=read_budget(None, None, 1e-9)))
    with pytest.raises(UsageError, match="the least that was measured is"):
        planned(graphs, tight, sensitivity, lambda _: 0, NoProgress())


def test_hollow_palettes_have_the_sizes_of_real_ones() -> None:
    choices = {"a": Choice(3, 5), "b": Choice(16), "c": Choice(8, 4)}
    found = hollow_palettes({"a": (12, 7), "b": (4, 4), "c": (4, 9)}, choices)
    assert set(found) == {"a", "c"}
    assert found["a"].stored_bytes == -(-12 * 7 * 3 // 8) + 3 * 8 * 2
    assert np.isfinite(found["a"].lut).all()
    assert not np.array_equal(found["a"].lut[0, -1], found["c"].lut[0, -1])
    assert (found["c"].dense() == 0).all()
