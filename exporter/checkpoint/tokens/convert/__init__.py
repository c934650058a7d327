"""Converts a tokenizer's older files (sentencepiece model, vocab.json, vocab.txt) to a `tokenizer.json`.

transformers' `convert_slow_tokenizer` isn't used here. Importing it takes 2 s and loads torch; its converter for T5
drops the byte fallback of Unigram models (umT5), its converter for Llama ignores the character map, and it has none for
InternLM. The tests compare with it where it can convert a class.
"""

from exporter.checkpoint.tokens.convert.conversion import Conversion, Request, convert_tokenizer

__all__ = ["Conversion", "Request", "convert_tokenizer"]
