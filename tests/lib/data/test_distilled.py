from pathlib import Path

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.data.distilled import folder_names, load_distilled
from ddbias.data.split import normalize, save_split
from ddbias.data.training_set import training_set
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

MEAN, STD = [0.2, 0.4, 0.6], [0.3, 0.2, 0.25]
NAMES = ["T-shirt/top", "../escape", "T-shirt_top"]


def write(folder, *, channels=3, per_class=4, **changes):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3 * per_class, channels, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(3).repeat_interleave(per_class)
    mean, std = MEAN[:channels], STD[:channels]
    meta = {"kind": "distilled", "distiller": "dm", "label_names": NAMES, "mean": mean, "std": std, **changes}
    store.write_tensors(
        folder / "distilled.safetensors", {"images": normalize(pixels, mean, std), "labels": labels}, meta
    )
    return pixels, labels


def test_a_folder_and_its_file_load_the_same(tmp_path):
    pixels, labels = write(tmp_path)
    for path in (tmp_path, tmp_path / "distilled.safetensors", str(tmp_path)):
        loaded = load_distilled(path)
        assert len(loaded) == 12
        assert loaded.images.dtype == torch.float32
        assert torch.equal(loaded.tensors()[1], labels)
        assert torch.equal(loaded.pixels(), pixels)
        assert loaded.meta["distiller"] == "dm"


