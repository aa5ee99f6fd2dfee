import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.datasets import sources
from ddbias.datasets.sources.codes import Column, encode
from ddbias.datasets.sources.images import resize
from PIL import Image
from pyarrow import parquet


def fails(message, settings, data, size=None):
    with pytest.raises(DdbiasError, match=message) as error:
        sources.load(settings, data=data, size=size)
    return str(error.value)


def encoded(array, form="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format=form)
    return buffer.getvalue()


def pictures(count, shape=(6, 6, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def table(arrays, labels, *, features=None, **columns):
    content = {"image": [encoded(a) for a in arrays], "label": labels, **columns}
    made = pa.table({name: value for name, value in content.items() if value is not None})
    if features is None:
        return made
    described = {name: {"names": names, "_type": "ClassLabel"} for name, names in features.items()}
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": described}})})


@pytest.fixture
def write(tmp_path):
    def write(train, test=None, **options):
        parquet.write_table(train, tmp_path / "train.parquet")
        parquet.write_table(train if test is None else test, tmp_path / "test.parquet")
        return {"kind": "parquet", "train": "train.parquet", "test": "test.parquet", **options}

    return write


LABELS = [0, 1, 2, 1, 0]


@pytest.mark.parametrize(("shape", "channels"), [((6, 6, 3), 3), ((6, 4), 1)])
@pytest.mark.parametrize("nested", [False, True])
def test_parquet_gives_back_the_pixels(write, tmp_path, shape, channels, nested):
    arrays = pictures(5, shape)
    made = table(arrays, LABELS, attribute=[1, 0, 0, 1, 1])
    if nested:
        images = [{"bytes": encoded(a), "path": f"{i}.png"} for i, a in enumerate(arrays)]
        made = made.set_column(0, "image", pa.array(images))
    part = sources.load(write(made), data={"root": str(tmp_path)})["train"]
    assert part.images.shape == (5, channels, *shape[:2])
    np.testing.assert_array_equal(part.images, arrays.reshape(5, *shape[:2], channels).transpose(0, 3, 1, 2))
    assert part.labels.tolist() == LABELS
    assert part.attributes.tolist() == [1, 0, 0, 1, 1]
    assert (part.label_names, part.attribute_names) == (["0", "1", "2"], ["0", "1"])
    assert len(part.provenance["files"]["train"]["sha256"]) == 64


@pytest.mark.parametrize("options", [{}, {"attribute": "attribute"}])
def test_parquet_without_attribute(write, tmp_path, options):
    part = sources.load(write(table(pictures(2), [0, 1]), **options), data={"root": str(tmp_path)})["train"]
    assert part.attributes is None
    assert part.attribute_names is None


def test_parquet_columns_strings_and_names(write, tmp_path):
    arrays = pictures(4)
    texts, sexes = ["old", "young", "old", "young"], ["m", "f", "f", "m"]
    made = table(arrays, None, age=texts, sex=pa.array(sexes).dictionary_encode()).rename_columns(
        ["face", "age", "sex"]
    )
    chosen = write(made, image="face", label="age", attribute="sex")
    part = sources.load(chosen, data={"root": str(tmp_path)})["test"]
    assert (part.label_names, part.labels.tolist()) == (["old", "young"], [0, 1, 0, 1])
    assert (part.attribute_names, part.attributes.tolist()) == (["f", "m"], [1, 0, 0, 1])
    part = sources.load({**chosen, "label_names": ["young", "old"]}, data={"root": str(tmp_path)})["test"]
    assert part.labels.tolist() == [1, 0, 1, 0]


def test_parquet_names_of_hugging_face(write, tmp_path):
    made = table(
        pictures(2), [0, 1], attribute=[1, 1], features={"label": ["cat", "dog"], "attribute": ["day", "night"]}
    )
    part = sources.load(write(made), data={"root": str(tmp_path)})["train"]
    assert (part.label_names, part.attribute_names) == (["cat", "dog"], ["day", "night"])


def test_parquet_grey_and_colour_mixed_becomes_colour(write, tmp_path):
    grey, colour = pictures(1, (6, 6))[0], pictures(1)[0]
    part = sources.load(write(table([grey, colour], [0, 1])), data={"root": str(tmp_path)})["train"]
    np.testing.assert_array_equal(part.images[0], np.stack([grey] * 3))
    np.testing.assert_array_equal(part.images[1], colour.transpose(2, 0, 1))


def test_parquet_sizes(write, tmp_path):
    made = table([pictures(1, (6, 6, 3))[0], pictures(1, (8, 9, 3))[0]], [0, 1])
    fails(
        "image in row 1 of .*train.parquet is 9x8 but the first one is 6x6; set size:", write(made), {"root": tmp_path}
    )
    part = sources.load(write(made), data={"root": str(tmp_path)}, size=6)["train"]
    assert part.images.shape == (2, 3, 6, 6)
    np.testing.assert_array_equal(part.images[0], pictures(1, (6, 6, 3))[0].transpose(2, 0, 1))


def test_parquet_lookup_order(write, tmp_path, monkeypatch):
    home, mirror = tmp_path / "home", tmp_path / "mirror"
    for number, folder in enumerate((mirror, home)):
        folder.mkdir()
        made = table(pictures(2, seed=number), [0, 1], attribute=[f"from {number}"] * 2)
        for name in ("train.parquet", "test.parquet"):
            parquet.write_table(made, folder / name)
    settings = {"kind": "parquet", "train": "train.parquet", "test": "test.parquet"}
    monkeypatch.setenv("DDBIAS_DATA", str(home))
    data = {"root": str(tmp_path / "root"), "mirrors": [str(mirror)]}
    assert sources.load(settings, data=data)["train"].attribute_names == ["from 0"]
    assert sources.load(settings, data={**data, "mirrors": []})["train"].attribute_names == ["from 1"]
    monkeypatch.chdir(home)
    assert sources.load(settings, data=data)["train"].attribute_names == ["from 1"]
    message = fails("no file x.parquet in the working directory", {**settings, "train": "x.parquet"}, data)
    assert str(mirror) in message


JUNK = [encoded(pictures(1)[0]), b"\x89PNG junk", encoded(pictures(1)[0])]
CUT = [encoded(pictures(1)[0]), encoded(pictures(1, (40, 40, 3))[0])[:1500], encoded(pictures(1)[0])]
HALF = encoded(pictures(1, (40, 40, 3))[0], "JPEG")
HALF = [encoded(pictures(1)[0]), HALF[: len(HALF) // 2], encoded(pictures(1)[0])]
THREE = list(pictures(3))
GOOD = table(THREE, [0, 1, 1])


def with_images(values):
    return pa.table({"image": values, "label": [0, 1, 1]})


@pytest.mark.parametrize(
    ("train", "test", "options", "message"),
    [
        (GOOD, None, {"label": "lable"}, "no column 'lable'; it has: image, label.*Did you mean 'label'"),
        (GOOD, None, {"attribute": "sex"}, "no column 'sex'"),
        (table(THREE, [0, 1, 1], attribute=[0, 0, 1]), GOOD, {}, "test.parquet has no column 'attribute'"),
        (with_images(JUNK), None, {}, "image in row 1 of .*train.parquet cannot be decoded"),
        (with_images(HALF), None, {"size": 6}, "image in row 1 of .*train.parquet cannot be decoded.*truncated"),
        (with_images(CUT), None, {"size": 6}, "image in row 1 of .*train.parquet cannot be decoded"),
        (with_images([JUNK[0], None, JUNK[0]]), None, {}, "row 1 of column 'image'.*no image bytes"),
        (with_images(["a.png", "b.png", "c.png"]), None, {}, "column 'image' .* is string; it must hold"),
        (table(THREE, [0, 2, 2]), None, {"label_names": ["a", "b"]}, "row 1 .*is 2, and the label names \\(a, b\\)"),
        (table(THREE, [1, 0, 0]), None, {"label_names": ["1", "0"]}, "may be the values of .* or names for 0 to 1"),
        (table(pictures(60), list(range(60))), None, {},
         "60 different values in 60 rows, so it looks like an image number"),
        (table(THREE, [0, 0, 0], features={"label": ["cat", "dog"]}), None, {}, "never holds 1 \\('dog'\\)"),
        (table(THREE, [0, None, 1]), None, {}, "row 1 of column 'label' .*is empty"),
        (table(THREE, [0.0, 1.0, 1.0]), None, {}, "column 'label' .*is double; it must hold integers"),
        (GOOD, table(THREE, [0, 5, 1]), {}, "row 1 .*test.parquet is 5, which is not among the labels \\(0, 1\\)"),
        (table(THREE, ["a", "b", "b"]), table(THREE, ["a", "bb", "b"]), {}, "row 1 .* is 'bb', which is not among"),
        (table(THREE, ["a", "b", "b"]), GOOD, {}, "differ in type"),
        (table(THREE, [0, 1, 1], features={"label": ["a", "b"]}),
         table(THREE, [0, 1, 1], features={"label": ["b", "a"]}), {}, "the label names of .* differ"),
        (GOOD, table(pictures(3, (6, 6)), [0, 1, 1]), {}, "images of different shape"),
        (GOOD, GOOD.slice(0, 0), {}, "test.parquet is empty"),
        (GOOD, None, {"size": 0}, "size is 0"),
    ],
)  # fmt: skip
def test_parquet_errors(write, tmp_path, train, test, options, message):
    options, size = {k: v for k, v in options.items() if k != "size"}, options.get("size")
    fails(message, write(train, test, **options), {"root": str(tmp_path)}, size)


def test_parquet_damaged_file(write, tmp_path):
    settings = write(GOOD)
    path = tmp_path / "test.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    fails("test.parquet is damaged or not a Parquet file", settings, {"root": str(tmp_path)})


@pytest.mark.slow
def test_fairface(data_home):
    paths = {split: f"fairface/{split}.parquet" for split in ("train", "test")}
    parts = sources.load({"kind": "parquet", **paths}, data={"mirrors": [str(data_home)]}, size=8)
    counts = {}
    for split, part in parts.items():
        counts[split] = np.zeros((2, 2), int)
        np.add.at(counts[split], (part.labels, part.attributes), 1)
        assert part.images.shape[1:] == (3, 8, 8)
    assert counts["train"].tolist() == [[3597, 3597], [3599, 2841]]
    assert counts["test"].tolist() == [[936, 1115], [574, 387]]
    assert parts["train"].label_names == ["young_10_29", "old_40_59"]
    assert parts["train"].attribute_names == ["male", "female"]


# --- resizing ----------------------------------------------------------------------------------------------------


def test_resize_of_what_has_the_size_or_is_constant():
    images = pictures(3).transpose(0, 3, 1, 2)
    assert resize(images, 6) is images
    flat = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1) * np.ones((1, 1, 5, 7), np.uint8)
    np.testing.assert_array_equal(resize(flat, 4), np.broadcast_to(flat[:, :, :1, :1], (2, 3, 4, 4)))


def test_resize_is_antialiased_bilinear():
    images = pictures(2, (16, 16, 3)).transpose(0, 3, 1, 2)
    small = resize(images, 8)
    # By hand: halving weighs the four nearest pixels of each axis 1, 3, 3, 1 (a triangle two pixels wide).
    kernel = np.array([1, 3, 3, 1]) / 8
    inner = images[0, 0, 1:5, 3:7]
    assert abs(int(small[0, 0, 1, 2]) - kernel @ inner @ kernel) <= 1


# ---- integers that are names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "names"),
    [
        ([2019, 2020, 2019], ["2019", "2020"]),
        ([1, 2, 3], ["1", "2", "3"]),
        ([-1, 1, 1], ["-1", "1"]),
        ([20230001, 10, 20230001], ["10", "20230001"]),
        ([True, False, True], ["0", "1"]),
    ],
)
def test_integers_are_values_like_any_other(write, tmp_path, attributes, names):
    data = table(THREE, [7, 9, 9], attribute=attributes)
    part = sources.load(write(data), data={"root": str(tmp_path)})["train"]
    assert (part.label_names, part.labels.tolist()) == (["7", "9"], [0, 1, 1])
    assert part.attribute_names == names
    assert [int(names[code]) for code in part.attributes] == [int(value) for value in attributes]


def test_names_may_be_the_values(write, tmp_path):
    chosen = {"attribute_names": ["2020", "2019", "2021"]}
    part = sources.load(
        write(table(THREE, [0, 1, 1], attribute=[2019, 2020, 2019]), **chosen), data={"root": str(tmp_path)}
    )
    assert part["train"].attribute_names == ["2020", "2019", "2021"]
    assert part["train"].attributes.tolist() == [1, 0, 1]


# ---- parts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["train-*.parquet", "parts"])
def test_a_split_may_have_many_parts(write, tmp_path, named):
    settings = write(GOOD)
    whole = sources.load(settings, data={"root": str(tmp_path)})["train"]
    folder = tmp_path / ("parts" if named == "parts" else ".")
    folder.mkdir(exist_ok=True)
    for row in range(3):
        parquet.write_table(GOOD.slice(row, 1), folder / f"train-0000{row}-of-00003.parquet")
    (folder / "_SUCCESS").write_text("")
    found = sources.load(settings | {"train": named}, data={"root": str(tmp_path)})["train"]
    np.testing.assert_array_equal(found.images, whole.images)
    np.testing.assert_array_equal(found.labels, whole.labels)
    assert [part["name"] for part in found.provenance["files"]["train"]["parts"]] == [
        f"train-0000{i}-of-00003.parquet" for i in range(3)
    ]
    one = f"{'parts/' if named == 'parts' else ''}train-00001-of-00003.parquet"
    fails(
        "is one of 3 parts, of which 1 are named; write train-\\*.parquet",
        settings | {"train": one},
        {"root": str(tmp_path)},
    )
    (folder / "train-00002-of-00003.parquet").unlink()
    fails("is one of 3 parts, of which 2 are named", settings | {"train": named}, {"root": str(tmp_path)})


@pytest.mark.parametrize("kind", [pa.binary_view(), pa.large_binary(), pa.struct({"bytes": pa.binary_view()})])
def test_columns_as_other_libraries_write_them(write, tmp_path, kind):
    """In many chunks: together they may hold more than a 32-bit offset reaches."""
    whole = sources.load(write(GOOD), data={"root": str(tmp_path)})["train"]
    blobs = [row["bytes"] if isinstance(row, dict) else row for row in GOOD.column("image").to_pylist()]
    values = [{"bytes": blob} for blob in blobs] if pa.types.is_struct(kind) else blobs
    labels = pa.array([str(label) for label in GOOD.column("label").to_pylist()], pa.string_view())
    other = pa.table({"image": pa.chunked_array([[value] for value in values], kind), "label": labels})
    parquet.write_table(other, tmp_path / "train.parquet", row_group_size=1)
    parquet.write_table(other, tmp_path / "test.parquet", row_group_size=1)
    settings = {"kind": "parquet", "train": "train.parquet", "test": "test.parquet"}
    found = sources.load(settings, data={"root": str(tmp_path)})["train"]
    np.testing.assert_array_equal(found.images, whole.images)
    assert found.labels.tolist() == whole.labels.tolist()


def test_a_file_is_meant_before_a_pattern(write, tmp_path):
    settings = write(table(pictures(5), LABELS))
    (tmp_path / "train.parquet").rename(tmp_path / "x[1].parquet")
    parquet.write_table(table(pictures(3, seed=1), [0, 1, 2]), tmp_path / "x1.parquet")
    data = {"root": str(tmp_path)}
    assert len(sources.load({**settings, "train": "x[1].parquet"}, data=data)["train"]) == 5
    assert len(sources.load({**settings, "train": "x[0-9].parquet"}, data=data)["train"]) == 3


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("*/train.parquet", "no file .*/train.parquet .*; only the last part of a path may be a pattern"),
        ("part*/train-*.parquet", "no folder part.* .*; only the last part of a path may be a pattern"),
        ("", "the path of a f.* is empty; name one"),
    ],
)
def test_paths_that_name_nothing(write, tmp_path, path, message):
    settings = write(table(pictures(5), LABELS))
    fails(message, {**settings, "train": path}, {"root": str(tmp_path)})


def test_two_columns_of_one_name(write, tmp_path):
    made = table(pictures(5), LABELS)
    settings = write(made.append_column("label", pa.array(LABELS)))
    fails("train.parquet has 2 columns 'label'; rename all but one", settings, {"root": str(tmp_path)})


def test_numbers_beyond_64_bits_with_a_sign(write, tmp_path):
    settings = write(table(pictures(5), pa.array([2**63 + n for n in LABELS], pa.uint64())))
    fails("holds 9223372036854775810, more than 64 bits", settings, {"root": str(tmp_path)})


def test_parts_that_name_their_classes_otherwise_are_refused(write, tmp_path):
    """A number would mean another class in them."""
    for place, names in enumerate((["cat", "dog"], ["dog", "cat"], None)):
        features = None if names is None else {"label": names}
        parquet.write_table(table(pictures(2), [0, 1], features=features), tmp_path / f"train-{place}.parquet")
    settings = write(table(pictures(2), [0, 1], features={"label": ["cat", "dog"]})) | {"train": "train-[01].parquet"}
    data = {"root": str(tmp_path)}
    fails(r"column 'label' in .*train-0.parquet \(cat, dog\) and .*train-1.parquet \(dog, cat\) differ", settings, data)
    fails(r"\(cat, dog\) and .*train-2.parquet \(none\) differ", {**settings, "train": "train-[02].parquet"}, data)


def test_a_file_of_both_splits_is_refused(write, tmp_path):
    settings, data = write(table(pictures(2), [0, 1])), {"root": str(tmp_path)}
    said = "is named for both splits, so that networks would be tested on what they were trained on"
    assert "test.parquet " + said in fails(said, {**settings, "train": str(tmp_path)}, data)  # the folder of both
    fails(said, {**settings, "train": "test.parquet"}, data)


def test_numbered_parts_are_counted_without_other_files(write, tmp_path):
    settings = write(table(pictures(2), [0, 1])) | {"train": "train-*.parquet"}
    for name in ("train-00000-of-00003", "train-00001-of-00003", "train-more"):
        parquet.write_table(table(pictures(2), [0, 1]), tmp_path / f"{name}.parquet")
    fails("train-00000-of-00003.parquet is one of 3 parts, of which 2 are named", settings, {"root": str(tmp_path)})


def test_text_that_is_of_single_images_or_empty_is_no_attribute(write, tmp_path):
    data, many = {"root": str(tmp_path)}, [f"patient {i}" for i in range(60)]
    few = table(pictures(2), [0, 1], attribute=many[:2])
    settings = write(table(pictures(60), [0, 1] * 30, attribute=many), few)
    fails(
        "column 'attribute' of .* has 60 different values in 62 rows, so it looks like an image number", settings, data
    )
    settings = write(table(pictures(120), [f"image {i}" for i in range(120)]))
    assert len(fails("has 120 different values", settings, data)) < 300
    settings = write(table(pictures(4), [0, 1] * 2, attribute=["a", " ", "b", ""]))
    fails("row 1 of column 'attribute' of .* is empty", settings, data)


def test_the_home_folder_is_found(write, tmp_path, monkeypatch):
    settings = write(table(pictures(2), [0, 1]))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    home = {**settings, "train": "~/train.parquet", "test": "~/test.parquet"}
    for asked, data in ((home, {}), (settings, {"root": "~/"}), (settings, {"root": "none", "mirrors": ["~"]})):
        assert len(sources.load(asked, data=data)["train"]) == 2


def test_a_number_that_only_the_test_split_has_is_an_attribute():
    columns = [
        Column(pa.array(values), Path(name), "year", None)
        for name, values in (("a", [2020, 2019]), ("b", [2021, 2019]))
    ]
    codes, names = encode("attribute", columns, None)
    assert names == ["2019", "2020", "2021"]
    assert [part.tolist() for part in codes] == [[1, 0], [2, 0]]
