import functools
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.datasets import sources
from ddbias.datasets.sources.torchvision_compat import torchvision

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"


def fails(message, settings, data):
    with pytest.raises(DdbiasError, match=message) as error:
        sources.load(settings, data=data)
    return str(error.value)


# --- torchvision -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_torchvision_can_be_imported_in_a_fresh_process():
    code = (
        "from ddbias.datasets.sources.torchvision_compat import torchvision; print(torchvision.datasets.MNIST.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True)
    assert done.stdout == "MNIST\n", done.stderr


# --- choosing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "digit"}, "unknown source kind 'digit'.*Did you mean 'digits'"),
        ({"kind": "digits", "size": 3}, "unknown option of source 'digits' 'size'"),
        ({"kind": "mnist", "data": {}}, "unknown option of source 'mnist' 'data'"),
        ({"kind": "parquet", "train": "a"}, "source 'parquet' needs the option 'test'"),
        ({}, "a source needs a kind; known: .*digits"),
    ],
)
def test_wrong_settings(settings, message):
    fails(message, settings, {})


# --- digits ------------------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn_in_source_order():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    rows = {(*map(int, image), int(label)): i for i, (image, label) in enumerate(zip(images, labels, strict=True))}
    assert len(rows) == 1797  # no two are equal, so a row can be found by its pixels
    parts = sources.load({"kind": "digits"}, data={})
    found = {}
    for split, part in parts.items():
        assert part.images.dtype == np.uint8
        assert part.labels.dtype == np.int64
        assert part.attributes is None
        grey = np.rint(part.images.reshape(-1, 64) * (16 / 255)).astype(int)
        np.testing.assert_array_equal(
            part.images.reshape(-1, 64), np.array([round(v * 255 / 16) for v in range(17)])[grey]
        )
        found[split] = [rows[*map(int, image), int(label)] for image, label in zip(grey, part.labels, strict=True)]
        assert found[split] == sorted(found[split])
    assert [len(found[split]) for split in ("train", "test")] == [1200, 597]
    assert set(found["train"]) | set(found["test"]) == set(range(1797))


def test_digits_are_stratified_and_always_the_same():
    parts = sources.load({"kind": "digits"}, data={})
    everything = np.bincount(parts["train"].labels) + np.bincount(parts["test"].labels)
    assert np.abs(np.bincount(parts["train"].labels) - everything * 1200 / 1797).max() < 1
    again = sources.load({"kind": "digits"}, data={"root": "elsewhere"})
    np.testing.assert_array_equal(parts["train"].images, again["train"].images)
    assert json.loads(json.dumps(parts["train"].provenance)) == parts["train"].provenance


# --- MNIST and Fashion-MNIST -------------------------------------------------------------------------------------


def idx(path):
    """Read a gzipped idx file by its format: magic number, dimensions, bytes."""
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, ">i4", content[3], 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


@pytest.fixture(scope="module")
def mnist_root(data_home, tmp_path_factory):
    """A root with archives and, of three of them, what is in them."""
    raw = tmp_path_factory.mktemp("data") / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in (data_home / "MNIST" / "raw").glob("*.gz"):
        shutil.copy(archive, raw)
        (raw / archive.name.removesuffix(".gz")).write_bytes(gzip.decompress(archive.read_bytes()))
    return raw.parents[1]


def test_nothing_is_written_where_all_is_there(data_home, tmp_path):
    before = sorted((str(p), p.stat().st_mtime_ns) for p in (data_home / "MNIST").rglob("*"))
    root = tmp_path / "root"
    parts = sources.load({"kind": "mnist"}, data={"root": str(root), "mirrors": [str(data_home)]})
    assert len(parts["train"]) == 60000
    assert sorted((str(p), p.stat().st_mtime_ns) for p in (data_home / "MNIST").rglob("*")) == before
    assert not root.exists()


def test_mnist_is_the_original_in_the_original_order(mnist_root, data_home):
    parts = sources.load({"kind": "mnist"}, data={"root": str(mnist_root)})
    for split, prefix in (("train", "train"), ("test", "t10k")):
        folder, part = data_home / "MNIST" / "raw", parts[split]
        np.testing.assert_array_equal(part.images[:, 0], idx(folder / f"{prefix}-images-idx3-ubyte.gz"))
        np.testing.assert_array_equal(part.labels, idx(folder / f"{prefix}-labels-idx1-ubyte.gz"))
        assert part.labels.dtype == np.int64
        assert part.label_names == list("0123456789")
        assert str(data_home) not in json.dumps(part.provenance)
        assert str(mnist_root) not in json.dumps(part.provenance)


