"""All that is said of GPUs, measured on one: correctness, speed, convergence, jobs at once. Ten minutes, one command.

    python benchmarks/gpu.py [--device cuda] [--budget 600] [--to results/gpu]

Needs torch, numpy, pyarrow and safetensors beside the library (``pip install`` of this repository brings them). Writes
``gpu.json`` and ``gpu.md``; ends with status 1 if a result differs from the CPU's. Images are coloured digits drawn
here, 60,000 of 32 x 32 pixels as coloured MNIST has, 5 % conflicting; where DDBIAS_DATA has MNIST, and Pillow is
installed, convergence is that of coloured MNIST itself. What the budget (seconds) does not allow is listed as not run.
``--width``, ``--images`` and ``--steps`` make it small, for a test of the benchmark itself.

- **Correct**: three iterations of every distiller on 300 images with narrow networks, on the CPU and on the device,
  exact and fast; how far apart the images are, as a share of how far they were moved.
- **Speed**: steps a second and peak memory of DM and DSA with the published network, ten images per class, 256 real
  ones a step, against a loop over the classes as published code has it.
- **Convergence**: DM with the settings of scale fast until it has converged, and the accuracy of what it made beside as
  many random images.
- **At once**: DM steps a second of one, two, four and eight processes together.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from ddbias import __version__
from ddbias.base import plugins
from ddbias.base.seeding import numpy_stream, stream
from ddbias.data.split import Split
from ddbias.datasets.colorize import COLOURS
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill import engine, pretraining
from ddbias.distill.gradient_distance import gradient_distance
from ddbias.evaluation import protocol
from ddbias.learning import device, networks
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.training import Recipe
from ddbias.runtime.checkpoint import Checkpoint

CLASSES, SIDE, IPC, REAL, ALL = 10, 32, 10, 256, 60_000
AUGMENT = "color_crop_cutout_scale_rotate"
CONFLICTING = 0.05
FAILED = "the rest of this part"
EXACT, FAST = 1e-3, 0.5  # largest difference that passes; a fast step is bfloat16
# Of each digit, which of the seven strokes are drawn: from row and column to row and column.
LIT = ["1110111", "0010010", "1011101", "1011011", "0111010", "1101011", "1101111", "1010010", "1111111", "1111011"]
STROKES = ((0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 1, 1), (1, 0, 1, 1), (1, 0, 2, 0), (1, 1, 2, 1), (2, 0, 2, 1))
PROCESSES = (1, 2, 4, 8)
SMALL = {"iterations": 3, "real_batch": 16, "outer_loop": 2, "inner_loop": 1, "syn_steps": 2, "expert_epochs": 1}
SMALL |= {"max_start": 1, "network_images": 64}
NETWORK = {
    name: option["default"]
    for name, option in plugins.find("network", "convnet").options.items()
    if name not in ("width", "depth")
}
PATHS = (  # distiller, debias, further options
    *[("dm", debias, {}) for debias in ("uniform", "weights", "groups", "barycentre")],
    ("dc", "uniform", {}),
    ("dsa", "uniform", {}),
    ("dsa", "groups", {}),
    ("idc", "uniform", {}),
    ("mtt", "uniform", {"models": "pool"}),
)


# ---- data -----------------------------------------------------------------------------------------------------------


def drawn(count: int, aligned: float, seed: int) -> Split:
    """Return coloured digits of seven strokes, each at its place, in its size; a class has its colour or another."""
    rng = numpy_stream(seed, "glyphs")
    labels = np.arange(count) % CLASSES
    other = (labels + rng.integers(1, CLASSES, count)) % CLASSES
    colours = np.where(rng.random(count) < aligned, labels, other)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    shapes = np.zeros((count, SIDE, SIDE), np.float32)
    top, left = rng.uniform(4, 8, count), rng.uniform(7, 13, count)
    height, width, thick = rng.uniform(8, 10, count), rng.uniform(7, 11, count), rng.uniform(1, 2.2, count)
    for label, lit in enumerate(LIT):
        members = np.flatnonzero(labels == label)
        for stroke in (stroke for stroke, on in zip(STROKES, lit, strict=True) if on == "1"):
            y0, y1 = (top[members] + height[members] * stroke[end] for end in (0, 2))
            x0, x1 = (left[members] + width[members] * stroke[end] for end in (1, 3))
            near = np.maximum(
                np.maximum(y0[:, None, None] - rows, rows - y1[:, None, None]),
                np.maximum(x0[:, None, None] - columns, columns - x1[:, None, None]),
            )
            shapes[members] = np.maximum(shapes[members], np.clip(thick[members, None, None] - near, 0, 1))
    tint = 255 * np.clip(COLOURS[colours] + rng.normal(0, 0.04, (count, 3)), 0, 1).astype(np.float32)
    images = (shapes[:, None] * tint[:, :, None, None]).astype(np.uint8)
    names = [str(label) for label in range(CLASSES)]
    meta = {"label_names": names, "attribute_names": names, "mean": [0.5] * 3, "std": [0.5] * 3}
    meta["own_std"] = (images.std((0, 2, 3)) / 255).tolist()
    return Split(images, labels, colours, np.arange(count), meta)


def train_and_test(images: int) -> tuple[Split, Split]:
    """Return coloured MNIST where DDBIAS_DATA has MNIST and so many images are asked for, else coloured glyphs."""
    if not os.environ.get("DDBIAS_DATA") or images < ALL:
        return drawn(images, 1 - CONFLICTING, 0), drawn(max(images // 6, 100), 1 / CLASSES, 1)
    from ddbias.datasets.synthesis import synthesize_dataset  # needs more packages than the rest

    how = {"bias": {"kind": "foreground", "severity": 1}, "ratio": 1 - CONFLICTING, "test": "balanced"}
    return synthesize_dataset(source={"kind": "mnist"}, seed=42, data={}, **how)


def real_settings(split: Split, debias: str) -> RealSettings:
    """Return how a debias of each form draws and pools real images."""
    weights = np.ones(len(split))
    if debias in ("groups", "barycentre"):
        return RealSettings(weights, np.asarray(split.attributes, np.int64), debias, "uniform")
    if debias == "weights":
        weights[split.attributes != split.labels] = 19
    return RealSettings(weights)


def settings(kind: str, **changes: object) -> dict:
    """Return the options of a distiller, with its published defaults."""
    declared = plugins.find("distiller", kind).options
    options = {name: option.get("default") for name, option in declared.items()}
    return {"kind": kind, **options, **({"augment": AUGMENT} if "augment" in options else {}), **changes}


# ---- parts: each returns rows of one table --------------------------------------------------------------------------


def correctness(where: torch.device, width: int, left: Callable[[], float]) -> Iterator[dict]:
    """Compare every distiller on the device with the CPU."""
    split, cpu = drawn(300, 1 - CONFLICTING, 0), torch.device("cpu")
    network = {"kind": "convnet", "width": min(width, 32), "depth": 3, **NETWORK}
    with tempfile.TemporaryDirectory() as folder:
        for kind, debias, further in PATHS:
            small = {name: value for name, value in SMALL.items() if name in settings(kind)} | further
            real = real_settings(split, debias)
            models = pool(split, network, Path(folder)) if kind == "mtt" else {}

            def images(where: torch.device, precision: str, **changes: object) -> torch.Tensor:
                set_precision(where, precision)
                how = {"settings": settings(kind, **small | changes), "network": network, "models": models}  # noqa: B023
                how |= {"real": real, "ipc": 2, "seed": 0, "checkpoint": Checkpoint(None)}  # noqa: B023
                return engine.run(split, device=where, precision=precision, **how).images.cpu()

            wanted = images(cpu, "exact") if left() > 0 else None
            moved = (wanted - images(cpu, "exact", iterations=0)).norm() if left() > 0 else None
            for precision, most in (("exact", EXACT), ("fast", FAST)):
                what = f"{kind}, {debias}, {precision}"
                if left() <= 0:
                    yield {"what": what, "not run": "budget"}
                    continue
                difference = float((images(where, precision) - wanted).norm() / moved)
                yield {"what": what, "difference": difference, "allowed": most, "ok": difference <= most}


def pool(split: Split, network: dict, folder: Path) -> dict[str, list[Path]]:
    """Return a pool of one expert of three epochs."""
    path = folder / "member0.safetensors"
    options = {"epochs": 3, "batch_size": 64, "learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0}
    options |= {"augment": "none", "seed": 0, "drops": []}
    how = {"network": network, "settings": options, "member": 0}
    cpu = torch.device("cpu")
    snapshots = pretraining.train_member(split, weights=None, device=cpu, checkpoint=Checkpoint(None), **how)
    pretraining.save_member(path, snapshots, split, provenance={}, **how)
    return {"pool": [path]}


def speed(where: torch.device, width: int, images: int, steps: int, left: Callable[[], float]) -> Iterator[dict]:
    """Time steps of DM and DSA against plain loops."""
    split = drawn(images, 1 - CONFLICTING, 0)
    side = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=REAL, seed=0)
    pixels, _ = split.tensors()
    batch = side.batch(0)
    real = split.normalize(pixels[batch.index]).to(where)
    noise = torch.randn(CLASSES * IPC, 3, SIDE, SIDE, generator=stream(0, "noise")).to(where)
    network = {"kind": "convnet", "width": width, "depth": 3, **NETWORK}
    for kind in ("dm", "dsa"):
        plain = None
        for way in ("plain loop", "exact", "fast"):
            what = f"{kind}, {way}"
            if left() <= 0:
                yield {"what": what, "not run": "budget"}
                continue
            made = step = None  # whose memory is not that of the next way
            set_precision(where, way)
            if way == "plain loop":
                step = plain_step(kind, network, split, noise.clone(), real)
            else:
                options = {"settings": settings(kind), "network": network, "images": noise.clone(), "seed": 0}
                made = plugins.module("distiller", kind).Distiller(split, device=where, precision=way, **options)

                def step(number: int, made: object = made) -> object:
                    return made.match(number, real, batch)

            seconds, memory = timed(step, steps, where)
            plain = plain or seconds
            yield {
                "what": what,
                "steps a second": 1 / seconds,
                "times the plain loop": plain / seconds,
                "peak memory, MB": memory,
            }


def with_torchs_layers(network: networks.Network) -> networks.Network:
    """Return a network changed to have torch's normalisation and pooling instead of ours, as published code has it."""
    for module in network.modules():
        for torchs in (nn.GroupNorm, nn.AvgPool2d):
            if isinstance(module, torchs):
                module.__class__ = torchs
    return network


