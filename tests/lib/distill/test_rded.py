"""RDED against plain loops over classes, images and crops; what the debias and the observer change."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ddbias import testing
from ddbias.base.errors import DdbiasError
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill import rded
from ddbias.distill.controls.kcenter import candidates
from ddbias.distill.pretraining import last_network, open_member
from ddbias.learning import networks

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def split():
    plain = testing.tiny_split()  # normalised by 0 and 1, so that nobody would see who forgets it
    return replace(plain, meta={**plain.meta, "mean": [0.1, 0.2, 0.3], "std": [0.25, 0.3, 0.2]})


@pytest.fixture
def case(split, tmp_path, monkeypatch):
    # With instance norm, crops that differ in contrast alone have equal losses up to rounding.
    monkeypatch.setitem(
        testing.STUDY, "networks", {"small": {"kind": "convnet", "width": 8, "depth": 2, "norm": "none"}}
    )
    return testing.Case("rded", split=split, folder=tmp_path)


def plain_tiles(best, factor, side, count):
    """Paste tile after tile, in the order row, column; pixels of a larger tile are the nearest ones of the smaller."""
    images = np.zeros((count, best[0].shape[0], side, side), np.float32)
    lengths = [side // factor + (1 if i < side % factor else 0) for i in range(factor)]
    number = 0
    for i in range(factor):
        for j in range(factor):
            for image in range(count):
                tile = best[number]
                for y in range(lengths[i]):
                    for x in range(lengths[j]):
                        source = tile[:, y * tile.shape[1] // lengths[i], x * tile.shape[2] // lengths[j]]
                        images[image, :, sum(lengths[:i]) + y, sum(lengths[:j]) + x] = source
                number += 1
    return images


@pytest.mark.parametrize(("factor", "ipc"), [(1, 3), (2, 2), (3, 1)])  # 3 does not divide the side of 8
def test_a_set_is_that_of_plain_loops(case, split, monkeypatch, factor, ipc):
    cut, random_crops = [], rded.random_crops
    monkeypatch.setattr(rded, "random_crops", lambda *a, **o: cut.append(random_crops(*a, **o)) or cut[-1])
    case.ipc = ipc
    made = case.run(factor=factor, crops=3)
    member = open_member(case.models["pool"][0])
    observer = networks.of_settings(member.network, split.shape, 3, 0)
    observer.load_state_dict(member.state(member.epochs[-1]))
    observer.eval()
    mean, std = (np.array(split.meta[key]).reshape(-1, 1, 1) for key in ("mean", "std"))
    for label, crops in enumerate(cut):
        assert crops.shape == (20, 3, 3, 8 // factor, 8 // factor)
        kept = []
        for image in crops.double().numpy():
            scored = []
            for crop in (image - mean) / std:
                seen, gap = np.zeros(split.shape), (8 - crop.shape[1]) // 2
                seen[:, gap : gap + crop.shape[1], gap : gap + crop.shape[2]] = crop
                logits = observer(torch.from_numpy(seen[None]).float()).detach().double().numpy()[0]
                scored.append((np.log(np.exp(logits).sum()) - logits[label], crop))
            kept.append(min(scored, key=lambda pair: pair[0]))
        best = [crop for _, crop in sorted(kept, key=lambda pair: pair[0])][: ipc * factor**2]
        wanted = plain_tiles(best, factor, 8, ipc)
        np.testing.assert_allclose(made.images[label * ipc :][:ipc].numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert made.labels.tolist() == [label for label in range(3) for _ in range(ipc)]


def test_soft_labels_are_what_the_observer_says_of_the_finished_images(case, split):
    made = case.run(soft_labels=True, temperature=4)
    member = open_member(case.models["pool"][0])
    observer = networks.of_settings(member.network, split.shape, 3, 0)
    observer.load_state_dict(member.state(member.epochs[-1]))
    logits = observer.eval()(made.images).detach().double() / 4
    torch.testing.assert_close(
        made.soft_labels.probabilities.double(), logits.exp() / logits.exp().sum(1, keepdim=True), rtol=1e-4, atol=1e-6
    )
    assert made.soft_labels.temperature == 4
    hard = case.run(soft_labels=False)
    assert hard.soft_labels is None
    assert torch.equal(hard.images, made.images)


def test_crops_are_squares_within_the_image_of_all_sizes_asked_for():
    """In an image whose values are its coordinates, the mean of a crop is its centre and the range its extent."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    crops = rded.random_crops(
        torch.stack([y, x])[None], 400, side=[20, 20], least_area=0.25, generator=torch.Generator().manual_seed(0)
    )[0]
    centre = crops.mean((2, 3))
    slope = torch.stack([crops[:, 0].diff(dim=1).mean((1, 2)), crops[:, 1].diff(dim=2).mean((1, 2))], 1)
    edge = 20 * slope  # of 20 pixels
    torch.testing.assert_close(edge[:, 0], edge[:, 1], rtol=0.05, atol=0.5)
    assert edge.min() > 0.45 * 40
    assert edge.max() <= 41
    assert ((centre - edge / 2) > -1.5).all()
    assert ((centre + edge / 2) < 40.5).all()
    share = (edge[:, 0] / 40) ** 2
    assert share.quantile(0.5).item() == pytest.approx(0.625, abs=0.08)  # uniform in .25 .. 1


def test_a_whole_image_is_itself():
    images = torch.rand(3, 3, 8, 8)
    crops = rded.random_crops(images, 2, side=[8, 8], least_area=1, generator=torch.Generator())
    torch.testing.assert_close(crops, images[:, None].expand(-1, 2, -1, -1, -1))


def test_candidates_follow_the_weights_and_are_no_more_than_asked_for():
    weights = np.where(np.arange(1000) < 50, 19.0, 1.0)  # 5 % conflicting samples with half of the mass
    side = RealSide(np.zeros(1000, np.int64), RealSettings(weights), batch_size=1, seed=0)
    drawn = candidates(side, 0, 10, seed=0, most=60)
    assert len(set(drawn.tolist())) == 60
    assert (drawn < 50).sum() > 15  # a uniform draw would hold 3
    assert len(candidates(side, 0, 80, seed=0, most=60)) == 80
    even = RealSide(np.zeros(1000, np.int64), RealSettings.plain(1000), batch_size=1, seed=0)
    assert len(candidates(even, 0, 10, seed=0, most=60)) == 60


def test_more_tiles_than_images_are_refused_in_one_line(case):
    with pytest.raises(DdbiasError, match="128 tiles of class 0 need as many images, and it has 20; use a smaller"):
        case.run(factor=8)
    with pytest.raises(DdbiasError, match="factor 9 leaves tiles without pixels"):
        case.run(factor=9)


def test_seeds_take_the_members_of_a_pool_in_turn(case, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(rded, "last_network", lambda path, *given: opened.append(path) or last_network(path, *given))
    (path,) = case.models["pool"]
    case.models["pool"] = [path, tmp_path / "other.safetensors"]
    (tmp_path / "other.safetensors").write_bytes(path.read_bytes())
    for seed in range(3):
        case.run(seed=seed)
    assert opened == [path, tmp_path / "other.safetensors", path]
