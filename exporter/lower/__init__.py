"""Hub graph and palettes to the artifacts that phones load."""
