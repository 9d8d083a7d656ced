"""Layer 1: a batch of driving worlds. Knows nothing of learning; NumPy and Numba only."""
