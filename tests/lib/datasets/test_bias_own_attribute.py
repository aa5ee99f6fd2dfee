import re
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.base.groups import counts
from ddbias.datasets import bias
from ddbias.datasets.bias.own_attribute import reachable
from ddbias.datasets.sources.record import RawImages
from hypothesis import given
from hypothesis import strategies as st


def part_of(cells, attributes=True):
    """A source with ``cells[label][attribute]`` images, shuffled; the pixel is the row."""
    cells = np.asarray(cells)
    pairs = [(label, attribute) for (label, attribute), n in np.ndenumerate(cells) for _ in range(n)]
    pairs = np.random.default_rng(0).permutation(pairs)
    images = np.arange(len(pairs), dtype=np.uint8).reshape(-1, 1, 1, 1)
    names = [f"label {i}" for i in range(cells.shape[0])], [f"attribute {i}" for i in range(cells.shape[1])]
    known = (pairs[:, 1], names[1]) if attributes else (None, None)
    return RawImages(images, pairs[:, 0], names[0], *known)


def drawn(part, made, split="train", ratio=0.9, test="natural", seed=0):
    found = made.assign(part, bias.Context(split, ratio, test, seed))
    if found.attributes is not None:
        np.testing.assert_array_equal(found.attributes, part.attributes[found.rows])
    assert (np.diff(found.rows) > 0).all()
    return found, counts(part.labels[found.rows], found.attributes, len(part.label_names), len(part.attribute_names))


FACES = part_of([[360, 360], [360, 284]])


SAME = [0, 1]


@pytest.mark.parametrize(("ratio", "pairs"), [(0.95, SAME), (0.95, [1, 0]), (0.5, SAME), (0.0, SAME), (1.0, [1, 0])])
def test_subsampling_reaches_the_ratio_with_as_many_images_as_there_are(ratio, pairs):
    made = bias.build({"kind": "subsample", "pair_positions": pairs})
    found, table = drawn(FACES, made, ratio=ratio)
    available = counts(FACES.labels, FACES.attributes, 2, 2)
    for label in range(2):
        partner = pairs[label]
        total = table[label].sum()
        assert table[label, partner] == round(ratio * total) or ratio * total % 1 == 0.5
        more = total + 2  # no larger class has this ratio
        assert (
            ratio * more > available[label, partner] + 0.5 or (1 - ratio) * more > available[label, 1 - partner] + 0.5
        )
    np.testing.assert_array_equal(found.wanted.sum(1), available.sum(1))


def test_the_same_images_come_first_for_every_ratio():
    made = bias.build({"kind": "subsample", "per_class": 200, "pair_positions": SAME})
    rows = {ratio: set(drawn(FACES, made, ratio=ratio)[0].rows) for ratio in (0.8, 0.9)}
    conflicting = {r: {row for row in rows[r] if FACES.attributes[row] != FACES.labels[row]} for r in rows}
    assert conflicting[0.9] < conflicting[0.8]
    other = drawn(FACES, made, ratio=0.9, seed=1)[0].rows
    assert set(other) != rows[0.9]


def test_every_group_has_a_draw_of_its_own():
    part = part_of([[50, 50], [50, 50]])
    rows = drawn(part, bias.build({"kind": "subsample", "per_class": 50, "pair_positions": SAME}), ratio=0.5)[0].rows
    places = set()
    for label, attribute in ((0, 0), (0, 1), (1, 0), (1, 1)):
        members = np.flatnonzero((part.labels == label) & (part.attributes == attribute))
        places.add(tuple(np.flatnonzero(np.isin(members, rows))))
    assert {len(some) for some in places} == {25}
    assert len(places) == 4


def test_what_was_wanted_and_not_reached_is_stated():
    part = part_of([[100, 3], [10, 100]])
    found, table = drawn(part, bias.build({"kind": "subsample", "per_class": 80}), ratio=0.9)
    assert found.wanted.tolist() == [[72, 8], [8, 72]]
    assert table[1].tolist() == [8, 72]
    assert table[0, 1] == 3
    assert abs(table[0, 0] / table[0].sum() - 0.9) < 1 / table[0].sum()


