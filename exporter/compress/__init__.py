"""Palettes for weight matrices, and the bits of each matrix. This package knows arrays, not file formats."""

from exporter.compress.choices import KEEP, Choice, GridMenu, Menu
from exporter.compress.decisions import Candidate, Compression, CompressOptions, TensorDecision
from exporter.compress.kmeans import palettize
from exporter.compress.palettizer import compress

__all__ = [
    "KEEP",
    "Candidate",
    "Choice",
    "CompressOptions",
    "Compression",
    "GridMenu",
    "Menu",
    "TensorDecision",
    "compress",
    "palettize",
]
