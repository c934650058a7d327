"""Makes a `tokenizer.json` where a checkpoint has only the older files: sentencepiece, vocab.json, vocab.txt."""

from exporter.checkpoint.tokens.convert.conversion import Conversion, Request, convert_tokenizer

__all__ = ["Conversion", "Request", "convert_tokenizer"]
