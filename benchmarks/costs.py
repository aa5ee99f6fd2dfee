"""What the distillers declare that an iteration takes, beside what it takes here: seconds of the processor.

Published network, 32 x 32 RGB, 10 classes, made-up images, one core. A second a pass tells how busy the machine is:
declared seconds are scaled by it, as `make estimate` does. A method's iterations of minutes are cut short by options.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

import speed
from ddbias.base import plugins
from ddbias.base.plugins import formula
from ddbias.data.split import Split
from ddbias.debias.real_side import RealSettings
from ddbias.distill import convergence, engine
from ddbias.learning import device
from ddbias.planning.costs.networks import PASS
from ddbias.planning.load import load
from ddbias.runtime.checkpoint import Checkpoint

CLASSES, PER_CLASS, STEPS = 10, 300, 3
SHORT = {"outer_loop": 1}  # matching without training
RUNS = [
    ("dm", 10, "exact", {}),
    ("dm", 50, "exact", {}),
    ("dm", 10, "fast", {"real_batch": 64, "updates_per_network": 2}),
    ("dm", 10, "fast", {}),
    ("dc", 10, "exact", SHORT),
    ("dc", 10, "fast", SHORT),
    ("dsa", 1, "fast", SHORT),
    ("idc", 10, "exact", SHORT),
]


class Enough(Exception):
    """Ends a run when it has been measured."""


class Clock(Checkpoint):
    """A checkpoint that keeps nothing but the times at which steps ended, in seconds of the processor."""

    def __init__(self) -> None:
        super().__init__(None)
        self.times: list[float] = []

    def due(self) -> bool:
        """Note the time after a step; end the run after the last, the first one compiles."""
        self.times.append(time.process_time())
        if len(self.times) > STEPS:
            raise Enough
        return False


def random_split() -> Split:
    """Return 300 images per class, noise around one of the class."""
    draws = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    noise = draws.integers(0, 128, (len(labels), 3, 32, 32), np.uint8)
    images = noise + draws.integers(0, 128, (CLASSES, 3, 32, 32), np.uint8)[labels]
    meta = {"label_names": [str(c) for c in range(CLASSES)], "mean": [0.5] * 3, "std": [0.25] * 3}
    return Split(images, labels, None, np.arange(len(labels)), meta)


def settings_of(kind: str, options: dict) -> dict:
    """Return the published settings of a distiller."""
    cell = {"dataset": "d", "ratios": [0.9], "distillers": ["x"], "debias": ["u"], "ipc": [1], "seeds": [0]}
    study = {
        "study": "costs",
        "scale": "paper",
        "datasets": {"d": {"source": "digits", "bias": "foreground"}},
        "networks": {"convnet": {"kind": "convnet"}},
        "debias": {"u": "uniform"},
        "distillers": {"x": {"kind": kind, "network": "convnet", "iterations": 10**6, **options}},
        "evaluations": {"e": {"network": "convnet"}},
        "grid": [{**cell, "evaluations": ["e"]}],
    }
    return load(study).config["distillers"]["x"]


def measure(kind: str, ipc: int, precision: str, options: dict) -> str:
    """Return a line: seconds of an iteration, expected and taken."""
    where, split, settings, clock = (
        device.prepare("cpu", 1, precision),
        random_split(),
        settings_of(kind, options),
        Clock(),
    )
    convergence.Probe.due = lambda self, step: False  # it is no part of an iteration
    one_pass = [speed.seconds_per_pass()]
    real, network = RealSettings.plain(len(split)), {"kind": "convnet"}
    what = {"settings": settings, "network": network, "ipc": ipc, "seed": 0, "precision": precision}
    try:
        engine.run(split, real=real, device=where, checkpoint=clock, **what)
    except Enough:
        one_pass.append(speed.seconds_per_pass())
    facts = plugins.find("distiller", kind).facts
    given = {**settings, "network": PASS, "classes": CLASSES, "ipc": ipc}
    declared = formula.value(facts["seconds_fast" if precision == "fast" else "seconds"], given)
    expected = declared * float(np.mean(one_pass)) / PASS
    taken = float(np.median(np.diff(clock.times)))
    said = f"{kind}, {ipc} images per class, {precision}, {options or 'published'}"
    return (
        f"{said}: expected {expected:.2f}, taken {taken:.2f}, {expected / taken:.2f} times; a pass {one_pass[-1]:.5f}"
    )


def main() -> None:
    """Print a line for every run, each in a process of its own."""
    if len(sys.argv) > 1:
        print(measure(*json.loads(sys.argv[1])))
        return
    for run in RUNS:
        subprocess.run([sys.executable, __file__, json.dumps(run)], check=True)


if __name__ == "__main__":
    main()
