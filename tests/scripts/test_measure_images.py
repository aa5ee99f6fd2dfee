from pathlib import Path

import measure_images as script
import numpy as np
import pytest
import train_surrogate
from ddbias.data import store
from ddbias.evaluation.images import attribute_model
from ddbias.runtime import job

SETTINGS = {"kind": "images", "network": "small", "surrogate": None, "reference": "train", "repeats": 2, "steps": 3}
SETTINGS |= {"batch_size": 8, "learning_rate": 0.01}
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
DIVERSE = {"pixel_distance", "embedding_distance", "coverage", "density"}
INHERITED = {"aligned_share", "attribute_entropy", "attribute_classifier_accuracy"}


@pytest.fixture
def rule(snakemake, splits, cell, distilled, tmp_path):
    def build(name, *, whole=False, known=True, surrogate=None, formation=1, **settings):
        path = tmp_path / f"attributes of {name}.safetensors"
        model = None
        if known:
            network = attribute_model.build(NETWORK, splits.test_split)
            model = attribute_model.AttributeModel(network, 0.8, 12)
        attribute_model.save(path, model, {})
        return snakemake(
            "measure_images",
            input={
                "distilled": distilled(name, whole=whole, formation=formation),
                "train": splits.train,
                "test": splits.test,
                "attribute_model": str(path),
                "surrogate": surrogate or [],
            },
            output={"evaluation": tmp_path / "evaluations" / f"{name}.parquet"},
            params={"settings": {**SETTINGS, **settings}, "network": NETWORK},
            wildcards={**cell, "evaluation": "look"},
        )

    return build


def written(given):
    script.main(given)
    table, meta = store.read_table(given.output.evaluation)
    return table.to_pylist(), meta


def test_outputs(rule, cell):
    given, again = rule("a"), rule("b")
    rows, meta = written(given)
    for row in rows:
        assert {key: row[key] for key in cell} == {**cell, "seed": 0}
        assert row["evaluation"] == "look"
        assert row["support"] == (12 if row["metric"] == "attribute_classifier_accuracy" else 15)
    assert {row["metric"] for row in rows if row["repeat"] == 0} == DIVERSE | INHERITED
    assert {row["metric"] for row in rows if row["repeat"] == 1} == DIVERSE
    assert meta["convention"] == "balanced"
    assert (meta["settings"], meta["network"]) == (SETTINGS, NETWORK)
    assert meta["distillation"] == store.read_tensors(given.input.distilled, prefix=None)[1]["distillation"]
    written(again)
    assert Path(given.output.evaluation).read_bytes() == Path(again.output.evaluation).read_bytes()


def test_an_unknown_attribute_is_missing(rule):
    rows, _ = written(rule("a", known=False))
    assert {row["metric"] for row in rows} == DIVERSE


def test_the_whole_training_set_is_as_diverse_as_itself(rule):
    rows, _ = written(rule("a", whole=True))
    values = {row["metric"]: row["value"] for row in rows if row["repeat"] == 0}
    assert values["pixel_distance"] == values["embedding_distance"] == values["coverage"] == 1
    assert {row["support"] for row in rows if row["metric"] == "coverage"} == {60}


def test_the_test_split_may_be_the_reference(rule):
    rows, _ = written(rule("a", whole=True, reference="test"))
    values = {row["metric"]: row["value"] for row in rows if row["repeat"] == 0}
    assert values["pixel_distance"] < 1, "four training images of five have one colour, in the test split all are equal"
    assert values["coverage"] < 1


def test_images_in_one_stored_image_are_looked_at_one_by_one(rule):
    rows, _ = written(rule("a", formation=2))
    assert {row["support"] for row in rows if row["metric"] == "coverage"} == {4 * 15}


def test_a_surrogate_embeds_the_images_instead(rule, snakemake, splits, tmp_path):
    settings = {"kind": "supcon", "steps": 2, "batch_size": 16, "learning_rate": 0.05, "momentum": 0.9}
    settings |= {"weight_decay": 1e-4, "temperature": 0.1, "dimensions": 12, "augment": "none", "embedding": "features"}
    settings |= {"early_stopping": False}
    trained = snakemake(
        "train_surrogate",
        input={"train": splits.train},
        output={
            "model": tmp_path / "m.safetensors",
            "embeddings": tmp_path / "e.arrow",
            "history": tmp_path / "h.parquet",
        },
        params={"settings": settings, "network": NETWORK, "seed": 3},
        wildcards={"dataset": "digits_fg", "ratio": "0.8", "surrogate": "supcon", "seed": "3"},
    )
    train_surrogate.main(trained)
    plain, embedded = (
        {row["metric"]: row["value"] for row in written(given)[0] if row["repeat"] == 0}
        for given in (rule("a"), rule("b", surrogate=trained.output.model))
    )
    assert plain["pixel_distance"] == embedded["pixel_distance"]
    assert plain["embedding_distance"] != embedded["embedding_distance"]
    assert np.isfinite(list(embedded.values())).all()


def test_a_damaged_set_is_one_line_and_leaves_no_output(rule, tmp_path, capsys, log_lines):
    given = rule("a")
    path = Path(given.input.distilled)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SystemExit):
        job.run(script.main, given)
    message = capsys.readouterr().err
    assert message.startswith(f"ddbias: {given.input.distilled} is damaged")
    assert message.count("\n") == 1
    assert not (tmp_path / "evaluations").exists()
