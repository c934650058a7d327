"""Where the texts of `kogata run` come from: the command line, a file, standard input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from exporter.errors import Diagnostic, InputError, file_problem
from exporter.texts import Prompt, read_prompts

STDIN = "-"
_SUFFIXES = (".txt", ".jsonl")
_MAX_TEXTS = 100_000
_MAX_BYTES = 64 << 20  # of a text on standard input, as of a file of texts
_MAX_TURN_BYTES = 1 << 20


@dataclass(frozen=True)
class RunInputs:
    """What the command line says. text: a text, "-" for standard input, or the name of a .txt or .jsonl file.

    file: of --input. chat: the texts are turns of one conversation: `text`, and then the lines of standard input.
    """

    text: str | None
    second: str | None = None
    file: Path | None = None
    chat: bool = False

    @property
    def path(self) -> Path | None:
        """The file that the texts are in."""
        if self.file is not None or self.text is None or self.text == STDIN:
            return self.file
        named = self.text.endswith(_SUFFIXES) and not any(letter.isspace() for letter in self.text)
        return Path(self.text) if named and not self.chat else None

    @property
    def are_several(self) -> bool:
        """Whether there may be more than one text, however many there are."""
        return self.chat or self.path is not None

    def problems(self) -> list[Diagnostic]:
        """What contradicts or is missing, so far as it is known before anything is read."""
        found = []
        if self.text is None and self.file is None and not self.chat:
            hint = "a text, - for standard input, --input FILE, or --chat"
            found.append(Diagnostic("run.text", "there is no text to run", "TEXT", hint))
        if self.file is not None and self.text is not None:
            found.append(Diagnostic("run.text", "give a text or --input FILE, not both", "--input"))
        if self.chat and self.file is not None:
            hint = 'the lines of a .jsonl file may be whole conversations, as "messages", without --chat'
            found.append(
                Diagnostic("run.chat", "--chat reads its turns from standard input, not --input", "--chat", hint)
            )
        if self.second is not None and self.are_several:
            hint = "" if self.chat else 'a line of a .jsonl file may have "text" and "second"'
            found.append(Diagnostic("run.second", "--second goes with one text", "--second", hint))
        path = self.path
        if path is not None and (problem := file_problem(path)):
            hint = "" if self.file else f"if that is a text and no file, give {STDIN} and write it to standard input"
            found.append(Diagnostic("run.input", problem, str(path), hint))
        return found

    def prompts(self, stdin: BinaryIO | None) -> tuple[Prompt, ...]:
        """The texts. Raises InputError for a file or a text that can't be read, with the first 20 bad lines."""
        if self.path is not None:
            prompts = read_prompts(self.path)
            if len(prompts) > _MAX_TEXTS:
                message, hint = f"the file has {len(prompts):,} texts; at most {_MAX_TEXTS:,} are run", "split the file"
                raise InputError.of("run.input", message, where=self.path.name, hint=hint)
            return prompts
        text = self.text or ""
        return (Prompt(_read_all(stdin) if text == STDIN else text, second=self.second),)

    def turns(self, stdin: BinaryIO | None, ask: Callable[[], None]) -> Iterator[str]:
        """The user's turns of a conversation; a line without letters is none. ask: called before a line is read."""
        if self.text not in (None, STDIN):
            yield self.text or ""
        number = 0
        while stdin is not None:
            ask()
            number += 1
            line = stdin.readline(_MAX_TURN_BYTES + 1)
            if not line:
                return
            if len(line) > _MAX_TURN_BYTES:
                message = f"a line may have {_MAX_TURN_BYTES >> 20} MiB"
                raise InputError.of("run.stdin", message, where=f"standard input, line {number}")
            text = _decoded(line, f"standard input, line {number}").strip()
            if text:
                yield text


def _read_all(stdin: BinaryIO | None) -> str:
    """Standard input without its last line end, which `echo` adds."""
    raw = b"" if stdin is None else stdin.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise InputError.of("run.stdin", f"larger than {_MAX_BYTES >> 20} MiB", where="standard input")
    return _decoded(raw, "standard input").removesuffix("\n").removesuffix("\r")


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError.of("run.stdin", f"not UTF-8: byte {error.start}", where=where) from error
