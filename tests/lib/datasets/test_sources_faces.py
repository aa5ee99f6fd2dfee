"""BFFHQ, UTKFace and CelebA from small trees laid out like the published ones, every image of its own colour."""

import hashlib
import json
import random
from collections import Counter

import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.datasets import sources
from PIL import Image


def load(root, settings, size=None):
    return sources.load(settings, data={"mirrors": [str(root)]}, size=size)


def fails(message, root, settings, size=None):
    with pytest.raises(DdbiasError, match=message) as error:
        load(root, settings, size)
    return str(error.value)


def colour(name):
    return tuple(random.Random(name).randbytes(3))


def write(folder, names, order=0, shape=(4, 4)):
    """Write a lossless image of its own colour to every path, whatever its extension, in a shuffled order."""
    names = list(names)
    random.Random(order).shuffle(names)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", shape, colour(name.rpartition("/")[2])).save(folder / name, format="PNG")


def check_rows(part, names):
    """Check that row i is the image of the i-th file name."""
    assert part.images.dtype == np.uint8
    assert part.labels.dtype == part.attributes.dtype == np.int64
    centre = part.images.shape[-1] // 2
    assert [tuple(image[:, centre, centre].tolist()) for image in part.images] == [colour(name) for name in names]


# --- BFFHQ -------------------------------------------------------------------------------------------------------

BFFHQ = {"kind": "bffhq"}
ALIGN = ["align/0/00_12_0_0.png", "align/0/05_3_0_0.png", "align/1/01_9_1_1.png"]
CONFLICT = ["conflict/0/my_folder_1_1/00_2_0_1.png", "conflict/1/04_1_0.png"]
BFFHQ_TEST = ["test/0_0/a_1_0.png", "test/b_1_1.png", "test/c_0_1.png", "test/d_0_0.png"]


@pytest.fixture
def bffhq(tmp_path):
    root = tmp_path / "bffhq"
    write(root / "0.5pct", [*ALIGN, *CONFLICT, "valid/x_1_0.png"], order=3)
    write(root, BFFHQ_TEST, order=4)
    return root


def base(paths):
    return [path.rpartition("/")[2] for path in paths]


def test_bffhq_labels_and_bias_come_from_the_file_names(bffhq, tmp_path):
    parts = load(tmp_path, BFFHQ)
    train, test = parts["train"], parts["test"]
    check_rows(train, base([*ALIGN, *CONFLICT]))
    check_rows(test, base(BFFHQ_TEST))
    assert (train.labels.tolist(), train.attributes.tolist()) == ([0, 0, 1, 0, 1], [0, 0, 1, 1, 0])
    assert (test.labels.tolist(), test.attributes.tolist()) == ([1, 1, 0, 0], [0, 1, 1, 0])
    assert (train.label_names, train.attribute_names) == (["young", "old"], ["female", "male"])
    assert str(tmp_path) not in json.dumps(train.provenance)
    assert load(tmp_path, BFFHQ, size=8)["train"].images.shape == (5, 3, 8, 8)


def test_bffhq_other_percentages_and_folders(bffhq, tmp_path):
    bffhq.rename(tmp_path / "faces_1_1")
    write(tmp_path / "faces_1_1" / "2pct", [*ALIGN[:1], "align/y_1_1.png", *CONFLICT[:1]])
    part = load(tmp_path, {**BFFHQ, "folder": "faces_1_1", "percent": "2"})["train"]
    assert (part.labels.tolist(), part.attributes.tolist()) == ([0, 1, 0], [0, 1, 1])


@pytest.mark.parametrize(
    ("extra", "settings", "message"),
    [
        (None, {"folder": "bfhq"}, "no folder bfhq in the working directory"),
        (None, {"percent": "5"}, "has no folder 5pct; percent must be one of those that it has: 0.5"),
        ("0.5pct/align/1/z_1_0.png", {}, "z_1_0.png has label 1 and bias 0 .* must be equal .* move it to conflict"),
        ("0.5pct/conflict/z_1_1.png", {}, "z_1_1.png has label 1 and bias 1 .* must be different .* move it to align"),
        ("0.5pct/align/1_1/z.png", {}, "align/1_1/z.png does not end in _<label>_<bias>"),
        ("test/z_2_0.png", {}, "test/z_2_0.png does not end in _<label>_<bias>"),
    ],
)
def test_bffhq_errors(bffhq, tmp_path, extra, settings, message):
    if extra:
        write(bffhq, [extra])
    fails(message, tmp_path, {**BFFHQ, **settings})


