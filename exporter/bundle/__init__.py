"""Manifest, canonical bytes, layouts, checksums."""
