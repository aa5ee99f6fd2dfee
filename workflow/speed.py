"""Try out the processor seconds of a pass on this machine: what `make estimate` scales its figures by.

A pass trains the published network (ConvNet 3 x 128, 32 x 32 RGB) on one image, in float32 on one core.
"""

import statistics
import time

import torch
from ddbias.learning import device, networks
from torch.nn.functional import cross_entropy

BATCH, STEPS, MOST_SECONDS = 128, 5, 4.0


def seconds_per_pass() -> float:
    """Return the median of some steps, in seconds of the processor, which other work on the machine shares less in."""
    device.prepare("cpu", 1)
    network = networks.build("convnet", channels=3, size=32, classes=10, seed=0)
    images = torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels, taken = torch.arange(BATCH) % 10, []
    parameters = list(network.parameters())
    while len(taken) <= STEPS and sum(taken) < MOST_SECONDS:
        started = time.process_time()
        torch.autograd.grad(cross_entropy(network(images), labels), parameters)
        taken.append(time.process_time() - started)
    return statistics.median(taken[1:]) / BATCH  # the first allocates
