"""Whole data sets on real images: what is published about them, and what reading only the attribute is worth."""

import numpy as np
import pytest
from ddbias.base.groups import counts
from ddbias.datasets import sources
from ddbias.datasets.sources import parquet as parquet_source
from ddbias.datasets.synthesis import synthesize_dataset
from ddbias.evaluation.metrics import count, group_metrics
from sklearn.neighbors import KNeighborsClassifier

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mnist(data_home, tmp_path_factory):
    root = tmp_path_factory.mktemp("mnist")
    raw = sources.load({"kind": "mnist"}, data={"root": str(root), "mirrors": [str(data_home)]})
    with pytest.MonkeyPatch.context() as patch:
        load = sources.load
        held = lambda settings, **more: dict(raw) if settings["kind"] == "mnist" else load(settings, **more)  # noqa: E731
        patch.setattr(sources, "load", held)
        yield raw


def made(source="mnist", **changes):
    given = {"bias": {"kind": "foreground", "severity": 1}, "ratio": 0.95, "test": "anti", "seed": 42, "data": {}}
    return synthesize_dataset(**{"source": {"kind": source}, **given, **changes})


def mean_colour(split):
    """Mean colour of the brightest ink: what a classifier without eyes for shape has to go by."""
    brightness = split.images.sum(1, keepdims=True, dtype=np.int64)
    ink = brightness >= brightness.max((2, 3), keepdims=True) * 0.95
    return (split.images * ink).sum((2, 3)) / ink.sum((2, 3))


@pytest.mark.parametrize(
    ("test", "ratio", "expected"),
    [("anti", 0.95, 0), ("balanced", 0.95, 0.1), pytest.param("natural", 1, 1, marks=pytest.mark.thorough)],
)
def test_a_classifier_that_reads_only_the_colour(mnist, test, ratio, expected):
    """CMNIST-DD: 0, 10 and 100 % on test sets of aligned ratio 0, .1 and 1."""
    train, held_out = made(test=test, ratio=ratio)
    colours = mean_colour(train)
    centres = np.stack([colours[train.labels == label].mean(0) for label in range(10)])
    predicted = np.linalg.norm(mean_colour(held_out)[:, None] - centres, axis=2).argmin(1)
    assert np.mean(predicted == held_out.labels) == pytest.approx(expected, abs=0.005)


@pytest.mark.thorough
def test_the_order_of_the_test_set_alone_makes_group_gaps(mnist):
    """The floor of CMNIST: of 3 neighbours on pixels without colour, lower where attributes are shuffled."""
    train, held_out = (mnist[split].images[:, 0].reshape(-1, 28 * 28).astype(np.float32) for split in mnist)
    labels = mnist["test"].labels
    neighbours = KNeighborsClassifier(3, algorithm="brute").fit(train[::10], mnist["train"].labels[::10])
    predicted = neighbours.predict(held_out)
    assert np.mean(predicted == labels) == pytest.approx(0.935, abs=0.002)
    for assignment, expected in (("published", (16.5, 9.6, 79.6)), ("shuffled", (12.4, 7.4, 81.4))):
        _, test = made(bias={"kind": "foreground", "severity": 1, "assignment": assignment}, test="balanced", seed=0)
        found = group_metrics(count(test.attributes, labels, predicted, 10, 10))
        found = [100 * found[metric] for metric in ("deo_max", "deo_mean", "worst_group_accuracy")]
        assert found == pytest.approx(expected, abs=0.3)


def test_published_counts(mnist):
    train, held_out = made()
    assert train.meta["counts"][0] == [5627, 33, 33, 33, 32, 33, 33, 33, 33, 33]
    assert held_out.meta["counts"][0] == [0, 109, 109, 109, 109, 108, 109, 109, 109, 109]
    assert (int(train.conflicting.sum()), held_out.meta["convention"]) == (3000, "anti")
    assert train.shape == (3, 32, 32)


@pytest.mark.thorough
def test_reference_noise_is_that_of_the_whole_published_sequence(mnist):
    per_index, _ = made(ratio=0.1)
    reference, _ = made(ratio=0.1, bias={"kind": "foreground", "severity": 1, "noise": "reference"})
    assert (per_index.images != reference.images).any()
    assert ((per_index.images > 0).any(1) == (reference.images > 0).any(1)).mean() > 0.999


@pytest.mark.parametrize(("variant", "corner"), [("published", (4, 4)), ("corrected", (2, 2))])
def test_c_mnist(mnist, variant, corner):
    bias = {"kind": "c_mnist", "where": "foreground", "variant": variant}
    train, held_out = made(bias=bias, ratio=0.9, test="balanced", seed=30)
    assert train.meta["counts"][0][0] == 5330
    assert sorted(train.meta["counts"][0][1:]) == [65] + [66] * 8
    assert np.array(held_out.meta["counts"]).min() > 80  # nearly balanced, as published
    top, left = corner
    ink = (train.images[:200] > 0).any(1)
    digits = mnist["train"].images[:200, 0] >= 128
    np.testing.assert_array_equal(ink[:, top : top + 28, left : left + 28], digits)
    assert ink.sum() == digits.sum()


@pytest.mark.parametrize("ratio", [0.95, 0.98, 0.99, 0.995])
def test_real_attributes(data_home, monkeypatch, ratio):
    """FairFace, young female and old male aligned: every ratio that was published for BFFHQ and CMNIST is reached."""
    # The attribute is in the labels; one pixel an image is enough.
    monkeypatch.setattr(parquet_source, "encoded_images", lambda table, *_: np.zeros((len(table), 3, 1, 1), np.uint8))
    source = {"train": "fairface/train.parquet", "test": "fairface/test.parquet"}
    names = {"label_names": ["young", "old"], "attribute_names": ["male", "female"]}
    bias = {"kind": "subsample", "pairs": ["female", "male"]}
    train, held_out = synthesize_dataset(
        source={"kind": "parquet", **source, **names},
        bias=bias,
        ratio=ratio,
        test="natural",
        seed=0,
        data={"mirrors": [str(data_home)]},
    )
    table = counts(train.labels, train.attributes, 2, 2)
    assert table[0, 1] == 3597 or table[1, 0] == 3599  # all aligned images of the scarcer side are used
    for row, aligned in zip(table, (1, 0), strict=True):
        assert row[aligned] / row.sum() == pytest.approx(ratio, abs=0.5 / row.sum())
    assert held_out.meta["counts"] == [[936, 1115], [574, 387]]
    assert train.meta["wanted"][0] == [round(7194 * (1 - ratio)), 7194 - round(7194 * (1 - ratio))]
