"""Image files in folders: which file is which row, where label and attribute come from, and every bad input."""

import json
import os
import random
import unicodedata

import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.datasets import sources
from ddbias.datasets.sources import file_attributes
from PIL import Image

SOURCE = {"kind": "image_folder", "train": "train", "test": "test"}
FOLDER = {"from": "folder"}
NAME = {"from": "name", "pattern": r".*_(?P<attribute>[a-z]+)\.png"}
CSV = {"from": "csv", "file": "list.csv", "path": "path", "attribute": "sex"}


def load(root, attribute=None, size=None, **options):
    return sources.load({**SOURCE, "attribute": attribute, **options}, data={"root": str(root)}, size=size)


def fails(message, root, attribute=None, **options):
    with pytest.raises(DdbiasError, match=message) as error:
        load(root, attribute, **options)
    return str(error.value)


def colour(relative):
    """Return a colour that tells which file an image is."""
    return tuple(random.Random(relative).randbytes(3))


def write(folder, names, order=0, side=4):
    """Write an image of its own colour to every path, in a shuffled order."""
    names = list(names)
    random.Random(order).shuffle(names)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), colour(name)).save(folder / name, format="PNG")


def check_rows(part, names):
    """Check that row i is the image of the i-th name."""
    assert [tuple(image[:, 0, 0].tolist()) for image in part.images] == [colour(name) for name in names]


TRAIN = ["cat/indoor/1.png", "cat/outdoor/2.png", "dog/indoor/10.PNG", "dog/indoor/9.png", "dog/outdoor/a b.png"]
TEST = ["cat/outdoor/x.png", "dog/indoor/é.png"]


@pytest.mark.parametrize("order", range(3))
def test_label_and_attribute_from_folders_in_the_order_of_paths(tmp_path, order):
    write(tmp_path / "train", TRAIN, order)
    write(tmp_path / "test", TEST, order)
    for stray in ("train/notes.txt", "train/cat/Thumbs.db", "train/dog/.hidden.png"):
        (tmp_path / stray).write_bytes(b"no image")
    parts = load(tmp_path, FOLDER)
    part = parts["train"]
    assert part.images.shape == (5, 3, 4, 4)
    assert (part.images.dtype, part.labels.dtype, part.attributes.dtype) == (np.uint8, np.int64, np.int64)
    check_rows(part, TRAIN)
    check_rows(parts["test"], TEST)
    assert (part.label_names, part.labels.tolist()) == (["cat", "dog"], [0, 0, 1, 1, 1])
    assert (part.attribute_names, part.attributes.tolist()) == (["indoor", "outdoor"], [0, 1, 0, 0, 1])
    assert parts["test"].attributes.tolist() == [1, 0]
    # What sha256sum says of these files, in this order.
    assert part.provenance["files"]["train"]["images"] == 5
    assert str(tmp_path) not in json.dumps(part.provenance)


