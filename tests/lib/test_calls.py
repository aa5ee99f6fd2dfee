"""Distilling and weighting arrays in one call; ``tests/scripts/test_calls.py`` compares the bits."""

import sys
from pathlib import Path

import ddbias
import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError

NETWORK = {"kind": "convnet", "width": 4, "depth": 2}


def test_other_weights_and_layouts(few_digits, capsys):
    split, before = few_digits(), torch.get_num_threads()
    grey = {"images": split.images[:, 0], "labels": split.labels.tolist()}
    options = {"ipc": 2, "network": NETWORK, "iterations": 2, "real_batch": 5, "init": "noise", "threads": before + 1}
    plain = ddbias.distill(**grey, **options)
    assert "dm uniform ipc2 seed0: 2/2, loss" in capsys.readouterr().err
    assert torch.get_num_threads() == before
    alike = ddbias.distill(**grey, **options, weights=np.ones(60), progress=False)
    other = ddbias.distill(**grey, **options, weights=np.arange(60.0), progress=False)
    assert capsys.readouterr().err == ""
    assert plain.images.shape == (6, 1, 8, 8)
    assert torch.equal(plain.images, alike.images)
    assert not torch.equal(plain.images, other.images)
    assert other.meta["settings"]["debias"] == {"kind": "given"}
    by_name = ddbias.distill(**grey, ipc=2, method="random", progress=False, seed=1)
    assert by_name.pixels()[0].tolist() in split.images[:20, :1].tolist()


def test_soft_labels_are_returned_and_written(few_digits, tmp_path):
    split = few_digits()
    options = {"method": "rded", "network": NETWORK, "models": {"epochs": 1}, "progress": False}
    made = ddbias.distill(split.images, split.labels, ipc=2, soft_labels=True, temperature=3, **options)
    soft = ddbias.load_distilled(made.save(tmp_path / "set")).soft_targets()
    assert torch.equal(soft.probabilities, made.soft_targets().probabilities)
    assert soft.is_valid(6, 3)
    assert soft.temperature == made.meta["temperature"] == 3
    assert made.history == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iteration": 3}, "distillers.dm.iteration = 3: unknown key; known: .* Did you mean 'iterations'?"),
        ({"momentum": 2}, "distillers.dm.momentum = 2: must be below 1"),
        ({"method": "dmm"}, "unknown distiller kind 'dmm'; known: .* Did you mean 'dc'|'dm'"),
        ({"network": "convnt"}, "networks.network.kind = 'convnt': must be one of .*Did you mean 'convnet'?"),
        ({"method": "whole", "ipc": "all"}, "whole makes no images"),
        ({"method": "external", "file": "set.pt"}, "external reads a set that is finished, for a study"),
        ({"labels": np.arange(60) % 3 + 1000}, "the labels go up to 1002, and there are 60 images; number them from 0"),
        ({"attributes": np.where(np.arange(60) % 2, 2**40, 0)}, "the attributes go up to 1099511627776"),
        ({"normalise": 0.5}, "normalise is 0.5; it must be own, none, zca or"),
        ({"models": {"epochs": 1}}, "the method dm trains no models first; leave models out"),
        ({"ipc": 0}, "ipc = 0: must be at least 1"),
        ({"ipc": 21}, "ipc 21 is more than the 20 images of the smallest class"),
        ({"seed": -1}, "seed = -1: must be at least 0"),
        ({"images": np.zeros((60, 8, 8))}, "the images are float64; give pixels 0..255 as uint8"),
        ({"images": np.zeros((60, 8, 9, 3), np.uint8)}, r"the images have the shape \(60, 8, 9, 3\); give squares"),
        ({"labels": np.zeros(7, int)}, r"the labels are int64 of shape \(7,\); give each of the 60 images"),
        ({"labels": np.zeros(60, int)}, r"the labels are 0..0"),
        ({"labels": np.arange(60) % 3 - 1}, "one of the labels is -1; number them from 0"),
        ({"images": [np.zeros((8, 8), np.uint8), np.zeros((9, 9), np.uint8)]}, "the images differ in shape"),
        ({"pairing": [[0], [1, 2], 3]}, "the numbers of the pairing differ in shape"),
        ({"weights": np.ones((60, 1))}, r"\(60, 1\) weights for 60 samples; give one number for each"),
        ({"method": "DM"}, "Did you mean 'dm'?"),
        ({"labels": np.full(60, 2)}, "no image has the label 0; number the labels from 0 without a gap"),
        ({"labels": np.arange(60) % 2 * 2}, "no image has the label 1; number the labels from 0 without a gap"),
        ({"label_names": "abc"}, "label_names is 'abc'; give a list of a name for each label"),
        ({"label_names": ["a", "b", "a"]}, "with the names a, b, a; two or more, each with its own name"),
        ({"pairing": "same"}, "the pairing is 'same'; give the attribute of each of 3 labels"),
        ({"pairing": 3}, "the pairing is 3; give the attribute of each of 3 labels"),
        ({"pairing": [0, 1, 9], "attributes": np.arange(60) % 3}, r"\[0, 1, 9\]; attributes are numbered from 0 to 2"),
        (
            {"images": torch.zeros(60, 8, 8, dtype=torch.bfloat16)},
            "the images are float32; give pixels 0..255 as uint8",
        ),
        ({"ipc": 2.5}, "ipc = 2.5: must be a whole number"),
        ({"weights": "kde"}, "the weights are <U3; give what estimate_weights returns, or a number for each image"),
        ({"weights": np.ones(7)}, "7 weights for 60 samples"),
        ({"weights": -np.ones(60)}, "weights must be finite and not negative"),
    ],
)
def test_a_mistake_is_one_line(few_digits, changes, message):
    split = few_digits()
    given = {"images": split.images, "labels": split.labels, "ipc": 2, "network": NETWORK, "iterations": 1}
    with pytest.raises(DdbiasError, match=message):
        ddbias.distill(**{**given, "real_batch": 5, "progress": False, **changes})


