"""Names, sizes and hashes of a bundle's files, without following a link or opening a device."""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import Diagnostic

MAX_PATH_BYTES = 1024  # macOS accepts no longer path (PATH_MAX)


@dataclass(frozen=True)
class Tree:
    """The regular files under a folder, by POSIX path relative to it, with their sizes in bytes.

    problems: links, devices, empty folders and names that are not allowed; `files` leaves these out.
    """

    files: Mapping[str, int]
    problems: tuple[Diagnostic, ...]


def path_problem(path: str) -> str | None:
    """Why `path` can't be a file's path in a bundle, or None.

    A path must be relative, stay inside the bundle, and mean the same on every system and for `sha256sum -c`.
    """
    try:
        size = len(path.encode("utf-8"))
    except UnicodeEncodeError:
        return "is not UTF-8"
    problems = {
        f"is longer than {MAX_PATH_BYTES} bytes": size > MAX_PATH_BYTES,
        "has a backslash or a control character in it": any(_unprintable(c) for c in path),
        "is absolute": path.startswith("/") or path[1:2] == ":",
        "has an empty, '.' or '..' part": any(part in ("", ".", "..") for part in path.split("/")),
    }
    return next((problem for problem, found in problems.items() if found), None)


def _unprintable(character: str) -> bool:
    """Control characters (C0, DEL, C1), line separators, and the backslash, which `sha256sum` escapes in its lists."""
    return character < " " or "\x7f" <= character < "\xa0" or character in "\\\u2028\u2029"


def folded(path: str) -> str:
    """Two paths with the same `folded` are one file where case and Unicode composition are ignored."""
    return unicodedata.normalize("NFC", path).casefold()


def printable(path: str) -> str:
    """`path` for a message: undecodable bytes and control characters are escaped."""
    text = path.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def scan(root: Path) -> Tree:
    """Everything under `root`, sorted. OSError only when `root` itself can't be listed."""
    files: dict[str, int] = {}
    problems: list[Diagnostic] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = sorted(entries, key=lambda e: e.name)
        except OSError as error:
            if not folder:
                raise
            problems.append(_problem("unreadable", folder, f"can't be listed: {error.strerror}"))
            continue
        if folder and not found:
            problems.append(_problem("extra", folder, "is an empty folder"))
        for entry in found:
            path = f"{folder}/{entry.name}" if folder else entry.name
            problem = path_problem(path)
            if problem:
                problems.append(_problem("path", path, f"a file's path {problem}"))
            elif entry.is_symlink():
                problems.append(_problem("link", path, "is a symbolic link; a bundle must contain only files"))
            elif entry.is_dir(follow_symlinks=False):
                pending.append(path)
            elif entry.is_file(follow_symlinks=False):
                files[path] = entry.stat(follow_symlinks=False).st_size
            else:
                problems.append(_problem("special", path, "is neither a file nor a folder"))
    return Tree(dict(sorted(files.items())), (*problems, *_collisions(files)))


def sha256(path: Path) -> str:
    """The file's SHA-256 in lower-case hex; OSError when it is not a regular file or can't be read."""
    # O_NONBLOCK: don't wait if the file was replaced by a pipe. O_NOFOLLOW: don't follow a link that replaced it.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"not a regular file: {path.name}")
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_all(root: Path) -> dict[str, str]:
    """Path → SHA-256 of every file under `root`, sorted. Files are read in parallel."""
    files = list(scan(root).files)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return dict(zip(files, pool.map(lambda path: sha256(root / path), files), strict=True))


def _collisions(files: Mapping[str, int]) -> list[Diagnostic]:
    seen: dict[str, str] = {}
    problems = []
    for path in sorted(files):
        first = seen.setdefault(folded(path), path)
        if first != path:
            problems.append(_problem("path", path, f"is the same file as {first} on a file system that ignores case"))
    return problems


def _problem(slug: str, path: str, message: str) -> Diagnostic:
    return Diagnostic(f"bundle.{slug}", message, printable(path))
