from pathlib import Path

import evaluate as script
import numpy as np
import pytest
import torch
from ddbias.data import store
from ddbias.evaluation import metrics
from ddbias.evaluation.calibration import calibration_error
from ddbias.learning import device
from ddbias.learning.precision import compiling
from ddbias.runtime import job

SETTINGS = {
    "network": "small",
    "networks": 2,
    "epochs": 3,
    "whole_steps": 6,
    "learning_rate": 0.01,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "batch_size": 16,
    "augment": "none",
    "schedule": "drop",
    "cutmix": 0.0,
    "grey": False,
    "augment_rule": "dsa",
    "learned_rate": True,
    "soft_labels": True,
    "debiasing": {"kind": "none"},
}
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}


@pytest.fixture
def rule(snakemake, splits, cell, distilled, tmp_path):
    def build(name, whole=False, precision="exact", steps=None, **settings):
        return snakemake(
            "evaluate",
            input={
                "distilled": distilled(name, whole=whole),
                "test": splits.test,
                "train": splits.train if whole else [],
            },
            output={"evaluation": tmp_path / "evaluations" / f"{name}.parquet"},
            params={"settings": {**SETTINGS, **settings}, "network": NETWORK, "steps": steps, "precision": precision},
            wildcards={**cell, "evaluation": "convnet"},
        )

    return build


def test_outputs(rule, splits, cell):
    given = rule("a")
    script.main(given)
    table, meta = store.read_table(given.output.evaluation)
    rows = table.to_pylist()
    for row in rows:
        assert {key: row[key] for key in cell} == {**cell, "seed": 0}
        assert row["evaluation"] == "convnet"
    assert {row["repeat"] for row in rows} == {0, 1}
    counts = np.array(meta["counts"])
    assert counts.shape == (2, 10, 3, 3)
    assert counts.sum((1, 2, 3)).tolist() == [len(splits.test_split)] * 2
    for row in rows:
        bins = meta["confidence"][row["repeat"]]
        values = metrics.group_metrics(counts[row["repeat"]]) | {"calibration_error": calibration_error(bins)}
        assert row["value"] == values[row["metric"]]
    assert meta["convention"] == "balanced"
    assert (meta["settings"], meta["network"]) == (SETTINGS, NETWORK)
    again = rule("b")
    script.main(again)
    assert Path(given.output.evaluation).read_bytes() == Path(again.output.evaluation).read_bytes()


