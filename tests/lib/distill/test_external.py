"""Sets that somebody else made, in every form in which they are published, restored to the pixels that went in."""

import csv
import json
import unicodedata
from dataclasses import replace

import ddbias
import numpy as np
import pyarrow as pa
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.data.distilled import DistilledSet, folder_names
from ddbias.datasets.sources import pth
from ddbias.distill.controls.external import PLUGIN, given_set
from ddbias.distill.given_files import Given, class_numbers
from ddbias.results.export.hub import image_table
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file

DEFAULTS = {
    name: option["default"]
    for name, option in PLUGIN["distiller"]["external"]["options"].items()
    if "default" in option
}
IPC = 2
MEAN, STD = [0.2, 0.3, 0.4], [0.5, 0.6, 0.7]
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.fixture
def images(split):
    """Real images of the classes in `LABELS`, uint8."""
    seen = [np.flatnonzero(split.labels == label)[i // 3] for i, label in enumerate(LABELS.tolist())]
    return torch.from_numpy(np.array(split.images[seen]))


def normalised(images):
    return (images.float() / 255 - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)


def made(split, file, **settings):
    return given_set(split, settings={**DEFAULTS, "file": str(file), **settings}, ipc=IPC, data={})


def same(given, split, images, order=(0, 3, 1, 4, 2, 5)):
    """Compare with the images that went in, class after class, as the data set is normalised."""
    torch.testing.assert_close(given[0], split.normalize(images[list(order)]), rtol=0, atol=2e-5)
    assert given[1].tolist() == [0, 0, 1, 1, 2, 2]


def dc_file(path, images):
    """What DC and DM write: sets of several experiments and the accuracies, NumPy numbers in a dictionary."""
    other = [torch.zeros_like(normalised(images)), LABELS]
    torch.save(
        {
            "data": [other, [normalised(images), LABELS]],
            "accs_all_exps": {"ConvNet": [np.float64(51.2), np.float32(3)]},
        },
        path,
    )


def test_dc_and_dm(split, images, tmp_path):
    dc_file(tmp_path / "res_DM.pt", images)
    given = made(split, tmp_path / "res_DM.pt", normalise=[MEAN, STD], experiment=1)
    same(given, split, images)
    assert given[2]["files"][0]["name"] == "res_DM.pt"
    assert given[2]["outside"] == 0
    with pytest.raises(DdbiasError, match="holds the sets 0 to 1; set experiment: to one of them"):
        made(split, tmp_path / "res_DM.pt", experiment=2)


def test_mtt(split, images, tmp_path):
    torch.save(normalised(images), tmp_path / "images_best.pt")
    torch.save(LABELS, tmp_path / "labels_best.pt")
    labels = str(tmp_path / "labels_best.pt")
    same(made(split, tmp_path / "images_best.pt", labels=labels, normalise=[MEAN, STD]), split, images)
    with pytest.raises(DdbiasError, match="holds no labels; set labels: to their file, or to order"):
        made(split, tmp_path / "images_best.pt")
    torch.save(normalised(images)[[0, 3, 1, 4, 2, 5]], tmp_path / "images_best.pt")
    same(made(split, tmp_path / "images_best.pt", labels="order", normalise=[MEAN, STD]), split, images)


@pytest.mark.parametrize("pack", [list, tuple, lambda pair: dict(zip(("images", "labels"), pair, strict=True))])
def test_a_pair_of_tensors(split, images, tmp_path, pack):
    torch.save(pack([images, LABELS]), tmp_path / "set.pt")
    same(made(split, tmp_path / "set.pt"), split, images)


def test_safetensors(split, images, tmp_path):
    save_file({"x": images.float() / 255, "y": LABELS}, tmp_path / "set.safetensors")
    same(made(split, tmp_path / "set.safetensors", image="x", label="y"), split, images)
    with pytest.raises(DdbiasError, match="has no 'image'; it has: x, y; set image:"):
        made(split, tmp_path / "set.safetensors")


def test_parquet_as_it_is_exported(split, images, tmp_path):
    """Names of the file's classes count, in whatever order it numbers them."""
    names = split.meta["label_names"]
    meta = {"label_names": names, "mean": [0.0] * 3, "std": [1.0] * 3}
    table = image_table(DistilledSet(images.float() / 255, LABELS, meta))
    parquet.write_table(table, tmp_path / "train-00000-of-00001.parquet")
    same(made(split, tmp_path / "train-*.parquet"), split, images)
    turned = image_table(DistilledSet(images.float() / 255, 2 - LABELS, {**meta, "label_names": names[::-1]}))
    parquet.write_table(turned, tmp_path / "turned.parquet")
    same(made(split, tmp_path / "turned.parquet"), split, images)
    other = image_table(
        DistilledSet(images.float() / 255, LABELS, {**meta, "label_names": [n.title() + "s" for n in names]})
    )
    parquet.write_table(other, tmp_path / "other.parquet")
    with pytest.raises(DdbiasError, match="which is no class of the data set"):  # and no number, either
        made(split, tmp_path / "other.parquet")
    spelt = replace(split, meta={**split.meta, "label_names": ["T-shirt/top", "bag", "dress"]})
    names = {"label_names": ["Bag", "T - shirt / top", "Dress"]}  # as another copy of the data set spells them
    table = image_table(DistilledSet(images.float() / 255, torch.tensor([1, 0, 2])[LABELS], {**meta, **names}))
    parquet.write_table(table, tmp_path / "spelt.parquet")
    same(made(spelt, tmp_path / "spelt.parquet"), split, images)
    plain = pa.table({"picture": table["image"], "class": pa.array(LABELS.tolist())})
    parquet.write_table(plain, tmp_path / "plain.parquet")
    same(made(split, tmp_path / "plain.parquet", image="picture", label="class"), split, images)


def test_folder(split, images, tmp_path):
    for i, (image, label) in enumerate(zip(images, LABELS, strict=True)):
        for folder in (tmp_path / "named" / folder_names(split.meta["label_names"])[label], tmp_path / "flat"):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    same(made(split, tmp_path / "named"), split, images)
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "y"), *((f"{i}.png", int(label)) for i, label in enumerate(LABELS))])
    same(made(split, tmp_path / "flat", labels=str(tmp_path / "labels.csv"), image="path", label="y"), split, images)
    with pytest.raises(DdbiasError, match="labels: order is for tensors and Parquet"):
        made(split, tmp_path / "flat", labels="order")


