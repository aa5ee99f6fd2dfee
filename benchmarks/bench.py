"""How much faster than plain loops is this library on this machine? One table, some five minutes.

    make bench    # or python benchmarks/bench.py [--steps 9] [--to results/bench.csv]

A row is a piece of work: seconds of a plain loop as published code has it, of `precision: exact` and of `fast`, how
many times faster these are, and the share of the machine's rate of matrix products that they reach. Published network,
32 x 32 RGB, ten classes, 256 real images of each, made-up pixels, all cores. The ways take turns in one process, so
that what else the machine does hits all of them; seconds are medians. Compilation, once a job, is not counted.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from ddbias.base import plugins
from ddbias.base.seeding import numpy_stream, stream
from ddbias.datasets.colorize import COLOURS, NOISE_STD, colorize
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.debias.weights.density import kde_density
from ddbias.evaluation.fast import fast_network
from ddbias.learning import device, networks, training
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.training import Recipe
from gpu import AUGMENT, CLASSES, NETWORK, REAL, drawn, plain_step, settings, with_torchs_layers
from sklearn.neighbors import KernelDensity

WIDTH, SIDE, TESTED, NETWORKS, RATE_SIDE = 128, 32, 1000, 2, 2048
COLUMNS = ("work", "plain", "exact", "fast", "exact_ratio", "fast_ratio", "exact_share", "fast_share")
HEAD = ("work", "plain loop", "`exact`", "`fast`", "`exact`, times", "`fast`, times", "`exact`, share", "`fast`, share")
PLAIN, EXACT, FAST = COLUMNS[1:4]
CPU = torch.device("cpu")
Ways = dict[str, Callable[[int], object]]


# ---- works: each gives the ways to do it, and the floating-point operations of one time -----------------------------


def layers(width: int) -> tuple[float, float, float]:
    """Return the operations of an image forward: of the first layer, of all convolutions, and with the linear layer."""
    first = 2.0 * SIDE**2 * width * 3 * 9
    convolutions = first + sum(2.0 * (SIDE // 2**block) ** 2 * width**2 * 9 for block in (1, 2))
    return first, convolutions, convolutions + 2.0 * (SIDE // 8) ** 2 * width * CLASSES


def matching(kind: str, ipc: int, width: int, real_images: int = REAL) -> tuple[Ways, float]:
    """Match all classes once: the loss and its gradient with respect to the distilled images."""
    split = drawn(CLASSES * real_images, 0.95, 0)
    batch = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=real_images, seed=0).batch(0)
    real = split.normalize(split.tensors()[0][batch.index])
    noise = torch.randn(CLASSES * ipc, 3, SIDE, SIDE, generator=stream(0, "noise"))
    network = {"kind": "convnet", "width": width, "depth": 3, **NETWORK}
    ways = {PLAIN: plain_step(kind, network, split, noise.clone(), real)}
    for way in (EXACT, FAST):
        how = {"settings": settings(kind), "network": network, "images": noise.clone(), "seed": 0}
        made = plugins.module("distiller", kind).Distiller(split, device=CPU, precision=way, **how)
        ways[way] = lambda number, made=made: made.match(number, real, batch)
    first, convolutions, whole = layers(width)
    if kind == "dm":  # real images forward, synthetic ones back to the pixels, too
        return ways, CLASSES * (real_images + 2 * ipc) * convolutions
    # Real images back to the weights; synthetic ones, too, then back through both passes and to the pixels.
    once = 3 * whole - first
    return ways, CLASSES * (real_images * once + ipc * (3 * once + first))


def evaluation(count: int, width: int) -> tuple[Ways, float]:
    """Do a training step of the networks that judge a distilled set."""
    images = torch.randn(count, 3, SIDE, SIDE, generator=stream(0, "noise"))
    labels, recipe, augment = torch.arange(count) % CLASSES, Recipe(augment=AUGMENT), DSA(AUGMENT)
    generator = stream(0, "augment")
    models = [with_torchs_layers(model) for model in judges(width)]
    options = {"lr": recipe.learning_rate, "momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
    optimisers = [torch.optim.SGD(model.parameters(), **options) for model in models]

    def plain(_: int) -> None:
        for model, optimiser in zip(models, optimisers, strict=True):
            loss = cross_entropy(model(augment.per_sample(images, generator)), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def ours(fast: object) -> Callable[[int], None]:
        trained = judges(width)

        def step(_: int) -> None:
            for model in trained:
                if fast:
                    fast.follow(model)
                how = {"recipe": recipe, "steps": 1, "generator": generator}
                training.train(model, images, labels, gradients=fast.of_mean if fast else None, **how)

        return step

    size = {"count": count, "batch_size": recipe.batch_size}
    fast = fast_network(judges(width)[0], drawn(100, 0.95, 0), debiasing={"kind": "none"}, **size)
    first, _, whole = layers(width)
    return ways_of(plain, ours, fast), NETWORKS * count * (3 * whole - first)


def prediction(width: int) -> tuple[Ways, float]:
    """Predict the labels of a thousand test images with the networks that judge a set."""
    images, models = torch.randn(TESTED, 3, SIDE, SIDE, generator=stream(0, "noise")), judges(width)
    torchs = [with_torchs_layers(model) for model in judges(width)]

    @torch.no_grad()
    def plain(_: int) -> None:
        for model in torchs:
            torch.cat([model(part).argmax(1) for part in images.split(256)])

    def ours(fast: object) -> Callable[[int], None]:
        def step(_: int) -> None:
            for model in models:
                if fast:
                    fast.follow(model)
                training.predict(model, images, logits=fast.logits if fast else None)

        return step

    how = {"count": 256, "batch_size": 256, "debiasing": {"kind": "none"}}
    return ways_of(plain, ours, fast_network(models[0], drawn(100, 0.95, 0), **how)), NETWORKS * TESTED * layers(width)[
        2
    ]


def judges(width: int) -> list[networks.Network]:
    """Return new networks."""
    network = {"kind": "convnet", "width": width, "depth": 3, **NETWORK}
    return [networks.of_settings(network, (3, SIDE, SIDE), CLASSES, seed) for seed in range(NETWORKS)]


def ways_of(plain: Callable, ours: Callable[[object], Callable], fast: object) -> Ways:
    """Return the ways; without `fast` where the processor has no bfloat16 products."""
    return {PLAIN: plain, EXACT: ours(None)} | ({FAST: ours(fast)} if fast else {})


def density(images: int) -> tuple[Ways, None]:
    """Estimate the kernel density of a class, embeddings of 128 dimensions; the plain way is scikit-learn's."""
    points = numpy_stream(0, "points").normal(size=(images, 128)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    labels, wide = np.zeros(images, np.int64), points.astype(np.float64)
    return {
        PLAIN: lambda _: KernelDensity(bandwidth=0.1).fit(wide).score_samples(wide),
        EXACT: lambda _: kde_density(points, labels, variance=0.01),
    }, None


def colouring(images: int) -> tuple[Ways, None]:
    """Colour grey images; the plain way goes over the images."""
    rng = numpy_stream(0, "strokes")
    grey, attributes = rng.integers(0, 256, (images, 28, 28), np.uint8), rng.integers(0, 10, images)
    noise = rng.standard_normal((images, 3)).astype(np.float32)

    def plain(_: int) -> np.ndarray:
        coloured = []
        for image, attribute, z in zip(grey, attributes, noise, strict=True):
            colour = np.clip(COLOURS[attribute] + NOISE_STD[2] * z, 0, 1)[:, None, None]
            picture = np.repeat(image[None].astype(np.float32), 3, axis=0)
            coloured.append((colour.astype(np.float32) * picture).astype(np.uint8))
        return np.stack(coloured)

    return {PLAIN: plain, EXACT: lambda _: colorize(grey, attributes, severity=2, noise=noise)}, None


def works(width: int, images: int) -> Iterator[tuple[str, Callable[[], tuple[Ways, float | None]]]]:
    """Yield names, and what makes each work."""
    real = min(REAL, images)
    for kind, ipc in (("dm", 10), ("dm", 50), ("dsa", 10)):
        yield f"`{kind}`, a step, {ipc} images per class", lambda kind=kind, ipc=ipc: matching(kind, ipc, width, real)
    for count in (100, 256):
        yield f"evaluation, a step, {count} images", lambda count=count: evaluation(count, width)
    yield f"evaluation, prediction, {TESTED:,} images", lambda: prediction(width)
    yield f"kernel density of a class, {images // 10:,} images", lambda: density(images // 10)
    yield f"colouring, {images:,} images", lambda: colouring(images)


# ---- measuring and telling -----------------------------------------------------------------------------------------


def measured(ways: Ways, steps: int) -> dict[str, float]:
    """Return the median seconds of each way; they take turns, and the first turn does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for step in range(1 + steps):
        for name, way in ways.items():
            began = time.perf_counter()
            way(step)
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(took[1:]) for name, took in seconds.items()}


def matrix_rate(dtype: torch.dtype) -> float:
    """Return the operations a second of a product of two square matrices: the fastest of nine."""
    a, b = (torch.ones(RATE_SIDE, RATE_SIDE, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(9):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * RATE_SIDE**3 / min(seconds)


def row(name: str, seconds: dict[str, float], flop: float | None, where: dict[str, str]) -> dict[str, str]:
    """Return a row of the table as text."""
    found = {"work": name, **{way: f"{took:.4g}" for way, took in seconds.items()}}
    for way, dtype in ((EXACT, "float32"), (FAST, where["fast_multiplies_in"])):
        if way in seconds:
            found[f"{way}_ratio"] = f"{seconds[PLAIN] / seconds[way]:.2f}"
            if flop:
                found[f"{way}_share"] = f"{100e-9 * flop / seconds[way] / float(where[f'{dtype}_gflops']):.0f}"
    return found


def machine() -> dict[str, str]:
    """Return where and when this is measured."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line for line in facts if line.startswith("model name")), ": unknown")
    dtypes = (torch.float32, torch.bfloat16)
    rates = {f"{str(dtype)[6:]}_gflops": f"{matrix_rate(dtype) / 1e9:.3g}" for dtype in dtypes}
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    named = {"processor": f"{model.partition(':')[2].strip()}, {device.kind(CPU).model(CPU)}"}
    named |= {"threads": str(torch.get_num_threads()), "torch": torch.__version__} | rates
    named["fast_multiplies_in"] = str(device.fast_dtype(CPU)).removeprefix("torch.")
    return named | {"date": str(date.today()), "commit": commit.stdout.strip()}


def markdown(rows: list[dict[str, str]]) -> str:
    """Return the rows as a Markdown table."""
    lines = [f"| {' | '.join(HEAD)} |", f"|---|{'--:|' * (len(HEAD) - 1)}"]
    for one in rows:
        cells = [one["work"]]
        cells += [f"{one[way]} s" if one.get(way) else "" for way in COLUMNS[1:4]]
        cells += [f"{one[column]}x" if one.get(column) else "" for column in COLUMNS[4:6]]
        cells += [f"{one[column]} %" if one.get(column) else "" for column in COLUMNS[6:]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description="Measure ddbias beside plain loops.")
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--to", type=Path, default=Path("results/bench.csv"))
    parser.add_argument("--width", type=int, default=WIDTH, help="of the networks; small for a test of the benchmark")
    parser.add_argument("--images", type=int, default=60_000, help="small for a test of the benchmark")
    given = parser.parse_args(arguments)
    device.prepare("cpu", os.cpu_count())
    where, rows = machine(), []
    print(", ".join(f"{name}: {value}" for name, value in where.items()), flush=True)
    for name, make in works(given.width, given.images):
        torch.compiler.reset()  # each is compiled anew, as in a job of its own
        ways, flop = make()
        rows.append(row(name, measured(ways, given.steps), flop, where))
        print(", ".join(f"{column}: {value}" for column, value in rows[-1].items()), flush=True)
    given.to.parent.mkdir(parents=True, exist_ok=True)
    with given.to.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *where], lineterminator="\n")
        writer.writeheader()
        writer.writerows([one | where for one in rows])
    print(f"\n{markdown(rows)}\n\n{given.to}")


if __name__ == "__main__":
    main(sys.argv[1:])
