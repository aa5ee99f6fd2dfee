import json

import numpy as np
import pytest
from ddbias import assign_attributes
from ddbias.base.errors import DdbiasError
from ddbias.data.split import Split, load_split
from ddbias.datasets import sources
from ddbias.datasets.sources.record import RawImages
from ddbias.datasets.synthesis import save_preview, synthesize_dataset, write_dataset
from PIL import Image

DIGITS = {
    "source": {"kind": "digits"},
    "bias": {"kind": "foreground", "severity": 2},
    "ratio": 0.9,
    "test": "balanced",
    "seed": 0,
    "data": {},
}


@pytest.fixture
def toy(monkeypatch):
    """Register a source: `toy(images, ...)`, the same images in both splits."""

    def register(side=28, channels=1, attributes=None, count=40):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (count, channels, side, side), dtype=np.uint8)
        images[:, :, 0, 0] = 0  # every image has a black pixel
        names = None if attributes is None else ["a", "b"]
        part = RawImages(images, np.arange(count) % 2, ["x", "y"], attributes, names)
        monkeypatch.setattr(sources, "load", lambda settings, **_: {"train": part, "test": part})
        monkeypatch.setattr(sources, "published_normalisation", lambda kind: "own")
        return part

    return register


def made(**changes):
    return synthesize_dataset(**{**DIGITS, **changes})


def counted(split, shape=(10, 10)):
    matrix = np.zeros(shape, int)
    np.add.at(matrix, (split.labels, split.attributes), 1)
    return matrix.tolist()


def test_splits_of_digits_hold_what_their_parts_say():
    train, test = made()
    raw = sources.load({"kind": "digits"}, data={})
    for name, split in (("train", train), ("test", test)):
        ratio = {"train": 0.9, "test": 0.1}[name]
        np.testing.assert_array_equal(split.labels, raw[name].labels)
        np.testing.assert_array_equal(split.index, np.arange(len(split)))
        np.testing.assert_array_equal(split.attributes, assign_attributes(raw[name].labels, ratio, 10))
        assert split.images.shape == (len(split), 3, 8, 8)
        assert split.meta["counts"] == counted(split)
        assert (split.images.any(1) <= raw[name].images.any(1)).all()  # colour only where there was ink
    assert (train.meta["convention"], test.meta["convention"]) == ("natural", "balanced")


def test_statistics_are_those_of_the_training_split():
    train, test = made()
    pixels = train.images / 255
    assert train.meta["own_mean"] == pytest.approx(pixels.mean((0, 2, 3)))
    assert train.meta["own_std"] == pytest.approx(pixels.std((0, 2, 3)))
    assert (test.meta["own_mean"], test.meta["own_std"]) == (train.meta["own_mean"], train.meta["own_std"])


@pytest.mark.parametrize(("convention", "aligned"), [("balanced", 0.1), ("anti", 0.0), ("natural", 0.9)])
def test_conventions_of_the_test_split(convention, aligned):
    train, test = made(test=convention)
    assert np.mean(~test.conflicting) == pytest.approx(aligned, abs=0.005)
    assert np.mean(~train.conflicting) == pytest.approx(0.9, abs=0.005)
    assert test.meta["convention"] == convention


def test_attribute_noise_changes_what_is_recorded_of_the_training_split_alone():
    (train, test), (noisy, clean) = made(), made(attribute_noise={"share": 0.25})
    for field in ("images", "labels", "index"):
        np.testing.assert_array_equal(getattr(noisy, field), getattr(train, field))
    np.testing.assert_array_equal(clean.attributes, test.attributes)
    assert clean.meta == test.meta
    share = np.mean(noisy.attributes != train.attributes)
    assert share == pytest.approx(0.25 * 0.9, abs=0.02)  # one of ten drawn is the right one
    assert noisy.meta["counts"] == counted(noisy)
    assert noisy.meta["attribute_noise"] == {"share": 0.25, "draw": "uniform"}
    replaced = noisy.attributes[noisy.attributes != train.attributes]
    assert np.bincount(replaced, minlength=10).min() > 0.06 * len(replaced)
    more = made(attribute_noise={"share": 0.5})[0]
    changed = noisy.attributes != train.attributes
    np.testing.assert_array_equal(more.attributes[changed], noisy.attributes[changed])
    assert (made(attribute_noise={"share": 0.25}, seed=1)[0].attributes != noisy.attributes).any()


