"""Augmentation of batches of images, differentiable where matching needs it."""
