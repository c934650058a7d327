"""The work area of one export: a hidden sibling of the destination that becomes it, or disappears.

Everything is written beside the destination, on the same file system, and renamed at the end: a bundle is whole
or absent, also after `kill -9` or on a full disk.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from exporter.bundle.manifest import Manifest, made_by_kogata, read_manifest
from exporter.bundle.swap import exchange
from exporter.bundle.tree import printable
from exporter.errors import InputError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LOCK_TRIES = 20


class Staging:
    """A context manager around `path`, an empty folder to write a bundle's files into.

    Leave the `with` block without `commit` or `reject`, by an exception or not, and everything written is gone.
    A disk that runs full inside the block, or any other OSError about a file in `path`, ends as an InputError.

    destination: the bundle's folder. It may exist only when it is empty or, with `force`, a bundle.
    sources: the checkpoint, which must neither hold the destination nor lie in it.
    """

    def __init__(self, destination: Path, *, force: bool = False, sources: Sequence[Path] = ()) -> None:
        self.destination = _real(destination)
        self.force = force
        self._sources = tuple(_real(source) for source in sources)
        digest = hashlib.sha256(os.fsencode(self.destination.name)).hexdigest()[:12]
        self._prefix = f".kogata-{digest}-"  # not the name itself: that may be as long as a name can be
        self.path = self.destination.parent / f"{self._prefix}{os.getpid()}"
        self._lock: int | None = None
        self._made: list[Path] = []

    @property
    def rejected(self) -> Path:
        """Where a bundle goes that failed its parity gate."""
        return self.destination.with_name(f"{self.destination.name}.rejected")

    def __enter__(self) -> Self:
        self._check()
        _require_replaceable(self.rejected, force=True)  # now: what a gate finds would be lost with the bundle
        try:
            self._make_parents()
            self._remove_stale()
            self._lock = _create_locked(self.path)
        except BaseException as error:
            self._clean()
            if isinstance(error, OSError):
                raise _unwritable(self.destination, error) from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clean()
        if isinstance(error, OSError) and (error.errno in _NO_SPACE or self._holds(error.filename)):
            raise _unwritable(self.destination, error) from error

    def commit(self) -> Path:
        """Put the bundle in the destination's place, durably; returns the destination.

        Raises InputError when something else has come to lie there meanwhile.
        """
        if "failed" in {parity.verdict for parity in self._manifest().parity.values()}:
            raise RuntimeError("a bundle that failed its parity gate can only be rejected")
        self._check()
        return self._move_to(self.destination, replace=self.force)

    def reject(self) -> Path:
        """Put the bundle into `rejected`, in place of an older one there; returns that folder."""
        _require_replaceable(self.rejected, force=True)
        self._manifest()
        return self._move_to(self.rejected, replace=True)

    def _manifest(self) -> Manifest:
        if not (self.path / "manifest.json").exists():
            raise RuntimeError("a staged bundle must be finished before it is moved: manifest.json is missing")
        return read_manifest(self.path / "manifest.json")

    def _holds(self, name: object) -> bool:
        """Whether an OSError's file name lies in the work area."""
        return isinstance(name, str) and Path(name).is_relative_to(self.path)

    def _move_to(self, place: Path, *, replace: bool) -> Path:
        try:
            _sync(self.path)
            try:
                os.rename(self.path, place)  # replaces nothing, or an empty folder
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if not (replace and is_bundle(place)):  # it came to lie there since the check
                    raise _occupied(place) from error
                exchange(self.path, place)  # the old bundle is now the staged folder, which is cleaned away
            _sync_folder(place.parent)
        except OSError as error:
            raise _unwritable(place, error) from error
        self._made.clear()
        return place

    def _check(self) -> None:
        """Refuse a destination that can't be, before hours of work go into it."""
        shown = printable(str(self.destination))
        if not self.destination.name:
            raise InputError.of("output.place", "the output folder needs a name of its own", where=shown)
        for source in self._sources:
            if self.destination.is_relative_to(source):
                message = "the output folder lies inside the checkpoint, or is it"
            elif source.is_relative_to(self.destination):
                message = "the checkpoint lies inside the output folder"
            else:
                continue
            raise InputError.of("output.place", message, where=shown, hint="choose another folder with -o")
        for place in (self.rejected, self.destination):
            try:
                os.lstat(place)
            except FileNotFoundError:
                pass
            except OSError as error:  # a name too long, a parent that is a file or closed to us
                raise _unwritable(place, error) from error
        _require_replaceable(self.destination, force=self.force)

    def _make_parents(self) -> None:
        missing = []
        parent = self.destination.parent
        while not parent.exists():
            missing.append(parent)
            parent = parent.parent
        for folder in reversed(missing):
            folder.mkdir()
            self._made.append(folder)

    def _remove_stale(self) -> None:
        """Remove what exports to this destination left that were killed."""
        pattern = re.compile(re.escape(self._prefix) + r"(\d+)(-old)?")
        for entry in sorted(self.destination.parent.iterdir()):
            match = pattern.fullmatch(entry.name)
            if match is None or entry.is_symlink() or not entry.is_dir():
                continue
            if match[2] and _alive(int(match[1])):
                continue  # its owner may be between two renames; nobody holds a lock on what it moved aside
            lock = _lock_of_dead(entry, int(match[1]))
            if lock is None:
                continue
            if match[2] and not self.destination.exists() and is_bundle(entry):
                os.rename(entry, self.destination)  # killed between the two renames of a replacement: undo it
            else:
                shutil.rmtree(entry, ignore_errors=True)
            if lock >= 0:
                os.close(lock)

    def _clean(self) -> None:
        if self._lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)  # what can't be removed now is stale for the next run
            if self._lock >= 0:
                os.close(self._lock)
            self._lock = None
        while self._made:
            try:
                self._made.pop().rmdir()
            except OSError:
                self._made.clear()  # someone else uses it by now


