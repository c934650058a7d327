"""Calibration: runs a graph in torch on texts and measures how much an error in each weight changes the outputs.

Importing torch takes about a second, and every module here imports it: import these modules inside the functions that
use them, not at the top of a file.
"""
