"""Parts of `benchmarks/compression.py`: models and texts to measure them on, and methods to palettize them."""
