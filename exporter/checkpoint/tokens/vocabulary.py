"""The tokenizer's vocabulary against the model's: more rows than tokens are padding, fewer rows are a mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.tokens.special import SPECIAL
from exporter.errors import Diagnostic, InputError

if TYPE_CHECKING:
    import tokenizers

_NAMED = 5  # tokens listed in one message


@dataclass(frozen=True)
class Vocabulary:
    """rows: of the embedding, None where config.json doesn't say. surplus: id → text of tokens beyond them."""

    rows: int | None
    surplus: Mapping[int, str]

    def check(self, ids: Sequence[int]) -> None:
        """`InputError` for an id that the model has no row for."""
        for index in ids:
            if index in self.surplus:
                raise InputError.of(
                    "tokenizer.surplus",
                    f"the text holds {self.surplus[index]!r}, token {index}, and the model knows {self.rows} tokens",
                    hint="leave that token out of the text",
                )


def compare_vocabulary(
    backend: tokenizers.Tokenizer, tokens: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[Vocabulary, tuple[Diagnostic, ...]]:
    """The vocabulary, and what a user should know of it.

    tokens: special token name → text. Added tokens beyond the last row are noted, as text rarely holds them (Gemma 3's
    text models list `<image_soft_token>`). `InputError` for other tokens there, and for the model's own special ones:
    the tokenizer is then another model's, or grew without the embedding.
    """
    rows = _rows(config)
    if rows is None:
        return Vocabulary(None, {}), ()
    surplus = {index: text for text, index in backend.get_vocab(with_added_tokens=True).items() if index >= rows}
    if not surplus:
        return Vocabulary(rows, {}), ()
    surplus = dict(sorted(surplus.items()))
    listed = ", ".join(f"{text[:40]!r} ({index})" for index, text in list(surplus.items())[:_NAMED])
    more = f" and {len(surplus) - _NAMED} more" if len(surplus) > _NAMED else ""
    has = f"the tokenizer has ids up to {max(surplus)}, the model {rows} rows (vocab_size)"
    added = backend.get_added_tokens_decoder()
    special = {tokens[key] for key in SPECIAL if key in tokens}
    if any(index not in added or text in special for index, text in surplus.items()):
        raise InputError.of(
            "checkpoint.vocabulary",
            f"{has}: no embedding for {listed}{more}",
            where="config.json: vocab_size",
            hint="take the tokenizer that belongs to the weights, or `resize_token_embeddings` and save again",
        )
    note = f"{has}: a text that holds {listed}{more} can't be run"
    return Vocabulary(rows, surplus), (
        Diagnostic("checkpoint.vocabulary", note, "config.json: vocab_size", level="note"),
    )


def _rows(config: Mapping[str, Any]) -> int | None:
    nested = config.get("text_config")
    for section in (config, nested if isinstance(nested, dict) else {}):
        rows = section.get("vocab_size")
        if type(rows) is int and rows > 0:
            return rows
    return None