def is_bundle(folder: Path) -> bool:
    """Whether `folder` is a bundle made by kogata, damaged or not: only such a folder is ever replaced."""
    return folder.is_dir() and not folder.is_symlink() and made_by_kogata(folder / "manifest.json")


def _require_replaceable(place: Path, *, force: bool) -> None:
    if not os.path.lexists(place):
        return
    try:
        empty = place.is_dir() and not place.is_symlink() and next(place.iterdir(), None) is None
    except OSError as error:
        raise _unwritable(place, error) from error
    if not (empty or (force and is_bundle(place))):
        raise _occupied(place)


def _occupied(place: Path) -> Exception:
    if is_bundle(place):
        message, hint = "there is a bundle already", "--force replaces it, or choose another folder with -o"
    else:
        message, hint = "something that is no bundle lies there", "choose another folder with -o; it is never replaced"
    return InputError.of("output.exists", message, where=printable(str(place)), hint=hint)


def _unwritable(place: Path, error: OSError) -> Exception:
    if error.errno in _NO_SPACE:
        code, hint = "output.full", "free some space, or choose a folder on another disk with -o"
    else:
        code, hint = "output.unwritable", "check the folder's permissions, or choose another with -o"
    reason = error.strerror or str(error)
    return InputError.of(code, f"the bundle can't be written: {reason}", where=printable(str(place)), hint=hint)


def _real(path: Path) -> Path:
    """`path` with links resolved, so that the work area lies on the same file system as what it replaces."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:
        raise InputError.of("output.place", f"not a usable path: {error}", where=printable(str(path))) from error


def _create_locked(path: Path) -> int:
    """Make the folder `path` and hold a lock on it for as long as this process lives; -1 where none can be had."""
    for _ in range(_LOCK_TRIES):
        path.mkdir()
        try:
            lock = _lock(path)
        except BlockingIOError:
            lock = None  # another run takes the fresh folder for a dead one's and is about to remove it
        if lock is not None and (lock < 0 or (path.exists() and os.path.samestat(os.fstat(lock), path.stat()))):
            return lock
        if lock is not None:
            os.close(lock)
        time.sleep(0.05)
    raise OSError(errno.EBUSY, "another export to the same folder keeps removing the work area")


def _lock(folder: Path) -> int | None:
    """An open, exclusively locked descriptor; -1 where folders can't be locked; BlockingIOError when it is held."""
    try:
        import fcntl
    except ImportError:  # Windows; the process id alone says then whether an owner lives
        return -1
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # some network file systems
        os.close(descriptor)
        return -1
    return descriptor


def _lock_of_dead(folder: Path, pid: int) -> int | None:
    """The lock on a folder whose owner is dead (-1: dead by its process id), or None while the owner lives."""
    try:
        lock = _lock(folder)
    except OSError:  # held, or gone meanwhile
        return None
    if lock == -1 and _alive(pid):
        return None
    return lock


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _sync(folder: Path) -> None:
    for root, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(root, name), "rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(root))


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows can't open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
