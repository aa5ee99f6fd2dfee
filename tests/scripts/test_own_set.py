"""The example study of a set that somebody else made: planned, read, and evaluated by its scripts."""

from pathlib import Path

import distill
import evaluate
import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.data.distilled import load_distilled
from ddbias.datasets.synthesis import write_dataset
from ddbias.planning import load
from ddbias.planning.config import ConfigErrors
from ddbias.planning.study_file import read_yaml

STUDY = Path(__file__).parents[2] / "studies/own_set.yaml"


@pytest.fixture(scope="module")
def study():
    return load.read(STUDY)


def inputs(study, folder):
    """The biased digits, and a set of ten of each in the file that the study names."""
    paths = {part: folder / f"{part}.arrow" for part in ("train", "test")}
    settings = study.config["datasets"]["digits_fg"]
    names = ("source", "bias", "test", "channels", "size", "pad", "normalise", "seed")
    write_dataset(
        train_path=paths["train"],
        test_path=paths["test"],
        preview_path=folder / "preview.png",
        ratio=0.95,
        data={},
        **{name: settings[name] for name in names},
    )
    return paths


def test_the_study_evaluates_the_file(study, snakemake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = inputs(study, tmp_path)
    split = distill.load_split(paths["train"], "train")
    rows = np.concatenate([np.flatnonzero(split.labels == label)[:10] for label in range(10)])
    torch.save(
        [torch.from_numpy(split.images[rows]).float() / 255, torch.from_numpy(split.labels[rows])], "theirs_0.95.pt"
    )
    (cell,) = study.select(distiller="theirs", ratio=0.95)
    wildcards = {"study": study.name, "scale": study.scale, **{name: getattr(cell, name) for name in cell.fields}}
    settings = study.distiller(cell)
    assert settings["file"] == "theirs_0.95.pt"
    files = {
        name.split(".")[0]: name for name in ("distilled.safetensors", "history.parquet", "preview.png", "run.json")
    }
    params = {"settings": settings, "network": None, "debias": {"kind": "uniform"}, "ipc": 10}
    given = snakemake(
        "distill",
        input={"train": str(paths["train"]), "weights": [], "models": []},
        output=files,
        params=params,
        wildcards=wildcards,
    )
    distill.main(given)
    made = load_distilled("distilled.safetensors")
    assert (made.pixels().numpy() == split.images[rows]).all()
    facts = store.read_json("run.json")["distillation"]
    assert facts["files"] == [{"name": "theirs_0.95.pt", "sha256": store.file_sha256("theirs_0.95.pt")}]
    evaluation = {**study.config["evaluations"]["convnet"], "networks": 1, "epochs": 5}
    params = {"settings": evaluation, "network": study.config["networks"]["small"], "steps": None}
    evaluate.main(
        snakemake(
            "evaluate",
            input={"distilled": "distilled.safetensors", "test": str(paths["test"]), "train": []},
            output={"evaluation": "convnet.parquet"},
            params=params,
            wildcards=wildcards,
        )
    )
    assert store.read_table("convnet.parquet")[0].num_rows
    given.params.ipc = 11
    with pytest.raises(DdbiasError, match="holds 100 images, and ipc 11 of 10 classes are 110"):
        distill.main(given)


def test_no_debias_enters():
    config = read_yaml(STUDY)
    config["debias"]["balanced"] = {"kind": "group_balanced"}
    config["grid"][0]["debias"] = ["uniform", "balanced"]
    with pytest.raises(ConfigErrors) as errors:
        load.load(config)
    assert str(errors.value).count("no debias enters the finished set theirs; use uniform") == 1
    assert "grid[0].debias = balanced" in str(errors.value)
