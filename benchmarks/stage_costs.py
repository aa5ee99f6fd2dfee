"""What the stages beside distillation take: seconds for a unit of work and peak memory, from jobs of real runs.

Snakemake writes what every job took under ``results/{study}/{scale}/benchmarks/``. From the seconds of the processor
are taken those of the start; a row is what is left of all jobs of a stage and kind, divided by their work, with the
highest memory. Writes these rows of the table of `ddbias.planning.costs.work`:
``python benchmarks/stage_costs.py workflow/resources/costs.csv studies/a.yaml=results/a/fast studies/b.yaml=...``
where every study comes with the folder of a run of it; without arguments there is nothing to do.
"""

import csv
import sys
from pathlib import Path

import torch
import yaml
from ddbias.planning.costs import measured
from ddbias.planning.costs import work as job_costs
from ddbias.planning.jobs import jobs
from ddbias.planning.load import load
from ddbias.planning.study import Study

COLUMNS = ("stage", "kind", "ipc", "precision", "unit", "seconds_per_unit", "peak_memory_mb", "device", "threads")
UNITS = {
    "synthesize_dataset": "image",
    "check_data": "image",
    "estimate_weights": "pair of a class in 128 dimensions",
    ("estimate_weights", "samples"): "image",
}
PASS = "image through the published network"


def samples(study: Study, folder: Path) -> dict[tuple[str, str, str], list[tuple[float, float, float]]]:
    """Return seconds, units of work and peak memory of each measured job, by stage, kind and precision."""
    found = {}
    for job in jobs(study):
        if job.stage == "distill" or not job.benchmark:
            continue
        path = folder / Path(job.benchmark).relative_to(f"results/{study.name}/{study.scale}")
        taken = measured.read(path)
        if taken:
            work = job_costs.work(study, job.stage, job.wildcards)
            seconds = max(taken.seconds - job_costs.START_SECONDS - work.more, 0.1)
            key = job.stage, work.kind, work.precision
            found.setdefault(key, []).append((seconds, work.units, taken.memory_mb))
    return found


def main() -> None:
    """Write the rows of the runs that are given, beside those of distillation."""
    if len(sys.argv) < 3:
        print("stage costs: name the table and the runs, see the head of the file")
        return
    found: dict = {}
    for word in sys.argv[2:]:
        config, _, folder = word.partition("=")
        scale = Path(folder).name
        for key, values in samples(
            load(yaml.safe_load(Path(config).read_text()) | {"scale": scale}), Path(folder)
        ).items():
            found.setdefault(key, []).extend(values)
    table = Path(sys.argv[1])
    with table.open(newline="") as file:
        kept = [row for row in csv.DictReader(file) if row["stage"] == "distill"]
    for (stage, kind, precision), values in sorted(found.items()):
        seconds, units, memory = zip(*values, strict=True)
        kept.append(
            {
                "stage": stage,
                "kind": kind,
                "ipc": "",
                "precision": precision,
                "unit": UNITS.get((stage, kind), UNITS.get(stage, PASS)),
                "seconds_per_unit": f"{sum(seconds) / sum(units):.3g}",
                "peak_memory_mb": round(max(memory)),
                "device": f"cpu {torch.backends.cpu.get_cpu_capability()}",
                "threads": 1,
            }
        )
        rates = sorted(a / b for a, b in zip(seconds, units, strict=True))
        print(f"{stage}, {kind}, {precision}: {len(values)} jobs, {rates[0]:.3g} to {rates[-1]:.3g} s a unit")
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


if __name__ == "__main__":
    main()
