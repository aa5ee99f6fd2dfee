"""CIFAR-10 from torchvision's files, from their archive, from JPEG copies, by download; and never by running code."""

import hashlib
import io
import json
import pickle
import struct
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.datasets import sources
from ddbias.datasets.sources.cifar10 import NAMES
from ddbias.datasets.sources.plain_pickle import read_plain_pickle
from ddbias.datasets.sources.torchvision_compat import torchvision
from ddbias.planning.sizes import smallest_class
from PIL import Image
from pyarrow import parquet

SOURCE = {"kind": "cifar10"}
FOLDER, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
PER_BATCH = 20


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")


def fails(message, data):
    with pytest.raises(DdbiasError, match=message) as error:
        sources.load(SOURCE, data=data)
    return str(error.value)


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def batch(number):
    """Return pixels (N, 3072) and labels of a batch; no two images of all batches are equal."""
    generator = np.random.default_rng(number)
    labels = [int(i) for i in generator.permutation(PER_BATCH) % 10]
    return generator.integers(0, 256, (PER_BATCH, 3072), dtype=np.uint8), labels


def python2_pickle(pixels, labels):
    """Write a batch opcode by opcode as Python 2 and its NumPy did, the way the published files are written."""

    def text(value):
        value = value.encode("latin1") if isinstance(value, str) else value
        return b"T" + struct.pack("<I", len(value)) + value

    dtype = (
        b"cnumpy\ndtype\n("
        + text("u1")
        + b"K\x00K\x01tR(K\x03"
        + text("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    shape = b"".join(b"M" + struct.pack("<H", side) for side in pixels.shape)
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text("b") + b"tR"
    array += b"(K\x01(" + shape + b"t" + dtype + b"I00\n" + text(pixels.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text("data") + array + text("labels") + numbers + text("batch_label") + text("one") + b"u."


def python3_pickle(pixels, labels, protocol=2):
    return pickle.dumps({"data": pixels, "labels": labels, "filenames": ["a.png"] * len(labels)}, protocol=protocol)


@pytest.fixture
def publish(monkeypatch):
    """Write batches into a folder and make their MD5 the published ones; returns the MD5s."""

    def publish(place, contents=None, archive=False):
        contents = contents or {name: python2_pickle(*batch(i)) for i, name in enumerate(BATCHES)}
        sums = {name: md5(content) for name, content in contents.items()}
        (place / FOLDER).mkdir(parents=True)
        for name, content in contents.items():
            (place / FOLDER / name).write_bytes(content)
        published = torchvision.datasets.CIFAR10
        monkeypatch.setattr(published, "train_list", [[name, sums[name]] for name in BATCHES[:5]])
        monkeypatch.setattr(published, "test_list", [["test_batch", sums["test_batch"]]])
        if archive:
            with tarfile.open(place / ARCHIVE, "w:gz") as file:
                file.add(place / FOLDER, FOLDER)
            monkeypatch.setattr(published, "tgz_md5", md5((place / ARCHIVE).read_bytes()))
            for name in BATCHES:
                (place / FOLDER / name).unlink()
            (place / FOLDER).rmdir()
        return sums

    return publish


def check_originals(parts):
    expected = [batch(i) for i in range(6)]
    for split, which in (("train", expected[:5]), ("test", expected[5:])):
        part = parts[split]
        assert (part.images.dtype, part.labels.dtype) == (np.uint8, np.int64)
        # By the format: 1024 red, 1024 green, 1024 blue values, each plane row by row.
        planes = np.concatenate([pixels for pixels, _ in which]).reshape(-1, 3, 32, 32)
        np.testing.assert_array_equal(part.images, planes)
        assert part.labels.tolist() == [label for _, labels in which for label in labels]
        assert part.label_names == NAMES
        assert part.attributes is None
        assert "note" not in part.provenance


@pytest.mark.parametrize("protocol", [None, 2, 4, 5])
def test_batches_in_the_original_order(publish, tmp_path, protocol):
    contents = None
    if protocol is not None:
        contents = {name: python3_pickle(*batch(i), protocol) for i, name in enumerate(BATCHES)}
    publish(tmp_path / "mirror", contents)
    parts = sources.load(SOURCE, data={"root": str(tmp_path / "root"), "mirrors": [str(tmp_path / "mirror")]})
    check_originals(parts)
    assert str(tmp_path) not in json.dumps(parts["train"].provenance)
    assert not (tmp_path / "root").exists()


def test_names_are_those_of_the_published_order():
    assert NAMES == ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_archive_is_read_without_unpacking(publish, tmp_path):
    publish(tmp_path, archive=True)
    check_originals(sources.load(SOURCE, data={"root": str(tmp_path)}))
    assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE]


def test_damaged_archive(publish, tmp_path):
    publish(tmp_path, archive=True)
    path = tmp_path / ARCHIVE
    path.write_bytes(path.read_bytes()[:-100])
    assert str(path) in fails("is damaged .*delete it", {"root": str(tmp_path)})


def test_archive_without_a_batch(publish, tmp_path, monkeypatch):
    publish(tmp_path, archive=True)
    published = torchvision.datasets.CIFAR10
    monkeypatch.setattr(published, "test_list", [["other_batch", "0" * 32]])
    fails("holds no other_batch", {"root": str(tmp_path)})


@pytest.mark.parametrize("damage", [lambda c: c[:1000], lambda c: c[:-1] + bytes([c[-1] ^ 1]), lambda c: b""])
def test_damaged_batch(publish, tmp_path, damage):
    publish(tmp_path)
    path = tmp_path / FOLDER / "data_batch_3"
    path.write_bytes(damage(path.read_bytes()))
    assert str(path) in fails("is damaged .*not the published MD5", {"root": str(tmp_path)})


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_batch_that_would_run_code_is_refused_and_not_run(publish, tmp_path, trap, protocol):
    trace = tmp_path / "trace"
    contents = {name: python3_pickle(*batch(i)) for i, name in enumerate(BATCHES)}
    contents["data_batch_1"] = pickle.dumps({"data": trap(trace), "labels": []}, protocol=protocol)
    publish(tmp_path, contents)
    fails("data_batch_1 is refused: it asks for posix.system, which could run code", {"root": str(tmp_path)})
    assert not trace.exists()
    pickle.loads(contents["data_batch_1"])  # the trap does work
    assert trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cbuiltins\ngetattr\n.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"\x80\x04\x8c\x0dnumpy.testing\x8c\x03run\x93.",
        b"c_codecs\ndecode\n.",
    ],
)
def test_nothing_but_arrays_is_allowed(content, tmp_path):
    with pytest.raises(DdbiasError, match="is refused: it asks for"):
        read_plain_pickle(content, tmp_path / "batch")


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02}", b"not a pickle", b"\x80\x02K\x01R.", b"c_codecs\nencode\n(Vx\nVhex\ntR."]
)
def test_damaged_pickle(content, tmp_path):
    with pytest.raises(DdbiasError, match="batch is not a readable pickle"):
        read_plain_pickle(content, tmp_path / "batch")


