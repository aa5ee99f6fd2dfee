"""Distilled sets that are drawn, copied or painted, so that the answer is known."""

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.evaluation import records
from ddbias.evaluation.images import measures
from ddbias.evaluation.images.attribute_model import AttributeModel
from ddbias.evaluation.images.measures import diversity, inheritance, rows, shown, untrained

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 8, "depth": 1}
CELL = {"study": "digits", "scale": "quick", "dataset": "digits_fg", "ratio": "0.95", "distiller": "dm"}
CELL |= {"debias": "kde", "ipc": "10", "seed": 0, "evaluation": "look"}
DIVERSE = ["pixel_distance", "embedding_distance", "coverage", "density"]

pytestmark = pytest.mark.usefixtures("one_thread")


class Colour(torch.nn.Module):
    """Reads the attribute off one pixel: which of its channels is the largest."""

    def forward(self, images):
        return images[:, :, 0, 0]


def measured(split, pixels, labels, *, seed=0, repeats=3):
    """Diversity of images that were stored as floats."""
    images = shown(split.normalize(pixels), torch.as_tensor(labels), split, seed)
    embeddings = untrained(NETWORK, split, seed, CPU)
    return list(diversity(images, split, embeddings, repeats=repeats, seed=seed, device=CPU))


def drawn(split, per_class, seed=0):
    """Real images, as pixels 0..255, and their labels."""
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(split.labels == c))[:per_class] for c in range(split.classes)]
    chosen = np.concatenate(chosen)
    return torch.from_numpy(split.images[chosen]), split.labels[chosen]


@pytest.fixture(scope="module")
def split(few_digits):
    return few_digits(per_class=100)


def test_real_images_are_as_diverse_as_real_images(split):
    """Ten images a class: coverage is 1 - 9 8 7 6 5 / (19 18 17 16 15) = 0.989 on average."""
    values = measured(split, *drawn(split, 10), repeats=10)
    mean = {name: np.mean([value[name] for value in values]) for name in DIVERSE}
    assert mean["pixel_distance"] == pytest.approx(1, abs=0.1)
    assert mean["embedding_distance"] == pytest.approx(1, abs=0.1)
    assert mean["coverage"] == pytest.approx(0.989, abs=0.05)
    assert mean["density"] == pytest.approx(1, abs=0.25)


def test_copies_of_one_image_have_no_diversity(split):
    pixels, labels = drawn(split, 1)
    value = measured(split, pixels.repeat_interleave(10, 0), np.repeat(labels, 10))[0]
    assert value["pixel_distance"] == value["embedding_distance"] == 0
    assert value["coverage"] < 0.9


def test_half_the_contrast_is_half_as_diverse_in_pixels(split):
    pixels, labels = drawn(split, 10)
    whole, half = measured(split, pixels, labels)[0], measured(split, pixels.float() / 2, labels)[0]
    assert half["pixel_distance"] == pytest.approx(whole["pixel_distance"] / 2, rel=1e-5)


def test_pixels_out_of_range_are_clipped(split):
    pixels, labels = drawn(split, 5)
    beyond = torch.where(pixels == pixels.min(), -300.0, pixels.float())
    plain = torch.where(pixels == pixels.min(), 0.0, pixels.float())
    assert measured(split, beyond, labels)[0]["pixel_distance"] == pytest.approx(
        measured(split, plain, labels)[0]["pixel_distance"], rel=1e-5
    )


def test_the_order_of_images_makes_no_difference(split):
    pixels, labels = drawn(split, 6)
    order = np.random.default_rng(1).permutation(len(labels))
    for one, other in zip(measured(split, pixels, labels), measured(split, pixels[order], labels[order]), strict=True):
        assert one == pytest.approx(other, rel=1e-6)


