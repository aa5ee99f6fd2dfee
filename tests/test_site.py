"""The site of the documentation: complete, by itself, and its examples run."""

import csv
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import ddbias
import pytest
import yaml
from ddbias import calls
from ddbias.data import store
from ddbias.evaluation.records import COLUMNS
from ddbias.planning.load import load

ROOT = Path(__file__).resolve().parents[1]


def test_the_reference_has_every_public_name():
    told = set(re.findall(r"^::: (\S+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE))
    found = [calls.distill if name == "distill" else getattr(ddbias, name) for name in ddbias.__all__]
    assert {f"{one.__module__}.{one.__qualname__}" for one in found} <= told


def test_the_navigation_names_every_page():
    text = (ROOT / "website/mkdocs.yml").read_text()
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert pages | {"overview.md", "changelog.md", "contributing.md"} == set(
        re.findall(r": (\S+\.md)$", text, re.MULTILINE)
    )


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("mkdocs"), reason="make docs was not called: MkDocs is not installed")
def test_the_site_builds_with_whole_links_and_asks_nobody(tmp_path):
    call = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", "website/mkdocs.yml", "-d", tmp_path]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, env={"NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.html")}
    assert len(pages) > 20
    for path, text in pages.items():
        assert not re.search(r"""<(script|link|img|iframe)[^>]*(src|href)=["']?https?:""", text), path
        for place, anchor in re.findall(r"""href="?([^"#> ]*)(#[^"> ]*)?""", text):
            if place and not re.match(r"https?:|mailto:|data:|/", place):
                assert (tmp_path / path.parent / place.split("?")[0]).exists(), (path, place)
            elif anchor and not place:
                assert re.search(rf"id=\"?{re.escape(anchor[1:])}[\" >]", text), (path, anchor)
    for path in tmp_path.rglob("*.css"):
        assert not re.search(r"url\(.?https?:|@import", path.read_text()), path
    assert "unpkg" not in "".join(pages.values())
    assert "Estimate how much each image should count" in pages[Path("api.html")]
    assert (tmp_path / "source/examples/read_results.py.txt").read_text() == (
        ROOT / "examples/read_results.py"
    ).read_text()


def test_results_are_read_with_pandas(tmp_path):
    """With the measured table of the default study, and evaluations of two debias whose difference is known."""
    study = tmp_path / "results/digits/quick"
    (study / "tables").mkdir(parents=True)
    table = (ROOT / "docs/measured/digits_quick.csv").read_text()
    (study / "tables/main.csv").write_text(table)
    for seed in (0, 1):
        for debias, value in (("uniform", 0.25), ("kde", 0.75)):
            row = dict.fromkeys(COLUMNS, "digits") | {"ratio": "0.95", "distiller": "dm", "debias": debias, "ipc": "10"}
            row |= {"seed": seed, "metric": "unbiased_accuracy", "value": value + seed / 8, "repeat": 0, "support": 9}
            store.write_table(study / f"evaluations/{debias}/seed{seed}.parquet", {k: [v] for k, v in row.items()}, {})
    done = subprocess.run(
        [sys.executable, ROOT / "examples/read_results.py", study], capture_output=True, text=True, check=True
    )
    assert (
        "4 networks, 4 distilled sets\nkde gains 50.0 points over uniform, in 2 pairs of the same seed\n" in done.stdout
    )
    best = max(float(row["mean"]) for row in csv.DictReader(table.splitlines()) if row["metric"] == "unbiased_accuracy")
    assert f" {best:.2f} " in done.stdout.splitlines()[1]


def test_every_script_of_the_tutorials_exists_and_is_tested():
    page = (ROOT / "docs/tutorials.md").read_text()
    scripts = set(re.findall(r"^\.venv/bin/python (\S+\.py)", page, re.MULTILINE))
    assert {f"../{script}" for script in scripts} == set(re.findall(r"\]\((\.\./examples/\S+)\)", page))
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert all((ROOT / script).is_file() and script in tests for script in scripts)


def test_what_getting_started_changes_is_a_study():
    text, page = (ROOT / "config.yaml").read_text(), (ROOT / "docs/getting-started.md").read_text()
    before, after = re.findall(r"`(severity: \d)`", page)
    assert text.count(before) == 1
    study = load(yaml.safe_load(text.replace(before, after)) | {"study": "mine"})
    assert study.config["datasets"]["digits_fg"]["bias"]["severity"] == 4
    assert study.folder == "results/mine/quick"
    pictures = re.findall(r"\]\((pictures/\S+)\)", page)
    assert len(pictures) == 3
    assert all((ROOT / "docs" / picture).is_file() for picture in pictures)
