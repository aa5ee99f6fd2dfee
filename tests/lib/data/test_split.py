import ctypes
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.data.split import Split, channel_statistics, denormalize, load_split, normalize, save_split
from hypothesis import given, settings
from hypothesis import strategies as st


def example(count=7, channels=3, side=5, attributes=True, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, channels, side, side + 1), dtype=np.uint8)
    mean, std = channel_statistics(images)
    meta = {"label_names": ["a", "b"], "attribute_names": ["α", "β"], "mean": mean, "std": std, "convention": "anti"}
    tags = rng.integers(0, 2, count) if attributes else None
    return Split(images, rng.integers(0, 2, count), tags, rng.permutation(count), meta)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("split") / "train.arrow"
    save_split(path, example())
    return path


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.sampled_from([1, 3]), st.integers(1, 9), st.booleans())
def test_round_trip(tmp_path_factory, count, channels, side, attributes):
    path = tmp_path_factory.mktemp("split") / "s.arrow"
    split = example(count, channels, side, attributes, seed=count)
    save_split(path, split)
    again = load_split(path)
    for name in ("images", "labels", "attributes", "index"):
        ours, theirs = getattr(split, name), getattr(again, name)
        if ours is None:
            assert theirs is None
        else:
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
    assert again.meta == {**json.loads(json.dumps(split.meta)), "shape": list(split.shape)}
    assert (again.shape, again.classes, len(again)) == (split.shape, 2, count)


def test_equal_splits_give_equal_bytes(stored, tmp_path):
    save_split(tmp_path / "again.arrow", example())
    assert (tmp_path / "again.arrow").read_bytes() == stored.read_bytes()


def mapped_file(address):
    """The file that the kernel maps at an address of this process, or None."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return line.split(maxsplit=5)[5] if len(line.split()) > 5 else None
    return None


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc to see what is mapped")
def test_loaded_arrays_are_the_pages_of_the_file(stored):
    split = load_split(stored)
    for array in (split.images, split.labels, split.attributes, split.index):
        assert mapped_file(array.ctypes.data) == str(stored.resolve())
        assert not array.flags.writeable
    assert ctypes.string_at(split.images.ctypes.data, 3) == example().images.tobytes()[:3]


def test_tensors_are_copies(stored):
    split = load_split(stored)
    images, labels = split.tensors()
    images.zero_()
    labels.zero_()
    np.testing.assert_array_equal(load_split(stored).images, example().images)


def one_line(path, message):
    with pytest.raises(DdbiasError, match=message) as error:
        load_split(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1, exclude_max=True))
def test_truncated_file_is_one_line(stored, share):
    content = stored.read_bytes()
    cut = stored.with_name("cut.arrow")
    cut.write_bytes(content[: int(share * len(content))])
    one_line(cut, "damaged or not a ddbias file.*if a run wrote it, delete it and run again")


def test_missing_and_foreign_files_are_one_line(tmp_path):
    one_line(tmp_path, "is a folder; name a file")
    one_line(tmp_path / "no.arrow", "no file .*; has the stage that writes it run")
    (tmp_path / "text.arrow").write_text("hello\n")
    one_line(tmp_path / "text.arrow", "damaged or not a ddbias file")
    store.write_arrow(tmp_path / "other.arrow", {"weight": np.ones(3)}, {})
    one_line(tmp_path / "other.arrow", "is not a split: it lacks image, label, index")


def interrupted_write(path):
    with store.whole(path) as part:
        part.write_bytes(b"half")
        raise KeyboardInterrupt


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "s.arrow"
    save_split(path, example())
    before = path.read_bytes()
    wrong = Split(np.zeros((3, 1, 2, 2), np.uint8), np.zeros(2, int), None, np.zeros(3, int), {})
    with pytest.raises(ValueError, match="length"):
        save_split(path, wrong)
    with pytest.raises(KeyboardInterrupt):
        interrupted_write(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["s.arrow"]


def test_nobody_sees_a_file_while_it_is_written(tmp_path):
    path = tmp_path / "deep" / "s.bin"
    with store.whole(path) as part:
        part.write_bytes(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"


def test_a_reader_keeps_its_file_when_it_is_replaced(tmp_path):
    path = tmp_path / "s.arrow"
    save_split(path, example(seed=0))
    split = load_split(path)
    save_split(path, example(seed=1))
    np.testing.assert_array_equal(split.images, example(seed=0).images)
    np.testing.assert_array_equal(load_split(path).images, example(seed=1).images)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_channel_statistics_are_mean_and_std(seed):
    images = example(count=4, seed=seed).images
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 2, 3)))
    np.testing.assert_allclose(std, (images / 255).std((0, 2, 3)))
    shuffled = np.random.default_rng(seed).permutation(images)
    assert channel_statistics(shuffled) == (mean, std)


def test_a_constant_channel_stays_finite():
    assert channel_statistics(np.zeros((2, 1, 3, 3), np.uint8)) == ([0.0], [1.0])


def test_normalize_and_back():
    split = example(count=20)
    images = torch.from_numpy(split.images)
    normal = split.normalize(images)
    assert normal.dtype == torch.float32
    np.testing.assert_allclose(normal.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std((0, 2, 3), unbiased=False), 1, atol=1e-5)
    np.testing.assert_array_equal(denormalize(normal, split.meta["mean"], split.meta["std"]), split.images)
    np.testing.assert_array_equal(normalize(images, split.meta["mean"], split.meta["std"]), normal)


def test_conflicting():
    split = Split(np.zeros((3, 1, 1, 1), np.uint8), np.array([0, 1, 2]), np.array([0, 2, 2]), np.arange(3), {})
    assert split.conflicting.tolist() == [False, True, False]
    assert Split(split.images, split.labels, None, split.index, {}).conflicting is None


def test_what_lies_outside_is_clipped():
    images = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0]).view(1, 1, 1, 5)
    assert denormalize(images, [0.1], [1.0]).flatten().tolist() == [0, 26, 153, 255, 255]