def test_numbers_of_numpy_and_whole_floats_are_numbers(few_digits):
    split = few_digits()
    given = {"network": NETWORK, "real_batch": 5, "progress": False}
    plain = ddbias.distill(split.images, split.labels, ipc=2, seed=1, iterations=1, **given)
    numpy = {"ipc": np.int64(2), "seed": np.int64(1), "iterations": np.int32(1), "pairing": np.arange(3)}
    for asked in (numpy, {"ipc": 2.0, "seed": 1, "iterations": 1.0}):
        assert torch.equal(ddbias.distill(split.images, split.labels, **asked, **given).images, plain.images)
    assert len(ddbias.distill(split.images, split.labels, ipc=2.0, method="random", progress=False)) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "kd"}, "unknown debias kind 'kd'; known: .* Did you mean 'kde'?"),
        ({"varianc": 1}, "debias.kde.varianc = 1: unknown key; .* Did you mean 'variance'?"),
        ({"kind": "loss_weighted", "surrogate": "supcon"}, "needs one of kind .*, not supcon"),
        ({"kind": "fairdd", "groups": "attribute"}, "attribute"),
        ({"kind": "uniform", "surrogate": "supcon"}, "the debias uniform reads no surrogate; leave surrogate out"),
        ({"surrogate": {"kind": "supcon", "step": 3}}, "surrogates.surrogate.step = 3: unknown key"),
    ],
)
def test_a_mistake_about_weights_is_one_line(few_digits, changes, message):
    split = few_digits()
    with pytest.raises(DdbiasError, match=message):
        ddbias.estimate_weights(split.images, split.labels, network=NETWORK, progress=False, **changes)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("kde", {"variance": 0.1}),
        *((kind, {}) for kind in ("contradiction", "dpr", "spare", "loss_weighted", "lff_weights")),
        ("fairdd", {"groups": "predicted"}),
        ("group_balanced", {"groups": "clusters"}),
    ],
)
def test_a_debias_has_a_surrogate_that_fits(few_digits, kind, options):
    split = few_digits()
    given = {"network": NETWORK, "scale": "quick", "progress": False}
    assert len(ddbias.estimate_weights(split.images, split.labels, kind, **given, **options)) == 60


def test_what_a_call_takes_besides(few_digits):
    split = few_digits()
    options = {"ipc": 2, "method": "random", "progress": False}
    arrays = ddbias.distill(split.images, split.labels, normalise=np.array([0.25, 0.5]), **options)
    assert torch.equal(
        arrays.images, ddbias.distill(split.images, split.labels, normalise=[0.25, 0.5], **options).images
    )
    white = ddbias.distill(split.images, split.labels, normalise="zca", **options)
    np.testing.assert_array_equal(white.split.images, split.images)
    chosen = white.split.normalize(torch.from_numpy(split.images))
    for image in white.split.whitened(white.images):  # as networks see it, among the training images as they see them
        assert (chosen - image).abs().amax((1, 2, 3)).min() < 1e-4
    rded = {"method": "rded", "network": NETWORK, "ipc": 2, "progress": False, "scale": "quick"}
    named = ddbias.distill(split.images, split.labels, models="classifiers", **rded)
    assert torch.equal(named.images, ddbias.distill(split.images, split.labels, **rded).images)