def plain_step(
    kind: str, network: dict, split: Split, images: torch.Tensor, real: torch.Tensor
) -> Callable[[int], object]:
    """Return a step class by class: DM with a new network, or DSA's gradients with the one it has."""
    augment, images = DSA(settings(kind)["augment"]), images.requires_grad_(True)

    def of_class(model: networks.Network, label: int, part: torch.Tensor, own: torch.Tensor, seed: int) -> torch.Tensor:
        part, own = augment(part, seed), augment(own, seed)
        if kind == "dm":
            return (model.embed(part).mean(0) - model.embed(own).mean(0)).square().sum()
        gradients = []
        for side in (part, own):
            loss = cross_entropy(model(side), torch.full((len(side),), label, device=side.device))
            gradients.append(torch.autograd.grad(loss, list(model.parameters()), create_graph=side is own))
        return gradient_distance(gradients[1], [gradient.detach() for gradient in gradients[0]], "ours")

    def step(number: int) -> object:
        seed = number if kind == "dm" else 0
        model = with_torchs_layers(networks.of_settings(network, split.shape, CLASSES, seed)).to(images.device)
        model.requires_grad_(kind != "dm")
        parts = zip(real.chunk(CLASSES), images.chunk(CLASSES), strict=True)
        loss = sum(of_class(model, label, *part, number * CLASSES + label) for label, part in enumerate(parts))
        return torch.autograd.grad(loss, images)

    return step