def test_the_fingerprint_is_that_of_sha256sum(tmp_path):
    import hashlib

    write(tmp_path / "train", TRAIN)
    write(tmp_path / "test", TEST)
    lines = [f"{hashlib.sha256((tmp_path / 'test' / n).read_bytes()).hexdigest()}  {n}\n" for n in TEST]
    found = load(tmp_path, FOLDER)["train"].provenance["files"]["test"]
    assert found == {"name": "test", "images": 2, "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}


def test_without_attribute_deeper_folders_belong_to_the_label(tmp_path):
    write(tmp_path / "train", TRAIN)
    write(tmp_path / "test", TEST)
    part = load(tmp_path)["train"]
    assert part.labels.tolist() == [0, 0, 1, 1, 1]
    assert (part.attributes, part.attribute_names) == (None, None)


def test_names_set_the_numbers(tmp_path):
    write(tmp_path / "train", TRAIN)
    write(tmp_path / "test", TEST)
    options = {"label_names": ["dog", "cat"], "attribute_names": ["outdoor", "indoor", "space"]}
    part = load(tmp_path, FOLDER, **options)["train"]
    assert part.labels.tolist() == [1, 1, 0, 0, 0]
    assert part.attributes.tolist() == [1, 0, 1, 1, 0]
    assert (part.label_names, part.attribute_names) == (options["label_names"], options["attribute_names"])


def test_attribute_from_the_name(tmp_path):
    names = ["cat/a_day.png", "cat/b_night.png", "dog/c_night.png"]
    write(tmp_path / "train", names)
    write(tmp_path / "test", names)
    part = load(tmp_path, NAME)["test"]
    check_rows(part, names)
    assert (part.attribute_names, part.attributes.tolist()) == (["day", "night"], [0, 1, 1])


def test_label_from_the_name_needs_no_folder(tmp_path):
    names = ["00_1_0.png", "01_0_0.png", "sub_9_9/02_0_1.png"]
    write(tmp_path / "train", names)
    write(tmp_path / "test", names)
    pattern = r".*_(?P<label>\d)_(?P<attribute>\d)\.png"
    part = load(tmp_path, {"from": "name", "pattern": pattern})["train"]
    assert (part.labels.tolist(), part.attributes.tolist()) == ([1, 0, 0], [0, 0, 1])


LISTED = ["cat/1.png", "cat/2.png", "dog/3.png"]


@pytest.mark.parametrize(
    "keys",
    [
        lambda split, name: f"{split}/{name}",
        lambda split, name: f"./{split}\\{name}".replace("/", "\\"),
        lambda split, name: name if split == "train" else f"test/{name}",
    ],
)
def test_attribute_from_a_csv_file(tmp_path, keys):
    rows = {}
    for split, sexes in (("train", "fmf"), ("test", "mmf")):
        write(tmp_path / split, LISTED)
        rows |= {keys(split, name): sex for name, sex in zip(LISTED, sexes, strict=True)}
    lines = [f"0,{path},{sex}\n" for path, sex in rows.items()]
    random.Random(0).shuffle(lines)
    (tmp_path / "list.csv").write_text("\ufeffage,path,sex\n" + "".join(lines) + "0,not/there.png,x\n")
    parts = load(tmp_path, CSV)
    assert parts["train"].attribute_names == ["f", "m"]
    assert parts["train"].attributes.tolist() == [0, 1, 0]
    assert parts["test"].attributes.tolist() == [1, 1, 0]
    assert set(parts["train"].provenance["files"]) == {"train", "test", "attribute"}


def test_rows_of_images_that_are_not_there_are_told(good, log_lines):
    """An incomplete copy, or a second row for an image, which then counts for nothing."""
    with open(good / "list.csv", "a") as file:
        file.write("cat/lost.png,x\n")
    load(good, CSV)
    assert [line for line in log_lines if "that name no image there is: 1, the first cat/lost.png" in line]


def test_label_from_a_csv_file_by_the_bare_name(tmp_path):
    write(tmp_path / "train", ["b.png", "a.png"])
    write(tmp_path / "test", ["x/c.png", "d.png"])
    (tmp_path / "list.csv").write_text('path,sex,age\na.png,f," old "\nb.png,m,young\nc.png,m,old\nd.png,f,young\n')
    parts = load(tmp_path, {**CSV, "label": "age"})
    assert parts["train"].label_names == ["old", "young"]
    assert (parts["train"].labels.tolist(), parts["train"].attributes.tolist()) == ([0, 1], [0, 1])
    check_rows(parts["test"], ["d.png", "x/c.png"])
    assert parts["test"].labels.tolist() == [1, 0]


def test_grey_and_colour_become_colour_in_both_splits(tmp_path):
    write(tmp_path / "train", ["a/1.png", "b/1.png"])
    for label in "ab":
        (tmp_path / "test" / label).mkdir(parents=True)
        Image.new("L", (4, 4), 7).save(tmp_path / "test" / label / "1.png")
    assert load(tmp_path)["test"].images.tolist() == np.full((2, 3, 4, 4), 7).tolist()


def test_sizes(tmp_path):
    write(tmp_path / "train", ["a/1.png", "b/1.png"])
    write(tmp_path / "test", ["a/1.png", "b/1.png"], side=5)
    message = fails("test/a/1.png is 5x5 but the first one is 4x4; set size:", tmp_path)
    assert str(tmp_path / "test" / "a" / "1.png") in message
    assert load(tmp_path, size=5)["train"].images.shape == (2, 3, 5, 5)
    fails("size is 0", tmp_path, size=0)


def test_folders_are_looked_for_like_files(tmp_path, monkeypatch):
    for place in ("mirror", "home"):
        write(tmp_path / place / "own" / "train", [f"a/{place}.png"])
        write(tmp_path / place / "own" / "test", [f"a/{place}.png"])
    settings = {"kind": "image_folder", "train": "own/train", "test": "own/test"}
    monkeypatch.setenv("DDBIAS_DATA", str(tmp_path / "home"))
    data = {"root": str(tmp_path / "root"), "mirrors": [str(tmp_path / "mirror")]}
    check_rows(sources.load(settings, data=data)["train"], ["a/mirror.png"])
    check_rows(sources.load(settings, data={**data, "mirrors": []})["train"], ["a/home.png"])
    monkeypatch.chdir(tmp_path / "home")
    check_rows(sources.load(settings, data=data)["train"], ["a/home.png"])
    with pytest.raises(DdbiasError, match=r"no folder own/trian in the working directory.*data\.mirrors"):
        sources.load({**settings, "train": "own/trian"}, data=data)


def test_a_linked_folder_is_read_and_a_loop_is_not(tmp_path):
    write(tmp_path / "elsewhere", ["1.png"])
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "cat").symlink_to(tmp_path / "elsewhere")
    assert load(tmp_path)["train"].label_names == ["cat"]
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "train")
    fails("again is a link to a folder that it lies in", tmp_path)


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / split, ["cat/a_day.png", "dog/b_night.png"])
    rows = [f"{split}/{name},x\n" for split in ("train", "test") for name in ("cat/a_day.png", "dog/b_night.png")]
    (tmp_path / "list.csv").write_text("path,sex\n" + "".join(rows))
    return tmp_path


