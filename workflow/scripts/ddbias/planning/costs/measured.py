"""What jobs of a run took, from the files that Snakemake writes beside them. Without torch."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Taken:
    """What a job took.

    Attributes
    ----------
    seconds : float
        Of the processor; on the clock where Snakemake could not tell.
    wall : float
        Seconds on the clock.
    memory_mb : float
        The highest resident memory; 0 where Snakemake could not tell.
    """

    seconds: float
    wall: float
    memory_mb: float


def read(path: str | Path) -> Taken | None:
    """Return what the last attempt of a job took; None without a file, or of one that was cut short."""
    try:
        with open(path, newline="") as file:
            row = list(csv.DictReader(file, delimiter="\t"))[-1]
        wall = float(row["s"])
    except (OSError, IndexError, KeyError, TypeError, ValueError):
        return None
    # Snakemake looks every 30 seconds: of a job that was over at once it knows nothing.
    return Taken(_number(row.get("cpu_time")) or wall, wall, _number(row.get("max_rss")))


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:  # NA or -
        return 0.0