def timed(step: Callable[[int], object], steps: int, where: torch.device) -> tuple[float, float | None]:
    """Return the median seconds of steps, and the peak megabytes of a GPU; the first four compile and record."""
    if where.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(where)
    seconds = []
    for number in range(4 + steps):
        began = time.perf_counter()
        step(number)
        finish(where)
        seconds.append(time.perf_counter() - began)
    memory = torch.cuda.max_memory_reserved(where) / 1e6 if where.type == "cuda" else None
    return statistics.median(seconds[4:]), memory


def finish(where: torch.device) -> None:
    """Wait until a device has done what it was told."""
    module = torch.get_device_module(where) if where.type != "cpu" else None
    if module is not None and hasattr(module, "synchronize"):
        module.synchronize()


def set_precision(where: torch.device, way: str) -> None:
    """Let only the fast way use TF32 on a GPU."""
    if where.type == "cuda":
        device.allow_tf32(way == "fast")


def convergence(
    where: torch.device, width: int, images: int, iterations: int, left: Callable[[], float]
) -> Iterator[dict]:
    """Distil until the loss on the probe no longer falls, and judge the set."""
    train, test = train_and_test(images)
    network = {"kind": "convnet", "width": width, "depth": 3, **NETWORK}
    declared = plugins.find("distiller", "dm").options.items()
    at_scale = {name: option["x-default"]["fast"] for name, option in declared if "x-default" in option}
    fast = settings("dm", **at_scale | {"until": "converged", "iterations": iterations})
    for kind, precision in (("dm", "exact"), ("dm", "fast"), ("random", "exact")):
        what = f"{kind}, {precision}"
        if left() <= 0:
            yield {"what": what, "not run": "budget"}
            continue
        set_precision(where, precision)
        began = time.perf_counter()
        made = engine.run(
            train,
            real=RealSettings.plain(len(train)),
            settings=fast if kind == "dm" else settings("random"),
            network=network if kind == "dm" else None,
            ipc=IPC,
            seed=0,
            device=where,
            precision=precision,
            checkpoint=Checkpoint(None),
        )
        seconds = time.perf_counter() - began
        pictures = made.images if made.images is not None else torch.from_numpy(train.images[made.rows.numpy()])
        judged = {"recipe": Recipe(augment=AUGMENT), "epochs": 150 if images > 1000 else 2, "steps": None, "repeats": 2}
        outcome = protocol.evaluate(pictures, made.labels, test, network=network, seed=0, device=where, **judged)
        yield {
            "what": what,
            "seconds": seconds,
            "converged": made.record.get("converged"),
            "accuracy": float(np.trace(outcome.counts.sum((0, 1))) / outcome.counts.sum()),
        }


