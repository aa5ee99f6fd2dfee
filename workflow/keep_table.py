"""Keep a table that was really run: copy it to docs/measured/ with the commit, device, date, iterations of its runs.

Those of the row's own sets that were evaluated; an amplification rests on sets of other cells, too.

python workflow/keep_table.py results/digits/quick/tables/main.csv docs/measured/digits_quick.csv
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

KEYS = ("commit", "device", "date", "iterations")
STUDY = "study"


def keep(table: Path, target: Path) -> None:
    """Write the rows of `table` that were run to `target`, each with the facts of the distilled sets behind it."""
    table = table.absolute()
    distilled, evaluations = (table.parents[1] / name for name in ("distilled", "evaluations"))
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["n"]) > 0]
    if not rows:
        raise SystemExit(f"ddbias: {table} has no row that was run; run the study first")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *KEYS, STUDY], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            cell = Path(row["dataset"], row["ratio"], row["distiller"], row["debias"], f"ipc{row['ipc']}")
            judged = sorted((evaluations / cell).glob(f"seed*/{row['evaluation']}.parquet"))
            runs = [json.loads((distilled / cell / path.parent.name / "run.json").read_text()) for path in judged]
            if not runs:  # its size amplification is there without it: that of random images
                continue
            writer.writerow(row | {key: _distinct(runs, key) for key in KEYS} | {STUDY: table.parents[2].name})


def _distinct(runs: list[dict], key: str) -> str:
    if key == "iterations":  # those that were done
        done = [(run.get("distillation") or {}).get("iterations") for run in runs]
        values = [str(count) for count in done if count is not None]
    else:
        values = [run[key][:10] if key == "date" else run[key] for run in runs]
    return " ".join(sorted(set(values)))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: {sys.argv[0]} results/<study>/<scale>/tables/<table>.csv docs/measured/<name>.csv")
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
