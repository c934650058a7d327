"""Everything about tokenizers: their files, settings, special tokens, chat template and conversion."""
