from pathlib import Path

import distill as script
import numpy as np
import pytest
import torch
from ddbias.base.environment import STATE_SECONDS
from ddbias.data import store
from ddbias.data.distilled import load_distilled
from ddbias.distill import distribution_matching
from ddbias.runtime import job

DM = {"kind": "dm", "network": "small", "iterations": 5, "real_batch": 12, "learning_rate": 1.0, "momentum": 0.5}
DM |= {"init": "weighted_real", "augment": "crop_scale"}
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
KDE = {"kind": "kde", "surrogate": "supcon", "draw": "weighted_mean", "variance": 0.1, "temperature": 1.0}


@pytest.fixture
def rule(snakemake, splits, tmp_path):
    def build(folder, settings=DM, *, debias=None, weights=None, ipc=2, seed=0, state="state.safetensors", **params):
        if weights is not None:
            path = tmp_path / "weights.parquet"
            store.write_table(path, {"index": splits.train_split.index, "weight": weights}, {})
        names = ("distilled.safetensors", "history.parquet", "preview.png", "run.json")
        return snakemake(
            "distill",
            input={"train": splits.train, "weights": [] if weights is None else str(path), "models": []},
            output={name.split(".")[0]: tmp_path / folder / name for name in names},
            params={
                "settings": settings,
                "network": NETWORK if settings["kind"] == "dm" else None,
                "debias": debias or {"kind": "uniform"},
                "ipc": ipc,
                "seed": seed,
                "state": str(tmp_path / "state" / state),
                **params,
            },
            wildcards={
                "study": "digits",
                "scale": "quick",
                "dataset": "digits_fg",
                "ratio": "0.8",
                "distiller": settings["kind"],
                "debias": (debias or {"kind": "uniform"})["kind"],
                "ipc": str(ipc),
                "seed": str(seed),
            },
        )

    return build


def contents(given):
    """The bytes of all outputs that are promised to be the same each time."""
    return [Path(getattr(given.output, name)).read_bytes() for name in ("distilled", "history", "preview")]


def test_outputs(rule, tmp_path):
    given = rule("a")
    script.main(given)
    result = load_distilled(tmp_path / "a")
    assert result.images.shape == (6, 3, 8, 8)
    assert result.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (result.meta["distiller"], result.meta["ipc"], result.meta["seed"]) == ("dm", "2", 0)
    assert result.meta["settings"] == {"distiller": DM, "debias": {"kind": "uniform"}, "network": NETWORK}
    assert (result.meta["provenance"]["threads"], result.meta["provenance"]["precision"]) == (1, "exact")
    table, _ = store.read_table(given.output.history)
    assert table["step"].to_pylist() == [1, 2, 3, 4, 5]
    assert store.read_json(given.output.run)["command"].endswith(given.output.distilled)
    again, other = rule("b"), rule("c", seed=1)
    script.main(again)
    script.main(other)
    assert contents(again) == contents(given)
    assert not torch.equal(load_distilled(tmp_path / "c").images, result.images)


@pytest.mark.parametrize("kind", ["random", "whole"])
def test_controls(rule, splits, kind):
    given = rule("a", {"kind": kind}, ipc={"random": 2, "whole": "all"}[kind])
    script.main(given)
    tensors, _ = store.read_tensors(given.output.distilled)
    assert ("images" in tensors) == (kind == "random")
    np.testing.assert_array_equal(tensors["labels"], splits.train_split.labels[tensors["rows"]])
    assert store.read_table(given.output.history)[0].num_rows == 0


def test_the_weights_are_used(rule, splits, tmp_path):
    weights = np.where(np.arange(60) % 20 < 2, 1.0, 1e-9)
    given = rule("a", {"kind": "random"}, debias=KDE, weights=weights)
    script.main(given)
    assert sorted(store.read_tensors(given.output.distilled)[0]["rows"].tolist()) == [0, 1, 20, 21, 40, 41]
    losses = []
    for name, draw in (("b", "weighted_mean"), ("c", "proportional")):
        given = rule(name, debias={**KDE, "draw": draw}, weights=np.random.default_rng(0).exponential(size=60))
        script.main(given)
        losses.append(store.read_table(given.output.history)[0]["loss"].to_pylist())
    assert losses[0] != losses[1]


def test_a_changed_job_starts_over(rule, tmp_path, monkeypatch):
    monkeypatch.setenv(STATE_SECONDS, "0")
    step, done = distribution_matching.Distiller.step, []

    def dies(self, number, *rest):
        done.append(number)
        if len(done) == 4:
            raise KeyboardInterrupt
        return step(self, number, *rest)

    monkeypatch.setattr(distribution_matching.Distiller, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        script.main(rule("a"))
    changed = rule("a", {**DM, "learning_rate": 0.5})
    script.main(changed)
    assert done == [0, 1, 2, 3, 0, 1, 2, 3, 4]
    fresh = rule("b", {**DM, "learning_rate": 0.5}, state="fresh.safetensors")
    script.main(fresh)
    assert contents(changed) == contents(fresh)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ipc": 21}, "ddbias: ipc 21 is more than the 20 images of the smallest class\n"),
        (
            {"settings": {**DM, "learning_rate": 1e30}},
            "ddbias: dm uniform ipc2 seed0: the loss is not finite at step 1; lower the learning rate of the images\n",
        ),
    ],
)
def test_a_users_mistake_is_one_line_and_leaves_no_output(rule, tmp_path, capsys, log_lines, changes, message):
    with pytest.raises(SystemExit) as end:
        job.run(script.main, rule("a", **changes))
    assert end.value.code == 1
    assert capsys.readouterr().err == message
    assert not (tmp_path / "a").exists()
