"""A tiny study with every kind of distiller, pools of models and guidance, through the workflow."""

import csv
import json

import pytest

STUDY = {
    "models": {
        "experts": {"kind": "experts", "network": "small", "count": 2, "epochs": {"quick": 2}, "augment": "none"},
        "guides": {"kind": "classifiers", "network": "small", "epochs": {"quick": 1}},
    },
    "distillers": {
        "dc": {"kind": "dc", "network": "small", "iterations": {"quick": 2}, "real_batch": 16},
        "dsa": {"kind": "dsa", "network": "small", "iterations": {"quick": 2}, "real_batch": 16},
        "guided": {
            "kind": "dm",
            "network": "small",
            "iterations": {"quick": 2},
            "real_batch": 16,
            "guidance": {"kind": "clom", "models": ["guides"]},
        },
        "mtt": {"kind": "mtt", "models": "experts", "iterations": {"quick": 2}, "syn_steps": 2, "expert_epochs": 1},
        "idc": {"kind": "idc", "network": "small", "iterations": {"quick": 1}, "outer_loop": 2},
        "herding": {"kind": "herding", "network": "small", "epochs": {"quick": 1}},
        "kcenter": {"kind": "kcenter", "network": "small", "epochs": {"quick": 1}},
    },
    "figures": {},
}


def cells(distillers, debias):
    return [
        {
            "dataset": "digits_fg",
            "ratios": [0.95],
            "distillers": distillers,
            "debias": [debias],
            "ipc": [1],
            "seeds": [0],
            "evaluations": ["convnet"],
        }
    ]


@pytest.mark.thorough
def test_every_distiller_comes_to_the_table_and_a_pool_is_trained_for_every_debias(checkout):
    checkout.study(**STUDY, grid=cells(list(STUDY["distillers"]), "uniform") + cells(["mtt"], "kde"))
    planned = checkout.planned("tiny.yaml")
    assert planned["pretrain_models"] == 2 + 1 + 2  # both pools, and the experts once more with the weights of kde
    assert planned["distill"] == planned["evaluate"] == len(STUDY["distillers"]) + 1
    status, output = checkout.run("tiny.yaml")
    assert status == 0, output
    with (checkout / "results/tiny/quick/tables/main.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["distiller"] for row in rows} == set(STUDY["distillers"])
    assert all(row["n"] == "1" for row in rows)
    run = json.loads((checkout / "results/tiny/quick/distilled/digits_fg/0.95/mtt/kde/ipc1/seed0/run.json").read_text())
    assert run["peak_memory_mb"] > 0
    assert not checkout.planned("tiny.yaml", "distilled_sets")
    checkout.append("workflow/scripts/ddbias/distill/mtt.py")
    assert checkout.planned("tiny.yaml", "distilled_sets") == {"distill": 2, "distilled_sets": 1}
