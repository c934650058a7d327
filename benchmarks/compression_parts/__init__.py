"""What `benchmarks/compression.py` is made of: models with texts to judge them by, and ways to palettize them."""