@pytest.mark.parametrize("part", ["0.5pct/align", "0.5pct/conflict", "test"])
def test_bffhq_parts_that_are_missing_or_empty(bffhq, tmp_path, part):
    (bffhq / part).rename(tmp_path / "away")
    fails(f"has no folder {part.rpartition('/')[2]}; BFFHQ has", tmp_path, BFFHQ)
    (bffhq / part).mkdir()
    assert str(bffhq / part) in fails("holds no image files", tmp_path, BFFHQ)


def test_bffhq_cut_image(bffhq, tmp_path):
    path = bffhq / "0.5pct" / ALIGN[1]
    path.write_bytes(path.read_bytes()[:40])
    assert str(path) in fails("cannot be decoded", tmp_path, BFFHQ)


# --- UTKFace -----------------------------------------------------------------------------------------------------

UTKFACE = {"kind": "utkface"}
AGES = ([1, 9, 19], [20, 33, 39], [40, 77, 116])


def utkface_names(per_cell, others=5):
    """Return names with every age group and race 0..3, and some of race 4."""
    generator = random.Random(1)
    names = []
    for group in range(3):
        for race in range(5):
            for i in range(others if race == 4 else per_cell[group, race]):
                age, gender = AGES[group][i % 3], generator.randrange(2)
                stamp = f"2017{generator.randrange(10**12):012}"
                names.append(f"{age}_{gender}_{race}_{stamp}.jpg{'.chip.jpg' if i % 2 else ''}")
    return names


def cell(name):
    age, _, race, _ = name.split("_")
    return (0 if int(age) < 20 else 1 if int(age) < 40 else 2), int(race)


SMALL = {(group, race): 4 + group + 2 * race for group in range(3) for race in range(4)}


def names_of(part, names):
    by_colour = {colour(name): name for name in names}
    assert len(by_colour) == len(names)
    return [by_colour[tuple(image[:, 2, 2].tolist())] for image in part.images]


def test_utkface_splits(tmp_path):
    names = utkface_names(SMALL)
    write(tmp_path / "UTKFace", names)
    parts = load(tmp_path, UTKFACE)
    found = {split: names_of(part, names) for split, part in parts.items()}
    assert sorted(found["train"] + found["test"]) == sorted(name for name in names if cell(name)[1] < 4)
    assert Counter(map(cell, found["test"])) == dict.fromkeys(SMALL, 4)
    for split, part in parts.items():
        assert found[split] == sorted(found[split])
        assert part.images.shape[1:] == (3, 64, 64)
        assert list(zip(part.labels.tolist(), part.attributes.tolist(), strict=True)) == [*map(cell, found[split])]
        assert part.label_names == ["<20", "20-39", ">=40"]
        assert part.attribute_names == ["White", "Black", "Asian", "Indian"]
    assert str(tmp_path) not in json.dumps(parts["train"].provenance)
    assert load(tmp_path, UTKFACE, size=16)["test"].images.shape == (48, 3, 16, 16)


def test_utkface_test_images_are_those_that_the_documented_hash_puts_first(tmp_path):
    names = utkface_names(SMALL)
    write(tmp_path / "UTKFace", names)
    wanted = []
    for group in SMALL:
        members = [name for name in names if cell(name) == group]
        wanted += sorted(members, key=lambda n: hashlib.sha256(f"0\x1futkface\x1f{n}".encode()).digest()[:8])[:4]
    assert names_of(load(tmp_path, UTKFACE)["test"], names) == sorted(wanted)


def test_utkface_takes_a_hundred_of_each_cell_at_most(tmp_path):
    names = utkface_names(dict.fromkeys(SMALL, 102), others=0)
    write(tmp_path / "UTKFace", names, shape=(1, 1))
    parts = load(tmp_path, UTKFACE, size=4)
    assert (len(parts["train"]), len(parts["test"])) == (24, 1200)


@pytest.mark.parametrize("order", range(3))
def test_utkface_order_and_depth_make_no_difference(tmp_path, order):
    names = utkface_names(SMALL)
    write(tmp_path / "a" / "UTKFace", names)
    write(tmp_path / "b" / "UTKFace", [f"part{len(name) % 2 + order % 2}/{name}" for name in names], order)
    first, second = (load(tmp_path / place, UTKFACE, size=4) for place in "ab")
    for split in first:
        np.testing.assert_array_equal(first[split].images, second[split].images)
        np.testing.assert_array_equal(first[split].attributes, second[split].attributes)


