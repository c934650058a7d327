"""Calibration: hub graphs run in torch, on texts, for what compression wants to know about their weights.

Every module here imports torch, which takes a second: import them where they are used, not at the top of a file.
"""
