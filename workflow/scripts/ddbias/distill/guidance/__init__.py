"""Additional losses on the synthetic images of a distiller.

A kind is one module with a class ``Guidance(settings, models, split, labels, seed, device)``; an instance is called
with the images and the step and returns the value of the loss and its gradient.
"""
