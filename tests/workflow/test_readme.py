"""What the README promises: its commands exist, its snippets run, its numbers are those that were measured."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
TABLES = sorted({(page, name) for page, text in PAGES.items() for name in re.findall(r"<!-- table: (\w+) -->", text)})
DISTILLED = "results/digits/quick/distilled/digits_fg/0.95/dm/kde/ipc10/seed0"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_every_make_command_is_a_target():
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)
    assert {"run", "test", "help"} <= set(commands)
    for target in commands:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_link_and_study_exists():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    studies = [path for path in re.findall(r"CONFIG=(\S+?)`?$", README, re.MULTILINE) if path.startswith("studies/")]
    assert links
    assert studies
    for path in links + studies:
        assert (ROOT / path.partition("#")[0]).exists(), path


# Columns of tables and the metrics that they show.
SHOWN = {
    "accuracy": ("accuracy", "unbiased_accuracy"),
    "conflicting": ("conflicting_accuracy",),
    "worst group": ("worst_group_accuracy",),
    "predicts the attribute": ("attribute_accuracy",),
    "information": ("attribute_information",),
    "pixel distance": ("pixel_distance",),
    "embedding distance": ("embedding_distance",),
    "deo_max": ("deo_max",),
    "deo_mean": ("deo_mean",),
    "coverage": ("coverage",),
    "aligned share": ("aligned_share",),
    "entropy": ("attribute_entropy",),
    "amplification": ("unbiased_amplification",),
    "by size": ("unbiased_size_amplification",),
    "by distillation": ("unbiased_distillation_amplification",),
}


def value(mean, spread="", *, sign=""):
    """A number as a table shows it; minus signs are compared as hyphens."""
    return f"{float(mean):{sign}.1f}" + (f" ± {float(spread):.1f}" if spread else "")


def shown_value(row):
    """What the README says of a row of a CSV: the interval over seeds, or in files without it the deviation."""
    if "networks" not in row:
        return value(row["mean"], row["std"])  # n of these counts networks
    return value(row["mean"], row["interval"]) + (" †" if row["converged"] == "false" else "")


def shown_difference(row, against):
    """How much more a row has than another: the seeds where they are fewer, and the mark of either."""
    text = value(row["difference"], row["difference_interval"], sign="+")
    if row["difference_n"] != row["n"]:
        text += f" ({row['difference_n']} seed{'s' * (row['difference_n'] != '1')})"
    return text + (" †" if "false" in (row["converged"], against["converged"]) else "")


def shown_number(row):
    return "1 seed" if "networks" in row and row["n"] == "1" else row["n"]


def test_rows_of_old_and_new_files_are_shown_as_they_are_kept():
    old = {"mean": "44.14", "std": "2.18", "interval": "4.17", "n": "9"}
    assert (shown_value(old), shown_number(old)) == ("44.1 ± 2.2", "9")
    new = {**old, "n": "5", "networks": "3", "converged": "true"}
    assert (shown_value(new), shown_number(new)) == ("44.1 ± 4.2", "5")
    alone = {**new, "interval": "", "n": "1", "converged": "false"}
    assert (shown_value(alone), shown_number(alone)) == ("44.1 †", "1 seed")


@pytest.mark.parametrize(("page", "name"), TABLES)
def test_tables_show_what_was_measured(page, name):
    for block in re.findall(rf"<!-- table: {name} -->(.*?)<!-- end -->", PAGES[page], re.DOTALL):
        check_table(block, name)


def check_table(block, name):
    """Compare a table of a page with the file that it names."""
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.strip().splitlines()]
    head, lines = shown[0], shown[2:]
    with (ROOT / "docs/measured" / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert lines
    for line in lines:
        cell = dict(zip(head, (text.replace("−", "-") for text in line), strict=True))
        keys = ("dataset", "ratio", "distiller", "debias", "ipc", "evaluation")
        of_cell = [row for row in rows if all(row[key] == cell.get(key, row[key]) for key in keys)]
        columns = cell.keys() & SHOWN.keys()
        assert columns
        for column in columns:
            (row,) = [row for row in of_cell if row["metric"] in SHOWN[column]]
            assert cell[column] == shown_value(row)
            assert cell["n"] == shown_number(row)
        (other,) = [name for name in head if name.startswith("minus ")] or [""]
        if cell.get(other):  # the difference in the accuracy to another debias
            (row,) = [row for row in of_cell if row["metric"] in SHOWN["accuracy"]]
            assert row["against"] == other.removeprefix("minus ")
            (against,) = [
                one
                for one in rows
                if one == {**one, **{key: row[key] for key in (*keys, "metric")}, "debias": row["against"]}
            ]
            assert cell[other] == shown_difference(row, against)
        if cell.get("published"):
            (row,) = [row for row in of_cell if row["metric"] in SHOWN["accuracy"]]
            assert float(cell["published"]) == float(row["published"])
            assert cell["gap"] == f"{float(row['gap']):+.1f}"


@pytest.mark.parametrize("page", PAGES)
def test_every_table_of_results_has_its_file(page):
    if page == "config.md":  # of keys
        return
    rest = re.sub(r"<!-- table: \w+ -->.*?<!-- end -->", "", PAGES[page], flags=re.DOTALL)
    assert not [line for line in rest.splitlines() if line.startswith("|") and "±" in line]
    heads = re.findall(r"^\|(.*)\|\n\|[-:| ]+\|$", rest, re.MULTILINE)
    results = {"accuracy", "unbiased accuracy", "aligned share", "coverage"}
    assert not [head for head in heads if results & {cell.strip() for cell in head.split("|")}]


def test_the_notebook_snippet_runs(finished):
    (snippet,) = blocks("python")
    assert DISTILLED in snippet
    snippet = snippet.replace(DISTILLED, "results/tiny/quick/distilled/digits_fg/0.95/dm/kde/ipc1/seed0")
    snippet = snippet.replace(
        "    ...", "    assert batch.shape[1:] == (3, 20, 20), batch.shape\n    assert len(target)"
    )
    subprocess.run([sys.executable, "-c", snippet], cwd=finished.folder, check=True, timeout=60)
    assert len(list((finished / "kde_images").rglob("*.png"))) == 10


@pytest.mark.thorough
def test_own_data_in_ten_lines(checkout):
    (snippet,) = blocks("yaml")
    study = yaml.safe_load((ROOT / "studies/own_data.yaml").read_text()) | yaml.safe_load(snippet)
    study |= {
        "scale": "quick",
        "precision": "exact",
        "networks": {name: {"kind": "convnet", "width": 8} for name in study["networks"]},
    }
    study["grid"] = [entry | {"seeds": [0]} for entry in study["grid"]]
    study["grid"][0]["distillers"] = ["dm"]
    study["distillers"]["dm"]["iterations"] = {"quick": 2}
    study["evaluations"]["convnet"] |= {"epochs": {"quick": 1}, "whole_steps": {"quick": 1}}
    write_own_images(checkout.folder)
    checkout.study("mine.yaml", **study)
    (checkout / "mine.yaml").write_text(yaml.safe_dump(study))
    status, output = checkout.run("mine.yaml")
    assert status == 0, output
    with (checkout / "results/mine/quick/tables/main.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["debias"] for row in rows} == {"uniform", "contradiction"}
    assert all(int(row["n"]) == 1 for row in rows if row["metric"] == "unbiased_accuracy")
    status, output = checkout.run("mine.yaml", "advice")
    assert status == 0, output
    assert "- recommended: `" in output
    assert checkout.planned("mine.yaml") == {"write_report": 1}
    status, output = checkout.run("mine.yaml")
    assert status == 0, output
    assert "Is there a bias?" in (checkout / "results/mine/quick/report/index.html").read_text()
    status, output = checkout.run("mine.yaml", "check")
    assert status == 0, output
    assert "- recommended: `" in output
    os.utime(checkout / "train.parquet")
    assert not checkout.planned("mine.yaml")
    shutil.copy(checkout / "test.parquet", checkout / "train.parquet")
    assert checkout.planned("mine.yaml")["synthesize_dataset"] == 1


def write_own_images(folder):
    """Write two Parquet files of real digits on grounds of two brightnesses: a user's images with an attribute."""
    import pyarrow as pa
    from PIL import Image
    from pyarrow import parquet
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    chosen = np.flatnonzero(labels < 2)
    rng = np.random.default_rng(0)
    attributes = np.where(rng.random(len(chosen)) < 0.9, labels[chosen], 1 - labels[chosen])
    encoded = []
    for row, attribute in zip(chosen, attributes, strict=True):
        picture = (images[row].reshape(8, 8) * 10 + 80 * attribute).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(picture).convert("RGB").save(buffer, format="PNG")
        encoded.append(buffer.getvalue())
    table = pa.table({"image": encoded, "label": labels[chosen], "attribute": attributes})
    parquet.write_table(table.slice(0, 240), folder / "train.parquet")
    parquet.write_table(table.slice(240), folder / "test.parquet")
