"""The file that training goes on from: an interrupted run ends as another one does, and no file does harm."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.graph_models import hub_of
from support.recovery import OPTIONS, TIED, distillation_of, palettes_of, same, trained, whole

from exporter.calibration.recovery import RecoveryOptions, recover
from exporter.calibration.recovery_state import ResumeFile, State
from exporter.errors import Diagnostic
from exporter.progress import NoProgress


class Interrupting(NoProgress):
    """Ctrl-C after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, item: str = "") -> None:  # noqa: ARG002
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def interrupted(resume: ResumeFile, steps: int, options: RecoveryOptions = OPTIONS) -> None:
    hub = hub_of(TIED)
    with pytest.raises(KeyboardInterrupt):
        recover(distillation_of(hub), palettes_of(hub), options, Interrupting(steps), resume=resume)


def steps_in(resume: ResumeFile) -> int:
    from safetensors import safe_open

    with safe_open(resume.path, "pt") as file:
        return int(file.metadata()["step"])


@pytest.fixture
def resume(tmp_path: Path) -> ResumeFile:
    return ResumeFile(tmp_path / "state.safetensors", "key")


def test_an_interrupted_run_ends_as_a_whole_one(resume: ResumeFile) -> None:
    """Twice interrupted, the second time in a second round of the batches."""
    for more, taken in ((3, 3), (6, 9)):
        interrupted(resume, more)
        assert steps_in(resume) == taken
    same(trained(hub_of(TIED), resume=resume), whole())
    assert steps_in(resume) == OPTIONS.steps
    assert os.listdir(resume.path.parent) == [resume.path.name]
    done = trained(hub_of(TIED), resume=resume)  # nothing is left to do
    same(done, whole())
    assert not done.notes
    resume.discard()
    resume.discard()
    assert not resume.path.exists()


def test_it_is_saved_now_and_then(resume: ResumeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    save = ResumeFile.save
    monkeypatch.setattr(ResumeFile, "save", lambda self, state: (saved.append(state.step), save(self, state)))
    trained(hub_of(TIED), replace(OPTIONS, steps=3), resume=replace(resume, save_interval=0.0))
    assert saved == [1, 2, 3]
    saved.clear()
    trained(hub_of(TIED), replace(OPTIONS, steps=4), resume=resume)
    assert saved == [4]


@pytest.mark.parametrize("change", [{"key": "other"}, {"steps": 9}, {"seed": 1}, {"rate": 0.02}])
def test_another_training_begins_anew(resume: ResumeFile, change: dict[str, object]) -> None:
    interrupted(resume, 4)
    other = replace(resume, key="other") if "key" in change else resume
    options = OPTIONS if "key" in change else replace(OPTIONS, **change)
    done = trained(hub_of(TIED), options, resume=other)
    assert [note.code for note in done.notes] == ["recovery.resume"]
    assert "another training" in done.notes[0].message
    assert done.steps == options.steps
    if options == OPTIONS:
        same(done, whole())


LIKE = State.initial({"a": torch.ones(2, 4), "b": torch.ones(1, 2)})


def rewritten(changed: dict[str, torch.Tensor | None], **told: str) -> Callable[[Path], object]:
    """With other tensors, without those that are None, and with other metadata, which is left out where it's empty."""

    def rewrite(path: Path) -> None:
        tensors = {name: t for name, t in (load_file(path) | changed).items() if t is not None}
        metadata = {"kind": "kogata recovery 1", "key": "key", "step": "5"} | told
        save_file(tensors, path, {name: text for name, text in metadata.items() if text})

    return rewrite


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda p: p.write_bytes(p.read_bytes()[:-3]),
    "longer": lambda p: p.write_bytes(p.read_bytes() + b"1"),
    "empty": lambda p: p.write_bytes(b""),
    "no safetensors": lambda p: p.write_bytes(b"\x80\x04K\x01."),
    "a header of many bytes": lambda p: p.write_bytes(struct.pack("<Q", 1 << 62) + b"{}"),
    "a folder": lambda p: (p.unlink(), p.mkdir()),
    "a pipe": lambda p: (p.unlink(), os.mkfifo(p)),
    "a link to nothing": lambda p: (p.unlink(), p.symlink_to("nothing")),
    "no number": rewritten({"mean:a": torch.full((2, 4), float("nan"))}),
    "negative squares": rewritten({"square:a": -torch.ones(2, 4)}),
    "a tensor less": rewritten({"mean:b": None}),
    "a tensor more": rewritten({"other": torch.ones(1)}),
    "another shape": rewritten({"lut:a": torch.ones(4, 2)}),
    "another dtype": rewritten({"lut:a": torch.ones(2, 4).double()}),
    "too many steps": rewritten({}, step="13"),
    "no step": rewritten({}, step=""),
    "a negative step": rewritten({}, step="-1"),
    "another digit": rewritten({}, step="²"),
    "a large number": rewritten({}, step="9" * 5000),
    "another kind": rewritten({}, kind="other"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_told_of_and_not_used(resume: ResumeFile, damage: str) -> None:
    resume.save(replace(LIKE, step=5))
    DAMAGES[damage](resume.path)
    found = resume.load(LIKE, 12)
    assert isinstance(found, Diagnostic)
    assert (found.code, found.level, found.where) == ("recovery.resume", "note", str(resume.path))
    assert len(found.message) < 500


def test_what_is_saved_is_what_is_loaded(resume: ResumeFile) -> None:
    assert resume.load(LIKE, 12) is None
    rng = torch.Generator().manual_seed(0)
    draw = lambda: {n: torch.randn(t.shape, generator=rng) for n, t in LIKE.luts.items()}  # noqa: E731
    state = State(7, draw(), draw(), {n: t**2 for n, t in draw().items()})
    resume.save(state)
    found = resume.load(LIKE, 7)
    assert isinstance(found, State)
    assert found.step == 7
    for ours, theirs in ((found.luts, state.luts), (found.means, state.means), (found.squares, state.squares)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_damaged_file_is_replaced(resume: ResumeFile) -> None:
    resume.path.write_bytes(b"damaged")
    done = trained(hub_of(TIED), resume=resume)
    assert ["damaged" in note.message for note in done.notes] == [True]
    same(done, whole())
    assert steps_in(resume) == OPTIONS.steps


def test_a_file_that_cant_be_written_is_told_of_once(tmp_path: Path) -> None:
    resume = ResumeFile(tmp_path / "none" / "state", "key", save_interval=0.0)
    done = trained(hub_of(TIED), resume=resume)
    assert ["can't be saved" in note.message for note in done.notes] == [True]
    same(done, whole())
    assert np.isfinite(done.after)


def test_a_failed_saving_leaves_the_old_file(resume: ResumeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    resume.save(replace(LIKE, step=5))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        resume.save(replace(LIKE, step=6))
    assert os.listdir(resume.path.parent) == [resume.path.name]
    assert steps_in(resume) == 5
