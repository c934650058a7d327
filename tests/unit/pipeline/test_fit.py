"""Palettes fitted to text: better than k-means or not used, and left out where no text can be fed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.calibrated import HOME_INTENTS, exported, few_tokens, session_of
from support.checkpoints import tiny_bert, tiny_llama
from support.other_checkpoints import tiny_model

from exporter.bundle import verify_bundle
from exporter.calibration.session import FitRequest, Session
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.compress import CompressOptions, compress, palettize
from exporter.compress.fit_task import Fit, FitOptions
from exporter.compress.fitting import fit_palette
from exporter.errors import Diagnostic, ExitCode, InputError, RuntimeMissingError, UnsupportedError
from exporter.graph.moments import Moments
from exporter.graph.palette import Palette
from exporter.graph.spill import Spill
from exporter.importers.routes import open_model
from exporter.pipeline import decide
from exporter.pipeline import fit as fitting
from exporter.pipeline.fit import fitted_compression, open_session
from exporter.pipeline.parts import candidates
from exporter.progress import NoProgress

OPTIONS = CompressOptions(3, 16)


@pytest.fixture(scope="module")
def home() -> Session:
    return session_of(HOME_INTENTS)


def compressed(session: Session, folder: Path) -> fitting.Fitted:
    return fitted_compression(session, candidates(session.hub), OPTIONS, NoProgress(), Spill(folder))


def logits(session: Session, palettes: dict[str, Palette], text: torch.Tensor) -> torch.Tensor:
    """Of one text, without the session's batches and masks."""
    weights = {name: torch.from_numpy(palette.dense()) for name, palette in palettes.items()}
    feeds = {"input_ids": text[None], "attention_mask": torch.ones(1, len(text), dtype=torch.int64)}
    feeds["position_ids"] = torch.arange(len(text))[None]
    for name in session.graph.inputs:
        if name.startswith("past"):
            feeds[name] = torch.zeros(1, session.hub.spec.cache.kv_heads[0], 0, session.hub.spec.cache.head_dim)
    with torch.no_grad():
        return session.graph.run(feeds, ["logits"], weights=weights)["logits"][0].double().log_softmax(-1)


def test_fitted_palettes_answer_better(home: Session, tmp_path: Path) -> None:
    """On texts that they weren't fitted to; the facts are what the model says text by text."""
    fitted = compressed(home, tmp_path)
    plain = compress(candidates(home.hub), OPTIONS, NoProgress(), Spill(tmp_path))
    facts, made = fitted.facts, fitted.compression
    assert facts is not None
    assert facts.used == "fitted"
    assert facts.error == "kl"
    assert facts.fitted < 0.5 * facts.plain
    assert made.stored_bytes == plain.stored_bytes
    assert [d.name for d in made.decisions] == [d.name for d in plain.decisions]
    kinds: dict[str, list[float]] = {"plain": [], "fitted": []}
    shares: list[float] = []
    for batch in (batch for kind in home.held_out_batches for batch in kind):
        assert batch.loss_weights is not None
        for ids, real, counts in zip(batch.feeds["input_ids"], batch.real, batch.loss_weights, strict=True):
            reference = logits(home, {}, ids[real])
            shares += counts[real].tolist()
            for name, palettes in (("plain", plain.palettes), ("fitted", made.palettes)):
                kinds[name] += (
                    (reference.exp() * (reference - logits(home, dict(palettes), ids[real]))).sum(-1).tolist()
                )
    assert facts.plain == pytest.approx(np.average(kinds["plain"], weights=shares), rel=1e-3)
    assert facts.fitted == pytest.approx(np.average(kinds["fitted"], weights=shares), rel=1e-3)
    for decision, old in zip(made.decisions, plain.decisions, strict=True):
        palette = made.palettes.get(decision.name)
        if palette is None:
            assert decision == old
            continue
        weight = home.weight(decision.name).astype(np.float64)
        assert decision.mse == pytest.approx(np.square(weight - palette.dense()).mean(), rel=1e-6)
        assert decision.mse > old.mse  # k-means has the smallest
        assert decision.of_plain is not None
        assert 0 < decision.of_plain <= 1
        assert (decision.bits, decision.group_size, decision.stored_bytes) == (3, old.group_size, old.stored_bytes)


def worse(target: np.ndarray, bits: int, group_size: int, moments: Moments, options: FitOptions) -> Fit:
    palette = palettize(target, bits, group_size)
    return Fit(replace(palette, lut=palette.lut / np.float16(2)), np.zeros(len(target)), 1.0)


