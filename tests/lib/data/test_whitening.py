"""ZCA whitening against plain loops in float64, in files, and on the way of images into networks and out of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ddbias import testing
from ddbias.base.errors import DdbiasError
from ddbias.data import whitening
from ddbias.data.split import Split, channel_statistics, load_split, save_split
from ddbias.data.whitening import Whitening
from ddbias.datasets import normalisation
from ddbias.datasets.synthesis import synthesize_dataset
from ddbias.debias.coarse import coarse_split
from ddbias.distill.write import described
from ddbias.evaluation import protocol
from ddbias.learning.training import Recipe

CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


def correlated(count=60, shape=(3, 4, 4), seed=0):
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    values = rng.normal(size=(count, size)) @ rng.normal(size=(size, size)) * 12 + 128
    images = values.clip(0, 255).astype(np.uint8).reshape(count, *shape)
    mean, std = channel_statistics(images)
    meta = {"label_names": ["a", "b"], "attribute_names": None, "mean": mean, "std": std}
    return Split(images, rng.integers(0, 2, count), None, np.arange(count), meta)


def zca(split):
    return replace(split, whitening=normalisation.whitening("zca", split))


def plain(split):
    """Mean and matrix by loops over images and pairs of values."""
    mean, std = (np.reshape(split.meta[name], (-1, 1, 1)) for name in ("mean", "std"))
    flat = ((split.images / 255 - mean) / std).reshape(len(split), -1)
    size = flat.shape[1]
    centre = sum(flat) / len(flat)
    covariance = np.zeros((size, size))
    for row in flat:
        for i in range(size):
            covariance[i] += (row[i] - centre[i]) * (row - centre)
    covariance /= len(flat) - 1
    values, vectors = np.linalg.eigh(covariance)
    matrix = sum(np.outer(v, v) / np.sqrt(s + 0.1) for s, v in zip(values, vectors.T, strict=True))
    return flat, centre, matrix


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 5, 5)])
@pytest.mark.parametrize("at_once", [7, 4096])
def test_it_is_that_of_plain_loops(monkeypatch, shape, at_once):
    monkeypatch.setattr(normalisation, "AT_ONCE", at_once)
    split = correlated(shape=shape)
    made = zca(split)
    flat, centre, matrix = plain(split)
    np.testing.assert_allclose(made.whitening.mean, centre, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(made.whitening.matrix, matrix, rtol=1e-4, atol=1e-4)
    assert torch.equal(made.whitening.matrix, made.whitening.matrix.T)
    raw = torch.from_numpy(split.images)
    seen = made.normalize(raw)
    assert seen.shape == (60, *shape)
    assert seen.dtype == torch.float32
    np.testing.assert_allclose(seen.flatten(1), (flat - centre) @ matrix, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(made.scaled(raw), split.normalize(raw), rtol=0, atol=0)
    torch.testing.assert_close(made.whitened(made.scaled(raw)), seen, rtol=0, atol=0)
    torch.testing.assert_close(made.unwhitened(seen), made.scaled(raw), rtol=1e-4, atol=1e-4)
    assert split.whitened(seen) is split.unwhitened(seen) is seen


def test_whitened_images_are_uncorrelated_but_for_the_smallest_variances():
    split = zca(correlated(count=500))
    flat, _, _ = plain(split)
    seen = split.normalize(torch.from_numpy(split.images)).flatten(1).double().numpy()
    before, after = (np.linalg.eigvalsh(np.cov(values.T)) for values in (flat, seen))
    np.testing.assert_allclose(np.sort(after), np.sort(before / (before + 0.1)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-4)


def test_large_images_are_refused(monkeypatch):
    monkeypatch.setattr(whitening, "MOST_VALUES", 47)
    with pytest.raises(DdbiasError, match="at most 47 values, these have 48; choose a smaller size"):
        zca(correlated())


# ---- in files -------------------------------------------------------------------------------------------------------


def test_it_is_in_the_files_of_a_split(tmp_path):
    split = zca(correlated())
    save_split(tmp_path / "a.arrow", split)
    save_split(tmp_path / "b.arrow", correlated())
    found, other = load_split(tmp_path / "a.arrow"), load_split(tmp_path / "b.arrow")
    assert torch.equal(found.whitening.matrix, split.whitening.matrix)
    assert torch.equal(found.whitening.mean, split.whitening.mean)
    assert found.meta == other.meta
    assert other.whitening is None
    grown = (tmp_path / "a.arrow").stat().st_size - (tmp_path / "b.arrow").stat().st_size
    assert grown < 2.2 * 4 / 3 * 4 * (48 * 49 / 2 + 48)  # twice half the matrix in base64


def test_one_of_other_images_is_damage(tmp_path, monkeypatch):
    split = zca(correlated())
    monkeypatch.setattr(Whitening, "encoded", lambda self: "AAAA")
    save_split(tmp_path / "a.arrow", split)
    with pytest.raises(DdbiasError, match="its whitening is not one of images"):
        load_split(tmp_path / "a.arrow")


def test_a_data_set_asks_for_it():
    given = {"ratio": 0.9, "test": "balanced", "seed": 0, "data": {}, "source": {"kind": "digits"}}
    given["bias"] = {"kind": "foreground", "severity": 1}
    train, test = synthesize_dataset(**given, normalise="zca")
    none, _ = synthesize_dataset(**given, normalise="none")
    assert train.meta == none.meta
    assert none.whitening is None
    assert train.whitening is test.whitening
    pixels = none.images.reshape(len(none), -1) / 255  # as MTT whitens: no normalisation per channel before
    values, vectors = np.linalg.eigh(np.cov(pixels.T))
    np.testing.assert_allclose(train.whitening.mean, pixels.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        train.whitening.matrix, (vectors / np.sqrt(values + 0.1)) @ vectors.T, rtol=1e-3, atol=1e-4
    )
    with pytest.raises(DdbiasError, match="must be own, none, zca or"):
        synthesize_dataset(**given, normalise="pca")


# ---- into networks and out of them ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def split():
    return zca(testing.tiny_split())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dm", "dsa", "mtt", "lgm", "rded", "kcenter"])
def test_distillers_keep_the_contract(kind, split, tmp_path):
    testing.check_distiller(kind, split=split, folder=tmp_path)


@pytest.mark.parametrize("kind", ["dm", "mtt"])
def test_first_images_are_stored_as_pixels(kind, split, tmp_path):
    found, plain = (
        testing.Case(kind, split=some, folder=tmp_path).run(iterations=0).images
        for some in (split, replace(split, whitening=None))
    )
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


def test_chosen_images_are_stored_as_they_are(split, tmp_path):
    made = testing.Case("kcenter", split=split, folder=tmp_path).run()
    assert torch.equal(made.images, split.scaled(torch.from_numpy(split.images[made.rows.numpy()])))
    meta = [
        described(made, some, cell={"seed": "0"}, settings={}, provenance={}) for some in (split, testing.tiny_split())
    ]
    assert ["whitened" in part for part in meta] == [True, False]


def test_idc_refuses_it(split, tmp_path):
    with pytest.raises(DdbiasError, match="takes no normalise: zca; choose own"):
        testing.Case("idc", split=split, folder=tmp_path).run()


def test_networks_are_trained_and_tested_on_whitened_images(few_digits, monkeypatch):
    train = zca(few_digits())
    test = replace(few_digits("test"), whitening=train.whitening)
    raw, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    given = {"network": {"kind": "convnet", "width": 8, "depth": 2}, "recipe": Recipe(batch_size=16), "epochs": 3}
    given |= {"steps": None, "repeats": 1, "seed": 0, "device": CPU}
    seen, whole = [], protocol.train
    monkeypatch.setattr(
        protocol, "train", lambda model, images, *a, **o: seen.append(images) or whole(model, images, *a, **o)
    )
    stored, read = (protocol.evaluate(images, labels, test, **given).counts for images in (train.scaled(raw), raw))
    torch.testing.assert_close(seen[0], train.normalize(raw), rtol=0, atol=0)
    np.testing.assert_array_equal(stored, read)
    unlike = protocol.evaluate(train.scaled(raw), labels, replace(test, whitening=None), **given).counts
    assert not np.array_equal(stored, unlike)


def test_small_classifiers_see_colours(split):
    assert torch.equal(coarse_split(split), coarse_split(replace(split, whitening=None)))