@pytest.mark.parametrize(
    ("cells", "ratio", "said"),
    [
        ([[100, 0], [50, 50]], 0.9, "class 'label 0' has 100 aligned and 0 conflicting images"),
        ([[100, 5], [0, 50]], 1.0, None),
        ([[0, 5], [9, 50]], 0.5, "class 'label 0' has 0 aligned and 5 conflicting images"),
        ([[20, 20], [20, 20]], 0.995, "the aligned ratio 0.995 cannot be drawn; choose a ratio nearer to 0.5"),
    ],
)
def test_a_ratio_out_of_reach(cells, ratio, said):
    made = bias.build({"kind": "subsample", "pair_positions": SAME})
    if said is None:
        assert drawn(part_of(cells), made, ratio=ratio)[1].tolist() == [[100, 0], [0, 50]]
        return
    with pytest.raises(DdbiasError) as error:
        drawn(part_of(cells), made, ratio=ratio)
    assert said in str(error.value)


@given(
    available=st.lists(st.integers(0, 60), min_size=2, max_size=6),
    ratio=st.sampled_from([0.0, 0.1, 0.5, 0.8, 0.95, 0.99, 1.0]),
    partner=st.integers(0, 1),
    asked=st.integers(1, 200),
)
def test_never_more_than_there_is_and_always_the_exact_ratio(available, ratio, partner, asked):
    available = np.array(available)
    try:
        taken = reachable(available, ratio, partner, asked)
    except DdbiasError:
        return
    assert (taken <= available).all()
    assert taken.sum() <= asked
    assert abs(taken[partner] - ratio * taken.sum()) <= 1
    others = np.delete(taken, partner)
    assert others.max() - others.min() <= 2  # halves to even
    shares = np.full(len(available), (1 - ratio) / (len(available) - 1))
    shares[partner] = ratio
    for more in range(taken.sum() + 1, asked + 1):
        ends = [0, *(round(more * end) for end in np.cumsum(shares).tolist())]
        assert (np.diff(ends) > available).any(), f"{more} images fit"


def test_conventions_of_the_test_split():
    part = part_of([[30, 8], [12, 20], [9, 11]])
    made = bias.build({"kind": "none", "pairs": ["attribute 1", "attribute 0", "attribute 1"]})
    assert made.pairing(part) == [1, 0, 1]
    assert drawn(part, made, "test", test="natural")[1].tolist() == [[30, 8], [12, 20], [9, 11]]
    assert drawn(part, made, "test", test="anti")[1].tolist() == [[30, 0], [0, 20], [9, 0]]
    assert drawn(part, made, "test", test="balanced")[1].tolist() == [[8, 8], [8, 8], [8, 8]]
    assert drawn(part, made, "train", ratio=None, test="anti")[1].sum() == 90


@pytest.mark.parametrize(
    ("settings", "part", "test", "said"),
    [
        ({"pairs": ["attribute 0"]}, FACES, "anti", "pairs names 1 attributes for 2 labels"),
        ({"pairs": ["attribute 0", "attribut 1"]}, FACES, "anti", "Did you mean 'attribute 1'"),
        ({"pairs": ["attribute 0", 2]}, FACES, "anti", "pairs holds 2, which is no attribute"),
        ({"pairs": ["attribute 0", 1]}, FACES, "anti",
         "For the position 1, the value attribute 1, write pair_positions"),
        ({"pair_positions": [0, 2]}, FACES, "anti", "pair_positions holds 2; the source has the attributes 0 to 1"),
        ({"pairs": ["attribute 0"] * 2, "pair_positions": [0, 1]}, FACES, "anti",
         "exclude each other; remove one of them"),
        ({}, part_of([[3, 3], [3, 3], [3, 3]]), "anti", "no attribute is paired with a label"),
        ({}, part_of([[3, 0], [0, 3]]), "anti", "no test image conflicts"),
        ({}, part_of([[3, 0], [2, 3]]), "balanced", "no test image has label 'label 0' and attribute 'attribute 1'"),
        ({}, part_of([[3, 3], [3, 3]], attributes=False), "anti", "the source has no attribute; set test: natural"),
        ({"pairs": ["a", "b"]}, part_of([[3, 3], [3, 3]], attributes=False), "natural",
         "pairs are given, but the source has no attribute; name its attribute, or remove them"),
    ],
)  # fmt: skip
def test_wrong_settings(settings, part, test, said):
    made = bias.build({"kind": "none", **settings})
    with pytest.raises(DdbiasError) as error:
        made.fitted(part).assign(part, bias.Context("test", None, test))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (part_of([[3, 3], [3, 3]], attributes=False), "needs a source with an attribute"),
        (part_of([[3, 3], [3, 3], [3, 3]]), "which attribute is paired with which label; set pairs:"),
        (part_of([[3], [3]]), "set pairs:"),
    ],
)
def test_subsampling_needs_attributes(part, said):
    with pytest.raises(DdbiasError, match=said):
        bias.build({"kind": "subsample"}).assign(part, bias.Context("train", 0.9))


