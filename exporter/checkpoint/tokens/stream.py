"""Turns token ids into text while they are generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"  # stands for bytes that are no character, or not yet one
_WINDOW = 64  # ids that are decoded again for each new one; a whole answer would cost time that grows with its square
_CONTEXT = 16  # ids that a new window begins with, so that spaces between words are decoded as within the whole text
_CLEANED = 4  # characters of the longest spelling that the tokenizer's clean-up of spaces replaces


class TextStream:
    """Gives the text of ids as soon as it is complete: never a part of a character.

    All that `append` and `finish` return, joined, is what `Tokenizer.decode` gives for all the ids. There is one
    exception: a run of byte tokens such as <0xE3> that goes on with bytes that aren't UTF-8. `decode` then shows U+FFFD
    for the whole run; a stream can only do so for the part that it hasn't returned yet.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._shown = ""  # of the window's text
        self._settled = 0  # so many ids of the window have no part in a text that is held back

    def append(self, token: int) -> str:
        """The text that this id completes; empty while a character is unfinished."""
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids)
        certain = self._certain(text)
        piece = self._advance(certain)
        if certain == text:
            self._settled = len(self._ids)
            self._slide()
        return piece

    def finish(self) -> str:
        """The text that was held back. Call it once, after the last id."""
        text = self._tokenizer.decode(self._ids)
        return self._advance(text, is_last=True)

    def _certain(self, text: str) -> str:
        """The beginning of the text that more ids don't change."""
        certain = text.rstrip(_REPLACEMENT)
        if self._tokenizer.cleans_up:  # " ." becomes "." and " n't" becomes "n't"
            space = certain.find(" ", max(len(certain) - _CLEANED, 0))
            certain = certain if space < 0 else certain[:space]
        return certain

    def _advance(self, text: str, *, is_last: bool = False) -> str:
        """What the window's text has beyond the part that was shown."""
        if self._shown.startswith(text):
            return ""
        if not text.startswith(self._shown):  # bytes that made a character make none together with those after them
            self._ids = self._ids[self._settled :]
            self._shown, self._settled = "", 0
            rest = self._tokenizer.decode(self._ids)
            text = rest if is_last else self._certain(rest)
        piece = text[len(self._shown) :]
        self._shown = text
        return piece

    def _slide(self) -> None:
        """Begin a new window, where its text alone is how the text of the whole window ends."""
        if len(self._ids) < _WINDOW:
            return
        ids = self._ids[-_CONTEXT:]
        text = self._tokenizer.decode(ids)
        if text and self._shown.endswith(text):
            self._ids, self._shown, self._settled = ids, text, _CONTEXT


class StopTexts:
    """Finds stop texts in a text that arrives in pieces, and holds back what may be the beginning of one."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        """Empty texts are ignored."""
        self._texts = tuple(text for text in texts if text)
        self._held = ""

    def append(self, piece: str) -> tuple[str, bool]:
        """The text that is certain to come before any stop text, and whether one was found."""
        self._held += piece
        places = [place for text in self._texts if (place := self._held.find(text)) >= 0]
        if places:
            found, self._held = self._held[: min(places)], ""
            return found, True
        longest = max(map(len, self._texts), default=1)
        for start in range(max(len(self._held) - longest + 1, 0), len(self._held)):
            if any(text.startswith(self._held[start:]) for text in self._texts):
                break
        else:
            start = len(self._held)
        certain, self._held = self._held[:start], self._held[start:]
        return certain, False

    def finish(self) -> str:
        """The text that was held back, at the end of a text without a stop text."""
        held, self._held = self._held, ""
        return held
