"""Every study that comes with the repository is right at every scale, can be planned alone, quotes what exists."""

import csv
from collections import Counter
from pathlib import Path

import pytest
import yaml
from ddbias.planning.config import load_schema
from ddbias.planning.jobs import jobs
from ddbias.planning.load import load

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted(str(path.relative_to(ROOT)) for path in [ROOT / "config.yaml", *ROOT.glob("studies/*.yaml")])
SCALES = list(load_schema()["x-scales"])


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


@pytest.mark.parametrize("path", STUDIES)
def test_study_is_right_at_every_scale(path):
    cells = {scale: load(read(path) | {"scale": scale}).cells for scale in SCALES}
    assert cells["quick"] == cells["fast"] == cells["paper"]
    assert cells["paper"]


def test_names_of_studies_and_so_their_folders_differ():
    names = {path: read(path)["study"] for path in STUDIES}
    assert len(set(names.values())) == len(names), names
    for path, name in names.items():
        assert path == "config.yaml" or Path(path).stem == name


def published():
    with open(ROOT / "workflow/resources/published_results.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("path", STUDIES)
def test_every_published_number_is_found_once(path):
    rows, study = published(), load(read(path))
    for selector in (one.value for table in study.config["tables"] for one in study.published(table)):
        found = [row for row in rows if all(row[key] == str(value) for key, value in selector.items())]
        assert len(found) == 1, selector


def test_no_published_number_is_listed_twice():
    keys = Counter(tuple(value for name, value in row.items() if name not in ("value", "std")) for row in published())
    assert keys.most_common(1)[0][1] == 1


def test_fairdd_covers_its_first_tables_on_synthetic_data_sets():
    """Every row of DM, DC and the whole sets; what a plain loop over the published numbers finds."""
    study = load(read("studies/zhou2025_fairdd.yaml"))
    keys = ("source", "table", "dataset", "setting", "method", "ipc", "metric")
    entries = [one.value for table in study.config["tables"] for one in study.published(table)]
    asked = {tuple(str(value[key]) for key in keys) for value in entries}
    data = {"C-MNIST (FG)", "C-MNIST (BG)", "C-FMNIST (FG)", "C-FMNIST (BG)", "CIFAR10-S"}
    methods = {"DM", "DM+FairDD", "DC", "DC+FairDD", "Whole"}
    wanted = {
        tuple(row[key] for key in keys)
        for row in published()
        if row["source"].startswith("FairDD") and row["dataset"] in data and row["method"] in methods
        if row["table"] in ("Table 1", "Table 2", "Table 3")
    }
    assert wanted <= asked
    assert len(wanted) == 5 * 3 * (4 * 3 + 1) + 3 * 3 * 2 * 4


# Every scale has the same cells; that the rules plan for each of them is shown with the default study.
PLANS = [
    *(pytest.param(path, "fast", marks=() if path == "config.yaml" else pytest.mark.thorough) for path in STUDIES),
    pytest.param("config.yaml", "quick", marks=pytest.mark.thorough),
    pytest.param("config.yaml", "paper", marks=pytest.mark.thorough),
]


@pytest.mark.parametrize(("path", "scale"), PLANS)
def test_study_can_be_planned(pristine, path, scale):
    planned = pristine.planned(path, "--config", f"scale={scale}")
    study = load(read(path) | {"scale": scale})
    assert planned["evaluate"] + planned["measure_images"] == len(study.cells)
    assert planned["distill"] == len({(c.dataset, c.ratio, c.distiller, c.debias, c.ipc, c.seed) for c in study.cells})
    assert planned["make_table"] == len(study.config["tables"])
    assert planned["plot"] == len(study.config["figures"])
    assert planned["write_report"] == 1
    assert planned == Counter(job.stage for job in jobs(study))  # what `make estimate` counts


def test_nothing_of_the_default_leaks_into_another_study(checkout):
    """Two config files would be merged: the default is not even read when another study is given."""
    (checkout / "config.yaml").write_text("nonsense: true\n")
    checkout.study(figures={}, tables={})
    planned = checkout.planned("tiny.yaml")
    assert planned == {
        "synthesize_dataset": 1,
        "train_surrogate": 1,
        "estimate_weights": 1,
        "distill": 4,
        "evaluate": 4,
        "train_attribute_model": 1,
        "measure_images": 1,
        "write_report": 1,
    }


@pytest.mark.parametrize("path", [pytest.param("", marks=pytest.mark.thorough), "tiny.yaml"])
def test_scale_of_the_command_line_wins(checkout, path):
    """A target in another scale's folder cannot be made, so the target tells which scale it was."""
    if path:
        distillers = {"dm": {"kind": "dm", "network": "small"}, "random": "random", "whole": "whole"}
        look = {"kind": "images", "network": "small", "steps": 3}
        evaluations = {"convnet": {"network": "small"}, "look": look}
        checkout.study(distillers=distillers, evaluations=evaluations)
    study = yaml.safe_load((checkout / (path or "config.yaml")).read_text())
    target = f"results/{study['study']}/fast/tables/main.csv"
    assert checkout.planned(path, "--config", "scale=fast", "--", target)["make_table"] == 1
    status, output = checkout.run(path, "--dry-run", "--", target)
    assert status != 0
    assert "MissingRuleException" in output


def test_a_dry_run_says_what_the_study_takes_however_it_is_spelled(pristine):
    status, output = pristine.run("", "-np", "datasets")
    assert status == 0, output
    assert "ddbias: together about " in output


def test_rules_are_formatted(pristine):
    pytest.importorskip("snakefmt")
    status, output = pristine.finish(pristine.start("-m", "snakefmt", "--check", "Snakefile", "workflow"))
    assert status == 0, output