def test_utkface_misnamed_files_are_reported(tmp_path, log_lines):
    names = utkface_names({**dict.fromkeys(SMALL, 18), (2, 1): 10})
    write(tmp_path / "UTKFace", names)
    write(tmp_path / "UTKFace", ["61_1_20170109142408075.jpg.chip.jpg", "53__0_20170116184028385.jpg"])
    assert sum(map(len, load(tmp_path, UTKFACE, size=4).values())) == 12 * 18 - 8
    (line,) = [line for line in log_lines if "misnamed" in line]
    assert line.startswith("2 misnamed files of ")
    assert line.endswith("left out: 53__0_20170116184028385.jpg, 61_1_20170109142408075.jpg.chip.jpg")
    write(tmp_path / "UTKFace", ["portrait.jpg"])
    message = fails("3 of 226 files in .* are not called \\[age\\]", tmp_path, UTKFACE)
    assert "53__0_20170116184028385.jpg" in message


def test_utkface_errors(tmp_path):
    fails("no folder UTKFace", tmp_path, UTKFACE)
    (tmp_path / "UTKFace").mkdir()
    fails("holds no image files", tmp_path, UTKFACE)
    write(tmp_path / "UTKFace" / "a" / "b", utkface_names(SMALL))
    fails("holds no image files, nor do the folders in it", tmp_path, UTKFACE)
    write(tmp_path / "lacking", utkface_names({**SMALL, (1, 2): 0}))
    fails("has no image of age 20-39 and race 2 \\(Asian\\)", tmp_path, {**UTKFACE, "folder": "lacking"})
    write(tmp_path / "few", utkface_names({**SMALL, **{(1, race): 1 for race in range(4)}}))
    fails("none of age 20-39 is left for training", tmp_path, {**UTKFACE, "folder": "few"})
    write(tmp_path / "twice", [f"{part}/1_1_1_2017.jpg" for part in "ab"])
    fails(
        "twice/a/1_1_1_2017.jpg and .*twice/b/1_1_1_2017.jpg have the same name",
        tmp_path,
        {**UTKFACE, "folder": "twice"},
    )


# --- CelebA ------------------------------------------------------------------------------------------------------

CELEBA = {"kind": "celeba"}
CODES = {  # name: partition, Attractive, Male, Smiling
    "000001.jpg": (0, 1, -1, 1),
    "000002.jpg": (1, 1, 1, 1),
    "000003.jpg": (0, -1, 1, 1),
    "000004.jpg": (2, 1, 1, -1),
    "000005.jpg": (0, -1, -1, -1),
    "000006.jpg": (2, -1, 1, 1),
}


@pytest.fixture
def celeba(tmp_path):
    root = tmp_path / "celeba"
    write(root / "img_align_celeba", CODES, order=5, shape=(178, 218))
    lines = [f"{name} {' '.join(f'{v:2d}' for v in codes[1:])}\n" for name, codes in CODES.items()]
    (root / "list_attr_celeba.txt").write_text(f"{len(CODES)}\nAttractive Male Smiling \n" + "".join(lines))
    (root / "list_eval_partition.txt").write_text("".join(f"{name} {codes[0]}\n" for name, codes in CODES.items()))
    return root


def test_celeba_splits_labels_and_attributes(celeba, tmp_path):
    parts = load(tmp_path, CELEBA)
    for split, number in (("train", 0), ("test", 2)):
        part, names = parts[split], [name for name, codes in CODES.items() if codes[0] == number]
        check_rows(part, names)
        assert part.images.shape[1:] == (3, 64, 64)
        assert part.labels.tolist() == [int(CODES[name][1] == 1) for name in names]
        assert part.attributes.tolist() == [int(CODES[name][2] == 1) for name in names]
        assert part.label_names == ["not Attractive", "Attractive"]
        assert part.attribute_names == ["not Male", "Male"]
    assert str(tmp_path) not in json.dumps(parts["train"].provenance)
    other = load(tmp_path, {**CELEBA, "label": "Smiling", "attribute": "Attractive"}, size=8)["train"]
    assert (other.labels.tolist(), other.attributes.tolist()) == ([1, 1, 0], [1, 0, 0])
    assert other.images.shape == (3, 3, 8, 8)


