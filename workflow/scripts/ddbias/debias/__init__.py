"""Debias: from a surrogate's embedding or predictions to sample weights, groups and the real batches to match."""