def unlike(target: np.ndarray, bits: int, group_size: int, moments: Moments, options: FitOptions) -> Fit:
    """Costs nothing, and decodes to nothing."""
    luts = np.zeros((-(-len(target) // group_size), 2**bits), np.float16)
    palette = Palette.of(np.zeros(target.shape, np.uint8), luts, bits, group_size)
    return Fit(palette, np.zeros(len(target)), 1.0)


def test_a_palette_unlike_its_weight_is_not_used(
    home: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little it costs on these texts: k-means, for each matrix."""
    monkeypatch.setattr(fitting, "fit_palette", unlike)
    fitted = compressed(home, tmp_path)
    plain = compress(candidates(home.hub), OPTIONS, NoProgress(), Spill(tmp_path))
    assert fitted.facts is not None
    assert fitted.facts.fitted == fitted.facts.plain > 0
    for name, palette in plain.palettes.items():
        assert np.array_equal(palette.dense(), fitted.compression.palettes[name].dense())


def test_unlike_palettes_are_fitted_again_with_more_doubt(
    home: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the third damping gives a palette, and it is one of the weight itself."""
    asked: list[float] = []

    def fit(target: np.ndarray, bits: int, group_size: int, moments: Moments, options: FitOptions) -> Fit:
        asked.append(options.damping)
        if options.damping < 1:
            return unlike(target, bits, group_size, moments, options)
        return fit_palette(target, bits, group_size, moments, options)

    monkeypatch.setattr(fitting, "fit_palette", fit)
    fitted = compressed(home, tmp_path)
    assert fitted.facts is not None
    assert fitted.facts.used == "fitted"
    assert fitted.facts.fitted < 0.7 * fitted.facts.plain
    count = len(fitted.compression.palettes)
    assert [asked.count(damping) for damping in fitting.DAMPINGS[1:]] == [count, count]
    assert all("fitted" in d.reason for d in fitted.compression.decisions if d.name in fitted.compression.palettes)


def test_what_fits_worse_is_thrown_away(home: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here all palettes decode to half of what they should."""
    monkeypatch.setattr(fitting, "fit_palette", worse)
    fitted = compressed(home, tmp_path)
    plain = compress(candidates(home.hub), OPTIONS, NoProgress(), Spill(tmp_path))
    assert fitted.facts is not None
    assert fitted.facts.used == "plain"
    assert fitted.facts.fitted > fitted.facts.plain > 0
    assert fitted.compression.decisions == plain.decisions
    for name, palette in plain.palettes.items():
        assert np.array_equal(palette.dense(), fitted.compression.palettes[name].dense())


def test_nothing_to_fit_is_nothing_to_tell(home: Session, tmp_path: Path) -> None:
    kept = CompressOptions(16, 16)
    fitted = fitted_compression(home, candidates(home.hub), kept, NoProgress(), Spill(tmp_path))
    assert fitted.facts is None
    assert not fitted.compression.palettes


def test_streams_make_up_for_errors_before_them(home: Session) -> None:
    """A weight's target is another one once its inputs are; without replacements nothing moves."""
    moved: dict[str, bool] = {}

    def look(request: FitRequest) -> None:
        moved[request.name] = not np.array_equal(request.target, request.weight)

    home.visit(look)
    assert len(moved) == len({use.weight for use in home.graph.uses})
    assert not any(moved.values())
    rng = np.random.default_rng(0)

    def noisy(request: FitRequest) -> Callable[[], np.ndarray]:
        look(request)
        noise = rng.standard_normal(request.weight.shape).astype(np.float32)
        moved_weight = request.weight + np.float32(0.1 * request.weight.std()) * noise
        return lambda: moved_weight

    home.visit(noisy)
    names = list(moved)
    assert not moved[names[0]]  # the tied embedding, which the graph begins with
    assert all(moved[name] for name in names[1:])
    home.visit(noisy, sequential=False)
    assert not any(moved.values())


def test_a_graph_without_text_is_compressed_without(tmp_path: Path) -> None:
    """Images: by default a note and k-means; where text was asked for, a refusal."""
    vit = tiny_model(tmp_path / "vit", "vit")
    done = exported(vit, tmp_path / "out", bits=4)
    (note,) = [finding for finding in done.findings if finding.code == "calibration.none"]
    assert note.level == "note"
    assert "calibration text needs a tokenizer" in note.message
    assert done.manifest.compression.calibration == ()
    plain = exported(vit, tmp_path / "plain", bits=4, calibrate="none")
    assert same(done.path / "onnx", plain.path / "onnx")
    assert not plain.findings
    with pytest.raises(UnsupportedError) as caught:
        exported(vit, tmp_path / "no", bits=4, calibrate="builtin")
    assert caught.value.exit_code == ExitCode.UNSUPPORTED
    assert "--calibrate none" in caught.value.diagnostics[0].hint
    assert not (tmp_path / "no").exists()


def test_towers_of_images_and_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the second is fitted, and the note names the input that no text tells."""
    few_tokens(monkeypatch)
    done = exported(tiny_model(tmp_path / "clip", "clip"), tmp_path / "out", bits=4)
    (note,) = [finding for finding in done.findings if finding.code == "calibration.none"]
    assert "'pixel_values' can't be made from a text" in note.message
    (fit,) = done.manifest.compression.calibration
    assert (fit.component, fit.error) == ("text_model", "distance")


def same(first: Path, second: Path) -> bool:
    files = {p.relative_to(first): p.read_bytes() for p in first.rglob("*") if p.is_file()}
    return bool(files) and files == {p.relative_to(second): p.read_bytes() for p in second.rglob("*") if p.is_file()}


def test_without_a_tokenizer_no_text_is_read(home: Session) -> None:
    note = open_session(home.hub, None, None, NoProgress())
    assert isinstance(note, Diagnostic)
    assert (note.code, note.level) == ("calibration.none", "note")
    with pytest.raises(UnsupportedError, match="tokenizer"):
        open_session(home.hub, None, "builtin", NoProgress())


def test_a_chat_template_that_fails_stops_only_what_was_asked_for(home: Session) -> None:
    tokenizer = replace(load_tokenizer(open_model(str(HOME_INTENTS))), chat_template="{{ raise_exception('no') }}")
    found = open_session(home.hub, tokenizer, None, NoProgress())
    assert isinstance(found, Diagnostic)
    assert (found.level, found.code) == ("note", "calibration.none")
    assert "chat template" in found.message
    with pytest.raises(InputError):
        open_session(home.hub, tokenizer, "builtin", NoProgress())


def test_eight_bits_are_fitted_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llama = tiny_llama(tmp_path / "tiny")
    few_tokens(monkeypatch)
    opened: list[object] = []

    def count(*arguments: Any, **options: Any) -> Any:
        opened.append(arguments[2])
        return open_session(*arguments, **options)

    monkeypatch.setattr(decide, "open_session", count)
    for name, asked in (("a", {"bits": 8}), ("b", {"bits": 16}), ("c", {"bits": 4, "calibrate": "none"})):
        assert exported(llama, tmp_path / name, **asked).manifest.compression.calibration == ()
    assert opened == []
    told = exported(llama, tmp_path / "d", bits=8, calibrate="builtin").manifest.compression.calibration
    assert opened == ["builtin"]
    assert [fit.component for fit in told] == ["model"]
    assert exported(llama, tmp_path / "e", bits=6).manifest.compression.calibration
    assert opened == ["builtin", None]


def test_training_is_never_left_out_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 8 bits it brings the texts that it needs; where there can be none, it is refused."""
    few_tokens(monkeypatch)
    llama = tiny_llama(tmp_path / "tiny")
    (fit,) = exported(llama, tmp_path / "a", bits=8, recover=2).manifest.compression.calibration
    assert fit.recovered is not None
    with pytest.raises(UnsupportedError):
        exported(tiny_model(tmp_path / "vit", "vit"), tmp_path / "b", bits=4, recover=2)
    (tmp_path / "two.txt").write_text("One line.\nAnother one.\n")
    bert = tiny_bert(tmp_path / "bert")
    with pytest.raises(InputError, match="three texts"):
        exported(bert, tmp_path / "c", bits=4, recover=2, calibrate=str(tmp_path / "two.txt"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    llama = tiny_llama(tmp_path / "tiny")
    with pytest.raises(RuntimeMissingError) as caught:
        exported(llama, tmp_path / "out", bits=4, device="cuda")
    assert caught.value.exit_code == ExitCode.RUNTIME
    assert caught.value.diagnostics[0].where == "--device cuda"


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
import pytest
from support.calibrated import exported, few_tokens
few_tokens(pytest.MonkeyPatch(), 400)
for name in sys.argv[4:]:
    exported(Path(sys.argv[2]) / name, Path(sys.argv[3]) / name, bits=3)
"""


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder, an encoder, and a graph that optimum traced."""
    checkpoints, first, second = (tmp_path / name for name in ("checkpoints", "first", "second"))
    for folder in (first, second):
        folder.mkdir()
    tiny_llama(checkpoints / "llama")
    tiny_bert(checkpoints / "bert")
    tiny_model(checkpoints / "bloom", "bloom")
    names = ("llama", "bert", "bloom")
    few_tokens(monkeypatch, 400)
    for name in names:
        exported(checkpoints / name, first / name, bits=3)
    arguments = [str(Path(__file__).parents[2]), str(checkpoints), str(second), *names]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", SCRIPT, *arguments], check=True, env=environment, cwd=tmp_path)
    for name in names:
        assert same(first / name, second / name)
        assert '"used": "fitted"' in (first / name / "manifest.json").read_text()
        assert verify_bundle(first / name).ok
