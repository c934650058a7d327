"""k-means palettes for weights. Knows arrays, not formats."""

from exporter.compress.decisions import Candidate, Compression, CompressOptions, TensorDecision
from exporter.compress.kmeans import palettize
from exporter.compress.palettizer import compress

__all__ = ["Candidate", "CompressOptions", "Compression", "TensorDecision", "compress", "palettize"]
