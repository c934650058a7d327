"""One file per model family, as data: configuration to spec, checkpoint names to weight roles."""
