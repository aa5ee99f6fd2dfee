"""The published .pth files: exact pixels, both layouts, and files that are damaged or would run code."""

import json
import zipfile

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.datasets import sources

SOURCE = {"kind": "pth", "file": "set.pth"}


def content(train=300, test=4, shape=(3, 16, 16)):
    """Return the fields as published, and the pixels that they stand for."""
    generator = torch.Generator().manual_seed(0)
    fields, pixels = {}, {}
    for prefix, count in (("training", train), ("testing", test)):
        levels = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
        fields[f"{prefix}_imgs"] = levels.float() / 255
        fields[f"{prefix}_labs"] = torch.arange(count) % 10 if count > 10 else torch.arange(count)
        fields[f"{prefix}_attrs"] = torch.arange(count).flip(0) % 10
        pixels[prefix] = levels.numpy()
    return fields, pixels


def save(tmp_path, fields, **options):
    torch.save(fields, tmp_path / "set.pth", **options)


def load(tmp_path, **options):
    return sources.load({**SOURCE, **options}, data={"root": str(tmp_path)})


def fails(message, tmp_path, **options):
    with pytest.raises(DdbiasError, match=message) as error:
        load(tmp_path, **options)
    assert str(tmp_path / "set.pth") in str(error.value)


@pytest.mark.parametrize("wrap", [None, "data", "save_data"])
@pytest.mark.parametrize("mapped", [True, False])
def test_pixels_labels_and_attributes_are_exact(tmp_path, wrap, mapped):
    fields, pixels = content()
    save(tmp_path, {wrap: fields} if wrap else fields, _use_new_zipfile_serialization=mapped)
    parts = load(tmp_path)
    for split, prefix in (("train", "training"), ("test", "testing")):
        part = parts[split]
        assert (part.images.dtype, part.labels.dtype, part.attributes.dtype) == (np.uint8, np.int64, np.int64)
        np.testing.assert_array_equal(part.images, pixels[prefix])
        assert part.labels.tolist() == fields[f"{prefix}_labs"].tolist()
        assert part.attributes.tolist() == fields[f"{prefix}_attrs"].tolist()
        assert part.label_names == part.attribute_names == list("0123456789")
    assert str(tmp_path) not in json.dumps(parts["train"].provenance)


def test_every_grey_level_comes_back_from_every_float(tmp_path):
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(2, 1, 1, 1)
    fields, _ = content(2, 2, (1, 16, 16))
    for images in (levels, levels.float() / 255, levels.double() / 255, levels.float() * (1 / 255)):
        save(tmp_path, {**fields, "training_imgs": images})
        np.testing.assert_array_equal(load(tmp_path)["train"].images, levels.numpy())


def test_lists_of_numbers_and_names(tmp_path):
    fields, _ = content(4, 2, (1, 4, 4))
    names = ["zero", "one", "two", "three"]
    save(tmp_path, {**fields, "training_labs": [0, 1, 3, 2], "testing_attrs": (3, 0)})
    parts = load(tmp_path, label_names=names, attribute_names=names)
    assert parts["train"].labels.tolist() == [0, 1, 3, 2]
    assert parts["test"].attributes.tolist() == [3, 0]
    assert parts["test"].label_names == parts["test"].attribute_names == names


def test_what_was_loaded_does_not_hang_on_the_file(tmp_path):
    fields, pixels = content(20, 2, (3, 4, 4))
    fields["training_imgs"] = torch.from_numpy(pixels["training"])
    save(tmp_path, fields)
    part = load(tmp_path)["train"]
    size = (tmp_path / "set.pth").stat().st_size
    with open(tmp_path / "set.pth", "r+b") as file:
        file.write(bytes(size))
    np.testing.assert_array_equal(part.images, pixels["training"])


def changed(**fields):
    base, _ = content(4, 4, (3, 4, 4))
    base = {name: value for name, value in base.items() if name not in fields}
    return base | {name: value for name, value in fields.items() if value is not None}