def test_celeba_takes_the_middle(celeba, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (218, 178, 3), np.uint8)
    Image.fromarray(pixels).save(celeba / "img_align_celeba" / "000001.jpg", format="PNG")
    middle = pixels[20:198]
    np.testing.assert_array_equal(load(tmp_path, CELEBA, size=178)["train"].images[0], middle.transpose(2, 0, 1))
    small = np.asarray(Image.fromarray(middle).resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(load(tmp_path, CELEBA)["train"].images[0], small.transpose(2, 0, 1))


ATTR, PART, IMG = "list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (ATTR, "6\n", "7\n", "announces 7 images and lists 6"),
        (ATTR, "6\n", "", "does not begin with a count"),
        (ATTR, "000003.jpg -1  1  1", "000003.jpg -1  1", "line 5 of .* is not a name and 3 values"),
        (ATTR, "000003.jpg -1  1  1", "000003.jpg -1  0  1", "line 5 of .* is not a name and 3 values"),
        (ATTR, "000004.jpg", "000040.jpg", "000004.jpg, in line 4 of .*partition.txt, is not in list_attr"),
        (ATTR, "000004.jpg", "000003.jpg", "line 6 of .* lists 000003.jpg a second time"),
        (PART, "000004.jpg 2", "000003.jpg 2", "line [0-9] of .* lists 000003.jpg a second time"),
        (PART, "000004.jpg 2", "000004.jpg 3", "line 4 of .* is not a file name and 0, 1 or 2"),
        (PART, "000004.jpg 2", "000004.jpg", "line 4 of .* is not a file name and 0, 1 or 2"),
        (PART, " 2\n", " 1\n", "lists no image of the test part"),
    ],
)
def test_celeba_damaged_lists(celeba, tmp_path, file, old, new, message):
    text = (celeba / file).read_text()
    assert old in text
    (celeba / file).write_text(text.replace(old, new))
    fails(message, tmp_path, CELEBA)


@pytest.mark.parametrize("ending", [".csv", ".txt"])  # people rename them
@pytest.mark.parametrize("nested", [False, True])
def test_kaggles_copy_of_celeba_is_the_same_data(celeba, tmp_path, ending, nested):
    before = load(tmp_path, CELEBA)
    lines = [",".join([name, *map(str, codes[1:])]) for name, codes in CODES.items()]
    (celeba / ATTR).unlink()
    (celeba / PART).unlink()
    (celeba / ATTR).with_suffix(ending).write_text("image_id,Attractive,Male,Smiling\n" + "\n".join(lines))
    lines = [f"{name},{codes[0]}" for name, codes in CODES.items()]
    (celeba / PART).with_suffix(ending).write_text("image_id,partition\n" + "\n".join(lines) + "\n")
    if nested:
        (celeba / IMG).rename(celeba / "x")
        (celeba / IMG).mkdir()
        (celeba / "x").rename(celeba / IMG / IMG)
    after = load(tmp_path, CELEBA)
    for split, part in after.items():
        for name in ("images", "labels", "attributes"):
            np.testing.assert_array_equal(getattr(part, name), getattr(before[split], name))
    assert set(after["train"].provenance["files"]) >= {f"list_attr_celeba{ending}", f"list_eval_partition{ending}"}


@pytest.mark.parametrize("name", [ATTR, PART, IMG])
def test_celeba_missing_parts(celeba, tmp_path, name):
    (celeba / name).rename(tmp_path / "away")
    fails(f"has no (folder )?{name}", tmp_path, CELEBA)


def test_celeba_errors(celeba, tmp_path):
    fails(
        "unknown attribute of CelebA 'Atractive'.*Did you mean 'Attractive'", tmp_path, {**CELEBA, "label": "Atractive"}
    )
    fails("label and attribute are both 'Male'", tmp_path, {**CELEBA, "label": "Male"})
    image = celeba / IMG / "000004.jpg"
    write(celeba / IMG, ["000004.jpg"], shape=(100, 218))
    fails("000004.jpg is 100x218, smaller than the 178", tmp_path, CELEBA)
    image.write_bytes(image.read_bytes()[:30])
    fails("000004.jpg cannot be decoded", tmp_path, CELEBA)
    image.unlink()
    fails("000004.jpg, in line 4 of .* is missing; complete the copy", tmp_path, CELEBA)
    (celeba / ATTR).write_bytes(b"6\nM\xe4nnlich Attractive\n")
    fails("list_attr_celeba.txt is not a text file", tmp_path, CELEBA)


def test_faces_need_no_second_copy(celeba, tmp_path):
    import tracemalloc

    names = [f"{i:06}.jpg" for i in range(300)]
    write(celeba / IMG, ["000000.jpg"], shape=(178, 218))
    for name in names[1:]:
        (celeba / IMG / name).unlink(missing_ok=True)
        (celeba / IMG / name).hardlink_to(celeba / IMG / names[0])
    (celeba / ATTR).write_text("300\nAttractive Male\n" + "".join(f"{name} 1 -1\n" for name in names))
    (celeba / PART).write_text("".join(f"{name} {0 if i % 2 else 2}\n" for i, name in enumerate(names)))
    tracemalloc.start()
    try:
        parts = load(tmp_path, CELEBA, size=64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * sum(part.images.nbytes for part in parts.values())