def test_repeats_and_seeds(split):
    pixels, labels = drawn(split, 6)
    state = torch.get_rng_state()
    three = measured(split, pixels, labels)
    assert three == measured(split, pixels, labels)
    assert three[:2] == measured(split, pixels, labels, repeats=2)
    assert len({value["pixel_distance"] for value in three}) == 3
    assert three != measured(split, pixels, labels, seed=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_image_a_class_says_nothing_of_diversity(split):
    assert measured(split, *drawn(split, 1)) == [{}, {}, {}]
    assert set(measured(split, *drawn(split, 3))[0]) == {"pixel_distance", "embedding_distance"}


def test_raw_rows_are_taken_as_they_are_and_many_are_sampled(split, monkeypatch):
    monkeypatch.setattr(measures, "MOST", 7)
    images = shown(torch.from_numpy(split.images), torch.from_numpy(split.labels), split, 0)
    assert np.bincount(images.labels).tolist() == [7, 7, 7]
    everything = {image.tobytes() for image in split.images}
    assert all((255 * image).round().byte().numpy().tobytes() in everything for image in images.pixels)
    again = shown(torch.from_numpy(split.images), torch.from_numpy(split.labels), split, 1)
    assert not torch.equal(again.pixels, images.pixels)


def painted(split, attributes, labels):
    """Images of one colour each: 0 is red, 1 green, 2 blue."""
    pixels = torch.zeros(len(labels), *split.shape)
    pixels[torch.arange(len(labels)), torch.tensor(attributes)] = 255
    return shown(split.normalize(pixels), torch.tensor(labels), split, 0)


@pytest.mark.parametrize(
    ("attributes", "share", "entropy"),
    [
        ([0, 0, 0, 1, 1, 1, 2, 2, 2], 1, 0),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1], 1 / 3, 0),
        ([0, 1, 2, 0, 1, 2, 0, 1, 2], 1 / 3, 1),
        ([1, 1, 1, 2, 2, 2, 0, 0, 0], 0, 0),
    ],
)
def test_what_is_painted_is_read(split, attributes, share, entropy):
    split.meta["attribute_names"] = ["red", "green", "blue"]
    images = painted(split, attributes, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    values = inheritance(images, split, AttributeModel(Colour(), 0.75, 40), CPU)
    assert values == pytest.approx(
        {"aligned_share": share, "attribute_entropy": entropy, "attribute_classifier_accuracy": 0.75}
    )


def test_without_classifier_or_pairing_what_cannot_be_said_is_missing(split):
    images = painted(split, [0, 1, 2], [0, 1, 2])
    assert inheritance(images, split, None, CPU) == {}
    unpaired = type(split)(split.images, split.labels, split.attributes, split.index, {**split.meta, "pairing": None})
    values = inheritance(images, unpaired, AttributeModel(Colour(), 0.75, 40), CPU)
    assert values == {"attribute_classifier_accuracy": 0.75}


def test_rows_are_as_the_schema_of_results_says(tmp_path):
    values = {"pixel_distance": 1.2, "coverage": 0.5}
    inherited = {"aligned_share": 1.0, "attribute_classifier_accuracy": 0.9}
    table = rows([values, values], inherited, CELL, images=30, tested=7)
    assert [(row["repeat"], row["metric"], row["value"], row["support"]) for row in table] == [
        (0, "pixel_distance", 1.2, 30),
        (0, "coverage", 0.5, 30),
        (0, "aligned_share", 1.0, 30),
        (0, "attribute_classifier_accuracy", 0.9, 7),
        (1, "pixel_distance", 1.2, 30),
        (1, "coverage", 0.5, 30),
    ]
    records.write(tmp_path / "a.parquet", table, {})
    import jsonschema

    for metric, right in (("coverage", False), ("density", True)):
        too_much = [{**table[0], "metric": metric, "value": 1.5}]
        if right:
            records.write(tmp_path / "b.parquet", too_much, {})
        else:
            with pytest.raises(jsonschema.ValidationError):
                records.write(tmp_path / "c.parquet", too_much, {})
    with pytest.raises(DdbiasError, match="no metric of images is defined for one image per class"):
        rows([{}, {}], {}, CELL, images=3, tested=0)
