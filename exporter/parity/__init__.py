"""Runs the checkpoint, the graphs and the shipped files side by side and judges the difference."""
