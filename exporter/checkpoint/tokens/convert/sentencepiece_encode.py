"""Sentencepiece's own algorithms, written down plainly: what a converted tokenizer is held against.

Normalization, BPE and unigram follow Kudo and Richardson 2018 (https://aclanthology.org/D18-2012) and the behaviour of
the `sentencepiece` package, which the tests compare this with. Made for short texts; the converted one is the fast one.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from exporter.checkpoint.tokens.convert.sentencepiece_file import SPACE, Kind, SentencePieceModel

_UNKNOWN_PENALTY = 10.0  # below the lowest score, as in sentencepiece's unigram model
_USER_DEFINED_PENALTY = 0.1
_MAX_REPLACED = 64  # bytes of a text that one entry of a character map replaces; nmt_nfkc's longest has 18


@dataclass(frozen=True)
class Encoder:
    """Encodes text as the model file says."""

    model: SentencePieceModel

    def encode(self, text: str) -> list[int]:
        """Piece ids, without anything around them."""
        normal = self.normalize(text)
        pieces = self._bpe(normal) if self.model.algorithm == "bpe" else self._unigram(normal)
        ids: list[int] = []
        for piece in pieces:
            known = self._ids.get(piece)
            if known is not None:
                ids.append(known)
            elif self.model.byte_fallback and self._bytes:
                ids += [self._bytes[byte] for byte in piece.encode()]
            elif not ids or ids[-1] != self.model.unknown_id:  # neighbours that are unknown are one
                ids.append(self.model.unknown_id)
        return ids

    def normalize(self, text: str) -> str:
        """The text as it is cut: characters replaced, spaces collapsed, `▁` for them and before the first word."""
        text = "".join(self._replaced(text))
        if self.model.collapse:
            text = " ".join(part for part in text.split(" ") if part)
        if self.model.prefix and text:
            text = " " + text
        return text.replace(" ", SPACE) if self.model.escape else text

    @cached_property
    def _ids(self) -> dict[str, int]:
        """What text can be cut into: control, unknown and byte pieces never come from text itself."""
        kinds = (Kind.NORMAL, Kind.USER_DEFINED)
        return {piece.text: i for i, piece in enumerate(self.model.pieces) if piece.kind in kinds}

    @cached_property
    def _bytes(self) -> dict[int, int]:
        pieces = {piece.text: i for i, piece in enumerate(self.model.pieces) if piece.kind is Kind.BYTE}
        found = {byte: pieces[f"<0x{byte:02X}>"] for byte in range(256) if f"<0x{byte:02X}>" in pieces}
        return found if len(found) == 256 else {}

    @cached_property
    def _symbols(self) -> tuple[tuple[int, ...], frozenset[str]]:
        """The lengths of user-defined pieces, longest first, and the pieces."""
        found = frozenset(piece.text for piece in self.model.pieces if piece.kind is Kind.USER_DEFINED)
        return tuple(sorted({len(text) for text in found}, reverse=True)), found

    def _symbol_at(self, text: str, position: int) -> str:
        """The longest user-defined piece that begins here, else ''."""
        lengths, symbols = self._symbols
        return next((part for n in lengths if (part := text[position : position + n]) in symbols), "")

    def _replaced(self, text: str) -> Iterator[str]:
        position = 0
        while position < len(text):
            symbol = self._symbol_at(text, position)
            if symbol:
                yield symbol
                position += len(symbol)
                continue
            length, replacement = self._charsmap.longest(text, position)
            yield replacement if length else text[position]
            position += length or 1

    @cached_property
    def _charsmap(self) -> _CharsMap:
        return _CharsMap(self.model.charsmap)

    def _bpe(self, text: str) -> list[str]:
        """Merges the pair whose union has the best score, leftmost first, until no union is a piece."""
        symbols, frozen = self._cut(text)
        before = list(range(-1, len(symbols) - 1))
        after = [*range(1, len(symbols)), -1]
        agenda: list[tuple[float, int, int, str]] = []

        def propose(left: int, right: int) -> None:
            if left < 0 or right < 0 or frozen[left] or frozen[right]:
                return
            union = symbols[left] + symbols[right]
            if union in self._ids:
                heapq.heappush(agenda, (-self.model.pieces[self._ids[union]].score, left, right, union))

        for right in range(1, len(symbols)):
            propose(right - 1, right)
        while agenda:
            _, left, right, union = heapq.heappop(agenda)
            if not symbols[left] or not symbols[right] or symbols[left] + symbols[right] != union:
                continue  # one of the two was merged with another meanwhile
            symbols[left], symbols[right] = union, ""
            after[left] = after[right]
            if after[right] >= 0:
                before[after[right]] = left
            propose(before[left], left)
            propose(left, after[left])
        return [symbol for symbol in symbols if symbol]

    def _cut(self, text: str) -> tuple[list[str], list[bool]]:
        symbols, frozen, position = [], [], 0
        while position < len(text):
            symbol = self._symbol_at(text, position)
            symbols.append(symbol or text[position])
            frozen.append(bool(symbol))
            position += len(symbols[-1])
        return symbols, frozen

    def _unigram(self, text: str) -> list[str]:
        """The pieces of the largest sum of scores (Viterbi), summed in float32, as ties are decided by rounding."""
        best: list[tuple[float, int]] = [(0.0, 0)] + [(float("-inf"), 0)] * len(text)
        for start in range(len(text)):
            score = best[start][0]
            single = False
            for end in range(start + 1, min(start + self._longest, len(text)) + 1):
                piece = self._scores.get(text[start:end])
                if piece is not None:
                    single = single or end == start + 1
                    if (total := _float32(score + piece)) > best[end][0]:
                        best[end] = (total, start)
            if not single and (total := _float32(score + self._unknown_score)) > best[start + 1][0]:
                best[start + 1] = (total, start)
        pieces, end = [], len(text)
        while end > 0:
            start = best[end][1]
            pieces.append(text[start:end])
            end = start
        return pieces[::-1]

    @cached_property
    def _scores(self) -> dict[str, float]:
        """User-defined pieces always win: they get the best score for each of their bytes."""
        highest = max((piece.score for piece in self.model.pieces if piece.kind is Kind.NORMAL), default=0.0)
        scores = {}
        for text in self._ids:
            piece = self.model.pieces[self._ids[text]]
            always = _float32(len(text.encode()) * highest - _USER_DEFINED_PENALTY)
            scores[text] = always if piece.kind is Kind.USER_DEFINED else piece.score
        return scores

    @cached_property
    def _unknown_score(self) -> float:
        lowest = min((piece.score for piece in self.model.pieces if piece.kind is Kind.NORMAL), default=0.0)
        return _float32(lowest - _UNKNOWN_PENALTY)

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._ids), default=1)


def _float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


class _CharsMap:
    """A compiled character map: a double-array trie (https://github.com/s-yata/darts-clone) over UTF-8 bytes, whose
    values are offsets of NUL-terminated texts. Raises IndexError or struct.error where it is damaged.
    """

    def __init__(self, blob: bytes) -> None:
        size = struct.unpack_from("<I", blob)[0] if blob else 0
        self._units = struct.unpack(f"<{size // 4}I", blob[4 : 4 + size]) if size else ()
        self._texts = blob[4 + size :]

    def longest(self, text: str, start: int) -> tuple[int, str]:
        """(characters replaced, their replacement) of the longest entry that begins at `start`; (0, "") for none."""
        found = (0, "")
        if not self._units:
            return found
        node = self._offset(0)
        for length, character in enumerate(text[start : start + _MAX_REPLACED], start=1):
            for byte in character.encode():
                node ^= byte
                unit = self._units[node]
                if unit & 0x800000FF != byte:  # the label, and the bit that marks a value
                    return found
                node ^= _shift(unit)
            if unit >> 8 & 1:  # a value hangs here
                begin = self._units[node] & 0x7FFFFFFF
                found = (length, self._texts[begin : self._texts.index(b"\0", begin)].decode())
        return found

    def _offset(self, node: int) -> int:
        return node ^ _shift(self._units[node])


def _shift(unit: int) -> int:
    """Where a unit's children begin, relative to it."""
    return (unit >> 10) << ((unit & (1 << 9)) >> 6)
