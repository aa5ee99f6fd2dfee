"""The page on reproducing papers names every study with its size and its cost."""

import re
from pathlib import Path

import pytest
from ddbias.base import environment
from ddbias.planning import load
from ddbias.planning.costs.report import duration, report, size
from ddbias.planning.ledger import asked
from ddbias.results.ledger import page
from ddbias.results.tables.published import PUBLISHED_KEYS, read_published

ROOT = Path(__file__).parents[1]
STUDIES = sorted(str(path.relative_to(ROOT)) for path in [ROOT / "config.yaml", *ROOT.glob("studies/*.yaml")])


@pytest.fixture
def no_data(monkeypatch):
    """The sizes of data sets are the declared ones, not those of copies that are at hand."""
    monkeypatch.delenv(environment.DATA, raising=False)


def rows():
    """Return sets, cost at scale fast and cost at scale paper of every study that the page lists, by its path."""
    text = (ROOT / "docs" / "reproduce.md").read_text()
    lines = re.findall(r"^\|[^|]*\| \[[\w.]+\]\(\.\./([\w./]+)\) \|([^|]*)\|([^|]*)\|([^|]*)\|", text, re.MULTILINE)
    return {path: [cell.strip() for cell in cells] for path, *cells in lines}


def test_every_study_is_listed():
    assert sorted(rows()) == STUDIES


@pytest.mark.parametrize("path", STUDIES)
@pytest.mark.usefixtures("no_data")
def test_sizes_are_those_of_the_study(path):
    study = load.read(ROOT / path)
    sets = {tuple(getattr(cell, field) for field in cell.fields[:-1]) for cell in study.cells}
    number, *costs = rows()[path]
    assert int(number) == len(sets)
    together = [report(load.read(ROOT / path, scale), None)["together"].to_do for scale in ("fast", "paper")]
    assert costs == [duration(seconds) for seconds in together]


def number(cell):
    return int(cell.replace(",", ""))


@pytest.mark.usefixtures("no_data")
def test_costs_on_a_cluster_are_those_of_the_studies():
    text = (ROOT / "docs" / "scaling.md").read_text().split("## What do both papers cost")[1].split("\n## ")[0]
    found = re.findall(r"^\| `(\w+)`[^|]*\|([^|]*)\|([^|]*)\|[^|]*\|([^|]*)\|([^|]*)\|$", text, re.MULTILINE)
    assert len(found) == 8
    for name, *cells in found:
        every = report(load.read(ROOT / "studies" / f"{name}.yaml", "paper"), None)["together"]
        said = f"{every.jobs:,}", f"{every.to_do / 86400:,.0f}", duration(every.longest), size(every.memory_mb)
        assert tuple(cell.strip() for cell in cells) == said, name
    *parts, _ = re.split(r"^\| \*\*[^|]*\|([^|]*)\|([^|]*)\|.*$", text, flags=re.MULTILINE)
    assert len(parts) == 6  # rows and their two sums, for each of two papers
    for lines, jobs, days in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        of_rows = re.findall(r"^\| `[^|]*\|([^|]*)\|([^|]*)\|", lines, re.MULTILINE)
        for column, together in enumerate((jobs, days)):
            assert number(together) == sum(number(row[column]) for row in of_rows)


def test_the_numbers_that_no_study_covers_are_counted():
    text = (ROOT / "docs" / "reproduce.md").read_text()
    section = text.split("### Which published numbers does no study cover?")[1].split("###")[0]
    said = sum(int(number) for number in re.findall(r"^\|[^|]*\| (\d+) \|", section, re.MULTILINE))
    numbers = asked([str(ROOT / path) for path in STUDIES])
    covered = {tuple(str(number.published[key]) for key in PUBLISHED_KEYS) for number in numbers}
    assert said == len(read_published(page.PUBLISHED)) - len(covered)


def test_the_page_says_what_the_ledger_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    kept = sorted((ROOT / "docs/measured").glob("*.csv"))
    ledger = page.read(asked(STUDIES), published=page.PUBLISHED, kept=kept, folder=tmp_path)
    counted = re.search(
        r"studies cover (\d+); (\d+) .* counted once they are (\d+), of which (\d+) are within .*? accuracy (\d+)\)"
        r", and (\d+) more .*? (\d+) of those",
        page.markdown(ledger, "abc"),
    )
    said = " ".join((ROOT / "docs/reproduce.md").read_text().split())
    covered, run, once, near, accuracies, within, full = counted.groups()
    assert f"studies cover {covered} of 1,635 and {run} were run" in said
    assert (
        f"they are {once}, of which **{near} are within 3 points of ours**, and {within} more only within our" in said
    )
    assert f"Of the {near}, {accuracies} are accuracies" in said
    assert f"The other {int(near) - int(accuracies)} are DEO, {full} of which are published as 98 and more" in said
    assert f"studies cover {covered};" in (ROOT / "README.md").read_text()
    close = [line for line in page._once(line for line in ledger.lines if line.ours) if line.near]
    made = [line for line in close if line.asked.cell["distiller"] not in ("random", "herding", "kcenter", "whole")]
    right = [line for line in made if line.asked.metric == "accuracy"]
    assert f"accuracies: {len(right)} of distilled sets, {int(accuracies) - len(right)} of random, selected" in said
    alone = sum(line.ours.seeds == 1 for line in close)
    open_ones = sum(line.ours.converged is False for line in close)
    assert f"{alone} of the {near} rest on one seed, {open_ones} on sets that had not converged" in said
    firm = [line for line in made if line.ours.converged and line.ours.seeds >= 3]
    assert f"of distilled sets that had, with three seeds, there are {len(firm)}:" in said