class Code:
    def __reduce__(self):
        return (print, ("this ran",))


def nan(images):
    floats = images.float() / 255
    floats[0, 0, 0, 0] = float("nan")
    return floats


BAD = {
    "pickled": (lambda x: [x, LABELS, Code()], {}, "holds more than tensors, which could run code"),
    "number": (lambda x: [x[:4], LABELS[:4]], {}, r"holds 4 images, and ipc 2 of 3 classes are 6; set ipc:"),
    "single": (lambda x: [x, LABELS], {"experiment": 1}, "holds one set, which is experiment: 0"),
    "last": (
        lambda x: [x[..., :5].permute(0, 2, 3, 1), LABELS],
        {},
        "6x8x5x3, those of the data set any x 3x8x8 .*; set size",
    ),
    "nhwc": (lambda x: [x.permute(0, 2, 3, 1), LABELS], {}, "6x8x8x3, those .*; store them with the channels first"),
    "size": (lambda x: [x[..., :5], LABELS], {}, r"are 6x3x8x5, those of the data set any x 3x8x8"),
    "channels": (lambda x: [x[:, :1], LABELS], {}, r"are 6x1x8x8, those of the data set any x 3x8x8"),
    "outside": (lambda x: [x, LABELS + 1], {}, "has the label 3; the classes are 0 to 2"),
    "uneven": (lambda x: [x, torch.tensor([0, 0, 0, 1, 2, 2])], {}, "has 3 images of class 0, not ipc 2"),
    "labels": (lambda x: [x, LABELS[:5]], {}, "has 5 labels for 6 images"),
    "soft": (lambda x: [x, torch.eye(3)[LABELS]], {}, r"has soft labels \(6x3\); give hard ones"),
    "nan": (lambda x: [nan(x), LABELS], {}, "hold values that are not finite numbers"),
    "normalised": (lambda x: [normalised(x), LABELS], {}, r"are outside 0..1 .*; set normalise: to the \[mean, std\]"),
    "levels": (lambda x: [x.float(), LABELS], {}, "are outside 0..1 .*divide 0..255 by 255"),
    "digits": (
        lambda x: [x.float() * (x > x.float().quantile(0.9)), LABELS],
        {},
        "outside 0..1 .*divide 0..255 by 255",
    ),
    "uint8": (lambda x: [x, LABELS], {"normalise": [MEAN, STD]}, "are uint8, which are not normalised"),
    "three": (lambda x: [x, LABELS, LABELS], {}, "holds no tensor of images, perhaps with one of labels"),
    "list": (lambda x: [x, LABELS.tolist()], {}, "the labels in .*set.pt are no tensor; store them as one"),
    "meta": (lambda x: [x.to("meta"), LABELS], {}, "holds no tensor of images"),
    "csv": (lambda x: x, {"labels": "labels.csv"}, "labels.csv is neither order nor a file .pt, .pth, .safetensors"),
    "constants": (lambda x: [normalised(x), LABELS], {"normalise": [125.0, 60.0]}, "normalise is .*from 0 to 1"),
    "NaN": (lambda x: [normalised(x), LABELS], {"normalise": [float("nan"), 0.5]}, "normalise is .*from 0 to 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(split, images, tmp_path, capsys, name):
    content, settings, message = BAD[name]
    torch.save(content(images), tmp_path / "set.pt")
    with pytest.raises(DdbiasError, match=message):
        made(split, tmp_path / "set.pt", **settings)
    assert "this ran" not in capsys.readouterr().out


def test_a_set_of_ours_with_several_images_in_one_is_refused(split, tmp_path):
    options = {"method": "idc", "network": {"kind": "convnet", "width": 4}, "iterations": 1, "real_batch": 4}
    pixels, labels = split.images[split.labels < 3], split.labels[split.labels < 3]
    folder = ddbias.distill(pixels, labels, ipc=IPC, progress=False, **options).save(tmp_path / "set")
    assert ddbias.load_distilled(folder).formation == 2
    with pytest.raises(DdbiasError, match="stores several training images in one"):
        made(split, folder / "distilled.safetensors")


def test_small_floats_are_pixels(split, images, tmp_path):
    torch.save([(images.float() / 255).to(torch.float8_e5m2), LABELS], tmp_path / "set.pt")
    given, _, facts = made(split, tmp_path / "set.pt")
    assert given.isfinite().all()
    assert facts["outside"] == 0


def test_missing_damaged_and_unknown_files(split, tmp_path):
    for name in ("none.pt", "none.parquet", "none"):
        with pytest.raises(DdbiasError, match=r"no (file|folder) .*none"):
            made(split, tmp_path / name)
    for name in ("cut.pt", "cut.safetensors", "cut.parquet"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 nothing")
        with pytest.raises(DdbiasError, match="is damaged"):
            made(split, tmp_path / name)
    (tmp_path / "set.npz").write_bytes(b"")
    with pytest.raises(DdbiasError, match=r"set.npz is none of .pt, .pth, .safetensors, .parquet"):
        made(split, tmp_path / "set.npz")


def test_numbers_of_numpy_are_all_that_is_read_beside_tensors(tmp_path):
    torch.save({"a": np.float64(1.5)}, tmp_path / "numbers.pt")
    assert pth.read_plain(tmp_path / "numbers.pt") == {"a": 1.5}
    torch.save({"a": np.array([Code()], object)}, tmp_path / "objects.pt")
    with pytest.raises(DdbiasError, match="more than tensors"):
        pth.read_plain(tmp_path / "objects.pt")


@pytest.mark.parametrize("labels", [torch.tensor([2]), None])
def test_numbers_of_classes_named_by_numbers_in_another_order_are_refused(labels):
    names = sorted(map(str, range(11)))  # as folders are: 0, 1, 10, 2
    given = Given(torch.zeros(1, 3, 8, 8), labels, [])
    with pytest.raises(
        DdbiasError, match=r"label 2 of set may be the class '10', the .*number 2, or '2'; give a folder .* label_names"
    ):
        class_numbers(given, names, 1, "set")
    if labels is not None:
        assert class_numbers(given, sorted(names, key=int), 1, "set").tolist() == [2]
        assert class_numbers(Given(given.images, torch.tensor([1]), []), names, 1, "set").tolist() == [1]
        assert class_numbers(Given(given.images, ["2"], []), names, 1, "set").tolist() == [3]


def test_in_a_set_of_ours_numbers_are_those_of_its_names(split, images, tmp_path):
    """However the data set orders its classes; those of others are the data set's numbers."""
    turned = replace(split, meta={**split.meta, "label_names": split.meta["label_names"][::-1]})
    numbers = replace(split, meta={**split.meta, "label_names": ["10", "2", "1"]})
    for stated, data_set, wanted in (
        (split.meta["label_names"], turned, (2, 5, 1, 4, 0, 3)),
        (["other", "names", "here"], split, (0, 3, 1, 4, 2, 5)),
        (["10", "2", "1"], numbers, (0, 3, 1, 4, 2, 5)),
    ):
        meta = {"ddbias": json.dumps({"label_names": stated})}
        save_file({"images": images, "labels": LABELS}, tmp_path / "set.safetensors", metadata=meta)
        same(made(data_set, tmp_path / "set.safetensors"), data_set, images, wanted)


def test_one_file_of_labels_may_be_that_of_every_experiment(split, images, tmp_path):
    torch.save([[images.flip(-1)], [images]], tmp_path / "images.pt")
    torch.save(LABELS, tmp_path / "labels.pt")
    same(made(split, tmp_path / "images.pt", labels=str(tmp_path / "labels.pt"), experiment=1), split, images)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_folder_named_on_a_mac_is_that_of_its_class(form):
    given = Given(torch.zeros(2, 3, 8, 8), [unicodedata.normalize("NFD", "café"), "dog"], [])
    assert class_numbers(given, ["dog", unicodedata.normalize(form, "café")], 1, "set").tolist() == [1, 0]


def test_unsigned_labels_are_read():
    given = Given(torch.zeros(2, 3, 8, 8), torch.tensor([1, 0], dtype=torch.uint64), [])
    assert class_numbers(given, ["cat", "dog"], 1, "set").tolist() == [1, 0]
    outside = Given(given.images, torch.tensor([1, 2**63], dtype=torch.uint64), [])
    with pytest.raises(DdbiasError, match="has the label 9223372036854775808; the classes are 0 to 1"):
        class_numbers(outside, ["cat", "dog"], 1, "set")


@pytest.mark.parametrize("stated", ["no JSON", "[]", '"text"', '{"formation": 1}'])
def test_what_others_call_ddbias_in_their_metadata_is_not_ours(split, images, tmp_path, stated):
    content = {"images": images, "labels": LABELS}
    save_file(content, tmp_path / "set.safetensors", metadata={"ddbias": stated})
    assert len(made(split, tmp_path / "set.safetensors")[0]) == len(images)


def test_of_mixed_folder_names_the_number_is_told():
    given = Given(torch.zeros(2, 3, 8, 8), ["0", "dog"], [])
    with pytest.raises(DdbiasError, match="has the label '0', which is no class of the data set"):
        class_numbers(given, ["cat", "dog"], 1, "set")
    assert class_numbers(Given(given.images, ["1", "0"], []), ["cat", "dog"], 1, "set").tolist() == [1, 0]