def test_the_images_are_normalised(tmp_path):
    pixels, _ = write(tmp_path)
    expected = (pixels.double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(load_distilled(tmp_path).images.double(), expected, atol=1e-5, rtol=0)


def test_the_loader_has_its_own_reproducible_order(tmp_path):
    write(tmp_path)
    chosen = load_distilled(tmp_path)
    state = torch.get_rng_state()

    def order(seed):
        return torch.cat([labels for _, labels in chosen.dataloader(batch_size=5, seed=seed)]).tolist()

    first = order(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert order(0) == first
    assert any(order(seed) != first for seed in range(1, 5))
    assert sorted(first) == sorted(chosen.labels.tolist())
    assert [len(labels) for _, labels in chosen.dataloader(batch_size=5)] == [5, 5, 2]
    plain = torch.cat([images for images, _ in chosen.dataloader(shuffle=False)])
    assert torch.equal(plain, chosen.images)


def test_a_network_learns_from_it(tmp_path):
    write(tmp_path)
    chosen = load_distilled(tmp_path)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    losses = []
    for _ in range(15):
        for images, labels in chosen.dataloader(batch_size=6):
            loss = nn.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert (network(chosen.images).argmax(1) == chosen.labels).all()


def enlarged(pixels):
    """The tiles of images (N, C, 8, 8), cut two by two and enlarged, as uint8."""
    tiles = [pixels[:, :, i : i + 4, j : j + 4].float() for i in (0, 4) for j in (0, 4)]
    whole = [nn.functional.interpolate(tile, size=(8, 8), mode="bilinear", align_corners=False) for tile in tiles]
    return torch.stack(whole, 1).flatten(0, 1)


def test_a_set_with_several_images_in_each_is_decoded(tmp_path):
    pixels, labels = write(tmp_path / "set", formation=2)
    chosen = load_distilled(tmp_path / "set")
    assert len(chosen) == 48
    assert torch.equal(chosen.labels, labels)
    assert chosen.images.shape == (12, 3, 8, 8)  # as stored
    images, classes = chosen.tensors()
    assert classes.tolist() == labels.repeat_interleave(4).tolist()
    # Rounded once, from images that were normalised and decoded in another order.
    assert (chosen.pixels().float() - enlarged(pixels)).abs().max() < 0.51
    loaded = list(chosen.dataloader(batch_size=10, shuffle=False))
    assert torch.equal(torch.cat([part for part, _ in loaded]), images)
    assert torch.equal(torch.cat([part for _, part in loaded]), classes)
    folder = chosen.to_image_folder(tmp_path / "png")
    assert len(list(folder.rglob("*.png"))) == 48
    with Image.open(folder / "_escape" / "17.png") as file:
        assert np.array_equal(np.asarray(file), chosen.pixels()[17].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("formation", [0, -1, 9, 2.0, "2", None, True])
def test_an_impossible_formation_is_damage(tmp_path, formation):
    write(tmp_path, formation=formation)
    with pytest.raises(DdbiasError, match="do not fit together"):
        load_distilled(tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_folder_holds_every_pixel(tmp_path, channels):
    pixels, labels = write(tmp_path / "set", channels=channels)
    folder = load_distilled(tmp_path / "set").to_image_folder(tmp_path / "out" / "png")
    names = ["T-shirt_top", "_escape", "T-shirt_top_2"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(names)
    for index, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        with Image.open(folder / names[label] / f"{index:02d}.png") as file:
            array = np.asarray(file)
        assert np.array_equal(array if channels == 3 else array[..., None], image.permute(1, 2, 0).numpy())
    assert len(list(tmp_path.rglob("*.png"))) == len(labels)


def test_a_folder_with_content_is_left_alone(tmp_path, monkeypatch):
    write(tmp_path / "set")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("keep")
    with pytest.raises(DdbiasError, match="not empty"):
        load_distilled(tmp_path / "set").to_image_folder(tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["note.txt"]
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")  # which has to stay the same folder, or the caller is nowhere
    load_distilled(tmp_path / "set").to_image_folder(".")
    assert len(list(Path().rglob("*.png"))) == len(list((tmp_path / "empty").rglob("*.png"))) > 0
    with pytest.raises(DdbiasError, match="cannot be written"):
        load_distilled(tmp_path / "set").to_image_folder(tmp_path / "mine" / "note.txt")
    assert (tmp_path / "mine" / "note.txt").read_text() == "keep"


@pytest.mark.slow
@given(st.lists(st.text(max_size=8), max_size=12))
def test_folder_names_are_safe_and_different(labels):
    names = folder_names(labels)
    assert len({name.casefold() for name in names}) == len(labels)
    for name in names:
        assert name
        assert not name.startswith(".")
        assert not set(name) & set('/\\:*?"<>|\0\n')


def test_ordinary_names_stay_as_they_are():
    assert folder_names(["airplane", "7", "dog"]) == ["airplane", "7", "dog"]


def test_a_set_of_indices_tells_where_the_images_are(tmp_path):
    tensors = {"index": torch.arange(3), "labels": torch.arange(3)}
    store.write_tensors(tmp_path / "distilled.safetensors", tensors, {"kind": "distilled", "distiller": "whole"})
    with pytest.raises(DdbiasError, match=r"\(distiller whole\) holds only indices.*train.arrow") as caught:
        load_distilled(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_foreign_and_damaged_files_are_one_line(tmp_path):
    from safetensors.torch import save_file

    write(tmp_path / "good")
    write(tmp_path / "kind", kind="model")
    write(tmp_path / "names", label_names=["a", "b"])
    write(tmp_path / "mean", mean=[0.5])
    content = (tmp_path / "good" / "distilled.safetensors").read_bytes()
    for name, part in (("torn", content[:-100]), ("text", b"hello")):
        store.write_bytes(tmp_path / name / "distilled.safetensors", part)
    (tmp_path / "foreign").mkdir()
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign" / "distilled.safetensors")
    meta = {"kind": "distilled", "label_names": NAMES, "mean": MEAN, "std": STD}
    tensors = {"images": torch.zeros(4, 3, 8, 8), "labels": torch.zeros(3, dtype=torch.int64)}
    store.write_tensors(tmp_path / "length" / "distilled.safetensors", tensors, meta)
    store.write_tensors(tmp_path / "empty" / "distilled.safetensors", {"images": tensors["images"]}, meta)
    cases = {"nowhere": "no file", "kind": "not a distilled set", "names": "do not fit", "mean": "do not fit"}
    cases |= {"torn": "damaged", "text": "damaged", "foreign": "not a ddbias file", "length": "do not fit"}
    cases |= {"empty": "lacks labels"}
    for name, words in cases.items():
        with pytest.raises(DdbiasError, match=words) as caught:
            load_distilled(tmp_path / name)
        assert "\n" not in str(caught.value), name


def test_what_fills_up_a_stored_image_is_grey(tmp_path):
    write(tmp_path, formation=3)  # 8 pixels in tiles of 3: the last row and column are filled up
    images, labels = load_distilled(tmp_path).tensors()
    assert len(images) == len(labels) == 12 * 9
    grey = (0.5 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(images[8::9, :, 7, 7], grey.expand(12, 3))  # the last corner of the last tile


def test_what_is_done_with_the_tensors_changes_no_set(tmp_path):
    write(tmp_path)
    chosen = load_distilled(tmp_path)
    before = chosen.images.clone(), chosen.labels.clone()
    for tensor in chosen.tensors():
        tensor.zero_()
    assert torch.equal(chosen.images, before[0])
    assert torch.equal(chosen.labels, before[1])


def test_a_name_with_the_number_may_be_taken_already():
    assert folder_names(["a", "a_2", "a"]) == ["a", "a_2", "a_2_2"]


@pytest.mark.parametrize(("rows", "good"), [([0, 59], True), ([0, 60], False), ([-1, 3], False), ([1], False)])
def test_rows_that_the_training_split_has_not_are_damage(few_digits, tmp_path, rows, good):
    split, train, path = few_digits(), tmp_path / "train.arrow", tmp_path / "distilled.safetensors"
    save_split(train, split)
    tensors = {"index": torch.tensor(rows), "rows": torch.tensor(rows), "labels": torch.tensor([0, 2])}
    store.write_tensors(path, tensors, {"kind": "distilled"})
    if good:
        images, labels = training_set(path, train)
        np.testing.assert_array_equal(images, split.images[rows])
        assert labels.tolist() == [0, 2]
    else:
        with pytest.raises(DdbiasError, match=r"it names (rows that .*train\.arrow has not|1 rows and 2 labels)"):
            training_set(path, train)
