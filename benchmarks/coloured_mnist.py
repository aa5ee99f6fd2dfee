"""Colour 60,000 images of 28 x 28, against copying the result and against a loop over images; then open the split.

One core. Colouring is in CPU seconds, so other programs do not count; opening is in wall seconds. Real MNIST is used
when DDBIAS_DATA has it, otherwise random strokes.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ddbias.base.errors import DdbiasError
from ddbias.data.split import Split, load_split, save_split
from ddbias.datasets.colorize import COLOURS, NOISE_STD, colorize
from ddbias.datasets.sources import load
from scipy import ndimage

COUNT, SEVERITY, REPEATS = 60_000, 2, 5


def load_images() -> np.ndarray:
    """Return 60,000 grey images, uint8 (N, 28, 28)."""
    try:
        if os.environ.get("DDBIAS_DATA"):
            return load({"kind": "mnist"}, data={})["train"].images.reshape(-1, 28, 28)
    except DdbiasError as error:
        print(error)
    print("random strokes instead of MNIST")
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal((600, 28, 28)), (0, 2, 2))
    strokes = np.clip(255 * (smooth / smooth.std() - 1), 0, 255).astype(np.uint8)
    return np.tile(strokes, (COUNT // len(strokes), 1, 1))


def plain_loop(images: np.ndarray, attributes: np.ndarray, noise: np.ndarray) -> list[np.ndarray]:
    """Colour image by image, as public code does."""
    out = []
    for image, attribute, z in zip(images, attributes, noise, strict=True):
        colour = np.clip(COLOURS[attribute] + NOISE_STD[SEVERITY] * z, 0, 1)[:, None, None]
        picture = np.repeat(image[None].astype(np.float32), 3, axis=0)
        out.append((colour.astype(np.float32) * picture).astype(np.uint8))
    return out


def fresh(*runs: Callable[[], object]) -> list[float]:
    """Return the CPU seconds of runs, in turns, whose results lie in memory that was never used before, as in a job."""
    kept, seconds = [], []
    for _ in range(REPEATS):
        for run in runs:
            began = time.process_time()
            kept.append(run())  # kept, so that the next run cannot have its memory
            seconds.append(time.process_time() - began)
    return [statistics.median(seconds[number :: len(runs)]) for number in range(len(runs))]


def fastest(run: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Return the seconds of the fastest of a few runs."""
    seconds = []
    for _ in range(REPEATS):
        began = clock()
        run()
        seconds.append(clock() - began)
    return min(seconds)


def main() -> None:
    """Print seconds and ratios."""
    torch.set_num_threads(1)
    images = load_images()
    rng = np.random.default_rng(1)
    attributes, noise = rng.integers(0, 10, len(images)), rng.standard_normal((len(images), 3)).astype(np.float32)
    coloured = colorize(images, attributes, severity=SEVERITY, noise=noise)
    ours = fastest(lambda: colorize(images, attributes, severity=SEVERITY, noise=noise))
    copy = fastest(lambda: np.copy(coloured))
    began = time.process_time()
    plain = plain_loop(images, attributes, noise)
    loop = time.process_time() - began
    size = f"{coloured.nbytes / 1e6:.0f} MB"
    new, new_copy = fresh(lambda: colorize(images, attributes, severity=SEVERITY, noise=noise), coloured.copy)
    print(f"colorize {len(images)} images into {size} of fresh memory, as a job does: {new:.3f} s")
    print(f"copy of {size} to fresh memory: {new_copy:.3f} s; ours takes {new / new_copy:.2f} times that (target: 2)")
    print(f"again into memory that was used before: {ours:.3f} s, copy {copy:.3f} s: {ours / copy:.2f} times")
    print(f"loop over all images: {loop:.2f} s, {loop / ours:.1f} times ours (target: at least 8)")
    print(f"same pixels as the loop: {np.array_equal(np.stack(plain), coloured)}")
    meta = {"label_names": [str(c) for c in range(10)], "mean": [0.5] * 3, "std": [0.5] * 3}
    split = Split(coloured, attributes, attributes, np.arange(len(images)), meta)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.arrow"
        save_split(path, split)
        seconds = fastest(lambda: load_split(path), time.perf_counter)
        print(f"opening the split of {path.stat().st_size / 1e6:.0f} MB: {seconds:.4f} s (target: below 0.1)")


if __name__ == "__main__":
    main()