IMAGES = content(4, 4, (3, 4, 4))[0]["training_imgs"]
MEAN, STD = 0.5, 0.25
NUMBERS = torch.arange(4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (changed(training_attrs=None), "no field 'training_attrs'; it has: .*Did you mean 'training_"),
        ({"data": {}}, "no field 'training_imgs'; it has: none"),
        ([1, 2], "holds a list, not a dictionary"),
        (NUMBERS, "holds a Tensor, not a dictionary"),
        ({"data": [1]}, "holds a list, not a dictionary"),
        (changed(training_imgs=(IMAGES - MEAN) / STD), "training_imgs .* divided by 255; take .* not normalised"),
        (changed(testing_imgs=IMAGES * 2 - 1), "testing_imgs .* not normalised"),
        (changed(testing_imgs=IMAGES * 255), "testing_imgs .* not normalised"),
        (changed(testing_imgs=IMAGES * float("nan")), "testing_imgs .* holds nan"),
        (changed(testing_imgs=IMAGES * float("inf")), "testing_imgs .* holds (inf|nan)"),
        (changed(training_imgs=IMAGES.half()), "not normalised"),
        (changed(training_imgs=IMAGES.long()), "is torch.int64; it must be uint8, or floating point"),
        (changed(training_imgs=IMAGES.permute(0, 2, 3, 1)), "training_imgs of .* is 4x4x4x3; it must be a tensor"),
        (changed(training_imgs=IMAGES[0]), "is 3x4x4; it must be a tensor"),
        (changed(training_imgs=IMAGES[:0]), "is 0x3x4x4"),
        (changed(training_imgs=[1]), "training_imgs of .* is list"),
        (changed(training_imgs=IMAGES[:1].expand(10**9, 3, 4, 4)), "training_imgs of .* claims more images than"),
        (changed(testing_imgs=IMAGES[:, :1]), "differ in shape \\(3x4x4 and 1x4x4\\)"),
        (changed(training_labs=NUMBERS[:3]), "training_labs of .* must be 4 whole numbers"),
        (changed(training_labs=NUMBERS.float()), "training_labs of .* must be 4 whole numbers"),
        (changed(training_labs=[0, 1, 2, 3.5]), "training_labs of .* must be 4 whole numbers"),
        (
            changed(training_labs=NUMBERS - 1),
            "row 3 of column 'testing_labs' of .* is 3, which is not among the labels \\(-1, 0, 1, 2\\)",
        ),
        (changed(testing_labs=NUMBERS + 1), "row 3 of column 'testing_labs' of .* is 4, which is not among the labels"),
        (changed(training_labs=NUMBERS * 2), "row 1 of column 'testing_labs' of .* is 1, which is not among"),
    ],
)
def test_wrong_content(tmp_path, fields, message):
    save(tmp_path, fields)
    fails(message, tmp_path)


def test_names_that_are_too_few(tmp_path):
    save(tmp_path, changed())
    fails(
        "row 0 of column 'training_attrs' of .* is 3, and the attribute names \\(a, b\\)",
        tmp_path,
        attribute_names=["a", "b"],
    )


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0, 10, 0.2, 0.5, 0.98])
def test_cut_files(tmp_path, kept, zipped):
    save(tmp_path, changed(), _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "set.pth").read_bytes()
    (tmp_path / "set.pth").write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    fails("is damaged", tmp_path)


@pytest.mark.parametrize("junk", [b"<html>log in to the network</html>", b"PK\x03\x04 and so on", bytes(100)])
def test_files_of_something_else(tmp_path, junk):
    (tmp_path / "set.pth").write_bytes(junk)
    fails("is damaged", tmp_path)


def test_another_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.pth", "w") as file:
        file.writestr("readme.txt", "no tensors")
    fails("is damaged", tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused_and_not_run(tmp_path, trap, zipped):
    trace = tmp_path / "trace"
    save(tmp_path, changed(training_labs=trap(trace)), _use_new_zipfile_serialization=zipped)
    fails("holds more than tensors, which could run code", tmp_path)
    assert not trace.exists()
    torch.load(tmp_path / "set.pth", weights_only=False)  # the trap does work
    assert trace.exists()