def test_fashion_mnist_from_the_environment(data_home, tmp_path, monkeypatch):
    monkeypatch.setenv("DDBIAS_DATA", str(data_home))
    parts = sources.load({"kind": "fashion_mnist"}, data={"root": str(tmp_path)})
    assert {split: part.images.shape for split, part in parts.items()} == {
        "train": (60000, 1, 28, 28),
        "test": (10000, 1, 28, 28),
    }
    assert np.bincount(parts["train"].labels).tolist() == [6000] * 10
    assert (parts["test"].label_names[0], parts["test"].label_names[9]) == ("T-shirt/top", "Ankle boot")


def copy_of(mnist_root, root):
    """Link a filled root, so that a test may damage files of its own."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (mnist_root / "MNIST" / "raw").iterdir():
        (raw / file.name).hardlink_to(file)
    return raw


def replaced(path, content):
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["gone", "cut", "somebody's own"])
def test_other_files_of_these_names_are_passed_over_and_stay(mnist_root, tmp_path, damage):
    raw = copy_of(mnist_root, tmp_path)
    labels = raw / "t10k-labels-idx1-ubyte"
    good = labels.read_bytes()
    if damage == "gone":
        labels.unlink()
    else:
        replaced(labels, good[:5000] if damage == "cut" else b"not MNIST at all")
    before = {path.name: path.read_bytes() for path in raw.iterdir()}
    parts = sources.load({"kind": "mnist"}, data={"root": str(tmp_path)})
    np.testing.assert_array_equal(parts["test"].labels, np.frombuffer(good, np.uint8, offset=8))
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == before


def test_unpacked_files_are_enough_and_old_pickles_are_not_opened(mnist_root, tmp_path):
    raw = copy_of(mnist_root, tmp_path)
    for archive in raw.glob("*.gz"):
        archive.unlink()
    processed = tmp_path / "MNIST" / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        (processed / name).write_bytes(b"not a tensor")
    assert len(sources.load({"kind": "mnist"}, data={"root": str(tmp_path)})["test"]) == 10000


@pytest.mark.parametrize("kept", [0, 3000, None])
def test_damaged_archive_of_a_mirror(data_home, tmp_path, kept):
    mirror, root = tmp_path / "mirror", tmp_path / "root"
    shutil.copytree(data_home / "MNIST" / "raw", mirror / "MNIST" / "raw")
    labels = mirror / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    labels.with_suffix("").unlink(missing_ok=True)
    content = labels.read_bytes()
    labels.chmod(0o644)
    labels.write_bytes(content[:kept] if kept is not None else content[:-1] + b"!")
    message = fails("is damaged.*delete it", {"kind": "mnist"}, {"root": str(root), "mirrors": [str(mirror)]})
    assert str(labels) in message
    raw = root / "MNIST" / "raw"
    assert not (raw / "t10k-labels-idx1-ubyte.gz").exists()
    assert not list(raw.glob(".*.part"))


def test_damaged_archive_in_the_root_needs_no_network(tmp_path):
    archive = tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"<html>log in to the network</html>")
    message = fails("is damaged \\(34 bytes", {"kind": "fashion_mnist"}, {"root": str(tmp_path)})
    assert str(archive) in message
    assert archive.exists()


def test_missing_without_network(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    data = {"root": str(tmp_path / "root"), "mirrors": [str(tmp_path / "mirror")]}
    monkeypatch.setenv("DDBIAS_DATA", str(tmp_path / "home"))
    message = fails("no train-images-idx3-ubyte.gz of MNIST in .*could not be downloaded", {"kind": "mnist"}, data)
    for place in ("root", "mirror", "home"):
        assert str(tmp_path / place / "MNIST" / "raw") in message
    assert "data.mirrors" in message
    assert "DDBIAS_DATA" in message


def test_download_of_what_is_missing(serving, data_home, mnist_root, tmp_path, monkeypatch):
    raw = copy_of(mnist_root, tmp_path)
    for name in ("t10k-labels-idx1-ubyte", "t10k-labels-idx1-ubyte.gz"):
        (raw / name).unlink()
    mirrors = functools.partial(monkeypatch.setattr, torchvision.datasets.MNIST, "mirrors")
    with serving(data_home / "MNIST" / "raw") as server:
        mirrors([f"{server}damaged/"])
        fails("could not be downloaded", {"kind": "mnist"}, {"root": str(tmp_path)})
        assert not [p.name for p in raw.iterdir() if "t10k-labels" in p.name]
        mirrors([f"{server}damaged/", server])
        assert len(sources.load({"kind": "mnist"}, data={"root": str(tmp_path)})["test"]) == 10000
