"""A bundle is whole or absent, whatever happens, and nothing that is no bundle is ever touched."""

# ruff: noqa: PT012  what happens inside a `with Staging` block is the very thing under test

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.bundles import write_bundle

from exporter.bundle import BundlePlan, ParityFacts, Staging, finish_bundle, swap, verify_bundle
from exporter.errors import InputError

Snapshot = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder for destinations, apart from the produced files."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def code_of(error: pytest.ExceptionInfo[InputError]) -> str:
    return error.value.diagnostics[0].code


def failed(plan: BundlePlan) -> BundlePlan:
    return replace(plan, artifacts=tuple(replace(a, parity=ParityFacts("failed")) for a in plan.artifacts))


@pytest.mark.parametrize("name", ["out", "my model", "模型 é 🙂", "a" * 240, "-x"])
def test_commit_leaves_exactly_the_bundle(decoder_plan: BundlePlan, place: Path, name: str) -> None:
    assert write_bundle(decoder_plan, place / name) == place / name
    assert [p.name for p in place.iterdir()] == [name]
    assert verify_bundle(place / name).ok


def test_the_work_area_lies_beside_the_destination(decoder_plan: BundlePlan, place: Path) -> None:
    with Staging(place / "out") as staging:
        assert staging.path.parent == place
        assert staging.path.stat().st_dev == place.stat().st_dev
        assert staging.path.name.startswith(".kogata-")
        finish_bundle(decoder_plan, staging.path)
        assert not (place / "out").exists()
        staging.commit()
    assert [p.name for p in place.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, MemoryError])
def test_nothing_is_left_after_any_exception(place: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), Staging(place / "new" / "deep" / "out") as staging:
        (staging.path / "onnx").mkdir()
        (staging.path / "onnx" / "model.onnx").write_bytes(b"half")
        raise error
    assert not list(place.iterdir())


def test_leaving_without_commit_leaves_nothing(place: Path) -> None:
    with Staging(place / "out") as staging:
        (staging.path / "x").write_bytes(b"x")
    assert not list(place.iterdir())


def test_parents_are_made_and_stay_after_success(decoder_plan: BundlePlan, place: Path) -> None:
    write_bundle(decoder_plan, place / "a" / "b" / "out")
    assert verify_bundle(place / "a" / "b" / "out").ok


def test_an_empty_folder_is_taken(decoder_plan: BundlePlan, place: Path) -> None:
    (place / "out").mkdir()
    write_bundle(decoder_plan, place / "out")
    assert verify_bundle(place / "out").ok


def test_a_bundle_is_replaced_only_with_force(decoder_plan: BundlePlan, place: Path, snapshot: Snapshot) -> None:
    write_bundle(decoder_plan, place / "out")
    before = snapshot(place)
    other = replace(decoder_plan, name="other")
    with pytest.raises(InputError) as caught:
        write_bundle(other, place / "out")
    assert code_of(caught) == "output.exists"
    assert "--force" in caught.value.diagnostics[0].hint
    assert snapshot(place) == before
    write_bundle(other, place / "out", force=True)
    assert (place / "out" / "coreml" / "other.mlpackage").is_dir()
    assert [p.name for p in place.iterdir()] == ["out"]
    assert verify_bundle(place / "out").ok


@pytest.mark.parametrize(
    "content",
    [
        {"notes.txt": "mine"},
        {"manifest.json": "{}"},
        {"manifest.json": "not json"},
        {"manifest.json": '{"schema_version": 1, "tools": {"other": "1"}}'},
        {"onnx/model.onnx": "x", "README.md": "x"},
    ],
)
@pytest.mark.parametrize("force", [True, False])
def test_a_folder_that_is_no_bundle_is_never_replaced(
    decoder_plan: BundlePlan, place: Path, snapshot: Snapshot, content: dict[str, str], force: bool
) -> None:
    for name, text in content.items():
        (place / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "out" / name).write_text(text)
    before = snapshot(place)
    with pytest.raises(InputError) as caught:
        write_bundle(decoder_plan, place / "out", force=force)
    assert code_of(caught) == "output.exists"
    assert snapshot(place) == before


