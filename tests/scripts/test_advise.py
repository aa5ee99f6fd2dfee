"""What `make advise` says of real digits with a colour bias, and without one."""

import advise as script
import numpy as np
import pytest
import torch
from ddbias.base import plugins
from ddbias.data.split import save_split
from ddbias.datasets.synthesis import synthesize_dataset
from ddbias.debias import advice
from ddbias.debias.kinds.contradiction import contradiction_weights
from ddbias.debias.trial import Trial
from PIL import Image


def test_the_surrogate_has_the_defaults_of_its_kind():
    declared = plugins.find("surrogate", "cross_fitted").options
    for name, value in advice.SURROGATE.items():
        if name != "kind" and "default" in declared[name]:
            assert declared[name]["default"] == value


def test_weights_at_random_stay_in_their_class():
    rng = np.random.default_rng(0)
    weights, labels = rng.exponential(size=60), np.arange(60) % 3
    mixed = advice._handed_out(weights, labels, 0, 0)
    assert (mixed != weights).any()
    for label in range(3):
        assert sorted(mixed[labels == label]) == sorted(weights[labels == label])


def test_the_picture_has_the_largest_weights_and_white_where_there_are_no_images():
    images = np.arange(50, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8)
    weights = np.random.default_rng(0).permutation(50).astype(float)
    rows = advice.heaviest(weights)
    assert rows.tolist() == np.argsort(-weights)[:40].tolist()
    assert advice.tiles(images[rows]).reshape(40, -1)[:, 0].tolist() == rows.tolist()
    few = advice.tiles(images[advice.heaviest(np.ones(3))]).reshape(40, -1)[:, 0]
    assert few.tolist() == [0, 1, 2, *[255] * 37]


def test_labels_that_cannot_be_drawn_are_numbers():
    assert advice.captions(np.array([1, 0, 2]), ["cat", "犬", "a\nb"]) == ["1", "cat", "2"]


def test_a_bias_that_was_found_is_told_with_what_to_do(few_digits):
    split = few_digits()
    for gain, chosen, excluded, verdict, debias, why in (
        (0.3, 1, 0.7, "a bias was found", "`contradiction`", "mend these first"),
        (0.3, 1, 0.3, "no bias", "`uniform`", "a bias that this test is too weak for"),
        (-0.3, None, 0.7, "no bias", "`uniform`", "many labels are wrong"),
    ):
        found = advice.Advice(Trial([-0.4, gain], [0.02, 0.03], chosen), [0.0, 0.01, -0.02], np.ones(60), 0.1, excluded)
        lines = advice.in_words(found, split, title="mine", picture="advice.png")
        assert verdict in lines[0]
        assert f"- recommended: {debias}" in "\n".join(lines)
        assert why in "\n".join(lines)


@pytest.fixture
def advised(tmp_path, snakemake):
    """Runs the script on digits of an aligned ratio and returns the lines that it wrote."""

    def run(ratio):
        bias = {"kind": "foreground", "severity": 1}
        split, _ = synthesize_dataset(
            source={"kind": "digits"}, bias=bias, ratio=ratio, test="balanced", size=16, seed=0, data={}
        )
        save_split(tmp_path / "train.arrow", split)
        job = snakemake(
            "advise",
            input={"train": str(tmp_path / "train.arrow")},
            output={"advice": tmp_path / "advice.md", "picture": tmp_path / "advice.png"},
            params={},
            wildcards={"dataset": "digits_fg", "ratio": str(ratio)},
        )
        script.main(job)
        assert Image.open(tmp_path / "advice.png").width > 400
        return (tmp_path / "advice.md").read_text().splitlines()

    return run


@pytest.mark.slow
def test_nothing_is_found_by_classifiers_that_learnt_nothing(advised, monkeypatch):
    monkeypatch.setitem(advice.SURROGATE, "steps", 8)
    monkeypatch.setattr("ddbias.debias.trial.STEPS", 1)
    lines = advised(0.95)
    assert "no bias" in lines[0]
    assert sum(line.startswith("- ") for line in lines) == 8


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("ratio", "verdict", "debias"), [(0.1, "no bias", "`uniform`"), (0.95, "a bias was found", "`contradiction`")]
)
def test_advice(advised, ratio, verdict, debias):
    lines = advised(ratio)
    assert verdict in lines[0]
    assert sum(line.startswith("- ") for line in lines) == 8
    assert f"- recommended: {debias}" in "\n".join(lines)


