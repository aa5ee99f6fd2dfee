import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.base.groups import counts
from ddbias.datasets import bias
from ddbias.datasets.bias.c_mnist import PALETTE, assign_shuffled, binary_colours, graded_colours
from ddbias.datasets.sources.record import RawImages
from hypothesis import given
from hypothesis import strategies as st

MNIST = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
GREY = np.arange(256)


def shuffled(labels, ratio, seed=0, **options):
    return assign_shuffled(np.asarray(labels), ratio, 10, np.random.default_rng(seed), **options)


@pytest.mark.parametrize(
    ("label", "count", "ratio", "aligned", "chunks"),
    [
        (0, 5923, 0.9, 5330, [66] * 8 + [65]),
        (3, 6000, 0.9, 5400, [67] * 8 + [64]),
        (5, 5421, 0.1, 542, [543] * 8 + [535]),
    ],
)
def test_published_sizes_of_chunks(label, count, ratio, aligned, chunks):
    labels = np.repeat(np.arange(10), MNIST)
    labels = np.concatenate([labels[labels != label], np.full(count, label)])
    table = counts(labels, shuffled(labels, ratio), 10, 10)
    assert table[label, label] == aligned
    assert sorted(np.delete(table[label], label), reverse=True) == chunks
    np.testing.assert_array_equal(table.sum(1), np.bincount(labels))


def test_graded_attributes_are_as_frequent_as_one_two_three():
    labels = np.repeat(np.arange(10), [450, 900, 6742, *[100] * 7])
    table = counts(labels, shuffled(labels, 0.9, graded=True), 10, 10)
    assert sorted(np.delete(table[0], 0)) == list(range(1, 10))
    assert sorted(np.delete(table[1], 1)) == list(range(2, 20, 2))
    exact = (6742 - table[2, 2]) * np.arange(1, 10) / 45
    np.testing.assert_allclose(sorted(np.delete(table[2], 2)), exact, atol=1)
    orders = {tuple(np.argsort(np.delete(table[label], label))) for label in range(10)}
    assert len(orders) > 5  # each class has an order of its own


def test_only_a_split_that_follows_the_ratio_is_graded():
    part = RawImages(np.zeros((4500, 1, 2, 2), np.uint8), np.arange(4500) % 10, [str(i) for i in range(10)])
    graded, equal = (bias.build({"kind": "c_mnist", "others": others}) for others in ("graded", "equal"))
    for context, same in (
        (bias.Context("train", 0.9, "balanced", seed=1), False),
        (bias.Context("test", 0.9, "natural", seed=1), False),
        (bias.Context("test", 0.9, "balanced", seed=1), True),
        (bias.Context("test", 0.9, "anti", seed=1), True),
    ):
        found, plain = (made.assign(part, context).attributes for made in (graded, equal))
        assert np.array_equal(found, plain) == same
        np.testing.assert_array_equal(found == part.labels, plain == part.labels)  # the same images are aligned


def test_who_gets_what_is_drawn():
    labels = np.repeat(np.arange(10), 100)
    a, b = shuffled(labels, 0.5, 0), shuffled(labels, 0.5, 1)
    assert (a != b).any()
    np.testing.assert_array_equal(a, shuffled(labels, 0.5, 0))
    aligned = np.flatnonzero(a == labels)
    assert abs(np.mean(aligned % 100) - 49.5) < 5  # not the first ones of each class


@given(
    labels=st.lists(st.integers(0, 9), max_size=300),
    ratio=st.floats(0, 1),
    attributes=st.integers(10, 14),
    graded=st.booleans(),
)
def test_margins(labels, ratio, attributes, graded):
    labels = np.array(labels, np.int64)
    found = assign_shuffled(labels, ratio, attributes, np.random.default_rng(0), graded=graded)
    table = counts(labels, found, 10, attributes)
    for label, size in enumerate(np.bincount(labels, minlength=10)):
        assert table[label].sum() == size
        assert table[label, label] == int(size * ratio)


def test_more_classes_than_colours():
    with pytest.raises(DdbiasError, match="11 classes but only 10 attributes"):
        shuffled(np.arange(11), 0.5)


def test_binary_colours():
    front, back = binary_colours("foreground"), binary_colours("background")
    for colour in range(10):
        np.testing.assert_array_equal(front[colour, :, 128], PALETTE[colour])
        np.testing.assert_array_equal(back[colour, :, 127], PALETTE[colour])
        assert not front[colour, :, :128].any()
        assert not back[colour, :, 128:].any()


def test_published_background_of_c_fmnist():
    table = graded_colours("background", "published")
    seen = {
        0: (255, 0, 0),
        1: (253, 255, 255),
        64: (127, 192, 192),
        128: (255, 128, 128),
        200: (111, 56, 56),
        255: (1, 1, 1),
    }
    assert {grey: tuple(table[0, :, grey].tolist()) for grey in seen} == seen
    for value in (0, 128, 255):  # against the integer form of the same ramp
        exact = (255 * GREY + (255 - GREY) * value // 255) % 256
        found = table[np.equal(PALETTE, value)]
        lower = (exact - found.astype(int)) % 256
        assert set(lower.ravel()) <= {0, 1}
        assert {int(row.sum()) for row in lower} == {63 if value == 255 else 0}


def test_corrected_background_runs_from_the_colour_to_white():
    table = graded_colours("background", "corrected").astype(int)
    np.testing.assert_array_equal(table[:, :, 0], PALETTE)
    assert (table[:, :, 255] == 255).all()
    assert (np.diff(table, axis=2) >= 0).all()


@pytest.mark.parametrize("variant", ["published", "corrected"])
def test_foreground_of_c_fmnist_is_a_shade(variant):
    table = graded_colours("foreground", variant)
    exact = np.float64(GREY) * PALETTE[:, :, None] / 255
    np.testing.assert_array_equal(table, np.trunc(exact + 1e-9))


@pytest.mark.parametrize("kind", ["c_mnist", "c_fmnist"])
@pytest.mark.parametrize("where", ["foreground", "background"])
def test_images(kind, where):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 1, 5, 4), np.uint8)
    part = RawImages(images, np.arange(40) % 10, [str(i) for i in range(10)])
    made = bias.build({"kind": kind, "where": where})
    context = bias.Context("train", 0.5, seed=1)
    attributes = made.assign(part, context).attributes
    out = made.apply(images, attributes, np.arange(40), context)
    table = binary_colours(where) if kind == "c_mnist" else graded_colours(where, "published")
    for i in range(40):
        for y in range(5):
            for x in range(4):
                assert (out[i, :, y, x] == table[attributes[i], :, images[i, 0, y, x]]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"where": "behind"}, "unknown place of a colour 'behind'"),
        ({"variant": "publisched"}, "Did you mean 'published'"),
        ({"others": "grade"}, "Did you mean 'graded'"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(DdbiasError, match=message):
        bias.build({"kind": "c_mnist", **settings})


def test_colour_images_are_refused():
    made = bias.build({"kind": "c_mnist"})
    with pytest.raises(DdbiasError, match="needs grey images"):
        made.apply(np.zeros((1, 3, 2, 2), np.uint8), np.zeros(1, int), np.arange(1), bias.Context("train", 1.0))
