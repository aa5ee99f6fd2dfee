"""One matching step of DSA and the training that follows, ours against a plain loop in float32 as published.

ConvNet 3 x 128 on 32 x 32 images, 10 classes x 256 real and 10 x 10 synthetic images, all cores, random pixels; on a
GPU where torch sees one. The ways take turns, so that what else the machine does hits all of them; times are medians.
On a GPU the gradients of all classes are one batch; "fast, unrolled" is the same with a class after the other in the
graph, without grouped convolutions.
"""

import sys

import torch
from ddbias.base.seeding import stream
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill.gradient_matching import Distiller, gradient_distance
from ddbias.distill.precision.batched_gradients import AllAtOnce, BatchedGradients, unrolled
from ddbias.learning import networks
from ddbias.learning.augment.dsa import DSA
from distribution_matching import (
    CLASSES,
    REAL,
    STRATEGY,
    in_turns,
    made,
    prepared,
    random_split,
    script_median,
    script_seconds,
    show,
    split_rows,
)
from matrix_rate import convnet_flop
from torch.nn.functional import cross_entropy

IPC, STEPS, EPOCHS = 10, 5, 5
SETTINGS = {
    "learning_rate": 0.1,
    "momentum": 0.5,
    "outer_loop": 1000,
    "inner_loop": EPOCHS,
    "real_batch": REAL,
    "network_learning_rate": 0.01,
    "network_batch": 256,
    "distance": "ours",
    "augment": STRATEGY,
}


def plain_step(network: torch.nn.Module, images: torch.Tensor, real: torch.Tensor, step: int) -> None:
    """Do the published step: for each class both gradients, of all parameters, and their distance."""
    augment, parameters = DSA(STRATEGY), list(network.parameters())
    loss = 0.0
    for label, (part, synthetic) in enumerate(zip(real.chunk(CLASSES), images.chunk(CLASSES), strict=True)):
        seed = step * CLASSES + label
        target = cross_entropy(network(augment(part, seed)), torch.full((len(part),), label, device=part.device))
        target = [gradient.clone() for gradient in torch.autograd.grad(target, parameters)]
        labels = torch.full((len(synthetic),), label, device=part.device)
        given = cross_entropy(network(augment(synthetic, seed)), labels)
        given = torch.autograd.grad(given, parameters, create_graph=True)
        loss = loss + gradient_distance(given, target, "ours")
    (gradient,) = torch.autograd.grad(loss, images)
    with torch.no_grad():
        images -= 0.1 * gradient


def step_flop() -> float:
    """Return the operations of a matching step.

    A real image takes a forward pass and a backward pass to weights and inputs, but not to the pixels. A synthetic one
    takes the same and, back through both, twice that again, and the way to the pixels.
    """
    layers = convnet_flop()
    once = 3 * sum(layers) - layers[0]
    return CLASSES * (REAL * once + IPC * (3 * once + layers[0]))


def script() -> None:
    """Be the process of `script_seconds`."""
    split = random_split()
    real = split.normalize(torch.from_numpy(split.images[split_rows(split)]))
    images = torch.randn(CLASSES * IPC, 3, 32, 32, generator=stream(0, "noise")).requires_grad_(True)
    network = networks.build("convnet", channels=3, size=32, classes=CLASSES, seed=0)
    script_median(lambda step: plain_step(network, images, real, step))


def main() -> None:
    """Print seconds, ratios and rates."""
    where = prepared()
    split = random_split()
    side = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=REAL, seed=0)
    pixels, _ = split.tensors()
    batch = side.batch(0)
    real = split.normalize(pixels[batch.index]).to(where)
    noise = torch.randn(CLASSES * IPC, 3, 32, 32, generator=stream(0, "noise")).to(where)
    plain = noise.clone().requires_grad_(True)
    network = networks.build("convnet", channels=3, size=32, classes=CLASSES, seed=0).to(where)

    def make(precision: str) -> Distiller:
        return Distiller(
            split,
            settings=SETTINGS,
            network={"kind": "convnet"},
            images=noise.clone(),
            seed=0,
            device=where,
            precision=precision,
        )

    exact, fast = made(make, where)
    ways = {
        "plain loop": lambda step: plain_step(network, plain, real, step),
        "exact": lambda step: exact.match(step, real, batch),
        "fast": lambda step: fast.match(step, real, batch),
    }
    if isinstance(fast.matching.gradients, BatchedGradients):
        other = make("exact")
        other.matching = AllAtOnce(BatchedGradients(other.network, "ours", each=unrolled), fast.matching.siamese)
        ways["fast, unrolled"] = lambda step: other.match(step, real, batch)
    show(f"DSA matching step, {IPC} images per class", in_turns(ways, STEPS, where), step_flop(), where)
    if where.type == "cpu":
        script_seconds(__file__)
    ways = {"exact": exact.train, "fast": fast.train}  # the exact way is the plain loop
    layers = convnet_flop()
    flop = EPOCHS * CLASSES * IPC * (3 * sum(layers) - layers[0])
    show(f"training on the synthetic images, {EPOCHS} epochs", in_turns(ways, STEPS, where), flop, where)


if __name__ == "__main__":
    script() if sys.argv[1:2] == ["script"] else main()