def test_a_damaged_bundle_may_be_replaced_with_force(decoder_plan: BundlePlan, place: Path) -> None:
    out = write_bundle(decoder_plan, place / "out")
    (out / "onnx" / "model.onnx").unlink()
    write_bundle(decoder_plan, out, force=True)
    assert verify_bundle(out).ok


@pytest.mark.parametrize("force", [True, False])
def test_a_file_is_never_replaced(decoder_plan: BundlePlan, place: Path, force: bool) -> None:
    (place / "out").write_text("precious")
    with pytest.raises(InputError):
        write_bundle(decoder_plan, place / "out", force=force)
    assert (place / "out").read_text() == "precious"
    assert [p.name for p in place.iterdir()] == ["out"]


def test_a_link_as_destination_leads_to_where_it_points(decoder_plan: BundlePlan, place: Path) -> None:
    (place / "real").mkdir()
    (place / "link").symlink_to(place / "real" / "out")
    assert write_bundle(decoder_plan, place / "link") == place / "real" / "out"
    assert (place / "link").is_symlink()
    assert verify_bundle(place / "link").ok


def test_destination_and_checkpoint_must_not_hold_each_other(place: Path) -> None:
    checkpoint = place / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")
    (place / "alias").symlink_to(checkpoint)
    for bad in (
        checkpoint,
        checkpoint / "out",
        place,
        place / "alias" / "out",
        place / "x" / ".." / "checkpoint" / "o",
    ):
        with pytest.raises(InputError) as caught, Staging(bad, force=True, sources=[checkpoint]):
            pass
        assert code_of(caught) == "output.place"
    assert sorted(p.name for p in place.rglob("*")) == ["alias", "checkpoint", "config.json"]
    with Staging(place / "checkpoint-4bit", sources=[checkpoint]):
        pass  # a name that begins alike is another folder


@pytest.mark.parametrize("bad", ["/", "a" * 300, "a" * 250, "nul\0byte"])
def test_names_that_no_folder_can_have(place: Path, bad: str) -> None:
    with pytest.raises(InputError) as caught, Staging(place / bad):
        pass
    assert caught.value.diagnostics[0].code.startswith("output.")
    assert not list(place.iterdir())


def test_a_parent_that_is_a_file(decoder_plan: BundlePlan, place: Path) -> None:
    (place / "file").write_text("x")
    for bad in (place / "file" / "out", place / "file" / "deep" / "out"):
        with pytest.raises(InputError) as caught:
            write_bundle(decoder_plan, bad)
        assert code_of(caught) == "output.unwritable"
    assert [p.name for p in place.iterdir()] == ["file"]


