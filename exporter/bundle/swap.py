"""Exchange two folders: in one step where the system can do that, else in steps that a later run can undo."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_AT_FDCWD = -100  # linux/fcntl.h: paths are relative to the working directory
_RENAME_EXCHANGE = 2  # linux/fs.h, renameat2(2)
_RENAME_SWAP = 2  # sys/stdio.h of macOS, renamex_np(2)
_NOT_HERE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}


def exchange(one: Path, other: Path) -> None:
    """Rename `one` to `other` and `other` to `one`. After an OSError, both are where they were."""
    if not _atomically(one, other):
        aside = one.with_name(f"{one.name}-old")
        os.rename(other, aside)
        try:
            os.rename(one, other)
        except OSError:
            os.rename(aside, other)
            raise
        os.rename(aside, one)


def _atomically(one: Path, other: Path) -> bool:
    """Exchange them in one step; False where the system or the file system can't."""
    if os.name != "posix":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    a, b = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(a, b, ctypes.c_uint(_RENAME_SWAP))
    elif sys.platform == "linux" and hasattr(libc, "renameat2"):
        failed = libc.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, ctypes.c_uint(_RENAME_EXCHANGE))
    else:
        return False
    if failed and ctypes.get_errno() not in _NOT_HERE:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(other))
    return not failed
