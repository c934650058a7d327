"""Checkpoint to hub graph."""
