"""One DM step, ours against a plain loop over the classes in float32, as public implementations do it.

ConvNet 3 x 128 on 32 x 32 images, 10 classes x 256 real and 10 x 10 or 10 x 50 synthetic images, all cores, random
pixels; on a GPU where torch sees one. The ways take turns, so that what else the machine does hits all of them; times
are medians. The compiler keeps what it makes on disk: where it finds nothing there, a job's set-up takes longer.
On a GPU the first call with a shape compiles and the next two record and replay a graph; these are left out. Only the
fast way may use TF32 there: the plain loop is float32.
"""

import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from ddbias.base.seeding import stream
from ddbias.data.split import Split
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill.distribution_matching import Distiller
from ddbias.learning import device, networks
from ddbias.learning.augment.dsa import DSA
from matrix_rate import RATES, convnet_flop, finish, matrix_rate

CLASSES, REAL, STEPS = 10, 256, 9
WARM_UP = {"cpu": 1, "cuda": 4}  # first steps that are left out
SCRIPT_STEPS = 4
STRATEGY = "color_crop_cutout_flip_scale_rotate"
CPU = torch.device("cpu")


def random_split() -> Split:
    """Return 300 random images per class."""
    images = np.random.default_rng(0).integers(0, 256, (CLASSES * 300, 3, 32, 32), np.uint8)
    labels = np.repeat(np.arange(CLASSES), 300)
    names = [str(c) for c in range(CLASSES)]
    return Split(
        images, labels, None, np.arange(len(labels)), {"label_names": names, "mean": [0.5] * 3, "std": [0.5] * 3}
    )


def plain_loss(images: torch.Tensor, real: torch.Tensor, step: int, strategy: str = STRATEGY) -> torch.Tensor:
    """Return the loss of the published step: for each class, both forward passes and its share."""
    network = networks.build("convnet", channels=3, size=32, classes=CLASSES, seed=step).requires_grad_(False)
    network = network.to(images.device)
    augment, loss = DSA(strategy), torch.zeros((), device=images.device)
    for label, (part, synthetic) in enumerate(zip(real.chunk(CLASSES), images.chunk(CLASSES), strict=True)):
        seed = step * CLASSES + label
        target = network.embed(augment(part, seed)).mean(0)
        mean = network.embed(augment(synthetic, seed)).mean(0)
        loss = loss + (target - mean).square().sum()
    return loss


def plain_step(images: torch.Tensor, real: torch.Tensor, step: int) -> None:
    """Do the published step."""
    (gradient,) = torch.autograd.grad(plain_loss(images, real, step), images)
    with torch.no_grad():
        images -= gradient


def in_turns(ways: dict[str, Callable[[int], object]], steps: int, where: torch.device = CPU) -> dict[str, list[float]]:
    """Return the seconds of each way's last `steps` steps; the ways take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for step in range(WARM_UP[where.type] + steps):
        for name, way in ways.items():
            allow_tf32(name, where)
            finish(where)
            began = time.perf_counter()
            way(step)
            finish(where)
            seconds[name].append(time.perf_counter() - began)
    return {name: took[WARM_UP[where.type] :] for name, took in seconds.items()}


def allow_tf32(way: str, where: torch.device) -> None:
    """Do what `device.prepare` does on a GPU."""
    if where.type == "cuda":
        device.allow_tf32(way.startswith("fast"))


def show(title: str, seconds: dict[str, list[float]], flop: float, where: torch.device = CPU) -> None:
    """Print each way's median, its ratio to the first way and its share of the matrix rate."""
    allow_tf32("exact", where)
    rates = {name: matrix_rate(dtype, where) for name, dtype in RATES.items()}
    print(f"{title}, {flop / 1e9:.0f} GFLOP; matrix rate {' and '.join(f'{k} {v:.0f}' for k, v in rates.items())}")
    medians = {name: statistics.median(took) for name, took in seconds.items()}
    plain = next(iter(medians.values()))
    for name, median in medians.items():
        kind = "bfloat16" if name.startswith("fast") else "float32"
        rate = flop / median / 1e9
        print(
            f"  {name:14s}: {median:.4f} s, {plain / median:.2f}x the plain loop, {rate:.0f} GFLOP/s, "
            f"{100 * rate / rates[kind]:.0f} % of {kind}"
        )


