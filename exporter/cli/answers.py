"""Shows the answers of `kogata run` while they are made, and gathers what the report at the end needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.bundle.tree import printable
from exporter.errors import Diagnostic, ExitCode
from exporter.interrupt import note
from exporter.report import Case, Report, render_json_line
from exporter.report.clean import safe_text

if TYPE_CHECKING:
    from exporter.cli.output import Output
    from exporter.pipeline.run_answer import Answer
    from exporter.progress import Progress

_MAX_NOTES = 20  # so many warnings about texts are written


@dataclass
class AnswerPrinter:
    """Text is written as it comes, JSON line by line where there may be several texts; the rest is kept for the report.

    told: warnings about the bundle and notes about the options. verdict: the bundle's. file: where the answers go
    instead of stdout. is_spaced: an empty line stands between two answers as text.
    """

    output: Output
    told: Sequence[Diagnostic]
    verdict: str
    file: Path | None = None
    is_spaced: bool = False
    answers: list[Answer] = field(default_factory=list)
    _notes: list[Diagnostic] = field(default_factory=list)
    _count: int = 0
    _begun: bool = False  # a part of the next answer was written
    _breaks: str = ""  # line ends that are written once a letter follows

    def begin(self, progress: Progress) -> None:
        """Call it before the answers. What the progress shows goes away where answers are written."""
        if self.file is None:
            progress.close()
            note("answer")

    def piece(self, text: str) -> None:
        """The next part of a decoder's answer. Line ends at its end are left out."""
        if not self._streams:
            return
        whole = self._breaks + text
        shown = whole.rstrip("\n")
        self._breaks = whole[len(shown) :]
        self._put(safe_text(shown))

    def add(self, answer: Answer) -> None:
        """An answer is complete."""
        if self.output.lines and self.file is None:
            told = (*(() if self._count else self.told), *answer.notes)
            report = Report("run", ExitCode.OK, answer.as_json(), told, verdict=self.verdict)
            self.output.put(render_json_line(report))
        else:
            self._notes += answer.notes
            if not self._streams:
                self.answers.append(answer)
            else:
                self._put("\n" if answer.said is not None else safe_text(answer.as_text()).rstrip("\n") + "\n")
        self._count, self._begun, self._breaks = self._count + 1, False, ""

    def end_line(self) -> None:
        """Call it after the answers: where an error ended one, its message begins in a line of its own."""
        if self._begun:
            self._begun = False
            self.output.put("\n")

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All warnings and notes, of texts the first 20."""
        shown, rest = self._notes[:_MAX_NOTES], len(self._notes) - _MAX_NOTES
        more = (Diagnostic("run.more", f"{rest:,} more texts have such warnings", level="warning"),) if rest > 0 else ()
        return (*self.told, *shown, *more)

    def report(self, *, several: bool) -> Report:
        """What is left to say after the answers."""
        if self.file is not None:
            return self._file_report(self.file)
        results = [answer.as_json() for answer in self.answers]
        result: Any = {"answers": results} if several else results[0] if results else None
        cases = [Case(answer.where, True, answer.as_text()) for answer in self.answers if several]
        return Report("run", ExitCode.OK, result, self.diagnostics(), (), cases, verdict=self.verdict, is_answer=True)

    def _file_report(self, file: Path) -> Report:
        first = self.answers[0]
        what = "answers" if first.embedding is None else f"embeddings of {first.embedding.size} dimensions"
        result = {"output": str(file), "texts": self._count, "artifact": first.artifact.label, "runner": first.runner}
        if first.embedding is not None:
            result["dimensions"] = int(first.embedding.size)
        section = f"{self._count:,} {what}: {printable(str(file))}"
        return Report("run", ExitCode.OK, result, self.diagnostics(), (section,), verdict=self.verdict, is_answer=True)

    @property
    def _streams(self) -> bool:
        return self.output.format == "text" and self.file is None

    def _put(self, text: str) -> None:
        if self.is_spaced and self._count and not self._begun:
            self.output.put("\n")
        self._begun = self._begun or bool(text)
        self.output.put(text)