def test_the_good_tree_is_good(good):
    for attribute in (None, NAME, CSV):
        assert len(load(good, attribute)["train"]) == 2


def test_a_folder_without_images(good):
    (good / "empty").mkdir()
    (good / "empty" / "readme.txt").write_text("")
    fails("empty holds no image files", good, test="empty")
    fails("no folder list.csv", good, test="list.csv")


@pytest.mark.parametrize("content", [b"", b"\x89PNG junk", None])
def test_an_image_that_cannot_be_decoded(good, content):
    path = good / "train" / "dog" / "b_night.png"
    if content is None:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path, format="JPEG")
        content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    assert str(path) in fails("cannot be decoded as an image", good, size=4)


def test_what_is_left_out_is_counted(good, log_lines):
    for name in ("x.heic", "y.heic", "notes.md"):
        (good / "train" / "cat" / name).write_bytes(b"x")
    found = load(good)["train"]
    assert len(found) == 2
    assert found.provenance["files"]["train"]["left_out"] == {".heic": 2, ".md": 1}
    assert "left_out" not in found.provenance["files"]["test"]
    assert [line for line in log_lines if "train, since it is no image that can be read: 2 .heic, 1 .md" in line]


def test_files_outside_of_their_folders(good):
    fails("cat/a_day.png does not lie in a folder of its attribute \\(<label>/<attribute>/<file>\\)", good, FOLDER)
    write(good / "test", ["c_day.png"])
    fails("c_day.png does not lie in a folder of its label", good)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_label_that_one_split_lacks(good, split):
    write(good / split, ["horse/a_day.png"])
    other = {"train": "test", "test": "train"}[split]
    message = fails("has no image of the label 'horse'; both splits", good)
    assert str(good / other) in message