def test_all_attributes_replaced_are_uniform():
    train, _ = made(attribute_noise={"share": 1})
    share = np.mean(~train.conflicting)
    assert share == pytest.approx(0.1, abs=0.03)


def test_shuffled_noise_keeps_the_sizes_of_groups():
    train, noisy = made()[0], made(attribute_noise={"share": 0.5, "draw": "shuffled"})[0]
    assert noisy.meta["counts"] == train.meta["counts"] == counted(noisy)
    rare = noisy.conflicting  # as recorded: half of them were replaced, by nine aligned ones in ten
    assert np.mean(train.attributes[rare] == noisy.attributes[rare]) == pytest.approx(0.5, abs=0.1)
    assert np.mean(~train.conflicting[rare]) == pytest.approx(0.45, abs=0.1)
    uniform = made(attribute_noise={"share": 0.5})[0]
    only = (noisy.attributes != train.attributes) & (uniform.attributes == train.attributes)
    assert np.mean(only) < 0.08  # they are the same images


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attribute_noise": {"share": 1.5}}, "attribute_noise.share is 1.5; it must be between 0 and 1"),
        ({"attribute_noise": {"share": 0.1, "draw": "shufled"}}, "Did you mean 'shuffled'"),
        (
            {"attribute_noise": {"share": 0.1}, "bias": {"kind": "none"}, "ratio": None, "test": "natural"},
            "attribute_noise needs attributes",
        ),
    ],
)
def test_attribute_noise_that_cannot_be(changes, message):
    with pytest.raises(DdbiasError, match=message):
        made(**changes)


def test_noise_does_not_depend_on_the_ratio_and_severity_only_scales_it():
    a, b = made(ratio=0.0)[0], made(ratio=1.0)[0]
    other = made(seed=1, ratio=1.0)[0]
    assert not np.array_equal(other.images, b.images)
    tint = {}
    raw = sources.load({"kind": "digits"}, data={})["train"]
    for severity in (1, 2):
        split = made(bias={"kind": "foreground", "severity": severity}, ratio=1.0)[0]
        tint[severity] = split.images[:, 1].sum((1, 2)) / raw.images[:, 0].sum((1, 2))
    eights = raw.labels == 8  # a colour far enough from 0 and 1 not to be clipped
    assert np.corrcoef(tint[1][eights], tint[2][eights])[0, 1] > 0.98
    assert tint[1][eights].std() / tint[2][eights].std() == pytest.approx(2.5, rel=0.1)
    assert len(a) == len(b)


@pytest.mark.parametrize(
    ("pad", "sides"), [(None, (2, 2, 2, 2)), (0, (0, 0, 0, 0)), (3, (3, 3, 3, 3)), ([4, 0, 0, 4], (4, 0, 0, 4))]
)
@pytest.mark.parametrize("kind", ["foreground", "background"])
def test_padding(toy, pad, sides, kind):
    toy()
    settings = {"source": {"kind": "toy"}, "bias": {"kind": kind, "severity": 3}, "ratio": 0.5}
    bare, padded = made(**settings, pad=0)[0].images, made(**settings, pad=pad)[0].images
    top, right, bottom, left = sides
    assert padded.shape == (40, 3, 28 + top + bottom, 28 + left + right)
    inner = np.zeros(padded.shape[2:], bool)
    inner[top : top + 28, left : left + 28] = True
    np.testing.assert_array_equal(padded[:, :, inner], bare.reshape(40, 3, -1))
    around = padded[:, :, ~inner]
    if kind == "foreground":
        assert not around.any()
    elif around.size:
        assert (around == around[:, :, :1]).all()  # one colour per image ...
        np.testing.assert_array_equal(around[:, :, 0], bare[:, :, 0, 0])  # ... the one behind a black pixel


