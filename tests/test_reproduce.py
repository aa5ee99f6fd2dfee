"""The page on reproducing papers names every study with its size and its cost."""

import os
import re
from pathlib import Path

import pytest
import yaml
from ddbias.planning.costs.resources import estimate
from ddbias.planning.load import load

ROOT = Path(__file__).parents[1]
STUDIES = sorted(str(path.relative_to(ROOT)) for path in [ROOT / "config.yaml", *ROOT.glob("studies/*.yaml")])


def rows():
    """Return sets, cost at scale fast and cost at scale paper of every study that the page lists, by its path."""
    text = (ROOT / "docs" / "reproduce.md").read_text()
    lines = re.findall(r"^\|[^|]*\| \[[\w.]+\]\(\.\./([\w./]+)\) \|([^|]*)\|([^|]*)\|([^|]*)\|", text, re.MULTILINE)
    return {path: [cell.strip() for cell in cells] for path, *cells in lines}


def test_every_study_is_listed():
    assert sorted(rows()) == STUDIES


@pytest.mark.parametrize("path", STUDIES)
def test_sizes_and_costs_are_those_of_the_study(path):
    config = yaml.safe_load((ROOT / path).read_text())
    study = load(config)
    sets = {tuple(getattr(cell, field) for field in cell.fields[:-1]) for cell in study.cells}
    costs = [cost(load(config | {"scale": scale})) for scale in ("fast", "paper")]
    if path in WITH_FACES and "DDBIAS_DATA" not in os.environ:
        pytest.skip("the number of faces is known only where DDBIAS_DATA names a folder with real data sets")
    assert rows()[path] == [str(len(sets)), *costs]


WITH_FACES = ("studies/datasets.yaml", "studies/fairface.yaml")


def cost(study):
    """The sum of the estimate, nothing where there is none."""
    found = re.match(r"together about (.*?) of one core", (estimate(study) or [""])[-1])
    return found[1] if found else ""
