"""How long the distilled sets of a study will take, from a table of measured seconds an iteration.

The table (``workflow/resources/costs.csv``, written by ``benchmarks/costs.py``) holds the published network on 32x32
RGB images with ten classes; what is not like that is named as not measured. Imported by the Snakefile: no torch.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from ddbias.cell import WHOLE
from ddbias.study import Study

TABLE = Path(__file__).resolve().parents[2] / "resources" / "costs.csv"
PUBLISHED = {"width": 128, "depth": 3}


def estimate(study: Study, table: Path = TABLE) -> list[str]:
    """Return one line for each distiller and number of images per class, and one for the sum.

    Parameters
    ----------
    study : Study
    table : path
        CSV with the columns distiller, ipc, precision, seconds_per_iteration, peak_memory_mb, device, threads.
    """
    with table.open(newline="") as file:
        measured = list(csv.DictReader(file))
    if not measured:
        return []
    lines, total = [], 0.0
    for name, ipc, sets in _sets(study):
        settings = study.config["distillers"][name]
        row = _nearest(measured, settings["kind"], ipc, study.config["precision"])
        if row is None or not _as_measured(study, settings):
            lines.append(f"{name}, {ipc} images per class: {sets} sets, not measured")
            continue
        seconds = settings["iterations"] * float(row["seconds_per_iteration"])
        total += sets * seconds
        lines.append(
            f"{name}, {ipc} images per class: {sets} sets of {settings['iterations']:,} iterations, about "
            f"{_duration(seconds)} each, {float(row['peak_memory_mb']) / 1000:.1f} GB"
        )
    where = measured[0]
    if total:
        lines.append(
            f"together about {_duration(total)} of one core ({where['device']}), rather less: measured beside "
            "other work with 256 real images per class; data and evaluations come on top"
        )
    return lines


def _sets(study: Study) -> Iterator[tuple[str, int, int]]:
    """Yield distiller, images per class and number of sets of those that take iterations."""
    cells = {(c.dataset, c.ratio, c.distiller, c.debias, c.ipc, c.seed) for c in study.cells if c.ipc != WHOLE}
    counts: dict[tuple[str, int], int] = {}
    for _, _, distiller, _, ipc, _ in cells:
        if "iterations" in study.config["distillers"][distiller]:
            counts[distiller, int(ipc)] = counts.get((distiller, int(ipc)), 0) + 1
    for (distiller, ipc), sets in sorted(counts.items()):
        yield distiller, ipc, sets


def _as_measured(study: Study, settings: dict) -> bool:
    """Tell whether a distiller's network is the one that was measured."""
    name = settings.get("network") or study.config["models"][settings["models"]]["network"]
    network = study.config["networks"][name]
    return network["kind"] == "convnet" and all(network[key] == value for key, value in PUBLISHED.items())


def _nearest(measured: list[dict], kind: str, ipc: int, precision: str) -> dict | None:
    """Return the row of a kind, of this precision if there is one, with the next number of images per class."""
    rows = [row for row in measured if row["distiller"] == kind]
    rows = [row for row in rows if row["precision"] == precision] or rows
    larger = [row for row in rows if int(row["ipc"]) >= ipc]
    return min(larger or rows, key=lambda row: abs(int(row["ipc"]) - ipc), default=None)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 72 * 3600 else f"{seconds / 86400:.0f} days"


def memory_mb(study: Study, stage: str, wildcards: object) -> int:
    """Return the memory in MiB that a job of a stage may take."""
    return 3000


def minutes(study: Study, stage: str, wildcards: object) -> int:
    """Return the time in minutes that a job of a stage may take."""
    return 60
