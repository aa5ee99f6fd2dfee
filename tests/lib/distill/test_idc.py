"""IDC: whole steps against a slow plain loop on pixels in 0..1, and what the method draws.

That every debias works with it, that it repeats, and goes on after a kill through the engine is tested with all
distillers in test_contract.py.
"""

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import derive, stream
from ddbias.data import store
from ddbias.data.formation import mosaic
from ddbias.data.split import denormalize
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill import first_images, idc
from ddbias.distill.gradient_distance import gradient_distance
from ddbias.distill.idc import Distiller, first_mosaics, training_rows
from ddbias.distill.precision.class_gradients import FastGradients
from ddbias.learning import device, networks
from ddbias.learning.augment.chained import Chain
from ddbias.learning.augment.cutmix import CutMix
from ddbias.learning.augment.dsa import DSA
from ddbias.planning.config import load_schema
from torch.nn.functional import cross_entropy, interpolate

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
SMALL = {"outer_loop": 3, "real_batch": 12, "network_images": 30, "network_batch": 8}

needs_fast = pytest.mark.skipif(
    device.machine_obstacle(CPU) is not None, reason=f"no fast path: {device.machine_obstacle(CPU)}"
)
pytestmark = pytest.mark.usefixtures("one_thread")


def settings(**changes):
    """The defaults of the config's schema, smaller."""
    properties = load_schema()["$defs"]["distiller"]["idc"]["properties"]
    published = {name: item["default"] for name, item in properties.items() if "default" in item}
    return {"kind": "idc", **published, **SMALL, **changes}


def real_side(split, weights=None, draw="proportional", size=12):
    weights = np.ones(len(split)) if weights is None else weights
    return RealSide(split.labels, RealSettings(weights, draw=draw), batch_size=size, seed=0)


def uneven(split):
    return np.random.default_rng(0).exponential(size=len(split)) ** 2


def distiller(split, side=None, *, ipc=2, seed=0, network=NETWORK, images=None, precision="exact", **changes):
    side, chosen = side or real_side(split), settings(**changes)
    if images is None:
        images = first_images.initial_images(split, side, init=chosen["init"], ipc=ipc, seed=seed)
    return Distiller(
        split, settings=chosen, network=network, images=images, seed=seed, device=CPU, precision=precision, side=side
    )


def real_batch(split, side, step):
    batch = side.batch(step)
    return split.normalize(torch.from_numpy(split.images[batch.index.numpy()])), batch


def run(method, split, steps):
    return [method.step(step, *real_batch(split, method.side, step))["loss"] for step in steps]


# ---- the published method, as published -----------------------------------------------------------------------------


def plain_decode(images, factor):
    """Tiles of images in 0..1 whose side is a multiple of the factor."""
    tile, decoded = images.shape[2] // factor, []
    for image in images:
        for i in range(factor):
            for j in range(factor):
                part = image[None, :, i * tile : (i + 1) * tile, j * tile : (j + 1) * tile]
                decoded.append(interpolate(part, size=images.shape[2:], mode="bilinear", align_corners=False))
    return torch.cat(decoded)


