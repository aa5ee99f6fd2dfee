"""Sample weights from kernel densities in an embedding, and numbers that describe weights."""