@pytest.fixture
def looked_at(few_digits, monkeypatch):
    """Advice on digits of which the second of three moments excludes most, without training; and what was tried."""
    split, rng, tried = few_digits(), np.random.default_rng(0), []
    number = np.arange(len(split))
    predictions = np.stack([np.where(number % every, split.labels, (split.labels + 1) % 3) for every in (2, 5, 3)], 1)
    out = (predictions != split.labels[:, None]) & (rng.random((len(split), 3)) < [0.2, 0.9, 0.5])
    columns = {"predictions": predictions.astype(np.float32), "excluded": out.astype(np.float32)}
    monkeypatch.setattr(advice.surrogate, "train_surrogate", lambda *_, **__: (None, {}))
    monkeypatch.setattr(advice.surrogate, "embed", lambda *_, **__: dict(columns))

    def advised(doubted):
        results = [Trial([0.1, 0.3], [0.01] * 2, None if doubted is None else 1, True, doubted)]
        results.append(Trial([0.02, -0.01, 0.05], [0.01] * 3, None))
        monkeypatch.setattr(advice, "trial", lambda _, *given, **told: tried.append((*given, told)) or results.pop(0))
        found = advice.advise(split, seed=4, device=torch.device("cpu"))
        return found, tried

    return advised, split.labels, predictions[:, 1], out[:, 1]


def test_advice_is_of_the_clearest_moment_and_compared_with_weights_at_random(looked_at):
    advised, labels, predicted, out = looked_at
    found, (ours, random) = advised(None)
    wrong = predicted != labels
    assert found.contradicted == pytest.approx(wrong.mean())
    assert found.evidence == pytest.approx(out.sum() / wrong.sum())
    weights = contradiction_weights(labels, predicted, power=0.5)
    np.testing.assert_array_equal(found.weights, weights)
    np.testing.assert_array_equal(ours[0][1], weights)
    assert (ours[1], random[1]) == ({"seed": 4, "evident": True}, {"seed": 4})
    assert found.nulls == [0.02, -0.01, 0.05]
    assert len({tuple(null) for null in random[0]} | {tuple(weights)}) == 4  # three orders, all of them others
    for null in random[0]:
        for label in range(3):
            assert sorted(null[labels == label]) == sorted(weights[labels == label])


def test_advice_leaves_out_the_doubted(looked_at):
    advised, labels, predicted, _ = looked_at
    doubted = np.flatnonzero(predicted != labels)[:3]
    found, _ = advised(np.isin(np.arange(len(labels)), doubted))
    for row in doubted:
        assert found.weights[row] == found.weights[labels == labels[row]].min()
    for label in range(3):
        assert found.weights[labels == label].mean() == pytest.approx(1)


def test_advice_tells_what_a_gain_has_to_exceed_and_the_best_of_chance(few_digits):
    for evident, bounds in ((True, "0.04 and 1 standard error\n"), (False, "0.08 and 2 standard errors\n")):
        found = advice.Advice(Trial([0.06], [0.03], None, evident), [0.0, 0.05, -0.02], np.ones(60), 0.1, 0.5)
        text = "\n".join(advice.in_words(found, few_digits(), title="mine", picture="p.png"))
        assert f"+0.06 (standard error 0.03); it has to exceed {bounds}" in text
        assert "handed out at random: +0.05 at most" in text
    hard = advice.Advice(Trial([-0.3], [0.03], None), [0.0], np.ones(60), 0.1, 0.3)  # contradicted, not excluded
    assert "labels are wrong" not in "\n".join(advice.in_words(hard, few_digits(), title="mine", picture="p.png"))


def test_of_equal_weights_the_picture_has_images_from_all_of_the_data_set():
    assert advice.heaviest(np.ones(400)).tolist() == list(range(0, 400, 10))
