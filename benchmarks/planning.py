"""What planning costs Snakemake in a study of 10,000 jobs: processor seconds, wall time and peak memory of a dry run.

Four severities, seven ratios, three distillers, three debias, three numbers of images per class and six seeds on the
digits of scikit-learn. Nothing is computed and nothing is written but the study file, in a temporary folder.
"""

import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
RATIOS = [0, 0.1, 0.5, 0.8, 0.95, 0.99, 1]


def study(seeds: int = 6) -> dict:
    """Return a study of 4 x 7 x 3 x 3 x 3 x `seeds` distilled sets."""
    names = [f"severity{severity}" for severity in range(1, 5)]
    digits = {"source": "digits", "size": 16}
    cells = {
        "ratios": RATIOS,
        "distillers": ["dm", "dc", "dsa"],
        "debias": ["uniform", "kde", "contradiction"],
        "ipc": [1, 10, 50],
        "seeds": list(range(seeds)),
        "evaluations": ["convnet"],
    }
    return {
        "study": "planning",
        "scale": "fast",
        "datasets": {n: {**digits, "bias": {"kind": "foreground", "severity": int(n[-1])}} for n in names},
        "networks": {"small": {"kind": "convnet", "width": 32, "depth": 2}},
        "surrogates": {kind: {"kind": kind, "network": "small"} for kind in ("supcon", "generalised_ce")},
        "debias": {
            "uniform": "uniform",
            "kde": {"kind": "kde", "surrogate": "supcon"},
            "contradiction": {"kind": "contradiction", "surrogate": "generalised_ce"},
        },
        "distillers": {kind: {"kind": kind, "network": "small"} for kind in ("dm", "dc", "dsa")},
        "evaluations": {"convnet": {"network": "small"}},
        "grid": [{"dataset": name, **cells} for name in names],
        "tables": {"main": {"metrics": ["accuracy", "unbiased_accuracy"]}},
        "figures": {
            "accuracy": {"kind": "accuracy", "dataset": names[0], "evaluation": "convnet"},
            "ratios": {"kind": "against_ratio", "dataset": names[0], "evaluation": "convnet", "ipc": 10},
            "weights": {"kind": "weights", "dataset": names[0], "debias": "kde", "seed": 0},
        },
    }


def plan(seeds: int = 6, *options: str) -> tuple[int, float, float, float]:
    """Return the number of jobs, processor seconds, wall seconds and peak memory in MiB of a dry run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planning.yaml"
        path.write_text(yaml.safe_dump(study(seeds), sort_keys=False))
        command = [sys.executable, "workflow/launch.py", f"--config={path}", "--cores=2", "--"]
        command += ["--dry-run", "--quiet", "rules", "reason", *options]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        used, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    jobs = int(re.search(r"^total +(\d+)$", done.stdout + done.stderr, re.MULTILINE)[1])
    return jobs, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, wall, used.ru_maxrss / 1024


def main() -> None:
    """Print what planning costs."""
    jobs, processor, wall, memory = plan()
    print(f"{jobs:,} jobs: {processor:.1f} s of the processor, {wall:.1f} s, {memory:,.0f} MiB")


if __name__ == "__main__":
    main()
