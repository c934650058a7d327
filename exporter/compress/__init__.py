"""k-means palettes for weights. Knows arrays, not formats."""
