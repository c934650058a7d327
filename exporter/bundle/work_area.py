"""The temporary folders of exports: made and locked by their owner, removed by a later run where the owner is dead."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
from pathlib import Path

from exporter.bundle.manifest import made_by_kogata

_LOCK_TRIES = 20


def prefix_of(destination: Path) -> str:
    """What the names of all temporary folders for `destination` begin with; the owner's process id follows."""
    digest = hashlib.sha256(os.fsencode(destination.name)).hexdigest()[:12]
    return f".kogata-{digest}-"  # not the name itself, which may have the maximal length already


def is_bundle(folder: Path, root: str = "") -> bool:
    """Whether `folder` is a bundle made by kogata, damaged or not. Only such a folder may be replaced.

    root: where in the folder the bundle is, if it has other files around it.
    """
    return folder.is_dir() and not folder.is_symlink() and made_by_kogata(folder / root / "manifest.json")


def remove_stale(destination: Path, root: str = "") -> None:
    """Remove the temporary folders of killed exports to `destination`, or undo a replacement that was cut short."""
    pattern = re.compile(re.escape(prefix_of(destination)) + r"(\d+)(-old)?")
    for entry in sorted(destination.parent.iterdir()):
        match = pattern.fullmatch(entry.name)
        if match is None or entry.is_symlink() or not entry.is_dir():
            continue
        if match[2] and _alive(int(match[1])):
            continue  # its owner may be between two renames; the folder moved aside is not locked
        lock = _lock_of_dead(entry, int(match[1]))
        if lock is None:
            continue
        if match[2] and not destination.exists() and is_bundle(entry, root):
            os.rename(entry, destination)  # killed between the two renames of a replacement: undo the first
        else:
            shutil.rmtree(entry, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def create_locked(path: Path) -> int:
    """Make the folder `path` and lock it until this process ends; -1 where folders can't be locked."""
    for _ in range(_LOCK_TRIES):
        path.mkdir()
        try:
            lock = _lock(path)
        except BlockingIOError:
            lock = None  # another run thinks that its owner is dead, and is about to remove it
        if lock is not None and (lock < 0 or (path.exists() and os.path.samestat(os.fstat(lock), path.stat()))):
            return lock
        if lock is not None:
            os.close(lock)
        time.sleep(0.05)
    raise OSError(errno.EBUSY, "another export to the same folder keeps removing the temporary folder")


def _lock(folder: Path) -> int | None:
    """An open, exclusively locked descriptor; -1 where folders can't be locked; BlockingIOError when it is locked."""
    try:
        import fcntl
    except ImportError:  # Windows: only the process id tells whether the owner is alive
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
    """The lock on a folder whose owner is dead (-1: known by its process id), or None while the owner is alive."""
    try:
        lock = _lock(folder)
    except OSError:  # locked, or removed meanwhile
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