@pytest.mark.parametrize(
    "wrong",
    [
        [1, 2],
        {"data": batch(0)[0]},
        {"data": batch(0)[0][:, :3000], "labels": batch(0)[1]},
        {"data": batch(0)[0].astype(float), "labels": batch(0)[1]},
        {"data": batch(0)[0], "labels": batch(0)[1][:-1]},
        {"data": batch(0)[0], "labels": [*batch(0)[1][:-1], 10]},
        {"data": batch(0)[0], "labels": [*batch(0)[1][:-1], -1]},
    ],
)
def test_a_batch_of_something_else(publish, tmp_path, wrong):
    contents = {name: python3_pickle(*batch(i)) for i, name in enumerate(BATCHES)}
    publish(tmp_path, {**contents, "data_batch_2": pickle.dumps(wrong, protocol=2)})
    fails("data_batch_2 does not hold images", {"root": str(tmp_path)})


# --- JPEG copies -------------------------------------------------------------------------------------------------


def write_copies(folder, names=None, side=32, classes=10):
    folder.mkdir(parents=True)
    for split, repeats in (("train", 3), ("test", 1)):
        labels = [i % classes for i in range(classes * repeats)]
        blobs = []
        for i, label in enumerate(labels):
            buffer = io.BytesIO()
            Image.new("RGB", (side, side), (20 * label, 10 * i % 256, 0)).save(buffer, format="JPEG")
            blobs.append({"bytes": buffer.getvalue(), "path": f"{i}.jpg"})
        table = pa.table({"image": blobs, "label": labels})
        if names:
            described = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(described)})
        parquet.write_table(table, folder / f"{split}.parquet")