def test_state_is_kept_until_the_output_is_there(rule, monkeypatch, tmp_path):
    given, undisturbed, state = rule("a"), rule("b"), tmp_path / "state.safetensors"
    script.main(undisturbed)
    assert not state.exists()
    monkeypatch.setenv("DDBIAS_STATE_SECONDS", "0")
    seen, train = [], script.protocol.train

    def killed_in_the_second(*arguments, **options):
        seen.append(state.exists())
        if len(seen) == 2:
            raise KeyboardInterrupt
        train(*arguments, **options)

    monkeypatch.setattr(script.protocol, "train", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        script.main(given)
    script.main(given)
    assert seen == [False, True, True]
    assert not state.exists()
    assert Path(given.output.evaluation).read_bytes() == Path(undisturbed.output.evaluation).read_bytes()


def test_the_debiasing_of_the_settings_is_applied(rule):
    written = []
    for name, debiasing in (("plain", "none"), ("mixed", "selecmix"), ("again", "selecmix")):
        given = rule(name, debiasing={"kind": debiasing})
        script.main(given)
        written.append(store.read_table(given.output.evaluation)[1]["counts"])
    assert written[0] != written[1] == written[2]


def test_the_precision_that_was_had_is_written(rule, monkeypatch):
    def written(name, precision):
        given = rule(name, precision=precision)
        script.main(given)
        return Path(given.output.evaluation).read_bytes(), store.read_table(given.output.evaluation)[1]

    monkeypatch.setattr(device, "machine_obstacle", lambda where: "no")
    exact, meta = written("a", "exact")
    assert meta["provenance"]["precision"] == "exact"
    assert written("b", "fast")[0] == exact
    monkeypatch.setattr(device, "machine_obstacle", lambda where: None)
    monkeypatch.setattr(compiling, "compiled", lambda function: function)
    meta = written("c", "fast")[1]
    assert meta["provenance"]["precision"] == "fast"
    assert np.array(meta["counts"]).shape == (2, 10, 3, 3)
    assert written("d", "exact")[0] == exact


def test_the_whole_set_is_trained_for_a_stated_number_of_steps(rule, monkeypatch):
    from ddbias.learning.training import train

    asked = []

    def note(*arguments, **options):
        asked.append((len(arguments[1]), arguments[1].dtype, options["epochs"], options["steps"]))
        return train(*arguments, **options)

    monkeypatch.setattr("ddbias.evaluation.protocol.train", note)
    given = rule("whole", whole=True, networks=1, steps=4)
    script.main(given)
    script.main(rule("images", networks=1))
    assert asked == [(60, torch.uint8, None, 4), (15, torch.float32, 3, None)]
    assert store.read_table(given.output.evaluation)[1]["settings"]["whole_steps"] == 4


@pytest.mark.parametrize("whole", [False, True])
def test_networks_of_a_grey_evaluation_see_no_colour(rule, splits, monkeypatch, whole):
    seen = {}

    def note(function, place):
        def call(model, images, *arguments, prepare, **options):
            seen[place] = images if prepare is None else prepare(images)
            return function(model, images, *arguments, prepare=prepare, **options)

        return call

    for name in ("train", "classify"):
        monkeypatch.setattr(script.protocol, name, note(getattr(script.protocol, name), name))
    given = rule("grey", whole=whole, networks=1, grey=True, steps=6 if whole else None)
    script.main(given)
    assert store.read_table(given.output.evaluation)[1]["settings"]["grey"]
    meta = splits.test_split.meta
    for images in seen.values():
        scale, shift = (torch.tensor(meta[name]).view(-1, 1, 1) for name in ("std", "mean"))
        pixels = images * scale + shift
        assert (pixels - pixels[:, :1]).abs().max() < 1e-5
        assert pixels.amin((1, 2, 3)).abs().max() < 1e-5
        assert (pixels.amax((1, 2, 3)) - 1).abs().max() < 1e-5
    assert len(seen["train"]) == (60 if whole else 15)
    script.main(rule("colour", whole=whole, networks=1))
    assert (seen["train"][:, 0] - seen["train"][:, 1]).abs().max() > 0.1


def test_a_damaged_set_is_one_line_and_leaves_no_output(rule, tmp_path, capsys, log_lines):
    given = rule("a")
    path = Path(given.input.distilled)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SystemExit) as end:
        job.run(script.main, given)
    assert end.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith(f"ddbias: {given.input.distilled} is damaged")
    assert message.count("\n") == 1
    assert not (tmp_path / "evaluations").exists()


@pytest.mark.parametrize(
    ("settings", "rate", "soft"),
    [({}, 0.3, True), ({"learned_rate": False}, 0.01, True), ({"soft_labels": False}, 0.3, False)],
)
def test_what_a_distiller_learned_is_used_unless_the_evaluation_says_otherwise(rule, monkeypatch, settings, rate, soft):
    given = rule("a", networks=1, **settings)
    tensors, meta = store.read_tensors(given.input.distilled)
    tensors["soft_labels"] = torch.eye(3)[(tensors["labels"] + 1) % 3]
    store.write_tensors(given.input.distilled, tensors, {**meta, "learning_rate": 0.3, "temperature": 2.0})
    seen = []

    def note(model, images, labels, *, recipe, **options):
        seen.append((recipe, labels))

    monkeypatch.setattr("ddbias.evaluation.protocol.train", note)
    script.main(given)
    ((recipe, labels),) = seen
    assert recipe.learning_rate == rate
    assert labels.shape == ((15, 3) if soft else (15,))
