"""A folder or hub id becomes configuration, lazy tensors, tokenizer files, licence and digest."""
