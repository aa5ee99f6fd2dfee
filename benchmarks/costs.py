"""Seconds an iteration and peak memory of every distiller at 1, 10 and 50 images per class.

ConvNet 3 x 128, 32 x 32 RGB, 10 classes, made-up images, 256 real images per class, one core, each in a process of its
own, two at a time as on a machine with a job on every core. Writes these rows of the table of
`ddbias.planning.costs.work`:
``python benchmarks/costs.py workflow/resources/costs.csv``.
"""

import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from ddbias.data.split import Split
from ddbias.debias.real_side import RealSettings
from ddbias.distill import engine, pretraining
from ddbias.learning import device
from ddbias.planning.config import complete
from ddbias.runtime.checkpoint import Checkpoint

CLASSES, PER_CLASS = 10, 300
KINDS = ("dm", "dc", "dsa", "mtt", "idc")
IPC = (1, 10, 50)
SECONDS = 6.0  # a step is repeated for about so long, at least twice
NETWORK = {"kind": "convnet"}
COLUMNS = ("stage", "kind", "ipc", "precision", "unit", "seconds_per_unit", "peak_memory_mb", "device", "threads")


class Enough(Exception):
    """Ends a run when it has been measured."""


class Clock(Checkpoint):
    """A checkpoint that keeps nothing but the times at which steps ended, in seconds of the processor (of one core)."""

    def __init__(self) -> None:
        super().__init__(None)
        self.times = [time.process_time()]

    def due(self) -> bool:
        """Note the time after a step; end the run after a few seconds."""
        self.times.append(time.process_time())
        if len(self.times) > 2 and self.times[-1] - self.times[1] > SECONDS:
            raise Enough
        return False


def random_split() -> Split:
    """Return 300 images per class, noise around one of the class, so that experts have something to learn."""
    draws = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    noise = draws.integers(0, 128, (len(labels), 3, 32, 32), np.uint8)
    images = noise + draws.integers(0, 128, (CLASSES, 3, 32, 32), np.uint8)[labels]
    meta = {"label_names": [str(c) for c in range(CLASSES)], "mean": [0.5] * 3, "std": [0.25] * 3}
    return Split(images, labels, None, np.arange(len(labels)), meta)


def published(kind: str) -> dict:
    """Return the settings of a distiller at scale paper."""
    distiller = {"kind": kind, **({"models": "pool"} if kind == "mtt" else {"network": "convnet"})}
    cell = {"dataset": "d", "ratios": [0.9], "distillers": ["x"], "debias": ["u"], "ipc": [1], "seeds": [0]}
    study = {
        "study": "costs",
        "scale": "paper",
        "datasets": {"d": {"source": "digits", "bias": "foreground"}},
        "networks": {"convnet": NETWORK},
        "models": {"pool": {"kind": "experts", "network": "convnet"}},
        "debias": {"u": "uniform"},
        "distillers": {"x": distiller},
        "evaluations": {"e": {"network": "convnet"}},
        "grid": [{**cell, "evaluations": ["e"]}],
    }
    config = complete(study)
    return config["distillers"]["x"] | ({"pool": config["models"]["pool"]} if kind == "mtt" else {})


def measure(kind: str, ipc: int, precision: str) -> dict:
    """Return the row of a distiller, measured in this process."""
    where = device.prepare("cpu", 1)
    split, settings, clock = random_split(), published(kind), Clock()
    settings["iterations"] = 10**6
    models, started = None, time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        if kind == "mtt":
            pool = settings.pop("pool") | {"epochs": 4}
            path = Path(folder) / "member0.safetensors"
            more = {"network": NETWORK, "settings": pool, "member": 0}
            snapshots = pretraining.train_member(split, weights=None, device=where, checkpoint=Checkpoint(None), **more)
            pretraining.save_member(path, snapshots, split, provenance={}, **more)
            models, started = {"pool": [path]}, time.process_time()
        method = {}
        try:
            engine.run(
                split,
                real=RealSettings.plain(len(split)),
                settings=settings,
                network=None if kind == "mtt" else NETWORK,
                ipc=ipc,
                seed=0,
                device=where,
                precision=precision,
                checkpoint=clock,
                models=models,
            )
            seconds = time.process_time() - started
        except Enough:
            method = steps_per_iteration(kind, ipc, settings)
            seconds = float(np.median(np.diff(clock.times)[1:])) * method  # the first step compiles
    return {
        "stage": "distill",
        "kind": kind,
        "ipc": ipc,
        "precision": precision,
        "unit": "iteration",
        "seconds_per_unit": round(seconds, 3),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "device": f"cpu {torch.backends.cpu.get_cpu_capability()}",
        "threads": 1,
    }


def steps_per_iteration(kind: str, ipc: int, settings: dict) -> int:
    """Return how many steps of the engine an iteration has."""
    if kind in ("dc", "dsa"):
        from ddbias.distill.gradient_matching import loops

        return loops(ipc)[0]
    return settings["outer_loop"] if kind == "idc" else 1


def in_a_process(run: tuple[str, str, str]) -> dict:
    """Return the row of a run, measured in a process of its own, and print it."""
    done = subprocess.run([sys.executable, __file__, *run], capture_output=True, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1])
    print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return row


def main() -> None:
    """Print every row; write the table if a path is given."""
    if len(sys.argv) == 4:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
        return
    runs = [
        (kind, str(ipc), precision)
        for kind in KINDS
        for ipc in IPC
        for precision in (("exact", "fast") if kind in ("dm", "dc", "dsa") else ("exact",))
    ]
    with ThreadPoolExecutor(2) as two:
        rows = list(two.map(in_a_process, runs))
    if len(sys.argv) == 2:
        with open(sys.argv[1], newline="") as file:
            rows += [row for row in csv.DictReader(file) if row["stage"] != "distill"]
        with open(sys.argv[1], "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
