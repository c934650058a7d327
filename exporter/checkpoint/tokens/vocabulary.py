"""Compares the tokenizer's vocabulary with the model's: surplus rows are padding, missing rows are an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.checkpoint.tokens.special import SPECIAL_KEYS
from exporter.errors import Diagnostic, InputError

if TYPE_CHECKING:
    import tokenizers

_MAX_LISTED = 5  # tokens in one message


@dataclass(frozen=True)
class Vocabulary:
    """The embedding's rows, and the tokens without one.

    rows: None where config.json doesn't state them. surplus: id → text of the tokens whose id is not below `rows`.
    """

    rows: int | None
    surplus: Mapping[int, str]

    def check(self, ids: Sequence[int]) -> None:
        """Raises `InputError` for an id that the embedding has no row for."""
        for index in ids:
            if index in self.surplus:
                raise InputError.of(
                    "tokenizer.surplus",
                    f"the text holds {self.surplus[index]!r}, token {index}, and the model has {self.rows} tokens",
                    hint="remove that token from the text",
                )


def compare_vocabulary(
    backend: tokenizers.Tokenizer, tokens: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[Vocabulary, tuple[Diagnostic, ...]]:
    """The vocabulary, and notes for the user.

    tokens: special token name → text. Added tokens beyond the last row are noted, as text rarely holds them (Gemma 3's
    text models list `<image_soft_token>`). Other tokens there, and special tokens of the model, are an `InputError`:
    the tokenizer belongs to another model, or got new tokens without new rows.
    """
    rows = _rows(config)
    if rows is None:
        return Vocabulary(None, {}), ()
    surplus = {index: text for text, index in backend.get_vocab(with_added_tokens=True).items() if index >= rows}
    if not surplus:
        return Vocabulary(rows, {}), ()
    surplus = dict(sorted(surplus.items()))
    listed = ", ".join(f"{text[:40]!r} ({index})" for index, text in list(surplus.items())[:_MAX_LISTED])
    more = f" and {len(surplus) - _MAX_LISTED} more" if len(surplus) > _MAX_LISTED else ""
    has = f"the tokenizer has ids up to {max(surplus)}, the model {rows} rows (vocab_size)"
    added = backend.get_added_tokens_decoder()
    special = {tokens[key] for key in SPECIAL_KEYS if key in tokens}
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
