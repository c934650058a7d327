"""What tests share: tiny checkpoints of every family, references, and the command in the test's own process."""
