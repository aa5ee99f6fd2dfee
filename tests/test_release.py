"""A release: its version is in one place, its archives hold what is needed, and what 0.1.0 left is still read."""

import csv
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import ddbias
import pytest
import safetensors
import yaml
from ddbias.planning.load import read

ROOT = Path(__file__).resolve().parents[1]
BEFORE = ROOT / "tests/lib/data/before"  # written by 0.1.0: a set that it distilled, its default study


def test_every_file_states_the_same_version():
    version = ddbias.__version__
    citation, zenodo = (
        yaml.safe_load((ROOT / "CITATION.cff").read_text()),
        json.loads((ROOT / ".zenodo.json").read_text()),
    )
    assert (citation["version"], zenodo["version"]) == (version, version)
    assert (zenodo["title"], zenodo["license"]) == (citation["title"], citation["license"])
    assert [one["name"] for one in zenodo["creators"]] == [one["name"] for one in citation["authors"]]
    found = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert found[0] == version
    assert "doi" not in citation, "none was given yet"


def test_a_set_of_the_version_before_loads():
    with safetensors.safe_open(BEFORE / "distilled.safetensors", "pt") as file:
        images, labels, text = file.get_tensor("images"), file.get_tensor("labels"), file.metadata()
    assert not any("crc" in key for key in text), "an old one has no checksums"
    distilled = ddbias.load_distilled(BEFORE)
    assert distilled.images.equal(images)
    assert distilled.labels.equal(labels)
    assert distilled.meta["provenance"]["ddbias"] == "0.1.0"
    assert distilled.pixels().shape == (6, 3, 8, 8)


def test_a_study_of_the_version_before_is_one_and_means_what_the_changes_say():
    study, given = read(BEFORE / "study.yaml").config, yaml.safe_load((BEFORE / "study.yaml").read_text())
    dm = study["distillers"]["dm"]
    assert (dm["iterations"], dm["real_batch"]) == (given["distillers"]["dm"]["iterations"]["quick"], 64)
    assert (dm["init"], dm["learning_rate"]) == ("real", 10)
    assert study["debias"]["kde"]["variance"] == given["debias"]["kde"]["variance"]
    assert {table["spread"] for table in study["tables"].values()} == {"interval"}
    text = (ROOT / "CHANGELOG.md").read_text()
    for key in ("normalise", "init", "iterations", "real_batch", "learning_rate", "variance", "min_evidence", "spread"):
        assert re.search(rf"^\| .*\b{key}`.* \|$", text, re.MULTILINE), key


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True, capture_output=True
    )
    return folder


@pytest.mark.slow
def test_the_wheel_holds_library_schemas_and_resources(archives):
    assert "hatchling build -d dist" in (ROOT / "Makefile").read_text()
    with zipfile.ZipFile(archives / f"ddbias-{ddbias.__version__}-py3-none-any.whl") as file:
        names = set(file.namelist())
    for part in ("scripts/ddbias", "schemas", "resources"):
        folder = ROOT / "workflow" / part
        own = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        place = "ddbias" if part == "scripts/ddbias" else f"ddbias/{part}"
        assert {f"{place}/{path.relative_to(folder)}" for path in own} <= names
    assert "ddbias/Snakefile" in names
    assert {name.split("/")[0] for name in names} == {"ddbias", f"ddbias-{ddbias.__version__}.dist-info"}


@pytest.mark.slow
def test_the_sdist_holds_what_is_tracked(archives):
    with tarfile.open(archives / f"ddbias-{ddbias.__version__}.tar.gz") as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for path in (
        "Makefile",
        "Snakefile",
        "config.yaml",
        "workflow/rules/distill.smk",
        "envs/requirements.lock",
        "LICENSE",
    ):
        assert path in names
    assert not [name for name in names if name.startswith((".venv", "results", "data/", ".snakemake/"))]


def test_the_first_screen_of_the_readme_says_what_was_measured():
    screen = " ".join((ROOT / "README.md").read_text().split("![")[0].split())
    with (ROOT / "docs/measured/digits_quick.csv").open() as file:
        rows = {
            (row["ratio"], row["distiller"], row["debias"], row["ipc"], row["metric"]): row
            for row in csv.DictReader(file)
        }
    shown = [
        f"{float(rows['0.95', 'dm', debias, '10', 'unbiased_accuracy']['mean']):.1f}" for debias in ("uniform", "kde")
    ]
    assert re.findall(r"(\d+\.\d) %", screen) == shown
    text = re.sub(r"\(.*?\)|\[|\]", "", screen.split("** ")[1])
    assert len(re.findall(r"\.(?= [A-Z]|$)", text)) == 4
