"""The loops of clustering and fitting, compiled by numba."""
