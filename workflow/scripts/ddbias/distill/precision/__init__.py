"""Faster ways to the same gradients and embeddings, each checked against the plain one before it is used."""
