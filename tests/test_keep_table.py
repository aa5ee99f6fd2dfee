"""`workflow/keep_table.py`: a table that was run is kept with the facts of its runs, and nothing else is."""

import csv
import importlib.util
import json
from pathlib import Path

import pytest
from ddbias.results.tables.formats import CSV_COLUMNS

spec = importlib.util.spec_from_file_location("keep_table", Path(__file__).parents[1] / "workflow/keep_table.py")
keep_table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(keep_table)

HEAD = f"{','.join(CSV_COLUMNS)}\n"


OPEN = "d,0.95,dm,kde,10,e,accuracy,,,,0,0,,,,,,,,,,quick\n"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "results/s/quick/tables/main.csv"
    path.parent.mkdir(parents=True)
    for seed, dirty in enumerate((False, True)):
        folder = tmp_path / f"results/s/quick/distilled/d/0.95/dm/kde/ipc1/seed{seed}"
        folder.mkdir(parents=True)
        judged = tmp_path / f"results/s/quick/evaluations/d/0.95/dm/kde/ipc1/seed{seed}/e.parquet"
        judged.parent.mkdir(parents=True)
        judged.touch()
        run = {"commit": "abc+" if dirty else "abc", "device": "AVX512", "date": f"2026-01-0{seed + 1}T10:00:00+00:00"}
        run |= {"distillation": {"iterations": 400}} if dirty else {}  # older runs do not say
        (folder / "run.json").write_text(json.dumps(run))
    return path


def test_keeps_what_was_run(table, tmp_path):
    done = "d,0.95,dm,kde,1,e,accuracy,91.00,1.00,3.10,2,3,,,,,,,false,1.50,21.0,quick\n"
    table.write_text(HEAD + done + OPEN)
    keep_table.keep(table, tmp_path / "docs/kept.csv")
    with (tmp_path / "docs/kept.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["mean"], row["n"], row["device"]) == ("91.00", "2", "AVX512")
    assert (row["networks"], row["converged"], row["moved"]) == ("3", "false", "1.50")
    assert row["commit"] == "abc abc+"  # two runs, one of them of a checkout with changes
    assert row["date"] == "2026-01-01 2026-01-02"
    assert (row["iterations"], row["study"]) == ("400", "s")


def test_tells_of_no_set_that_was_not_evaluated(table, tmp_path):
    (tmp_path / "results/s/quick/evaluations/d/0.95/dm/kde/ipc1/seed1/e.parquet").unlink()
    table.write_text(HEAD + "d,0.95,dm,kde,1,e,accuracy,91.00,1.00,,1,3,,,,,,,false,1.50,21.0,quick\n")
    keep_table.keep(table, tmp_path / "kept.csv")
    with (tmp_path / "kept.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["commit"], row["date"]) == ("abc", "2026-01-01")


def test_keeps_nothing_of_a_table_that_was_not_run(table, tmp_path):
    table.write_text(HEAD + OPEN)
    with pytest.raises(SystemExit, match="no row that was run"):
        keep_table.keep(table, tmp_path / "docs/kept.csv")
    assert not (tmp_path / "docs").exists()
