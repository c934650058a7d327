"""The temporary folder of one export: it is renamed to the destination at the end, or removed.

It is a hidden folder beside the destination, on the same file system. So a bundle is complete or absent, also after
`kill -9` or on a full disk.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from exporter.bundle.manifest import Manifest, read_manifest
from exporter.bundle.swap import exchange
from exporter.bundle.tree import printable
from exporter.bundle.work_area import create_locked, is_bundle, prefix_of, remove_stale
from exporter.errors import InputError
from exporter.interrupt import note

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "check the folder's permissions, or choose another with -o"),
    errno.ENAMETOOLONG: "choose a shorter name with -o; `.rejected` is added to it when a gate fails",
    errno.ENOTDIR: "a part of the path is a file: choose another folder with -o",
    errno.EROFS: "the disk is read-only: choose a folder on another disk with -o",
}


class Staging:
    """A context manager around `path`, an empty folder to write a bundle's files into.

    When the `with` block ends without `commit` or `reject`, with an exception or not, everything written is removed.
    If the disk becomes full in the block, or another OSError is about a file in `path`, InputError is raised.

    destination: the bundle's folder. If it exists, it must be empty or, with `force`, a bundle.
    sources: the checkpoint, which must neither contain the destination nor be inside it.
    root: where in the folder the bundle's files are, for a layout that has other files around them.
    """

    def __init__(self, destination: Path, *, force: bool = False, sources: Sequence[Path] = (), root: str = "") -> None:
        self.destination = _real(destination)
        self.force = force
        self._root = root
        self._sources = tuple(_real(source) for source in sources)
        self.path = self.destination.parent / f"{prefix_of(self.destination)}{os.getpid()}"
        self._lock: int | None = None
        self._made: list[Path] = []

    @property
    def rejected(self) -> Path:
        """The folder for a bundle that failed its parity gate."""
        return self.destination.with_name(f"{self.destination.name}.rejected")

    def __enter__(self) -> Self:
        self._check()
        _require_replaceable(
            self.rejected, True, self._root
        )  # checked before the work: later, the failed bundle would be lost
        note("work", self.destination)
        try:
            self._make_parents()
            remove_stale(self.destination, self._root)
            self._lock = create_locked(self.path)
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
        """Rename the bundle to the destination, and sync it to disk; returns the destination.

        Raises InputError when something else was put there meanwhile.
        """
        if self._manifest().verdict == "failed":
            raise RuntimeError("a bundle that failed a gate can only be rejected")
        self._check()
        return self._move_to(self.destination, replace=self.force)

    def reject(self) -> Path:
        """Rename the bundle to `rejected`, replacing an older one; returns that folder."""
        _require_replaceable(self.rejected, True, self._root)
        self._manifest()
        return self._move_to(self.rejected, replace=True)

    def _manifest(self) -> Manifest:
        path = self.path / self._root / "manifest.json"
        if not path.exists():
            raise RuntimeError("a staged bundle must be finished before it is moved: manifest.json is missing")
        return read_manifest(path)

    def _holds(self, name: object) -> bool:
        """Whether an OSError's file name is in the temporary folder."""
        return isinstance(name, str) and Path(name).is_relative_to(self.path)

    def _move_to(self, place: Path, *, replace: bool) -> Path:
        try:
            _sync(self.path)
            note("moving")
            try:
                os.rename(self.path, place)  # replaces nothing, or an empty folder
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if not (replace and is_bundle(place, self._root)):  # it was put there after the check
                    raise _occupied(place, self._root) from error
                exchange(self.path, place)  # the old bundle is now the temporary folder, which is removed
            _sync_folder(place.parent)
        except OSError as error:
            raise _unwritable(place, error) from error
        note("written")
        self._made.clear()
        return place

    def _check(self) -> None:
        """Refuse an impossible destination before hours of work."""
        shown = printable(str(self.destination))
        if not self.destination.name:
            raise InputError.of("output.place", "the output folder needs a name of its own", where=shown)
        for source in self._sources:
            if self.destination.is_relative_to(source):
                message = "the output folder is the checkpoint, or is inside it"
            elif source.is_relative_to(self.destination):
                message = "the checkpoint is inside the output folder"
            else:
                continue
            raise InputError.of("output.place", message, where=shown, hint="choose another folder with -o")
        for place in (self.rejected, self.destination):
            try:
                os.lstat(place)
            except FileNotFoundError:
                pass
            except OSError as error:  # the name is too long, or a parent is a file or not accessible
                raise _unwritable(place, error) from error
        _require_replaceable(self.destination, self.force, self._root)

    def _make_parents(self) -> None:
        missing = []
        parent = self.destination.parent
        while not parent.exists():
            missing.append(parent)
            parent = parent.parent
        for folder in reversed(missing):
            note("made", folder)
            folder.mkdir()
            self._made.append(folder)

    def _clean(self) -> None:
        if self._lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)  # the next run tries again
            if self._lock >= 0:
                os.close(self._lock)
            self._lock = None
        while self._made:
            try:
                self._made.pop().rmdir()
            except OSError:
                self._made.clear()  # another process uses it


def _require_replaceable(place: Path, force: bool, root: str) -> None:
    if not os.path.lexists(place):
        return
    try:
        empty = place.is_dir() and not place.is_symlink() and next(place.iterdir(), None) is None
    except OSError as error:
        raise _unwritable(place, error) from error
    if not (empty or (force and is_bundle(place, root))):
        raise _occupied(place, root)


def _occupied(place: Path, root: str) -> Exception:
    if is_bundle(place, root):
        message, hint = "there is already a bundle", "--force replaces it, or choose another folder with -o"
    else:
        message, hint = (
            "there is already something that is not a bundle",
            "choose another folder with -o; only bundles are replaced",
        )
    return InputError.of("output.exists", message, where=printable(str(place)), hint=hint)


def _unwritable(place: Path, error: OSError) -> Exception:
    if error.errno in _NO_SPACE:
        code, hint = "output.full", "free some space, or choose a folder on another disk with -o"
    else:
        code, hint = "output.unwritable", _REMEDIES.get(error.errno or 0, "choose another folder with -o")
    reason = error.strerror or str(error)
    return InputError.of(code, f"the bundle can't be written: {reason}", where=printable(str(place)), hint=hint)


def _real(path: Path) -> Path:
    """`path` with links resolved, so that the temporary folder is on the same file system as the destination."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:
        raise InputError.of("output.place", f"not a usable path: {error}", where=printable(str(path))) from error


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
