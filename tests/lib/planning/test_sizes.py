"""Sizes that are told before a data set is made, against the made ones."""

import io

import pyarrow as pa
import pytest
from ddbias.datasets import sources
from ddbias.datasets.synthesis import synthesize_dataset
from ddbias.planning.sizes import UNKNOWN, DataSize, data_size, smallest_class
from PIL import Image
from pyarrow import parquet


def size(source, bias="foreground", **more):
    """Return what is told of a data set of these settings."""
    settings = {"source": source, "bias": {"kind": bias}, "size": None, "pad": None, "channels": None}
    return data_size(settings | more, {"root": "nowhere", "mirrors": []})


@pytest.mark.parametrize("more", [{}, {"size": 16}, {"pad": 3}, {"pad": [1, 0, 2, 3]}, {"channels": 1}])
def test_digits(more):
    train, test = synthesize_dataset(
        source={"kind": "digits"},
        bias={"kind": "foreground", "severity": 1},
        ratio=0.9,
        test="balanced",
        seed=0,
        data={},
        **more,
    )
    expected = DataSize(len(train), len(test), train.classes, train.shape[0], train.shape[1], True)
    assert size({"kind": "digits"}, **more) == expected


def test_grey_images_stay_grey_without_colour():
    assert size({"kind": "digits"}, "none").channels == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mnist", "fashion_mnist", pytest.param("cifar10", marks=pytest.mark.thorough)])
def test_published_files(kind, data_home, tmp_path):
    raw = sources.load({"kind": kind}, data={"root": str(tmp_path), "mirrors": [str(data_home)]})
    train, test = raw["train"].images, raw["test"].images
    assert size({"kind": kind}, "none", pad=0) == DataSize(len(train), len(test), 10, *train.shape[1:3], True)
    assert train.shape[1:] == test.shape[1:]


def test_images_of_your_own_are_a_guess():
    told = size({"kind": "pth", "file": "a.pth"}, "none")
    assert (told.train, told.known) == (UNKNOWN[0], False)


def png(side, mode="L"):
    held = io.BytesIO()
    Image.new(mode, (side, side)).save(held, "PNG")
    return held.getvalue()


@pytest.mark.parametrize("as_struct", [False, True])
def test_parquet_files_tell_all(tmp_path, as_struct):
    for part, count in (("train", 300), ("test", 70)):
        images = [{"bytes": png(20), "path": ""} if as_struct else png(20)] * count
        table = pa.table({"image": images, "label": [0, 1] * (count // 2)})
        parquet.write_table(table, tmp_path / f"{part}.parquet")
    source = {"kind": "parquet", "train": str(tmp_path / "train.parquet"), "test": str(tmp_path / "test.parquet")}
    source |= {"image": "image", "label": "label"}
    assert size(source, "none") == DataSize(300, 70, 2, 1, 20, True)
    assert size(source, "none", size=24).side == 24
    (tmp_path / "test.parquet").write_bytes(b"damaged")
    assert not size(source, "none").known


def test_folders_of_images_tell_all(tmp_path):
    for part, count in (("train", 4), ("test", 2)):
        for label in ("cat", "dog", "newt"):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(count):
                (tmp_path / part / label / f"{number}.png").write_bytes(png(28, "RGB"))
    source = {"kind": "image_folder", "train": str(tmp_path / "train"), "test": str(tmp_path / "test")}
    assert size(source, "none") == DataSize(12, 6, 3, 3, 32, True)  # padded
    assert not size(source | {"test": "nowhere"}, "none").known


def test_the_smallest_class_counts_a_name_in_both_forms_of_its_accents(tmp_path):
    labels = ["dog"] * 5 + ["caf\u00e9"] * 3 + ["cafe\u0301"] * 4
    parquet.write_table(pa.table({"label": labels}), tmp_path / "train.parquet")
    assert smallest_class({"kind": "parquet", "train": str(tmp_path / "train.parquet"), "label": "label"}, {}) == 5