@pytest.mark.parametrize("names", [None, NAMES])
def test_copies_are_called_copies(tmp_path, names, log_lines):
    write_copies(tmp_path / "cifar10", names)
    parts = sources.load(SOURCE, data={"mirrors": [str(tmp_path)], "root": str(tmp_path / "root")})
    assert parts["train"].images.shape == (30, 3, 32, 32)
    assert parts["train"].label_names == NAMES
    np.testing.assert_allclose(parts["train"].images[:, 0].mean((1, 2)), 20.0 * parts["train"].labels, atol=3)
    for part in parts.values():
        assert part.provenance["note"] == "JPEG copies, not bit-exact CIFAR-10; original order unknown"
    assert any("JPEG copies" in line for line in log_lines)
    assert str(tmp_path) not in json.dumps(parts["train"].provenance)


def test_originals_come_before_copies(publish, tmp_path):
    write_copies(tmp_path / "root" / "cifar10")
    publish(tmp_path / "mirror")
    check_originals(sources.load(SOURCE, data={"root": str(tmp_path / "root"), "mirrors": [str(tmp_path / "mirror")]}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": [*NAMES[1:], NAMES[0]]}, "has the classes automobile, .*they must be airplane"),
        ({"classes": 9}, "has the classes 0, 1"),
        ({"side": 16}, "images of shape 3x16x16, not 3x32x32"),
    ],
)
def test_copies_of_something_else(tmp_path, options, message):
    write_copies(tmp_path / "cifar10", **options)
    fails(message, {"root": str(tmp_path)})


@pytest.mark.thorough
def test_the_real_copies(data_home, tmp_path):
    if not (data_home / "cifar10" / "train.parquet").is_file() or (data_home / FOLDER).is_dir():
        pytest.skip("DDBIAS_DATA has no JPEG copies of CIFAR-10, or the originals beside them")
    parts = sources.load(SOURCE, data={"root": str(tmp_path), "mirrors": [str(data_home)]})
    assert np.bincount(parts["train"].labels).tolist() == [smallest_class(SOURCE, {})] * 10 == [5000] * 10
    assert np.bincount(parts["test"].labels).tolist() == [1000] * 10
    assert parts["train"].images.shape == (50000, 3, 32, 32)
    assert "not bit-exact" in parts["test"].provenance["note"]
    # Ships and airplanes are the blue ones, frogs and deer are not.
    blue = [parts["train"].images[parts["train"].labels == label, 2].mean() for label in range(10)]
    assert set(np.argsort(blue)[-2:]) == {NAMES.index("airplane"), NAMES.index("ship")}


# --- download ----------------------------------------------------------------------------------------------------


@pytest.fixture
def server(publish, serving, tmp_path):
    publish(tmp_path / "www", archive=True)
    with serving(tmp_path / "www") as address:
        yield address + ARCHIVE


def test_download(server, tmp_path, monkeypatch):
    published, root = torchvision.datasets.CIFAR10, tmp_path / "root"
    monkeypatch.setattr(published, "url", server)
    check_originals(sources.load(SOURCE, data={"root": str(root)}))
    assert sorted(path.name for path in root.iterdir()) == [".lock", ARCHIVE]
    monkeypatch.setattr(published, "url", "http://127.0.0.1:9/")  # there now
    check_originals(sources.load(SOURCE, data={"root": str(root)}))


def test_download_of_something_else_leaves_nothing(server, tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", server)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", "0" * 32)
    fails("could not be downloaded", {"root": str(tmp_path / "root")})
    assert [path.name for path in (tmp_path / "root").iterdir()] == [".lock"]


def test_missing_without_network(tmp_path, monkeypatch):
    monkeypatch.setenv("DDBIAS_DATA", str(tmp_path / "home"))
    (tmp_path / "mirror" / FOLDER).mkdir(parents=True)  # incomplete
    (tmp_path / "mirror" / FOLDER / "test_batch").write_bytes(b"")
    message = fails(
        f"neither {FOLDER}/ nor {ARCHIVE} nor cifar10/.*could not be downloaded",
        {"root": str(tmp_path / "root"), "mirrors": [str(tmp_path / "mirror")]},
    )
    for text in (*(str(tmp_path / place) for place in ("root", "mirror", "home")), "data.mirrors", "DDBIAS_DATA"):
        assert text in message
