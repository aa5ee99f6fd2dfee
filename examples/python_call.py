"""Weigh and distil arrays in Python, without a study: ``python examples/python_call.py [folder for the set]``."""

import sys

import ddbias
import numpy as np
from sklearn.datasets import load_digits

digits, labels = load_digits(return_X_y=True)
grey = (digits.reshape(-1, 8, 8) * 15).astype(np.uint8)
# A bias: 19 of 20 images have the colour of their label, the others that of another one.
colours = np.random.default_rng(0).integers(64, 256, (10, 3))
attributes = np.where(np.arange(len(labels)) % 20, labels, (labels + 1) % 10)
images = (grey[..., None] / 255 * colours[attributes, None, None]).astype(np.uint8)  # (N, H, W, C)

work = {"network": {"kind": "convnet", "width": 16, "depth": 2}, "seed": 0, "device": "cpu"}  # little, for a CPU
weights = ddbias.estimate_weights(
    images, labels, "kde", surrogate={"kind": "supcon", "steps": 60}, variance=0.1, **work
)
rare = attributes != labels
share = weights.weights[rare].sum() / weights.weights.sum()
print(f"the {rare.mean():.0%} of other colours have {share:.0%} of the weight")

made = ddbias.distill(images, labels, ipc=5, method="dm", weights=weights, iterations=20, real_batch=64, **work)
print(f"{len(made)} images, loss {made.history['loss'][0]:.2f} -> {made.history['loss'][-1]:.2f}")
if len(sys.argv) > 1:
    print("written to", made.save(sys.argv[1]))
