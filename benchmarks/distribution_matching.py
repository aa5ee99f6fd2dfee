"""One DM step, ours against a plain loop over the classes in float32, as public implementations do it.

ConvNet 3 x 128 on 32 x 32 images, 10 classes x 256 real and 10 x 10 synthetic images, all cores, random pixels.
"""

import os
import statistics
import time

import numpy as np
import torch
from ddbias import device, networks
from ddbias.augment import DSA
from ddbias.data import Split
from ddbias.debias.real_side import RealSide
from ddbias.distill.distribution_matching import Distiller
from ddbias.seeding import stream

CLASSES, REAL, IPC, STEPS = 10, 256, 10, 5
STRATEGY = "color_crop_cutout_flip_scale_rotate"


def random_split() -> Split:
    """Return 300 random images per class."""
    images = np.random.default_rng(0).integers(0, 256, (CLASSES * 300, 3, 32, 32), np.uint8)
    labels = np.repeat(np.arange(CLASSES), 300)
    names = [str(c) for c in range(CLASSES)]
    return Split(
        images, labels, None, np.arange(len(labels)), {"label_names": names, "mean": [0.5] * 3, "std": [0.5] * 3}
    )


def plain_step(images: torch.Tensor, real: torch.Tensor, step: int) -> None:
    """Do the published step: for each class, both forward passes and its share of the loss."""
    network = networks.build("convnet", channels=3, size=32, classes=CLASSES, seed=step).requires_grad_(False)
    augment, loss = DSA(STRATEGY), 0.0
    for label in range(CLASSES):
        seed = step * CLASSES + label
        target = network.embed(augment(real[label * REAL : (label + 1) * REAL], seed)).mean(0)
        mean = network.embed(augment(images[label * IPC : (label + 1) * IPC], seed)).mean(0)
        loss = loss + (target - mean).square().sum()
    (gradient,) = torch.autograd.grad(loss, images)
    with torch.no_grad():
        images -= gradient


def main() -> None:
    """Print seconds a step and the ratio."""
    device.prepare("cpu", os.cpu_count())
    split = random_split()
    side = RealSide(split.labels, np.ones(len(split)), batch_size=REAL, draw="proportional", seed=0)
    pixels, _ = split.tensors()
    noise = torch.randn(CLASSES * IPC, 3, 32, 32, generator=stream(0, "noise"))
    seconds = {}
    batch = side.batch(0)
    real = split.normalize(pixels[batch.index])
    plain = noise.clone().requires_grad_(True)
    for precision in ("plain loop", "exact", "fast"):
        method = Distiller(
            split,
            settings={"learning_rate": 1.0, "momentum": 0.5, "augment": STRATEGY},
            network={"kind": "convnet"},
            images=noise.clone(),
            seed=0,
            device=torch.device("cpu"),
            precision="exact" if precision == "plain loop" else precision,
        )
        took = []
        for step in range(STEPS + 1):
            began = time.perf_counter()
            if precision == "plain loop":
                plain_step(plain, real, step)
            else:
                method.step(step, real, batch)
            took.append(time.perf_counter() - began)
        seconds[precision] = statistics.median(took[1:])  # the first step compiles
        ratio = seconds["plain loop"] / seconds[precision]
        print(
            f"DM step, {precision:10s}: {seconds[precision]:.3f} s, {ratio:.2f}x the plain loop, first {took[0]:.1f} s"
        )


if __name__ == "__main__":
    main()