def test_sizes(toy):
    toy(side=28)
    settings = {"source": {"kind": "toy"}, "ratio": 0.5}
    assert made(**settings)[0].shape == (3, 32, 32)
    assert made(**settings, size=32)[0].shape == (3, 32, 32)
    assert made(**settings, size=14)[0].shape == (3, 14, 14)
    toy(side=64)
    assert made(**settings, size=28)[0].shape == (3, 32, 32)


def test_images_of_a_side_that_needs_no_padding_keep_it():
    assert made()[0].shape == (3, 8, 8)


@pytest.mark.parametrize("ratio", [None, "natural"])
def test_bias_none_keeps_images_and_attributes(toy, ratio):
    attributes = np.arange(40) % 3 % 2
    raw = toy(side=8, channels=3, attributes=attributes)
    train, test = made(source={"kind": "toy"}, bias={"kind": "none"}, ratio=ratio, test="natural")
    np.testing.assert_array_equal(train.images, raw.images)
    np.testing.assert_array_equal(test.attributes, attributes)
    assert train.meta["attribute_names"] == ["a", "b"]
    assert train.meta["ratio"] is None
    assert train.meta["counts"] == counted(train, (2, 2))


def test_unknown_attributes_stay_unknown(toy):
    toy(side=8)
    train, _ = made(source={"kind": "toy"}, bias={"kind": "none"}, ratio=None, test="natural")
    assert train.attributes is None
    assert train.meta["attribute_names"] is None
    assert train.meta["counts"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratio": 1.2}, "ratio is 1.2; bias 'foreground' needs an aligned ratio between 0 and 1"),
        ({"ratio": None}, "ratio is None"),
        ({"ratio": "natural"}, "ratio is None"),
        ({"ratio": "0.9"}, "ratio is '0.9'"),
        ({"ratio": True}, "ratio is True"),
        ({"bias": {"kind": "none"}, "test": "natural"}, "bias 'none' changes no ratio; set it to null, or use"),
        ({"bias": {"kind": "none"}, "ratio": None}, "the source has no attribute; set test: natural"),
        ({"test": "balansed"}, "unknown test convention 'balansed'.*Did you mean 'balanced'"),
        ({"size": 0}, "size is 0"),
        ({"size": 8.0}, "size is 8.0"),
        ({"pad": -1}, "pad is -1"),
        ({"pad": [1, 2]}, "pad is \\[1, 2\\]"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(DdbiasError, match=message):
        made(**changes)


def test_colour_bias_of_a_colour_source_is_refused(toy):
    toy(channels=3)
    with pytest.raises(DdbiasError, match="needs grey uint8 images"):
        made(source={"kind": "toy"})


@pytest.mark.parametrize("kind", ["foreground", "background"])
def test_bytes_on_disk_are_always_the_same(tmp_path, kind):
    contents = []
    for run in ("a", "b"):
        folder = tmp_path / run
        write_dataset(
            train_path=folder / "train.arrow",
            test_path=folder / "test.arrow",
            preview_path=folder / "preview.png",
            **{**DIGITS, "bias": {"kind": kind, "severity": 1}, "data": {"root": f"data of {run}"}},
        )
        assert sorted(p.name for p in folder.iterdir()) == ["preview.png", "test.arrow", "train.arrow"]
        contents.append([(folder / name).read_bytes() for name in ("train.arrow", "test.arrow", "preview.png")])
    assert contents[0] == contents[1]
    train = load_split(tmp_path / "a" / "train.arrow")
    expected = made(bias={"kind": kind, "severity": 1})[0]
    np.testing.assert_array_equal(train.images, expected.images)
    assert {**train.meta, "shape": None} == {**json.loads(json.dumps(expected.meta)), "shape": None}


def solid(labels, attributes, side=12):
    """Images that are grey ``20 label + 100`` where aligned or unknown, and ``20 label`` where conflicting."""
    labels = np.array(labels)
    attributes = None if attributes is None else np.array(attributes)
    conflicting = 0 if attributes is None else attributes != labels
    grey = 20 * labels + np.where(conflicting, 0, 100)
    images = np.broadcast_to(grey[:, None, None, None], (len(labels), 1, side, side)).astype(np.uint8)
    return Split(images, labels, attributes, np.arange(len(labels)), {"label_names": ["0", "1", "2"]})


def cells(path, rows, gap):
    """The colour in the middle of each cell of a preview: images of 48 pixels, 4 pixels between them."""
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (rows * 52 + 4, 10 * 52 + 4 + gap, 3)
    x = [28 + column * 52 + (gap if column >= 5 else 0) for column in range(10)]
    return [[int(sheet[28 + row * 52, c, 0]) for c in x] for row in range(rows)], sheet


def test_preview_shows_aligned_then_conflicting_samples(tmp_path):
    labels, attributes = [0] * 9 + [1] * 9 + [2] * 2, [0] * 6 + [1] * 3 + [1] + [2] * 8 + [2] * 2
    save_preview(tmp_path / "p.png", solid(labels, attributes))
    shown, sheet = cells(tmp_path / "p.png", 3, 16)
    white = 255
    assert shown[0] == [100] * 5 + [0] * 3 + [white] * 2
    assert shown[1] == [120] + [white] * 4 + [20] * 5
    assert shown[2] == [140] * 2 + [white] * 8
    assert (sheet[:, 5 * 52 : 5 * 52 + 20] == white).all()
    first = (tmp_path / "p.png").read_bytes()
    save_preview(tmp_path / "p.png", solid(labels, attributes))
    assert (tmp_path / "p.png").read_bytes() == first


def test_preview_without_attributes(tmp_path):
    save_preview(tmp_path / "p.png", solid([0] * 12 + [1] * 10 + [2] * 7, None))
    shown, _ = cells(tmp_path / "p.png", 3, 0)
    assert shown == [[100] * 10, [120] * 10, [140] * 7 + [255] * 3]


def test_preview_of_conflicting_samples_shows_several_attributes(tmp_path):
    train, _ = made(ratio=0.5)
    save_preview(tmp_path / "p.png", train)
    sheet = np.asarray(Image.open(tmp_path / "p.png")).astype(int)
    shown = [sheet[6:54, 6 + column * 54 + 24 : 6 + column * 54 + 72] for column in range(5, 10)]
    tints = [tile[(tile > 0).any(2) & (tile < 255).any(2)].sum(0) for tile in shown]
    hues = {tuple(np.round(tint / tint.max(), 1)) for tint in tints}
    assert len(hues) == 5


def test_the_pairing_of_the_training_split_is_that_of_both(toy, monkeypatch):
    """Whatever most images of the test split have."""
    part, count = toy(side=8, channels=3), np.arange(40)
    most = np.where(count < 30, 1 - count % 2, count % 2)
    parts = {"train": most, "test": count // 2 % 2}
    parts = {
        name: RawImages(part.images, part.labels, part.label_names, attributes, ["a", "b"])
        for name, attributes in parts.items()
    }
    monkeypatch.setattr(sources, "load", lambda settings, **_: dict(parts))
    train, test = made(source={"kind": "toy"}, bias={"kind": "none"}, ratio=None, test="anti")
    assert train.meta["pairing"] == test.meta["pairing"] == [1, 0]
    assert (test.attributes == test.labels).all()


@pytest.mark.parametrize(("pad", "side"), [(None, 32), (0, 28), (3, 34)])
def test_the_padding_asked_for_replaces_that_of_the_bias(toy, pad, side):
    toy()
    train, _ = made(source={"kind": "toy"}, bias={"kind": "c_mnist", "where": "foreground"}, ratio=0.5, pad=pad)
    assert train.shape == (3, side, side)
