"""Tables, figures and the page from the results that there are."""

import csv

import pytest
import yaml

TABLE = "results/tiny/quick/tables/main.csv"
RANDOM = "results/tiny/quick/evaluations/digits_fg/0.95/random/uniform/ipc1/seed0/convnet.parquet"


def finished_sets(checkout):
    with open(checkout / TABLE, newline="") as file:
        return {(row["distiller"], row["debias"]): int(row["n"]) for row in csv.DictReader(file)}


@pytest.mark.thorough
def test_what_is_shown_of_an_unfinished_study_and_made_again_when_it_is_finished(checkout):
    grid = yaml.safe_load((checkout / checkout.study()).read_text())["grid"]
    for entry in grid[:2]:  # vanilla and real images, as little as makes a table
        entry |= {"debias": ["uniform"], "evaluations": ["convnet"]}
    figures = {"accuracy": {"kind": "accuracy", "dataset": "digits_fg", "evaluation": "convnet", "ipc": 1}}
    checkout.study(grid=grid[:2], figures=figures)
    status, output = checkout.run("tiny.yaml", RANDOM)
    assert status == 0, output
    status, output = checkout.run("tiny.yaml", "tables", "figures", "report", "--config", "unfinished=show")
    assert status == 0, output
    assert finished_sets(checkout) == {("dm", "uniform"): 0, ("random", "uniform"): 1}
    assert (checkout / "results/tiny/quick/report/index.html").exists()
    # Nothing was computed for the rest.
    assert not (checkout / "results/tiny/quick/distilled/digits_fg/0.95/dm").exists()
    assert checkout.planned("tiny.yaml", "tables")["make_table"] == 1
    status, output = checkout.run("tiny.yaml", "tables")
    assert status == 0, output
    assert set(finished_sets(checkout).values()) == {1}
