"""Sample weights from densities in an embedding, and what describes them."""