def test_images_without_weight_fill_up_with_a_warning(few_digits, capsys):
    split, weights = few_digits(), np.zeros(60)
    weights[[0, 20, 40, 41]] = 1
    ddbias.distill(split.images, split.labels, ipc=2, method="random", weights=weights, progress=False)
    said = capsys.readouterr().err
    assert "class 0 has 1 images of weight above 0, so 1 others are drawn" in said
    assert "class 2" not in said


def test_a_set_is_saved_whole_or_not(few_digits, tmp_path, monkeypatch):
    split = few_digits()
    made = ddbias.distill(split.images, split.labels, ipc=2, method="random", progress=False)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ddbias.data.store.write_json", full)
        with pytest.raises(DdbiasError, match=r"set cannot be written \(No space left on device\)"):
            made.save(tmp_path / "set")
    assert not list(tmp_path.iterdir())
    assert len(list(made.save(tmp_path / "set").iterdir())) == 4
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    monkeypatch.chdir(tmp_path / "here")
    assert made.save(".") == tmp_path / "here"
    assert len(list(Path().iterdir())) == 4
    with pytest.raises(DdbiasError, match="is not empty"):
        made.save(tmp_path / "link")
    (tmp_path / "file").touch()
    for place in ("file", "file/in"):
        with pytest.raises(DdbiasError, match=r"cannot be written \((File exists|Not a directory)\); choose another"):
            made.save(tmp_path / place)


def test_what_the_caller_has_set_in_torch_changes_no_bit_and_stays(few_digits):
    split = few_digits()

    def made():
        found = ddbias.distill(
            split.images, split.labels, ipc=2, network=NETWORK, iterations=2, real_batch=5, progress=False
        )
        weights = ddbias.estimate_weights(
            split.images, split.labels, network=NETWORK, scale="quick", variance=0.1, progress=False
        )
        return found.images, torch.from_numpy(weights.weights)

    plain = made()

    def same():
        for ours, theirs in zip(made(), plain, strict=True):
            assert torch.equal(ours, theirs)

    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            same()
    try:
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_flush_denormal(True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        same()
        assert torch.get_default_dtype() == torch.float64
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.tensor([1e-40], dtype=torch.float32).mul(1).item() == 0
        assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(False)
        torch.set_flush_denormal(False)
        torch.utils.deterministic.fill_uninitialized_memory = True


def test_what_is_done_with_an_array_later_changes_no_set(few_digits, tmp_path):
    split = few_digits()
    images = split.images.copy()
    made = ddbias.distill(images, split.labels, ipc=2, method="random", progress=False)
    images[:] = 0
    np.testing.assert_array_equal(made.split.images, split.images)
    before, (tensors, labels) = made.pixels(), made.tensors()
    tensors.zero_()
    labels.zero_()
    made.save(tmp_path / "set")
    assert torch.equal(ddbias.load_distilled(tmp_path / "set").pixels(), before)


def test_weights_of_other_labels_are_refused(few_digits):
    split, order = few_digits(), np.arange(60)[::-1]
    given = {"attributes": split.attributes, "progress": False}
    weights = ddbias.estimate_weights(split.images, split.labels, "group_balanced", **given)
    how = {"ipc": 2, "method": "random", "progress": False, "weights": weights}
    assert len(ddbias.distill(split.images, split.labels, **how)) == 6
    with pytest.raises(DdbiasError, match="the weights were estimated with other labels; give the same images"):
        ddbias.distill(split.images[order], split.labels[order], **how)


def test_paths_devices_and_iterators_are_taken_as_they_come(few_digits):
    split = few_digits()
    plain = ddbias.distill(split.images, split.labels, ipc=2, method="random", progress=False)
    given = {"device": torch.device("cpu"), "plug_ins": "examples/plugins/pixel_moments.py"}
    how = {"ipc": 2, "method": "random", "progress": False, **given}
    found = ddbias.distill((image for image in split.images), iter(split.labels.tolist()), **how)
    assert torch.equal(found.images, plain.images)


def test_the_package_is_the_function_whatever_was_imported_first():
    import ddbias.distill.engine as engine

    assert ddbias.distill is sys.modules["ddbias.distill"]
    assert ddbias.distill.engine is engine
    assert callable(ddbias.distill)
