"""Parity of graphs that we didn't draw: images, speech, encoder-decoders, a user's own file.

Inputs are made by kind, outputs compared by name. The rows are those of texts, and so are most of their limits.
"""
