import csv
from pathlib import Path

import pytest
import yaml
from ddbias.costs import TABLE, estimate
from ddbias.study import Study

ROOT = Path(__file__).resolve().parents[2]
HEAD = "distiller,ipc,precision,seconds_per_iteration,peak_memory_mb,device,threads\n"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "costs.csv"
    path.write_text(HEAD + "dm,1,fast,0.2,900,cpu X,1\ndm,50,fast,0.5,1500,cpu X,1\ndm,50,exact,5,1500,cpu X,1\n")
    return path


def study(name, **changes):
    return Study(yaml.safe_load((ROOT / name).read_text()) | changes)


def test_iterations_times_seconds(table):
    lines = estimate(study("studies/cui2024_ablation_surrogate.yaml", scale="paper"), table)
    assert lines[0] == "dm, 1 images per class: 6 sets of 20,000 iterations, about 67 minutes each, 0.9 GB"
    assert lines[1] == "dm, 10 images per class: 11 sets of 20,000 iterations, about 3 hours each, 1.5 GB"
    seconds = 20000 * (6 * 0.2 + 17 * 0.5)
    assert lines[-1].startswith(f"together about {seconds / 3600:.0f} hours of one core (cpu X)")


def test_other_networks_are_not_guessed(table):
    assert estimate(study("config.yaml"), table) == ["dm, 10 images per class: 15 sets, not measured"]


def test_exact_rows_for_exact_runs(table):
    name = "studies/cui2024_ablation_surrogate.yaml"
    fast, exact = (estimate(study(name, precision=p), table)[2] for p in ("fast", "exact"))
    assert "about 4 minutes each" in fast
    assert "about 42 minutes each" in exact


def test_shipped_table():
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {(kind, ipc) for kind in ("dm", "dc", "dsa", "mtt", "idc") for ipc in ("1", "10", "50")}
    assert {(row["distiller"], row["ipc"]) for row in rows} == expected
    assert all(float(row["seconds_per_iteration"]) > 0 and float(row["peak_memory_mb"]) > 100 for row in rows)