def test_an_unwritable_parent(decoder_plan: BundlePlan, monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    real = Path.mkdir

    def deny(self: Path, *args: object, **kwargs: object) -> None:
        # Permissions don't bind root, who runs tests in containers.
        if self.name.startswith(".kogata-"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        real(self)

    monkeypatch.setattr(Path, "mkdir", deny)
    with pytest.raises(InputError) as caught:
        write_bundle(decoder_plan, place / "new" / "out")
    assert code_of(caught) == "output.unwritable"
    assert "Permission denied" in caught.value.diagnostics[0].message
    monkeypatch.undo()
    assert not list(place.iterdir())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_in_someone_elses_writer(place: Path, code: int) -> None:
    with pytest.raises(InputError) as caught, Staging(place / "out") as staging:
        (staging.path / "half").write_bytes(b"x")
        raise OSError(code, os.strerror(code))
    assert code_of(caught) == "output.full"
    assert not list(place.iterdir())


def test_a_really_full_disk(decoder_plan: BundlePlan, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full answers every write with ENOSPC: the last file of the bundle goes there."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        return real(Path("/dev/full") if self.name == "SHA256SUMS" else self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError) as caught:
        write_bundle(decoder_plan, place / "out")
    assert code_of(caught) == "output.full"
    assert not list(place.iterdir())


def test_an_error_on_a_file_of_the_bundle_is_about_the_output_others_are_not(place: Path) -> None:
    with pytest.raises(InputError) as caught, Staging(place / "out") as staging:
        raise OSError(errno.EIO, "Input/output error", str(staging.path / "x"))
    assert code_of(caught) == "output.unwritable"
    with pytest.raises(OSError, match="mine"), Staging(place / "out"):
        raise OSError(errno.EIO, "mine", str(place / "elsewhere"))
    assert not list(place.iterdir())


def test_rename_failing_at_the_end_leaves_the_old_bundle(
    decoder_plan: BundlePlan, place: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(decoder_plan, place / "out")
    before = snapshot(place)

    def fail(source: object, target: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(InputError):
        write_bundle(replace(decoder_plan, name="other"), place / "out", force=True)
    monkeypatch.undo()
    assert snapshot(place) == before


def test_a_failed_gate_goes_to_rejected_and_replaces_an_older_one(
    decoder_plan: BundlePlan, place: Path, snapshot: Snapshot
) -> None:
    good = write_bundle(decoder_plan, place / "out")
    before = snapshot(good)
    for name in ("first", "second"):
        rejected = write_bundle(replace(failed(decoder_plan), name=name), good, force=True)
        assert rejected == place / "out.rejected"
        assert (rejected / "coreml" / f"{name}.mlpackage").is_dir()
        assert verify_bundle(rejected).ok  # it is what was made, byte for byte, and says itself that it failed
    assert snapshot(good) == before
    assert sorted(p.name for p in place.iterdir()) == ["out", "out.rejected"]


def test_rejected_never_replaces_what_is_no_bundle(decoder_plan: BundlePlan, place: Path) -> None:
    (place / "out.rejected").mkdir()
    (place / "out.rejected" / "mine").write_text("x")
    with pytest.raises(InputError) as caught, Staging(place / "out"):
        pytest.fail("known before any work")
    assert code_of(caught) == "output.exists"
    with pytest.raises(InputError) as caught:
        write_bundle(failed(decoder_plan), place / "out")
    assert code_of(caught) == "output.exists"
    assert [p.name for p in place.rglob("*")] == ["out.rejected", "mine"]


def test_a_failed_bundle_can_not_be_committed(decoder_plan: BundlePlan, place: Path) -> None:
    with pytest.raises(RuntimeError, match="only be rejected"), Staging(place / "out") as staging:
        finish_bundle(failed(decoder_plan), staging.path)
        staging.commit()
    assert not list(place.iterdir())


def test_an_unfinished_bundle_can_be_neither_committed_nor_rejected(place: Path) -> None:
    for move in (Staging.commit, Staging.reject):
        with pytest.raises(RuntimeError, match="finished"), Staging(place / "out") as staging:
            move(staging)
    assert not list(place.iterdir())


def test_what_came_to_lie_there_meanwhile_is_not_replaced(decoder_plan: BundlePlan, place: Path) -> None:
    with pytest.raises(InputError), Staging(place / "out") as staging:
        finish_bundle(decoder_plan, staging.path)
        write_bundle(decoder_plan, place / "elsewhere")
        (place / "elsewhere").rename(place / "out")
        marker = (place / "out").stat().st_ino
        staging.commit()
    assert (place / "out").stat().st_ino == marker
    assert [p.name for p in place.iterdir()] == ["out"]


def test_not_even_what_comes_at_the_very_last_moment(
    decoder_plan: BundlePlan, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_bundle(replace(decoder_plan, name="other"), place / "other")
    real = os.rename

    def overtaken(source: Path, target: Path) -> None:
        if other.exists():
            real(other, target)  # another run commits between our check and our rename
        real(source, target)

    monkeypatch.setattr(os, "rename", overtaken)
    with pytest.raises(InputError) as caught:
        write_bundle(decoder_plan, place / "out")
    assert code_of(caught) == "output.exists"
    assert (place / "out" / "coreml" / "other.mlpackage").is_dir()
    assert [p.name for p in place.iterdir()] == ["out"]


def killed_run(place: Path) -> str:
    """Start an export in another process, kill it with SIGKILL inside the block; the work area's name."""
    code = (
        "import os, signal, sys; from pathlib import Path; from exporter.bundle import Staging\n"
        "with Staging(Path(sys.argv[1])) as s:\n"
        "    (s.path / 'big').write_bytes(b'x'); print(s.path.name, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(place / "out")], capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    return run.stdout.strip()


def test_what_a_killed_run_left_is_removed_by_the_next(decoder_plan: BundlePlan, place: Path) -> None:
    left = killed_run(place)
    assert [p.name for p in place.iterdir()] == [left]
    write_bundle(decoder_plan, place / "another")
    assert (place / left).exists()  # another destination's: not ours to judge
    write_bundle(decoder_plan, place / "out")
    assert sorted(p.name for p in place.iterdir()) == ["another", "out"]


def test_a_reused_process_id_does_not_keep_a_dead_work_area(place: Path) -> None:
    with Staging(place / "out") as staging:
        ours = staging.path
    ours.mkdir()
    (ours / "x").write_bytes(b"x")  # left by a dead process that had our id, as is usual in containers
    with Staging(place / "out") as staging:
        assert not list(staging.path.iterdir())
    assert not list(place.iterdir())


def test_a_living_work_area_is_left_alone(place: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from exporter.bundle import Staging\n"
        "with Staging(Path(sys.argv[1])) as s:\n    print(s.path.name, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(place / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = place / other.stdout.readline().strip()
        with Staging(place / "out") as staging:
            assert theirs.is_dir()
            assert staging.path != theirs
        other.communicate("")
    assert other.returncode == 0
    assert not list(place.iterdir())


def test_what_only_looks_like_a_work_area_is_left_alone(place: Path) -> None:
    prefix = Staging(place / "out").path.name.rpartition("-")[0]
    (place / f"{prefix}-notes").mkdir()
    (place / f"{prefix}-123").write_text("a file")
    (place / f"{prefix}-124").symlink_to(place / f"{prefix}-notes")
    with Staging(place / "out"):
        pass
    assert len(list(place.iterdir())) == 3


def test_without_an_atomic_exchange_two_renames_do_it(
    decoder_plan: BundlePlan, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "_atomically", lambda *_: False)
    write_bundle(decoder_plan, place / "out")
    write_bundle(replace(decoder_plan, name="other"), place / "out", force=True)
    assert (place / "out" / "coreml" / "other.mlpackage").is_dir()
    assert [p.name for p in place.iterdir()] == ["out"]


def test_killed_between_those_two_renames_the_next_run_restores_the_old_bundle(
    decoder_plan: BundlePlan, place: Path
) -> None:
    old = write_bundle(decoder_plan, place / "out")
    prefix = Staging(old).path.name.rpartition("-")[0]
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    old.rename(place / f"{prefix}-{dead.stdout.strip()}-old")
    with Staging(old, force=True):
        assert verify_bundle(old).ok
    assert [p.name for p in place.iterdir()] == ["out"]


def test_the_exchange_is_one_step_here(tmp_path: Path) -> None:
    if sys.platform not in ("linux", "darwin"):
        pytest.skip("only Linux and macOS can exchange two folders")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not swap._atomically(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system can't exchange two folders")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b"]
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
        swap.exchange(tmp_path / "a", tmp_path / "gone")


def test_a_name_that_is_too_long_is_called_that(tmp_path: Path) -> None:
    """A destination fits, but with `.rejected` it doesn't: the permissions are fine."""
    with pytest.raises(InputError) as caught, Staging(tmp_path / ("n" * 250)):
        pass
    (found,) = caught.value.diagnostics
    assert "File name too long" in found.message
    assert "shorter name" in found.hint
    assert "permissions" not in found.hint
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as caught, Staging(tmp_path / "file" / "out"):
        pass
    assert "is a file" in caught.value.diagnostics[0].hint
