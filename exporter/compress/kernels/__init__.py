"""What numba compiles: the loops of clustering and fitting."""
