"""`make check-data`, and the worked example of the documentation."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from ddbias.datasets.synthesis import synthesize_dataset
from ddbias.planning.load import load
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def test_make_target():
    (recipe,) = re.findall(r"^check-data:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "-- check " in recipe


def test_report_is_printed_every_time_and_made_once(finished):
    status, output = finished.run("tiny.yaml", "check")
    assert status == 0, output
    assert "# digits_fg, aligned ratio 0.95" in output
    assert "| 0 | **113** | 1 |" in output
    assert "- nothing found" in output
    assert finished.planned("tiny.yaml", "check") == {"check": 1}
    assert not finished.planned("tiny.yaml")  # looking at the data makes nothing else out of date


@pytest.fixture
def xrays(tmp_path):
    """Pictures named by hospital, of different sizes: ill is bright, hospital B has a stripe at the left."""
    rng = np.random.default_rng(0)
    for split, counts in (("train", {"A": 4, "B": 9}), ("test", {"A": 3, "B": 3})):
        for label in ("healthy", "pneumonia"):
            (tmp_path / "xrays" / split / label).mkdir(parents=True)
            for hospital, count in counts.items():
                count = count if label == "healthy" else sum(counts.values()) - count
                for number in range(count):
                    side = int(rng.integers(70, 90))
                    picture = np.full((side, side), 200 if label == "pneumonia" else 50, np.uint8)
                    picture[:, : side // 2] -= 40 if hospital == "B" else 0
                    Image.fromarray(picture).convert("RGB").save(
                        tmp_path / "xrays" / split / label / f"{hospital}_{number:04}.png"
                    )
    return tmp_path


def test_worked_example_of_the_documentation(xrays, monkeypatch):
    monkeypatch.chdir(xrays)
    block, *_ = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/own-data.md").read_text(), re.MULTILINE | re.DOTALL)
    config = yaml.safe_load((ROOT / "studies/own_data.yaml").read_text()) | yaml.safe_load(block)
    for figure in config["figures"].values():  # what the page says about the rest of the study
        figure["dataset"] = "xrays"
    config["networks"]["convnet"]["depth"] = 4
    dataset = load(config).config["datasets"]["xrays"]
    train, test = synthesize_dataset(ratio=None, data={}, **dataset)
    assert train.shape == (1, 64, 64)
    assert train.meta["attribute_names"] == ["A", "B"]
    assert train.meta["counts"] == [[4, 9], [9, 4]]
    assert (int((~train.conflicting).sum()), len(train)) == (18, 26)
    assert test.meta["counts"] == [[3, 3], [3, 3]]
    ill, stripe = train.images[:, 0, 32, 60] > 100, train.images[:, 0, 32, 4] < train.images[:, 0, 32, 60]
    np.testing.assert_array_equal(ill, train.labels == 1)
    np.testing.assert_array_equal(stripe, train.attributes == 1)


def test_a_changed_image_makes_its_data_set_again(checkout, xrays):
    dataset = {
        "source": {"kind": "image_folder", "train": str(xrays / "xrays/train"), "test": str(xrays / "xrays/test")},
        "bias": "none",
        "size": 16,
    }
    tiny = yaml.safe_load((checkout / checkout.study()).read_text())
    grid = [{**entry, "dataset": "xrays", "ratios": ["natural"]} for entry in tiny["grid"]]
    checkout.study(datasets={"xrays": dataset}, grid=grid, figures={})
    status, output = checkout.run("tiny.yaml", "datasets")
    assert status == 0, output
    assert not checkout.planned("tiny.yaml", "datasets") - Counter({"datasets": 1})
    picture = next((xrays / "xrays/train/healthy").iterdir())
    Image.new("RGB", (40, 40)).save(picture)
    assert checkout.planned("tiny.yaml", "datasets")["synthesize_dataset"] == 1
    train = xrays / "xrays/train"
    train.rename(xrays / "away")  # a drive that is not there today
    status, output = checkout.run("tiny.yaml", "datasets")
    assert status != 0
    (line,) = [line for line in output.splitlines() if "is not found" in line]
    assert line.startswith(f"ddbias: {train} is not found")
    assert "Traceback" not in output
    assert (checkout / "results/tiny/quick/data/xrays/natural/train.arrow").exists()
    status, output = checkout.run("tiny.yaml", "datasets", "--rerun-triggers", "mtime")
    assert status == 0, output
