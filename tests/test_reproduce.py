"""The page on reproducing papers names every study with its size and its cost."""

import re
from pathlib import Path

import pytest
from ddbias.planning import load

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
def test_sizes_are_those_of_the_study(path):
    study = load.read(ROOT / path)
    sets = {tuple(getattr(cell, field) for field in cell.fields[:-1]) for cell in study.cells}
    number, *costs = rows()[path]
    assert int(number) == len(sets)
    assert all(costs)
