from pathlib import Path

import numpy as np
import pytest
import train_surrogate as script
from ddbias.base.environment import STATE_SECONDS
from ddbias.data import store
from ddbias.debias import surrogate
from ddbias.debias.surrogate import training
from ddbias.runtime import job

SETTINGS = {"kind": "supcon", "network": "small", "epochs": 2, "steps": None, "batch_size": 16, "learning_rate": 0.05}
SETTINGS |= {"momentum": 0.9, "weight_decay": 1e-4, "temperature": 0.1, "dimensions": 12, "augment": "crop_scale"}
SETTINGS |= {"embedding": "features", "q": 0.7, "decay": 0.7, "early_stopping": False, "check_every": 3}
NETWORK = {"kind": "convnet", "width": 4, "depth": 2}
STEPS = 8  # 60 images: four batches an epoch


@pytest.fixture
def rule(snakemake, splits, tmp_path):
    def build(folder, network=NETWORK, **settings):
        names = {"model": "model.safetensors", "embeddings": "embeddings.arrow", "history": "history.parquet"}
        return snakemake(
            "train_surrogate",
            input={"train": splits.train},
            output={key: tmp_path / folder / name for key, name in names.items()},
            params={
                "settings": {**SETTINGS, **settings},
                "network": network,
                "seed": 3,
                "state": str(tmp_path / "state" / "seed3.safetensors"),
            },
            wildcards={"dataset": "digits_fg", "ratio": "0.8", "surrogate": "supcon", "seed": "3"},
        )

    return build


def contents(given):
    return [Path(path).read_bytes() for path in given.output]


def test_outputs(rule, splits, tmp_path):
    given = rule("a")
    script.main(given)
    columns, meta = surrogate.load_embeddings(given.output.embeddings)
    np.testing.assert_allclose(np.linalg.norm(columns["embedding"], axis=1), 1, rtol=1e-5)
    assert columns["embedding"].shape == (60, 4 * 2 * 2)
    for key, expected in (("label", "labels"), ("attribute", "attributes"), ("index", "index")):
        np.testing.assert_array_equal(columns[key], getattr(splits.train_split, expected))
    assert (meta["seed"], meta["settings"], meta["network"]) == (3, SETTINGS, NETWORK)
    assert set(columns) == {"embedding", "label", "attribute", "index"}
    table, _ = store.read_table(given.output.history)
    assert table.column_names == ["step", "loss", "separation", "auc", "conflicting_share"]
    assert table["step"].to_pylist() == list(range(1, STEPS + 1))
    assert np.isfinite(table["loss"].to_numpy()).all()
    assert table["separation"].null_count == 0
    assert np.isnan(table["separation"].to_numpy()).all()
    tensors, _ = store.read_tensors(given.output.model)
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert not list(tmp_path.glob("state/*"))


@pytest.mark.parametrize(
    ("kind", "more"), [("cross_entropy", {"logits"}), ("lff", {"logits", "difficulty"}), ("selecmix", set())]
)
def test_outputs_of_other_kinds(rule, splits, kind, more):
    given = rule("a", kind=kind, early_stopping=True)
    script.main(given)
    columns, _ = surrogate.load_embeddings(given.output.embeddings)
    assert set(columns) == {"embedding", "label", "attribute", "index"} | more
    if more:
        assert columns["logits"].shape == (60, 3)
        assert columns["logits"].dtype == np.float32
    table, _ = store.read_table(given.output.history)
    for name in ("separation", "auc", "conflicting_share"):
        measured = np.flatnonzero(np.isfinite(table[name].to_numpy())) + 1
        assert measured.tolist() == [3, 6, STEPS]


@pytest.mark.parametrize(
    ("norm", "kind", "early_stopping"),
    [("instance", "supcon", False), ("batch", "supcon", True), ("batch", "lff", False), ("instance", "lff", True)],
)
def test_a_killed_job_goes_on_to_the_same_bytes(rule, tmp_path, monkeypatch, norm, kind, early_stopping):
    options = {"network": {**NETWORK, "norm": norm}, "kind": kind, "early_stopping": early_stopping}
    whole = rule("whole", **options)
    script.main(whole)
    monkeypatch.setenv(STATE_SECONDS, "0")
    made, calls = training._Run.step, []

    def dies(run, step):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return made(run, step)

    monkeypatch.setattr(training._Run, "step", dies)
    given = rule("killed", **options)
    with pytest.raises(KeyboardInterrupt):
        script.main(given)
    assert not (tmp_path / "killed").exists()
    script.main(given)
    assert len(calls) == STEPS + 1
    assert contents(given) == contents(whole)
    assert list((tmp_path / "state").iterdir()) == []


def test_a_diverging_surrogate_is_one_line_and_leaves_no_output(rule, tmp_path, capsys, log_lines):
    with pytest.raises(SystemExit):
        job.run(script.main, rule("a", learning_rate=1e35))
    message = capsys.readouterr().err
    assert message.startswith("ddbias: ")
    assert "not finite" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "a").exists()