def named(cells, names):
    return replace(part_of(cells), attribute_names=names)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([[9, 1], [2, 8]], [0, 1]),
        ([[1, 9], [8, 2]], [1, 0]),  # by alphabetical order aligned and conflicting would be swapped
        ([[5, 5], [2, 8]], None),  # no majority
        ([[9, 1], [8, 2]], None),  # the same for both
        ([[1, 9, 0], [8, 1, 1]], [1, 0]),
    ],
)
def test_without_pairs_the_majority_of_the_training_images_decides(cells, expected):
    made = bias.build({"kind": "none"}).fitted(part_of(cells))
    assert made.pairing(part_of([[1] * len(cells[0])] * 2)) == expected  # whatever the test split holds


def test_label_and_attribute_of_the_same_name_are_paired():
    part = named([[9, 1], [8, 2]], ["label 0", "label 1"])
    assert bias.build({"kind": "none"}).pairing(part) == [0, 1]
    turned = named([[1, 9], [2, 8]], ["label 1", "label 0"])  # as label_names: may order them
    assert bias.build({"kind": "none"}).pairing(turned) == [1, 0]
    more = named([[1, 9, 0], [8, 2, 0]], ["label 0", "label 1", "label 2"])  # other names: the majority decides
    assert bias.build({"kind": "none"}).pairing(more) == [1, 0]


def test_names_that_most_images_contradict_are_refused():
    """As with labels 0 and 1 and attributes 0 and 1, which say nothing about each other."""
    part = replace(part_of([[1, 9], [8, 2]]), label_names=["0", "1"], attribute_names=["0", "1"])
    said = "label '0' has an attribute of the same name, but most of its images have the attribute '1'; set pairs: to "
    with pytest.raises(DdbiasError, match=re.escape(said + "[0, 1] if the names count, to [1, 0] if the images do")):
        bias.build({"kind": "none"}).pairing(part)
    assert bias.build({"kind": "none", "pairs": [0, 1]}).pairing(part) == [0, 1]
    assert bias.build({"kind": "none", "pairs": [1, 0]}).pairing(part) == [1, 0]


def test_integers_in_pairs_are_values_and_the_other_reading_is_named(log_lines):
    part = named([[3, 3, 3], [3, 3, 3]], ["1", "2", "3"])
    assert bias.build({"kind": "none", "pairs": [1, 2]}).pairing(part) == [0, 1]
    assert [line for line in log_lines if "pairs: 1 is the attribute value 1; the one at position 1, 2, would" in line]
    assert bias.build({"kind": "none", "pairs": [2019, 2020]}).pairing(named([[3, 3]] * 2, ["2019", "2020"])) == [0, 1]
    assert bias.build({"kind": "none", "pair_positions": [1, 2]}).pairing(part) == [1, 2]


def test_a_single_attribute():
    made = bias.build({"kind": "subsample", "pair_positions": [0, 0]})
    with pytest.raises(DdbiasError, match="a single attribute, so no sample can conflict"):
        made.assign(part_of([[3], [3]]), bias.Context("train", 0.9))


@pytest.mark.parametrize(("of_source", "of_study"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_names_are_the_same_however_their_accents_are_stored(of_source, of_study):
    names = [unicodedata.normalize(of_source, name) for name in ("Köln", "Bonn")]
    part = replace(part_of([[3, 1], [1, 3]]), attribute_names=names, label_names=names)
    assert part.attribute_names == part.label_names == ["Köln", "Bonn"]
    pairs = [unicodedata.normalize(of_study, name) for name in ("Bonn", "Köln")]
    assert bias.build({"kind": "none", "pairs": pairs}).pairing(part) == [1, 0]