def script_seconds(benchmark: str, *arguments: object) -> None:
    """Print the median seconds of the plain loop in a process without this library's setting of the memory.

    That is how public implementations run. `benchmark` is a file that prints them when called with ``script``.
    """
    call = [sys.executable, benchmark, "script", *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    print(f"  plain loop in a script of its own, memory as the C library has it: {float(done.stdout):.4f} s")


def script_median(step: Callable[[int], object]) -> None:
    """Print the median seconds of some steps of a plain loop."""
    torch.set_num_threads(os.cpu_count())
    print(statistics.median(in_turns({"plain loop": step}, SCRIPT_STEPS)["plain loop"]))


def script(ipc: int) -> None:
    """Be the process of `script_seconds`."""
    split = random_split()
    real = split.normalize(torch.from_numpy(split.images[split_rows(split)]))
    images = torch.randn(CLASSES * ipc, 3, 32, 32, generator=stream(0, "noise")).requires_grad_(True)
    script_median(lambda step: plain_step(images, real, step))


def split_rows(split: Split) -> np.ndarray:
    """Return the rows of the first images of every class."""
    return np.concatenate([np.flatnonzero(split.labels == label)[:REAL] for label in range(CLASSES)])


def made(make: Callable[[str], object], where: torch.device = CPU) -> list:
    """Return what `make` gives for ``exact`` and ``fast``, and print the seconds: the fast one is compiled here."""
    methods = []
    for precision in ("exact", "fast"):
        allow_tf32(precision, where)
        began = time.perf_counter()
        methods.append(make(precision))
        finish(where)
        print(f"  once a job, {precision}: {time.perf_counter() - began:.1f} s")
    return methods


def prepared() -> torch.device:
    """Return where to measure, a GPU if torch sees one, and print its name."""
    where = device.prepare("auto", os.cpu_count())
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; fast: {device.machine_obstacle(where) or 'possible'}")
    logging.basicConfig(level=logging.INFO, format="  %(message)s")  # says where fast fell back
    return where


def distiller(split: Split, images: torch.Tensor, precision: str, where: torch.device) -> Distiller:
    """Return a DM distiller with the published settings."""
    return Distiller(
        split,
        settings={"learning_rate": 1.0, "momentum": 0.5, "augment": STRATEGY},
        network={"kind": "convnet"},
        images=images,
        seed=0,
        device=where,
        precision=precision,
    )


def main() -> None:
    """Print seconds a step, ratios and rates."""
    where = prepared()
    split = random_split()
    side = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=REAL, seed=0)
    pixels, _ = split.tensors()
    batch = side.batch(0)
    real = split.normalize(pixels[batch.index]).to(where)
    forward = sum(convnet_flop()[:-1])
    for ipc in (10, 50):
        noise = torch.randn(CLASSES * ipc, 3, 32, 32, generator=stream(0, "noise")).to(where)
        plain = noise.clone().requires_grad_(True)
        exact, fast = made(lambda precision, noise=noise: distiller(split, noise.clone(), precision, where), where)
        ways = {
            "plain loop": lambda step, images=plain: plain_step(images, real, step),
            "exact": lambda step, method=exact: method.step(step, real, batch),
            "fast": lambda step, method=fast: method.step(step, real, batch),
        }
        seconds = in_turns(ways, STEPS, where)
        # The frozen parameters need no gradient: one pass back, through the first layer too.
        show(f"DM step, {ipc} images per class", seconds, CLASSES * forward * (REAL + 2 * ipc), where)
        if where.type == "cpu":
            script_seconds(__file__, ipc)
        torch.compiler.reset()  # the next size is compiled anew, as in a job of its own


if __name__ == "__main__":
    script(int(sys.argv[2])) if sys.argv[1:2] == ["script"] else main()
