"""What a job costs before it does anything: processor seconds, which do not depend on what else the machine does.

Snakemake's own part, the imports of each rule's script, and opening a data set of 60,000 images; each in a process of
its own, the least of two. What imports take apart: ``python -X importtime workflow/scripts/distill.py``.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ddbias.data.split import Split, save_split

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow/scripts"
RUNS = 2
PREAMBLE = "from snakemake.logging import logger; from snakemake.iocontainers import Snakemake"
TARGET = 3.0  # seconds of a job that compiles nothing


def processor_seconds(code: str) -> float:
    """Return the user and system time of a Python that runs `code`, with its start and its end: the least run."""
    runs = []
    for _ in range(RUNS):
        environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
        process = subprocess.Popen([sys.executable, "-c", code], env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, code)
        runs.append(used.ru_utime + used.ru_stime)
    return min(runs)


def main() -> None:
    """Print a line for each part."""
    print(f"processor seconds, the least of {RUNS} runs; the target of a whole start is {TARGET:.0f}")
    for name, code in (("an empty Python", "pass"), ("what Snakemake adds", PREAMBLE), ("torch alone", "import torch")):
        print(f"{name}: {processor_seconds(code):.2f}")
    start = f"{PREAMBLE}; import runpy; runpy.run_path({str(SCRIPTS)!r} + '/%s.py')"
    for script in sorted(path.stem for path in SCRIPTS.glob("*.py")):
        print(f"{script}: {processor_seconds(start % script):.2f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path, count = f"{folder}/train.arrow", 60_000
        meta = {"label_names": ["0", "1"], "attribute_names": None, "mean": [0.5], "std": [0.5]}
        images, labels = np.zeros((count, 1, 28, 28), np.uint8), np.arange(count) % 2
        save_split(path, Split(images, labels, None, np.arange(count), meta))
        opened = start % "distill" + f"; from ddbias import load_split; load_split({path!r})"
        print(f"distill, and {count:,} images opened: {processor_seconds(opened):.2f}")


if __name__ == "__main__":
    main()
