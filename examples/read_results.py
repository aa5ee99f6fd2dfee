"""Read the results of a study with pandas: ``python examples/read_results.py results/digits/quick``."""

import sys
from pathlib import Path

import pandas as pd

study = Path(sys.argv[1])

# One row for each cell and metric: mean over seeds with its 95 % interval, in percent.
table = pd.read_csv(study / "tables/main.csv", dtype={"ratio": str, "ipc": str})
of = table[table["metric"] == "unbiased_accuracy"].sort_values("mean", ascending=False)
print(of[["ratio", "distiller", "debias", "ipc", "mean", "interval", "n"]].head().to_string(index=False))

# One row for each network and metric, as shares from 0 to 1: for statistics of your own.
rows = pd.concat(map(pd.read_parquet, sorted(study.glob("evaluations/**/*.parquet"))), ignore_index=True)
rows = rows[rows["metric"] == "unbiased_accuracy"]
seeds = rows.groupby(["ratio", "distiller", "debias", "ipc", "seed"], as_index=False)["value"].mean()
print(f"{len(rows)} networks, {len(seeds)} distilled sets")
pairs = seeds.pivot_table(index=["ratio", "distiller", "ipc", "seed"], columns="debias", values="value")
if {"kde", "uniform"} <= set(pairs):
    gain = 100 * (pairs["kde"] - pairs["uniform"]).dropna()
    print(f"kde gains {gain.mean():.1f} points over uniform, in {len(gain)} pairs of the same seed")
