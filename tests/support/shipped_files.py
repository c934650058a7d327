"""A checkpoint's tokenizer as a bundle ships it, in a folder of its own."""

import os
from pathlib import Path

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.tokens.shipping import shipped_tokenizer


def ship(checkpoint: Path, place: Path) -> Path:
    """Writes what a bundle of `checkpoint` would hold in its tokenizer folder to `place`, which must not exist."""
    place.mkdir()
    for name, held in shipped_tokenizer(open_checkpoint(checkpoint)).files.items():
        (place / name).write_bytes(held if isinstance(held, bytes) else held.read_bytes())
    older = {"vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "spm.model"}
    assert not older & set(os.listdir(place))
    return place