def plain_idc(split, pixels, chosen, batches, *, seed, dtype):
    """All steps on `pixels` in 0..1: torch's own optimisers, class by class, real image by real image.

    `batches` are (real images in 0..1, RealBatch) of every step.
    """
    mean, std = (torch.tensor(split.meta[name], dtype=dtype).view(3, 1, 1) for name in ("mean", "std"))
    pixels = pixels.to(dtype).clone().requires_grad_(True)
    ipc = len(pixels) // split.classes
    rate = chosen["learning_rate"] if chosen["learning_rate"] is not None else 5e-3 * ipc / 10
    optimiser = torch.optim.SGD([pixels], lr=rate, momentum=chosen["momentum"])
    network = networks.build("convnet", channels=3, size=8, classes=split.classes, seed=99, width=8, depth=2).to(dtype)
    augment, losses = Chain(chosen["augment"]), []
    convolutions = [name for name, parameter in network.named_parameters() if parameter.ndim == 4]
    assert len(convolutions) == 2
    for step, (real, batch) in enumerate(batches):
        if step % chosen["outer_loop"] == 0:
            networks.reset(network, stream(seed, "network", step // chosen["outer_loop"]))
        total = 0.0
        for label in range(split.classes):
            shared = derive(seed, "augment", step, label)
            synthetic = plain_decode(pixels[label * ipc : (label + 1) * ipc], chosen["factor"])
            if len(synthetic) > chosen["synthetic_batch"]:
                order = torch.randperm(len(synthetic), generator=stream(seed, "synthetic_batch", step, label))
                synthetic = synthetic[order[: chosen["synthetic_batch"]]]
            synthetic = augment((synthetic - mean) / std, shared)
            loss = cross_entropy(network(synthetic), torch.full((len(synthetic),), label))
            given = torch.autograd.grad(loss, network.parameters(), create_graph=True)
            distance = 0.0
            for target in batch.pool[batch.classes == label]:
                loss = 0.0
                for image, share in zip(real.to(dtype), target, strict=True):
                    logits = network(augment((image[None] - mean) / std, shared))
                    loss = loss + float(share) * cross_entropy(logits, torch.tensor([label]))
                wanted = torch.autograd.grad(loss, network.parameters())
                for x, y in zip(given, wanted, strict=True):
                    if x.ndim == 4:
                        difference = (x - y).abs() if chosen["distance"] == "l1" else (x - y) ** 2
                        distance = distance + difference.sum()
            optimiser.zero_grad()
            distance.backward()
            optimiser.step()
            total += distance.item()
        losses.append(total)
        if (step + 1) % chosen["outer_loop"] == 0:
            with torch.no_grad():
                pixels.clamp_(0, 1)
    return pixels.detach(), losses


@pytest.mark.parametrize(("weighted", "draw"), [(False, "proportional"), (True, "weighted_mean")])
@pytest.mark.parametrize(
    "changes",
    [
        {"factor": 1, "distance": "mse"},
        {"factor": 2, "distance": "l1", "learning_rate": 1e-3},
        {"factor": 2, "synthetic_batch": 5, "augment": "color_crop_cutout_flip_scale_rotate"},
        {"factor": 2, "augment": "none", "outer_loop": 1, "learning_rate": 0.5},  # so large that pixels are clamped
    ],
)
def test_steps_equal_a_plain_loop(split, monkeypatch, changes, weighted, draw):
    """In double precision, so that the *movement* of the pixels can be compared, without the network's training."""
    monkeypatch.setattr(Distiller, "train", lambda self, step: None)
    side = real_side(split, uneven(split) if weighted else None, draw, size=6)
    changes = {"learning_rate": 0.05, "outer_loop": 2, **changes}
    images = first_images.initial_images(split, side, init="real", ipc=2, seed=5).double()
    method = distiller(split, side, seed=5, images=images, init="real", **changes)
    method.network.double()
    mean, std = (torch.tensor(split.meta[name], dtype=torch.float64).view(3, 1, 1) for name in ("mean", "std"))
    start = method.images.clone()
    batches, losses = [], []
    for step in range(3):
        batch = side.batch(step)
        pixels = torch.from_numpy(split.images[batch.index.numpy()]).double() / 255
        batches.append((pixels, batch))
        losses.append(method.step(step, (pixels - mean) / std, batch)["loss"])
    moved = method.images - start
    plain, expected = plain_idc(split, start * std + mean, settings(**changes), batches, seed=5, dtype=torch.float64)
    assert losses == pytest.approx(expected, rel=1e-5)
    expected = (plain - mean) / std - start
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(moved, expected, rtol=1e-5, atol=1e-6 * expected.abs().max().item())


def test_the_momentum_of_one_class_lives_on_in_the_steps_of_the_others(split, monkeypatch):
    """With gradients of 1 in 0..1, by hand: class c waits for c turns before its own, and K - 1 - c after it."""
    side = real_side(split)
    method = distiller(split, side, factor=1, learning_rate=0.01, outer_loop=9)
    monkeypatch.setattr(method, "train", lambda step: None)
    ones = torch.ones(2, 3, 8, 8) / method.gain
    monkeypatch.setattr(method, "match_class", lambda *_: (torch.tensor(1.0), ones))
    start = method.images.clone()
    assert run(method, split, [0]) == [3.0]
    for label, waits in enumerate((2, 1, 0)):
        expected = -0.01 * sum(0.5**n for n in range(waits + 1))
        moved = (method.images - start)[2 * label : 2 * label + 2]
        torch.testing.assert_close(moved, torch.full_like(moved, expected), rtol=1e-4, atol=1e-6)


def test_the_training_equals_a_plain_loop(split):
    side = real_side(split)
    changes = {"network_images": 20, "cutmix": 0.0, "network_learning_rate": 0.1}
    method = distiller(split, side, seed=3, augment="color_crop", **changes)
    plain = networks.build("convnet", channels=3, size=8, classes=3, seed=1, width=8, depth=2)
    networks.reset(plain, stream(3, "network", 0))
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    before = [parameter.clone() for parameter in method.network.parameters()]
    for step in (0, 1):  # the momentum lives on from step to step
        method.train(step)
        generator = stream(3, "train", step)
        rows = torch.cat(side.classes)[torch.randperm(60, generator=generator)[:24]]
        assert len(set(rows.tolist())) == 24
        for chosen in (rows[:8], rows[8:16], rows[16:]):
            images = split.normalize(torch.from_numpy(split.images[chosen.numpy()]))
            for piece in ("color", "crop"):
                images = DSA(piece).per_sample(images, generator)
            optimiser.zero_grad()
            cross_entropy(plain(images), torch.from_numpy(split.labels[chosen.numpy()])).backward()
            optimiser.step()
    for ours, theirs, first in zip(method.network.parameters(), plain.parameters(), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        assert not torch.equal(ours, first)


def test_the_network_learns_from_real_images(split):
    method = distiller(split, network_images=60, network_batch=20, augment="none", outer_loop=100)
    images = split.normalize(torch.from_numpy(split.images))
    for step in range(60):
        method.train(step)
    accuracy = (method.network(images).argmax(1).numpy() == split.labels).mean()
    assert accuracy > 0.9


def test_a_network_serves_one_iteration(split):
    method, seen = distiller(split, outer_loop=2), []
    original = method.match_class

    def note(step, label, *rest):
        if label == 0:
            seen.append([parameter.clone() for parameter in method.network.parameters()])
        return original(step, label, *rest)

    method.match_class = note
    run(method, split, range(4))
    for iteration in (0, 1):
        fresh = networks.build("convnet", channels=3, size=8, classes=3, seed=1, width=8, depth=2)
        networks.reset(fresh, stream(0, "network", iteration))
        drawn, trained = seen[2 * iteration : 2 * iteration + 2]
        assert all(torch.equal(a, b) for a, b in zip(drawn, fresh.parameters(), strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(trained, drawn, strict=True) if a.ndim > 1)


# ---- state ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "killed"), [(1, 1), (2, 2), (2, 3), (1, 4)])  # within an iteration, and between
def test_a_resumed_run_is_bit_identical(split, tmp_path, factor, killed):
    side = real_side(split, uneven(split))
    whole = distiller(split, side, factor=factor, outer_loop=3)
    expected = run(whole, split, range(5))
    first = distiller(split, side, factor=factor, outer_loop=3)
    losses = run(first, split, range(killed))
    store.write_tensors(tmp_path / "state.safetensors", first.state_dict(), {})
    second = distiller(split, side, factor=factor, outer_loop=3, images=torch.zeros_like(first.images))
    second.load_state_dict(store.read_tensors(tmp_path / "state.safetensors")[0])
    assert losses + run(second, split, range(killed, 5)) == expected
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_three_steps_are_finite(few_digits, norm):
    split = few_digits(classes=2, per_class=5)
    side = real_side(split, uneven(split), "weighted_mean", size=4)
    method = distiller(split, side, network={**NETWORK, "norm": norm})
    state = torch.get_rng_state()
    assert np.isfinite(run(method, split, range(3))).all()
    assert method.images.isfinite().all()
    assert torch.equal(torch.get_rng_state(), state)


def test_several_targets_of_a_class_are_added(split, pooled):
    """As debias kinds with a target for each group make them."""
    side = real_side(split)
    real, batch = real_batch(split, side, 0)
    halves = torch.stack([row for row in batch.pool for row in (row * 2, row * 2)])
    for n, label in enumerate(batch.labels.tolist()):
        halves[2 * label + n % 2, n] = 0
    classes = batch.classes.repeat_interleave(2)
    method = distiller(split, side)
    both = method.match_class(0, 1, real, pooled(batch, halves, classes))
    singles = []
    for part in (0, 1):
        one = pooled(batch, halves[part::2], batch.classes)
        singles.append(method.match_class(0, 1, real, one))
    torch.testing.assert_close(both[0], singles[0][0] + singles[1][0], rtol=1e-5, atol=0)
    expected = singles[0][1] + singles[1][1]
    torch.testing.assert_close(both[1], expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


# ---- pixels ---------------------------------------------------------------------------------------------------------


def test_pixels_stay_in_the_range_of_real_ones(split):
    method = distiller(split, learning_rate=1.0, outer_loop=2)
    mean, std = (torch.tensor(split.meta[name]).view(3, 1, 1) for name in ("mean", "std"))
    run(method, split, [0])
    before = method.images * std + mean
    assert before.min() < -0.01  # only at the end of an iteration
    run(method, split, [1])
    after = method.images * std + mean
    assert after.min() >= -1e-6
    assert after.max() <= 1 + 1e-6
    assert (after.min() - 0).abs() < 1e-6
    noise = distiller(split, init="noise").images * std + mean
    assert -1e-6 <= noise.min() < noise.max() <= 1 + 1e-6


def rows_of_mosaics(split, method, ipc):
    """Return the rows of the real images in mosaics of four, class after class."""
    stored = denormalize(method.images, split.meta["mean"], split.meta["std"]).numpy()
    small, found = split.images[:, :, ::2, ::2], []
    for n, image in enumerate(stored):
        for i in range(2):
            for j in range(2):
                tile = image[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
                rows = np.flatnonzero((small == tile).all((1, 2, 3)))
                assert (split.labels[rows] == n // ipc).all()
                found.append(rows[0])
    return np.array(found)


@pytest.mark.parametrize("init", ["real", "weighted_real"])
def test_first_images_are_mosaics_of_different_real_images(split, init):
    weights = uneven(split)
    method = distiller(split, real_side(split, weights), ipc=3, init=init, factor=2)
    found = rows_of_mosaics(split, method, 3)
    assert len(set(found)) == 3 * 3 * 4
    share = np.mean([weights[row] for row in found]) / weights.mean()
    assert share > 1.2 if init == "weighted_real" else 0.7 < share < 1.2


@pytest.mark.parametrize("init", ["balanced", "stratified"])
def test_mosaics_hold_the_groups_that_first_images_hold(split, init):
    side = real_side(split, uneven(split))  # whose weights do not matter
    found = rows_of_mosaics(split, distiller(split, side, ipc=3, init=init, factor=2), 3)
    rows = first_images.initial_rows(split, side, init=init, ipc=12, seed=0).numpy()
    assert sorted(found) == sorted(rows)


def test_factor_one_keeps_the_first_images(split):
    side = real_side(split)
    images = first_images.initial_images(split, side, init="real", ipc=2, seed=0)
    method = distiller(split, side, images=images.clone(), factor=1, init="real")
    torch.testing.assert_close(method.images, images, rtol=1e-6, atol=1e-6)
    assert method.formation == 1


def test_a_small_class_fills_its_mosaics_more_than_once(few_digits):
    split = few_digits(per_class=5)
    images = first_mosaics(split, real_side(split), init="real", factor=2, ipc=3, seed=0)
    assert images.shape == (9, *split.shape)
    pixels = split.normalize(torch.from_numpy(split.images))
    small = mosaic(pixels.repeat_interleave(4, 0), 2)[:, :, :4, :4]
    counts = np.zeros(15, int)
    for image in images:
        for tile in (image[:, :4, :4], image[:, :4, 4:], image[:, 4:, :4], image[:, 4:, 4:]):
            counts[int((small - tile).abs().flatten(1).amax(1).argmin())] += 1
    assert set(counts) == {2, 3}  # 12 tiles of 5 images
    assert counts.reshape(3, 5).sum(1).tolist() == [12, 12, 12]


def test_too_small_a_class_for_mosaics_of_all_groups_is_told(few_digits):
    split = few_digits(per_class=5)
    with pytest.raises(DdbiasError, match=r"only 5 images of class 0 can be first ones, not 12: choose fewer"):
        first_mosaics(split, real_side(split), init="balanced", factor=2, ipc=3, seed=0)


# ---- real images of the training ------------------------------------------------------------------------------------


def test_training_rows_follow_the_weights(split):
    weights = uneven(split)
    side = real_side(split, weights)
    drawn = torch.cat([training_rows(side, 60, stream(0, "test", n)) for n in range(400)]).numpy()
    share = np.bincount(drawn, minlength=60) / len(drawn)
    expected = np.concatenate([weights[split.labels == c] / weights[split.labels == c].sum() / 3 for c in range(3)])
    np.testing.assert_allclose(share, expected, atol=6 * np.sqrt(expected.max() / len(drawn)))


def test_equal_weights_give_different_rows_of_all_classes(split):
    for weights in (None, np.full(60, 0.3)):
        rows = training_rows(real_side(split, weights), 48, stream(0, "test"))
        assert len(set(rows.tolist())) == 48
        assert set(split.labels[rows.numpy()]) == {0, 1, 2}
    assert sorted(training_rows(real_side(split), 500, stream(0, "test")).tolist()) == list(range(60))


@pytest.mark.parametrize(("images", "batches"), [(30, 4), (32, 4), (33, 5), (500, 8)])
def test_the_training_takes_whole_batches(split, monkeypatch, images, batches):
    method, sizes = distiller(split, network_images=images), []
    monkeypatch.setattr(method.trainer, "step", lambda loss: sizes.append(loss))
    method.train(0)
    assert len(sizes) == batches  # 60 images at most


# ---- distance, augmentation, mistakes -------------------------------------------------------------------------------


def test_distances_are_sums():
    a, b = [torch.tensor([[1.0, -2.0]]), torch.tensor([3.0])], [torch.tensor([[0.0, 1.0]]), torch.tensor([1.0])]
    assert gradient_distance(a, b, "mse").item() == 1 + 9 + 4
    assert gradient_distance(a, b, "l1").item() == 1 + 3 + 2


def chained(images, strategy, seed):
    """The stages one by one, with the same seeds."""
    for number, stage in enumerate(strategy):
        images = DSA(stage)(images, derive(seed, number) % 2**31)
    return images


@pytest.mark.parametrize(
    ("strategy", "stages"),
    [
        ("color_crop_cutout", ["color", "crop", "cutout"]),
        ("cutout_rotate_color_scale_flip", ["flip", "color", "rotate_scale", "cutout"]),
        ("crop_scale", ["crop_scale"]),
        ("none", []),
    ],
)
def test_the_chain_applies_every_stage(strategy, stages):
    images = torch.randn((4, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    seen = set()
    for seed in range(12):
        result = Chain(strategy)(images, seed)
        assert torch.equal(result, chained(images, stages, seed))
        assert torch.allclose(Chain(strategy)(images[1:3], seed), result[1:3], atol=1e-6)  # whatever the batch
        seen.add(float(result.sum()))
    assert len(seen) > 5 or not stages
    one = Chain(strategy).per_sample(images[:1].expand(4, -1, -1, -1), stream(0, "test"))
    assert (one[0] != one[1]).any() or not stages


def test_cutmix_replaces_cutout_in_the_training(split):
    def pieces(method):
        return [name for stage in method.training_augment.stages for name in stage.names]

    assert pieces(distiller(split)) == ["color", "crop"]
    assert pieces(distiller(split, cutmix=0.0)) == ["color", "crop", "cutout"]


@pytest.mark.parametrize(
    ("distance", "ipc", "rate"),
    [("mse", 1, 5e-4), ("mse", 10, 5e-3), ("mse", 50, 2.5e-2), ("l1", 1, 1e-5), ("l1", 50, 5e-4)],
)
def test_the_learning_rate_follows_the_distance_and_grows_with_the_images(few_digits, distance, ipc, rate):
    split = few_digits(per_class=60)
    assert distiller(split, ipc=ipc, distance=distance).optimiser.learning_rate == pytest.approx(rate)
    assert distiller(split, ipc=ipc, learning_rate=0.3).optimiser.learning_rate == 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distance": "l2"}, "unknown gradient distance 'l2'"),
        ({"augment": "color_crp"}, "unknown augmentation 'crp'.*Did you mean 'crop'"),
        ({"factor": 5}, "factor 5 cuts a side of 8 pixels into empty tiles"),
        ({"network": {"kind": "mlp"}}, "idc matches convolutions, and the network mlp has none"),
    ],
)
def test_a_mistake_is_one_line(split, changes, message):
    with pytest.raises(DdbiasError, match=message):
        distiller(split, **changes)


@needs_fast
@pytest.mark.thorough
def test_precision_fast_compiles_the_matching(split, log_lines):
    assert isinstance(distiller(split, precision="fast").gradients, FastGradients)
    assert log_lines == []


def test_batch_norm_sees_all_images_of_a_target(split):
    """More of them than are computed at a time without it."""
    method = distiller(split, network={**NETWORK, "kind": "convnet_bn"})
    images = torch.randn(40, 3, 8, 8, generator=stream(0, "images"))
    labels, share = torch.zeros(40, dtype=torch.int64), torch.full((40,), 1 / 40)
    given = method.gradients.real(images, labels, share)
    matched = [parameter for parameter in method.network.parameters() if parameter.ndim == 4]
    truth = torch.autograd.grad(cross_entropy(method.network(images), labels), matched)
    torch.testing.assert_close(list(given), list(truth), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("distance", ["mse", "l1"])
def test_what_is_compiled_is_the_same(split, distance):
    plain, method = (distiller(split, distance=distance) for _ in range(2))
    made = {"dtype": torch.float32, "compiled": lambda function: function}
    method.gradients = FastGradients(method.network, distance, method.gradients.names, **made)
    real, batch = real_batch(split, real_side(split), 1)
    for label in range(split.classes):
        ours, theirs = (each.match_class(1, label, real, batch) for each in (method, plain))
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item())


def test_the_module_asks_for_the_real_side():
    assert idc.Distiller.needs_side


def test_the_probe_has_a_fresh_network_wherever_the_run_is(split):
    method = distiller(split, outer_loop=5)
    images = method.images.clone()
    before = [method.probe_loss(index, *real_batch(split, method.side, 0)) for index in (0, 1)]
    assert before[0] != before[1]
    run(method, split, range(2))  # whose network is trained now
    with torch.no_grad():
        method.images.copy_(images)
    assert [method.probe_loss(index, *real_batch(split, method.side, 0)) for index in (0, 1)] == before


def test_the_network_is_trained_in_training_mode_and_matched_as_before(split, monkeypatch):
    method, modes = distiller(split, network={**NETWORK, "kind": "convnet_bn"}), []
    method.network.eval()
    monkeypatch.setattr(method.trainer, "step", lambda loss: modes.append(method.network.training))
    method.train(0)
    assert modes
    assert all(modes)


def test_what_is_compiled_follows_the_training_of_the_network(split):
    plain, method = (distiller(split, network_learning_rate=0.1) for _ in range(2))
    made = {"dtype": torch.float32, "compiled": lambda function: function}
    method.gradients = FastGradients(method.network, "mse", method.gradients.names, **made)
    real, batch = real_batch(split, real_side(split), 1)
    first = plain.match_class(1, 0, real, batch)[0]
    for step in (0, 1):
        plain.train(step)
        method.train(step)
    ours, theirs = (each.match_class(1, 0, real, batch) for each in (method, plain))
    assert not torch.isclose(theirs[0], first, rtol=0.05)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item())


def test_training_rows_follow_the_weights_of_a_class_among_equal_ones(split):
    weights = np.ones(len(split))
    first = np.flatnonzero(split.labels == 0)
    weights[first[:10]] = 9
    side = real_side(split, weights)
    drawn = torch.cat([training_rows(side, 60, stream(0, "test", n)) for n in range(300)]).numpy()
    assert np.isin(drawn, first).mean() == pytest.approx(1 / 3, abs=0.02)
    assert np.isin(drawn, first[:10]).sum() / np.isin(drawn, first).sum() == pytest.approx(0.9, abs=0.02)


def test_cutmix_has_the_share_and_the_beta_of_the_settings(split):
    assert distiller(split, cutmix=0.3, cutmix_beta=4.0).cutmix == CutMix(0.3, 4.0)
