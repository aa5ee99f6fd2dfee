"""A training step of the networks that judge a distilled set, and their predictions, ours against a plain loop.

ConvNet 3 x 128 on 32 x 32 images, two networks one after the other, 100 images (ten per class) and a whole batch of
256, all cores, random pixels, augmented as published. The plain loop is float32 with torch's optimiser. The ways take
turns, so that what else the machine does hits all of them; times are medians. On a GPU there is no fast way.
"""

import sys
from collections.abc import Callable

import torch
from ddbias.base.seeding import stream
from ddbias.data.split import Split
from ddbias.evaluation.fast import fast_network
from ddbias.learning import networks, training
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.training import Recipe
from distribution_matching import (
    CLASSES,
    CPU,
    STRATEGY,
    in_turns,
    made,
    prepared,
    random_split,
    script_median,
    script_seconds,
    show,
)
from matrix_rate import convnet_flop
from torch.nn.functional import cross_entropy

NETWORKS, COUNTS, STEPS, TESTED = 2, (100, 256), 9, 1000
RECIPE = Recipe(augment=STRATEGY)


def built(where: torch.device = CPU) -> list[networks.Network]:
    """Return new networks."""
    kind, options = "convnet", {"channels": 3, "size": 32, "classes": CLASSES}
    return [networks.build(kind, seed=seed, **options).to(where) for seed in range(NETWORKS)]


def drawn(count: int, where: torch.device = CPU) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random images and their labels."""
    images = torch.randn(count, 3, 32, 32, generator=stream(0, "noise"))
    return images.to(where), (torch.arange(count) % CLASSES).to(where)


def plain_steps(count: int, where: torch.device = CPU) -> Callable[[int], None]:
    """Return a function that does the published step with each network."""
    images, labels = drawn(count, where)
    models = built(where)
    options = {"lr": RECIPE.learning_rate, "momentum": RECIPE.momentum, "weight_decay": RECIPE.weight_decay}
    optimisers = [torch.optim.SGD(model.parameters(), **options) for model in models]
    augment, generator = DSA(STRATEGY), stream(0, "augment")

    def step(_: int) -> None:
        for model, optimiser in zip(models, optimisers, strict=True):
            loss = cross_entropy(model(augment.per_sample(images, generator)), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return step


def our_steps(test: Split, count: int, precision: str, where: torch.device) -> tuple[Callable, Callable] | None:
    """Return functions that train each network for one step, and that predict with each; None: no fast way."""
    images, labels = drawn(count, where)
    unseen, _ = drawn(TESTED, where)
    models, fast = built(where), None
    if precision == "fast":
        size = {"count": count, "batch_size": RECIPE.batch_size}
        fast = fast_network(models[0], test, debiasing={"kind": "none"}, **size)
        if fast is None:
            return None
    generator = stream(0, "augment")

    def train(_: int) -> None:
        for model in models:
            if fast:
                fast.follow(model)
            gradients = fast.of_mean if fast else None
            options = {"recipe": RECIPE, "steps": 1, "generator": generator, "gradients": gradients}
            training.train(model, images, labels, **options)

    def predict(_: int) -> None:
        for model in models:
            if fast:
                fast.follow(model)
            training.predict(model, unseen, logits=fast.logits if fast else None)

    return train, predict


def plain_predictions(where: torch.device) -> Callable[[int], None]:
    """Return a function that predicts with each network in batches of 256."""
    (unseen, _), models = drawn(TESTED, where), built(where)

    @torch.no_grad()
    def predict(_: int) -> None:
        for model in models:
            torch.cat([model(part).argmax(1) for part in unseen.split(256)])

    return predict


def main() -> None:
    """Print seconds, ratios and rates."""
    where = prepared()
    test, layers = random_split(), convnet_flop()
    for count in COUNTS:
        torch.compiler.reset()  # each size is compiled anew, as in a job of its own
        exact, fast = made(lambda precision, count=count: our_steps(test, count, precision, where), where)
        ours = {"exact": exact, "fast": fast} if fast else {"exact": exact}
        ways = {"plain loop": plain_steps(count, where), **{name: steps[0] for name, steps in ours.items()}}
        flop = NETWORKS * count * (3 * sum(layers) - layers[0])
        show(f"training step, {NETWORKS} networks, {count} images", in_turns(ways, STEPS, where), flop, where)
        if where.type == "cpu":
            script_seconds(__file__, count)
    ways = {"plain loop": plain_predictions(where), **{name: steps[1] for name, steps in ours.items()}}
    flop = NETWORKS * TESTED * sum(layers)
    show(f"prediction, {NETWORKS} networks, {TESTED} images", in_turns(ways, STEPS, where), flop, where)


if __name__ == "__main__":
    script_median(plain_steps(int(sys.argv[2]))) if sys.argv[1:2] == ["script"] else main()