def test_names_that_do_not_fit(good):
    fails(
        "dog/b_night.png is 'dog', which is not among the label names \\(cat, dgo\\).*'dgo'",
        good,
        label_names=["cat", "dgo"],
    )
    fails("no image of the label 'cow'", good, label_names=["cat", "cow", "dog"])
    fails("the attribute of .* is 'night', which is not among", good, NAME, attribute_names=["day"])


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ({"from": "cvs"}, "unknown attribute.from 'cvs'; known: csv, folder, name.*'csv'"),
        ({}, "unknown attribute.from 'None'"),
        ({"from": "csv", "file": "list.csv"}, "attribute.path is missing; from: csv needs file, path, attribute"),
        ({**CSV, "paht": "x"}, "unknown key of attribute \\(from: csv\\) 'paht'.*'path'"),
        ({**CSV, "label": 3}, "attribute.label is 3; it must be text"),
        ({**CSV, "file": "lost.csv"}, "no file lost.csv"),
        ({**CSV, "attribute": "sx"}, "list.csv has no column 'sx'; it has: path, sex. Did you mean 'sex'"),
        ({**CSV, "label": "age"}, "list.csv has no column 'age'"),
        ({**CSV, "attribute": "path"}, "column 'path' of .*list.csv holds the paths and nothing else"),
        ({"from": "name", "pattern": "(a"}, "is no regular expression \\(missing \\)"),
        ({"from": "name", "pattern": ".*"}, "has no group \\(\\?P<attribute>"),
        ({"from": "name", "pattern": r"b_(?P<attribute>.*)\.png"}, "cat/a_day.png does not match attribute.pattern"),
        ({"from": "name", "pattern": r"._(?P<attribute>day)?.*"}, "finds no attribute in the name of .*b_night.png"),
        ({"from": "name", "pattern": r"(?P<label>a?)._(?P<attribute>.*)"}, "does not match|finds no label"),
    ],
)
def test_wrong_attribute_settings(good, attribute, message):
    fails(message, good, attribute)


def test_a_pattern_that_would_take_years(good, monkeypatch):
    monkeypatch.setattr(file_attributes, "SECONDS", 0.5)
    for split in ("train", "test"):
        write(good / split, [f"cat/{'a' * 60}.png"])
    fails("takes more than 1 s for 3 names; avoid repeats", good, {"from": "name", "pattern": r"(?P<attribute>(a+)+)b"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("test/dog/b_night.png,x\n", ""), "test/dog/b_night.png is not in column 'path' of"),
        (
            lambda text: text.replace("dog/b_night.png,x\n", "dog/b_night.png, \n", 1),
            "'train/dog/b_night.png' in .* has no attribute",
        ),
        (
            lambda text: text.replace("dog/b_night.png,x\n", "dog/b_night.png\n", 1),
            "'train/dog/b_night.png' in .* has no attribute",
        ),
        (lambda text: text + "./test/cat/a_day.png,y\n", "line 6 of .* names 'test/cat/a_day.png' a second time"),
        (lambda text: text.replace("test/", "").replace("train/", ""), "names 'cat/a_day.png' a second time"),
        (lambda text: text[: text.index("test/")].replace("train/", ""), "'cat/a_day.png' in .* may mean .*test/ in"),
        (lambda text: text + '"open,x\n', "cannot be read as a CSV file"),
        (lambda text: text + " ,y\n", "line 6 of .* has no path \\(column 'path'\\); add it, or remove the line"),
        (lambda text: "", "list.csv is empty; it must begin with the names of its columns"),
        (lambda text: text.replace("path,sex", "path,age"), "has no column 'sex'; it has: path, age"),
        (lambda text: text.replace("path,sex", "path,sex,sex"), "has 2 columns 'sex'; rename all but one"),
        (
            lambda text: text.replace("night.png,x", "night.png,x,y", 1),
            "line 3 of .* more fields than the 2 of its first",
        ),
    ],
)
def test_bad_csv_files(good, change, message):
    text = (good / "list.csv").read_text()
    (good / "list.csv").write_text(change(text))
    fails(message, good, CSV)