def at_once(where: torch.device, width: int, images: int, seconds: float, left: Callable[[], float]) -> Iterator[dict]:
    """Run several processes at the same time."""
    for processes in PROCESSES:
        if left() <= 0:
            yield {"what": f"{processes} processes", "not run": "budget"}
            continue
        call = [sys.executable, __file__, "--device", where.type, "--width", str(width), "--images", str(images)]
        started = [
            subprocess.Popen([*call, "--worker", str(seconds)], stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        printed = [one.communicate()[0].split() for one in started]
        if failed := sum(one.returncode != 0 for one in started):
            yield {"what": f"{processes} processes", "not run": f"{failed} of them failed"}
            continue
        yield {"what": f"{processes} processes", "steps a second, together": sum(float(one[-1]) for one in printed)}


def worker(where: torch.device, width: int, images: int, seconds: float) -> None:
    """Print the DM steps a second of some seconds."""
    set_precision(where, "fast")
    split = drawn(images, 1 - CONFLICTING, 0)
    side = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=REAL, seed=0)
    batch = side.batch(0)
    real = split.normalize(split.tensors()[0][batch.index]).to(where)
    noise = torch.randn(CLASSES * IPC, 3, SIDE, SIDE, generator=stream(0, "noise")).to(where)
    network = {"kind": "convnet", "width": width, "depth": 3, **NETWORK}
    how = {"settings": settings("dm"), "network": network, "images": noise, "seed": 0}
    made = plugins.module("distiller", "dm").Distiller(split, device=where, precision="fast", **how)
    for number in range(4):
        made.match(number, real, batch)
    finish(where)
    began, number = time.perf_counter(), 4
    while time.perf_counter() - began < seconds:
        made.match(number, real, batch)
        finish(where)
        number += 1
    print((number - 4) / (time.perf_counter() - began))


# ---- what is written ------------------------------------------------------------------------------------------------


def markdown(found: dict) -> str:
    """Return the results as a page."""
    lines = [
        f"# ddbias on {found['device']}",
        "",
        *(f"- {name}: {found[name]}" for name in ("date", "versions", "command")),
    ]
    for part, rows in found["parts"].items():
        if not rows:
            continue
        columns = list(dict.fromkeys(name for row in rows for name in row))
        lines += ["", f"## {part}", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        lines += [f"| {' | '.join(shown(row.get(name)) for name in columns)} |" for row in rows]
    return "\n".join([*lines, ""])


def shown(value: object) -> str:
    """Return a cell."""
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def main(arguments: list[str]) -> int:
    """Measure, write both files, and return 1 if a result differs from the CPU's."""
    parser = argparse.ArgumentParser(description="Measure ddbias on a GPU.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--budget", type=float, default=600, help="seconds in all")
    parser.add_argument("--to", type=Path, default=Path("results/gpu"))
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--images", type=int, default=ALL)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    where = device.prepare(given.device, 1)
    if given.worker is not None:
        worker(where, given.width, given.images, given.worker)
        return 0
    return measure(where, given)


def measure(where: torch.device, given: argparse.Namespace) -> int:
    """Run all parts in a budget."""
    began = time.monotonic()

    def until(share: float) -> Callable[[], float]:
        return lambda: began + share * given.budget - time.monotonic()

    small = {"width": given.width, "images": given.images}
    iterations, seconds = (240, 20.0) if given.steps >= 20 else (given.steps, 0.5)
    parts = {
        "Correct": correctness(where, given.width, until(0.3)),
        "Speed": speed(where, steps=given.steps, left=until(0.5), **small),
        "Convergence": convergence(where, iterations=iterations, left=until(0.8), **small),
        "At once": at_once(where, seconds=seconds, left=until(1), **small),
    }
    found = {
        "device": device.kind(where).model(where),
        "date": str(date.today()),
        "versions": f"ddbias {__version__}, torch {torch.__version__}",
        "command": " ".join(["python benchmarks/gpu.py", *sys.argv[1:]]),
        "parts": {},
    }
    given.to.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        found["parts"][part] = []
        for row in told(rows):
            print(part, ", ".join(f"{name}: {shown(value)}" for name, value in row.items()), flush=True)
            found["parts"][part].append(row)
            (given.to / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
            (given.to / "gpu.md").write_text(markdown(found))
    failed = [row for rows in found["parts"].values() for row in rows if row["what"] == FAILED]
    return int(bool(failed) or not all(row.get("ok", True) for row in found["parts"]["Correct"]))


def told(rows: Iterator[dict]) -> Iterator[dict]:
    """Yield the rows of a part, and as its last one what ended it."""
    try:
        yield from rows
    except Exception as error:  # the other parts are worth having
        yield {"what": FAILED, "not run": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
