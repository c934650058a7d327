"""A checkpoint's tokenizer as a bundle ships it, in a folder of its own."""

import os
from pathlib import Path

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.tokens.shipping import ShippedTokenizer, shipped_tokenizer
from exporter.checkpoint.tokens.tokenizer import load_tokenizer


def shipped_of(folder: Path) -> ShippedTokenizer:
    """The tokenizer files that a bundle of the checkpoint in `folder` would hold."""
    checkpoint = open_checkpoint(folder)
    return shipped_tokenizer(checkpoint, load_tokenizer(checkpoint))


def ship(checkpoint: Path, place: Path) -> Path:
    """Writes what a bundle of `checkpoint` would hold in its tokenizer folder to `place`, which must not exist."""
    place.mkdir()
    for name, held in shipped_of(checkpoint).files.items():
        (place / name).write_bytes(held if isinstance(held, bytes) else held.read_bytes())
    older = {"vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "spm.model"}
    assert not older & set(os.listdir(place))
    return place