@pytest.mark.parametrize("how", [{"from": "folder"}, {"from": "name", "pattern": r"._(?P<attribute>\w+).png"}, CSV])
def test_a_name_is_one_however_its_accents_are_stored(tmp_path, how):
    """In the file names of a Mac, é is two characters."""
    names, rows = ["cat/Bonn/1_Bonn.png", "café/Köln/2_Köln.png"], []
    for split, form, other in (("train", "NFC", "NFD"), ("test", "NFD", "NFC")):
        write(tmp_path / split, [unicodedata.normalize(form, name) for name in names])
        rows += [unicodedata.normalize(other, f"{split}/{name},{name.split('/')[1]}\n") for name in names]
    (tmp_path / "list.csv").write_text("path,sex\n" + "".join(rows))
    found = load(tmp_path, how, label_names=[unicodedata.normalize("NFD", "café"), "cat"])
    for part in found.values():
        assert (part.label_names, part.attribute_names) == (["café", "cat"], ["Bonn", "Köln"])
        assert sorted(zip(part.labels.tolist(), part.attributes.tolist(), strict=True)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("before", [[], [""], ["", ""], ["sep=,"], ["", "sep=,"], ["sep=,", ""]])
def test_lines_before_the_header_are_passed_over_and_counted(good, before, end):
    text = "".join(f"{line}{end}" for line in [*before, *(good / "list.csv").read_text().splitlines()])
    (good / "list.csv").write_text(text, newline="")
    assert load(good, CSV)["train"].attribute_names == ["x"]
    (good / "list.csv").write_text(text.replace("a_day.png,", "a_day.png,,", 1), newline="")
    fails(f"line {2 + len(before)} of .* more fields than the 2", good, CSV)


def test_rows_without_a_word_are_passed_over(good):
    (good / "list.csv").write_text((good / "list.csv").read_text() + ",\n , \n")
    assert len(load(good, CSV)["train"]) == 2


def test_text_that_is_not_utf8(good):
    (good / "list.csv").write_bytes("path,sex\ncat/a_day.png,männlich\n".encode("latin1"))
    fails("list.csv cannot be read as a CSV file \\(it is not UTF-8\\)", good, CSV)


@pytest.mark.parametrize("name", [b"b_\xe9.png", b"b_\n.png"])
def test_file_names_that_are_not_text(good, name):
    try:
        os.rename(os.fsencode(good / "train/cat/a_day.png"), os.fsencode(good / "train/cat") + b"/" + name)
    except OSError:
        pytest.skip("the file system takes no such names")
    fails("the file name 'cat/b_.* is not UTF-8 or holds a line break", good)


# --- tables as people have them ----------------------------------------------------------------------------------

BIRDS = [f"{i % 3:03d}.Bird_{i % 3}/Bird_{i:04d}.jpg" for i in range(12)]
WILDS = {"from": "csv", "file": "birds/metadata.csv", "path": "img_filename", "label": "y", "attribute": "place"}
WILDS |= {"split": "split"}


def birds(root, text="{i},{name},{y},{split},{place},/o/ocean/{i}.jpg", folder="birds", split=lambda i: i % 3):
    """Write a tree as Waterbirds has it: one folder, and one table that says all."""
    write(root / folder, BIRDS)
    rows = [
        text.format(i=i, name=name, y=i % 2, split=split(i), place=(i // 2) % 2) for i, name in enumerate(sorted(BIRDS))
    ]
    head = text.translate(str.maketrans("", "", "{}")).replace("/o/ocean/i.jpg", "place_filename")
    head = head.replace("name,y", "img_filename,y").replace("i,img", "img_id,img")
    (root / folder / "metadata.csv").write_text("\n".join([head, *rows]))
    return sorted(BIRDS)


@pytest.mark.parametrize("words", [str, lambda i: ("train", "val", "Test")[i]])
def test_waterbirds_as_distributed(tmp_path, words):
    names = birds(tmp_path, split=lambda i: words(i % 3))
    parts = load(tmp_path, WILDS, train="birds", test="birds")
    for split, number in (("train", 0), ("test", 2)):
        rows = [i for i in range(12) if i % 3 == number]
        check_rows(parts[split], [names[i] for i in rows])
        assert parts[split].labels.tolist() == [i % 2 for i in rows]
        assert parts[split].attributes.tolist() == [(i // 2) % 2 for i in rows]
    assert parts["train"].label_names == parts["train"].attribute_names == ["0", "1"]
    assert parts["train"].provenance["files"]["train"]["images"] == 4


def test_what_a_table_lacks_of_images_that_are_left_out_is_no_mistake(tmp_path):
    birds(tmp_path)
    path = tmp_path / "birds/metadata.csv"
    head, *rows = path.read_text().splitlines()
    empty = [",".join([*row.split(",")[:2], "", *row.split(",")[3:]]) for row in rows]  # no label
    path.write_text(
        "\n".join([head, *(e if i % 3 == 1 else row for i, (row, e) in enumerate(zip(rows, empty, strict=True)))])
    )
    assert len(load(tmp_path, WILDS, train="birds", test="birds")["train"]) == 4
    path.write_text("\n".join([head, empty[0], *rows[1:]]))
    fails(r"'.*Bird_0000.jpg' in .* has no label \(column 'y'\)", tmp_path, WILDS, train="birds", test="birds")


def test_a_table_that_says_two_things_of_an_image(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / split, ["cat/1.png", "dog/2.png"])
    lines = [f"{split}/{name},f\n" for split in ("train", "test") for name in ("cat/1.png", "dog/2.png")]
    for more, line in (("1.png", "1.png,m\n"), ("cat/1.png", "cat/1.png,m\n")):
        (tmp_path / "list.csv").write_text("path,sex\n" + "".join(lines) + line)
        fails(f"'{more}' and '(train|test)/cat/1.png' in column 'path' of .*list.csv both name ", tmp_path, CSV)
    (tmp_path / "list.csv").write_text("path,sex\n" + "".join(lines) + "1.png,f\n")
    assert load(tmp_path, CSV)["train"].attribute_names == ["f"]


def test_a_value_of_each_image_is_no_attribute(tmp_path):
    names = [f"{'cat' if i % 2 else 'dog'}/{i}_x.png" for i in range(60)]
    write(tmp_path / "train", names)
    write(tmp_path / "test", ["cat/90_x.png", "dog/91_x.png"])
    pattern = {"from": "name", "pattern": r"(?P<attribute>\d+)_x\.png"}
    fails("the attribute of the images in .*train has 62 different values in 62 rows", tmp_path, pattern)


def test_one_folder_for_both_splits(tmp_path):
    write(tmp_path / "x", ["cat/1.png", "dog/2.png", "test/cat_3.png"])
    fails("x/test lies in .*x, which is the other split; name two folders", tmp_path, None, train="x", test="x/test")
    birds(tmp_path)
    both = {"train": "birds", "test": "birds"}
    without = {key: value for key, value in WILDS.items() if key != "split"}
    for attribute in (None, without):
        fails("birds is named for both splits; name two folders .* or the column", tmp_path, attribute, **both)
    fails("has no column 'part'; it has: img_id, img_filename", tmp_path, {**WILDS, "split": "part"}, **both)
    table = tmp_path / "birds/metadata.csv"
    whole = table.read_text()
    table.write_text(
        whole.replace(",1,0,0,", ",1,7,0,").replace(
            "\n0,000.Bird_0/Bird_0000.jpg,0,0", "\n0,000.Bird_0/Bird_0000.jpg,0,5"
        )
    )
    fails(
        "column 'split' of .*metadata.csv says '5' of 000.Bird_0/Bird_0000.jpg; it must be 0 or train",
        tmp_path,
        WILDS,
        **both,
    )
    birds(tmp_path, split=lambda i: 0)
    fails("column 'split' of .* says test of no image in .*birds", tmp_path, WILDS, **both)
    table.write_text(whole)
    (tmp_path / "birds" / sorted(BIRDS)[0]).unlink()
    fails(
        r"1 images of .*metadata.csv are missing, as 000.Bird_0/Bird_0000.jpg; complete the copy",
        tmp_path,
        WILDS,
        **both,
    )
    (tmp_path / "birds/new.jpg").write_bytes((tmp_path / "birds" / sorted(BIRDS)[1]).read_bytes())
    fails("new.jpg is not in column 'img_filename' of .*, which has such as '000.Bird_0/", tmp_path, WILDS, **both)


@pytest.mark.parametrize(
    "key",
    [
        lambda root, path: path,
        lambda root, path: path.removesuffix(".png"),
        lambda root, path: f"{root}/{path}",
        lambda root, path: f"{root.name}/{path}",
        lambda root, path: f"./{path}",
        lambda root, path: path.replace("/", "\\"),
        lambda root, path: path.rpartition("/")[2].removesuffix(".png"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_a_table_may_call_an_image(tmp_path, key, delimiter):
    write(tmp_path / "train", ["a/1.png", "b/2.png"])
    write(tmp_path / "test", ["a/3.png", "b/4.png"])
    paths = ["train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png"]
    rows = [delimiter.join([key(tmp_path, path), "fmmf"[i], "x"]) for i, path in enumerate(paths)]
    (tmp_path / "list.csv").write_text("\n".join([delimiter.join(["path", "sex", "note"]), *rows]))
    parts = load(tmp_path, CSV)
    assert parts["train"].attribute_names == ["f", "m"]
    assert (parts["train"].attributes.tolist(), parts["test"].attributes.tolist()) == ([0, 1], [1, 0])
