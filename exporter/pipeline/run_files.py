"""Writes the answers of `kogata run` into a file: JSON lines, or embeddings as a NumPy array."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporter.bundle.tree import printable
from exporter.errors import Diagnostic, InputError
from exporter.interrupt import note
from exporter.pipeline.run_answer import Answer
from exporter.report.machine import json_line

_SUFFIXES = (".jsonl", ".npy")


@dataclass(frozen=True)
class AnswerFile:
    """The file of --output. force: whether it may replace a file."""

    path: Path
    force: bool = False

    def problems(self, bundle: Path, texts: Path | None) -> list[Diagnostic]:
        """Why it can't be written. bundle: the folder that is run; texts: the file that the texts are in."""
        problem = self._problem(bundle, texts)
        return [] if problem is None else [Diagnostic(problem[0], problem[1], printable(str(self.path)), problem[2])]

    def _problem(self, bundle: Path, texts: Path | None) -> tuple[str, str, str] | None:
        """Code, message and hint."""
        path, other = self.path, "choose another name with -o"
        problem = None
        if path.suffix not in _SUFFIXES:
            problem = ("run.output", "the name must end in .jsonl or .npy", "NumPy arrays hold embeddings only")
        elif not path.parent.is_dir():
            problem = ("run.output", f"there is no folder {printable(str(path.parent))}", "make it first")
        elif path.resolve().is_relative_to(bundle.resolve()):
            problem = ("run.output", "a bundle holds nothing but what `kogata export` wrote", "choose another folder")
        elif os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            problem = ("output.exists", "there is already something that is no regular file", other)
        elif path.exists() and texts is not None and texts.exists() and path.samefile(texts):
            problem = ("run.output", "the texts are read from this file", other)
        elif path.exists() and not self.force:
            problem = ("output.exists", "there is already a file", f"--force replaces it, or {other}")
        return problem

    def task_problem(self, task: str) -> Diagnostic | None:
        """Why it can't hold what a model for the task gives."""
        if self.path.suffix == ".npy" and task != "feature-extraction":
            message = f"a .npy file holds embeddings; this model is for {task}"
            return Diagnostic("run.output", message, printable(str(self.path)), "name it .jsonl")
        return None

    def write(self, answers: Sequence[Answer]) -> None:
        """An object a line as `Answer.as_json` gives it, or embeddings as float32 `[texts, elements]`, in order.

        The file is whole or absent. Raises InputError where it can't be written.
        """
        note("report")  # the waiting process grants time for what began
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            try:
                with open(beside, "xb") as file:
                    file.write(self._content(answers))
                os.replace(beside, self.path)
            finally:
                beside.unlink(missing_ok=True)
        except OSError as error:
            code = "output.full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "output.unwritable"
            message = f"can't be written: {error.strerror}"
            raise InputError.of(code, message, where=printable(str(self.path)), hint="choose another place") from error

    def _content(self, answers: Sequence[Answer]) -> bytes:
        if self.path.suffix == ".jsonl":
            return "".join(json_line(answer.as_json()) for answer in answers).encode()
        made = io.BytesIO()
        np.save(made, np.stack([np.asarray(answer.embedding, np.float32) for answer in answers]), allow_pickle=False)
        return made.getvalue()
