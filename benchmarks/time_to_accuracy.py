"""Accuracy against seconds: DM with density weights on coloured MNIST, ours and a plain loop, until both pass a bound.

What a user feels of a faster step. The plain loop is that of a script: class by class, float32, no setting of the
memory. Both start from the same images and match the same real batches of CMNIST with 5 % conflicting samples, ten
images per class, on all cores, one after the other, each in a process of its own. Needs the data and weights of
studies/cui2024_main.yaml at scale fast (``make run CONFIG=... ARGS=results/.../0.95/kde/seed0/weights.parquet``);
says so and stops where they are not. Keeps what it distilled in results/time_to_accuracy/ and distils that only once.
Writes a figure and a table if a path is given:
``python benchmarks/time_to_accuracy.py docs/pictures/time_to_accuracy.png``.
"""

import csv
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ddbias.data import store
from ddbias.data.split import load_split
from ddbias.debias.apply import real_settings
from ddbias.debias.real_side import RealSide
from ddbias.distill import engine
from ddbias.distill.distribution_matching import Distiller
from ddbias.evaluation import protocol
from ddbias.learning import device
from ddbias.learning.training import Recipe
from distribution_matching import plain_loss

RESULTS = Path("results/cui2024_main/fast")
WEIGHTS = RESULTS / "weights/cmnist/0.95/kde/seed0/weights.parquet"
STRATEGY = "color_crop_cutout_scale_rotate"
SETTINGS = {"learning_rate": 1.0, "momentum": 0.5, "augment": STRATEGY}
SNAPSHOTS = (0, 10, 20, 40, 60, 80, 120, 160, 240)
IPC, REAL, SEED, BOUND = 10, 256, 0, 80.0
KEPT = Path("results/time_to_accuracy")
WAYS = {"plain": "plain loop", "fast": "ddbias, precision fast"}


def plain(images: torch.Tensor) -> Callable:
    """Return the step of a plain loop: backward pass and optimiser of torch."""
    optimiser = torch.optim.SGD([images.requires_grad_(True)], lr=1.0, momentum=0.5)

    def step(step: int, real: torch.Tensor, batch: object) -> None:
        optimiser.zero_grad()
        plain_loss(images, real, step, STRATEGY).backward()
        optimiser.step()

    return step


def distil(way: str, path: str) -> None:
    """Do the steps in this process; write the images and the seconds at each snapshot."""
    where = torch.device("cpu")
    if way == "plain":
        torch.set_num_threads(os.cpu_count())
    else:
        where = device.prepare("cpu", os.cpu_count())
    split = load_split(RESULTS / "data/cmnist/0.95/train.arrow")
    side = RealSide(split.labels, real_settings({"kind": "kde"}, split, WEIGHTS), batch_size=REAL, seed=SEED)
    pixels, _ = split.tensors()
    images = engine.initial_images(split, side, init="real", ipc=IPC, seed=SEED)
    if way == "plain":
        step = plain(images)
    else:
        began = time.perf_counter()
        network = {"kind": "convnet"}
        method = Distiller(
            split, settings=SETTINGS, network=network, images=images, seed=SEED, device=where, precision="fast"
        )
        step = method.step
        print(f"  set-up, compilation included: {time.perf_counter() - began:.1f} s")
    kept, seconds, passed = [], [], 0.0 if way == "plain" else time.perf_counter() - began
    for index in range(max(SNAPSHOTS) + 1):
        if index in SNAPSHOTS:
            kept.append(images.detach().clone())
            seconds.append(passed)
        began = time.perf_counter()
        batch = side.batch(index)
        step(index, split.normalize(pixels[batch.index]), batch)
        passed += time.perf_counter() - began
    store.write_tensors(path, {"images": torch.stack(kept)}, {"seconds": seconds})


def accuracies(path: Path) -> list[tuple[float, float]]:
    """Return seconds and unbiased accuracy in percent of every snapshot, of one network."""
    tensors, meta = store.read_tensors(path)
    test = load_split(RESULTS / "data/cmnist/0.95/test.arrow")
    found = []
    for seconds, images in zip(meta["seconds"], tensors["images"], strict=True):
        outcome = protocol.evaluate(
            images,
            torch.arange(test.classes).repeat_interleave(IPC),
            test,
            network={"kind": "convnet"},
            recipe=Recipe(augment=STRATEGY),
            epochs=150,
            steps=None,
            repeats=1,
            seed=SEED,
            device=torch.device("cpu"),
        )
        rows = protocol.rows(outcome, {})
        values = [row["value"] for row in rows if row["metric"] == "unbiased_accuracy"]
        found.append((seconds, 100 * float(np.mean(values))))
    return found


def reached(curve: list[tuple[float, float]]) -> float | None:
    """Return the seconds at which a curve first passes the bound, between two snapshots by a straight line."""
    for (before, low), (after, high) in itertools.pairwise(curve):
        if high >= BOUND > low:
            return before + (after - before) * (BOUND - low) / (high - low)
    return None


def draw(curves: dict[str, list[tuple[float, float]]], path: Path) -> None:
    """Write the figure, and the numbers beside it as CSV."""
    import matplotlib as mpl
    from ddbias.results.figures import style

    with mpl.rc_context(style.rc()):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        for (way, curve), line, marker in zip(curves.items(), ("-", "--"), ("o", "s"), strict=True):
            axes.plot(*zip(*curve, strict=True), line, marker=marker, label=WAYS[way])
        axes.axhline(BOUND, color="0.5", linewidth=0.8)
        axes.set(xlabel="seconds of distillation", ylabel="unbiased accuracy, %")
        axes.legend(loc="lower right")
        figure.savefig(path, dpi=150)
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["way", "step", "seconds", "unbiased_accuracy"])
        for way, curve in curves.items():
            for step, (seconds, accuracy) in zip(SNAPSHOTS, curve, strict=True):
                writer.writerow([way, step, f"{seconds:.1f}", f"{accuracy:.2f}"])


def main() -> None:
    """Print the curves and the seconds to the bound; write the figure if a path is given."""
    if len(sys.argv) == 3:
        distil(*sys.argv[1:])
        return
    if not WEIGHTS.exists():
        print(f"time to accuracy: not measured, {WEIGHTS} is not there; the head of this file says how to make it")
        return
    for way in WAYS:
        if not (KEPT / f"{way}.safetensors").exists():
            subprocess.run([sys.executable, __file__, way, str(KEPT / f"{way}.safetensors")], check=True)
    device.prepare("cpu", os.cpu_count())
    curves = {way: accuracies(KEPT / f"{way}.safetensors") for way in WAYS}
    for way, curve in curves.items():
        print(f"{WAYS[way]}: " + ", ".join(f"{s:.0f} s {a:.1f} %" for s, a in curve))
        seconds = reached(curve)
        print(f"  {BOUND:.0f} %: " + ("not reached in these steps" if seconds is None else f"after {seconds:.0f} s"))
    if len(sys.argv) == 2:
        draw(curves, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
