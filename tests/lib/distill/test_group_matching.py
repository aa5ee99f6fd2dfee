"""FairDD's and COBRA's losses against plain loops over classes and groups, by every distiller that matches real images.

Also what dm does as COBRA's code does: absolute differences, and a warm-up of the network.
"""

import numpy as np
import pytest
import torch
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import stream
from ddbias.debias.apply import real_settings
from ddbias.debias.real_side import RealSide
from ddbias.distill.gradient_distance import gradient_distance
from ddbias.distill.precision.class_gradients import FastGradients
from ddbias.learning import networks
from ddbias.learning.augment.dsa import DSA
from ddbias.planning.config import load_schema
from torch.nn.functional import cross_entropy

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
IPC, BATCH, STEP = 2, 14, 3
KINDS = [
    {"kind": "fairdd"},
    {"kind": "fairdd", "reduction": "mean"},
    {"kind": "fairdd", "draw": "proportional"},
    {"kind": "cobra"},
]
NAMES = ["fairdd", "fairdd mean", "fairdd proportional", "cobra"]
by_debias = pytest.mark.parametrize("how", KINDS, ids=NAMES)

pytestmark = pytest.mark.usefixtures("one_thread", "unprobed")


def real_side(split, how, size=BATCH):
    return RealSide(split.labels, real_settings(how, split, None), batch_size=size, seed=0)


def distiller(split, kind, images, side=None, **changes):
    properties = load_schema()["$defs"]["distiller"][kind]["properties"]
    settings = {name: item["default"] for name, item in properties.items() if "default" in item}
    settings |= {"augment": "none", "momentum": 0.0} | changes
    more = {"side": side} if kind == "idc" else {}
    module = plugins.module("distiller", kind)
    return module.Distiller(
        split, settings=settings, network=NETWORK, images=images, seed=0, device=CPU, precision="exact", **more
    )


def noise(split):
    return torch.randn((split.classes * IPC, *split.shape), generator=stream(0, "test"))


def pixels(split, rows):
    return split.normalize(torch.from_numpy(split.images[np.asarray(rows)]))


def cells(split, batch):
    """For every class the rows of each group that the batch holds."""
    found = []
    for label in range(split.classes):
        rows = batch.index[batch.labels == label].numpy()
        found.append([rows[split.attributes[rows] == group] for group in np.unique(split.attributes[rows])])
    return found


def class_loss(targets, given, distance, how):
    """The loss of a class from the quantity of each group present (a list of tensors) and the synthetic one."""
    if how["kind"] == "cobra":
        barycentre = [sum(parts) / len(targets) for parts in zip(*targets, strict=True)]
        return distance(given, barycentre)
    total = sum(distance(given, target) for target in targets)
    return total / len(targets) if how.get("reduction") == "mean" else total


def plain_loss(split, batch, images, how, quantity, distance):
    """Class by class, group by group: `quantity(images, label)` is what is matched, a list of tensors."""
    loss = 0.0
    for label, groups in enumerate(cells(split, batch)):
        targets = [[part.detach() for part in quantity(pixels(split, rows), label)] for rows in groups]
        given = quantity(images[label * IPC : (label + 1) * IPC], label)
        loss = loss + class_loss(targets, given, distance, how)
    return loss


def mean_embedding(network):
    def quantity(images, label):
        return [torch.stack([network.embed(image[None])[0] for image in images]).mean(0)]

    return quantity


def class_gradient(network, dimensions):
    def quantity(images, label):
        wanted = [parameter for parameter in network.parameters() if parameter.ndim in dimensions]
        loss = sum(cross_entropy(network(image[None]), torch.tensor([label])) for image in images) / len(images)
        return torch.autograd.grad(loss, wanted, create_graph=True)

    return quantity


def groups_are_missed(split, batch):
    return sum(map(len, cells(split, batch))) < sum(
        len(np.unique(split.attributes[split.labels == label])) for label in range(split.classes)
    )


@by_debias
@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_dm_equals_a_plain_loop(split, how, distance):
    images, batch = noise(split), real_side(split, how).batch(STEP)
    assert how.get("draw") or groups_are_missed(split, batch)  # some are not there in a uniform draw
    method = distiller(split, "dm", images, distance=distance)
    loss, gradient = method.match(STEP, pixels(split, batch.index), batch)
    leaf = images.clone().requires_grad_(True)

    def apart(a, b):
        return ((a[0] - b[0]) ** 2 if distance == "squared" else (a[0] - b[0]).abs()).sum()

    expected = plain_loss(split, batch, leaf, how, mean_embedding(method.network), apart)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=0)
    (slope,) = torch.autograd.grad(expected, leaf)
    torch.testing.assert_close(gradient, slope, rtol=1e-4, atol=1e-5 * slope.abs().max().item())


@by_debias
@pytest.mark.parametrize("metric", ["ours", "mse"])
def test_dc_equals_a_plain_loop(split, how, metric):
    images, batch = noise(split), real_side(split, how).batch(STEP)
    method = distiller(split, "dc", images, distance=metric, outer_loop=1)
    loss, gradient = method.match(STEP, pixels(split, batch.index), batch)
    leaf = images.clone().requires_grad_(True)
    quantity = class_gradient(method.network, (1, 2, 3, 4))
    expected = plain_loss(split, batch, leaf, how, quantity, lambda a, b: gradient_distance(a, b, metric))
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-4, atol=0)
    (slope,) = torch.autograd.grad(expected, leaf)
    torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-4 * slope.abs().max().item())


@by_debias
def test_idc_equals_a_plain_loop(split, how):
    side = real_side(split, how)
    images, batch = noise(split).clamp(-0.3, 0.3), side.batch(STEP)
    method = distiller(split, "idc", images, side, factor=1, init="noise", distance="mse")
    images = method.images.clone()
    real = pixels(split, batch.index)

    def apart(a, b):
        return sum(((x - y) ** 2).sum() for x, y in zip(a, b, strict=True))

    found = [method.match_class(STEP, label, real, batch) for label in range(split.classes)]
    leaf = images.requires_grad_(True)
    expected = plain_loss(split, batch, leaf, how, class_gradient(method.network, (4,)), apart)
    torch.testing.assert_close(sum(loss for loss, _ in found), expected.detach(), rtol=1e-4, atol=0)
    (slope,) = torch.autograd.grad(expected, leaf)
    gradient = torch.cat([part for _, part in found])
    torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-4 * slope.abs().max().item())


@pytest.mark.parametrize("kind", ["dm", "dc", "dsa"])
def test_the_mean_over_groups_is_the_sum_over_their_number(split, kind):
    """Where every class shows the same number of groups, for augmented images, too."""
    augment = {} if kind == "dc" else {"augment": "color_crop_cutout_flip_scale_rotate"}
    added, averaged = (
        real_side(split, {"kind": "fairdd", "reduction": reduction}, size=100).batch(0) for reduction in ("sum", "mean")
    )
    sizes = torch.bincount(added.classes)
    results = [
        distiller(split, kind, noise(split), **augment).match(0, pixels(split, batch.index), batch)
        for batch in (added, averaged)
    ]
    for label, size in enumerate(sizes.tolist()):
        part = slice(label * IPC, (label + 1) * IPC)
        torch.testing.assert_close(results[0][1][part], size * results[1][1][part], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["dm", "dc"])
def test_groups_that_are_the_classes_change_nothing(split, kind):
    """One group in every class: FairDD, COBRA and no debias are one."""
    results = []
    for how in ("uniform", "fairdd", "cobra"):
        settings = real_settings({"kind": how}, split, None)
        if settings.groups is not None:
            settings = type(settings)(settings.weights, split.labels, settings.pooling, settings.draw)
        batch = RealSide(split.labels, settings, batch_size=BATCH, seed=0).batch(0)
        results.append(distiller(split, kind, noise(split)).match(0, pixels(split, batch.index), batch))
    for loss, gradient in results[1:]:
        torch.testing.assert_close(loss, results[0][0], rtol=1e-6, atol=0)
        torch.testing.assert_close(gradient, results[0][1], rtol=1e-5, atol=1e-7)


def test_the_squared_loss_of_fairdd_is_that_of_cobra_and_what_no_image_can_change(split):
    """sum_g |mu_g - m|^2 = G |b - m|^2 + const: both pull towards the barycentre, FairDD G times as hard."""
    gradients = {}
    for how in ("fairdd", "cobra"):
        batch = real_side(split, {"kind": how}).batch(STEP)
        gradients[how] = distiller(split, "dm", noise(split)).match(STEP, pixels(split, batch.index), batch)[1]
    for label, groups in enumerate(cells(split, batch)):
        part = slice(label * IPC, (label + 1) * IPC)
        expected = len(groups) * gradients["cobra"][part]
        torch.testing.assert_close(gradients["fairdd"][part], expected, rtol=1e-4, atol=1e-5)


def test_compiled_gradients_serve_any_number_of_targets_with_few_graphs(split, monkeypatch):
    """The list of targets is filled up to a power of two with some that count nothing."""
    network = networks.build("convnet", channels=3, size=8, classes=3, seed=0, width=8, depth=2)
    counts, fast = set(), FastGradients(network, "ours")
    fast.refresh()

    def spied(weights, images, labels, targets, scales):
        counts.add(len(targets))
        return fast._match(weights, images, labels, targets, scales)

    fast._compiled_match, fast._compiled_real = spied, fast._real
    labels, images = torch.zeros(2, dtype=torch.int64), pixels(split, [0, 1])
    targets = [fast.real(pixels(split, [row]), labels[:1], torch.ones(1)) for row in range(2, 9)]
    ones = [fast.match(images, labels, [target], torch.ones(1)) for target in targets]
    for size in range(1, 8):
        scales = torch.linspace(0.5, 2, size)
        distance, gradient = fast.match(images, labels, targets[:size], scales)
        torch.testing.assert_close(
            distance, sum(s * d for s, (d, _) in zip(scales, ones, strict=False)), rtol=1e-3, atol=0
        )
        expected = sum(s * g for s, (_, g) in zip(scales, ones, strict=False))
        assert torch.cosine_similarity(gradient.flatten(), expected.flatten(), dim=0) > 0.99
    assert counts == {1, 2, 4, 8}


# ---- dm as in COBRA's code ------------------------------------------------------------------------------------------


def test_a_warm_up_trains_the_network_that_is_matched(split):
    images, batch = noise(split), real_side(split, {"kind": "cobra"}).batch(STEP)
    method = distiller(split, "dm", images, warm_up=4)
    loss, _ = method.match(STEP, pixels(split, batch.index), batch)
    network = networks.build("convnet", channels=3, size=8, classes=3, seed=99, width=8, depth=2)
    networks.reset(network, stream(0, "network", STEP))
    fresh = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    labels, generator = torch.arange(3).repeat_interleave(IPC), stream(0, "warm_up", STEP)
    for _ in range(4):  # six images: one batch an epoch
        order = torch.randperm(len(images), generator=generator)
        optimiser.zero_grad()
        cross_entropy(network(images[order]), labels[order]).backward()
        optimiser.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(method.network.state_dict()[name], value, rtol=1e-5, atol=1e-7)
        assert value.ndim < 2 or not torch.equal(value, fresh[name])  # a bias that norm takes away again stays
    assert not any(parameter.requires_grad for parameter in method.network.parameters())
    expected = plain_loss(
        split, batch, images, {"kind": "cobra"}, mean_embedding(network), lambda a, b: ((a[0] - b[0]) ** 2).sum()
    )
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-4, atol=0)


def test_a_warm_up_draws_the_augmentation_of_its_step_for_each_image(split):
    images, batch = noise(split), real_side(split, {"kind": "cobra"}).batch(STEP)
    method = distiller(split, "dm", images, warm_up=2, augment="crop_cutout")
    method.match(STEP, pixels(split, batch.index), batch)
    network = networks.build("convnet", channels=3, size=8, classes=3, seed=99, width=8, depth=2)
    networks.reset(network, stream(0, "network", STEP))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    labels, generator = torch.arange(3).repeat_interleave(IPC), stream(0, "warm_up", STEP)
    for _ in range(2):
        order = torch.randperm(len(images), generator=generator)
        seen = DSA("crop_cutout").per_sample(images[order], generator)
        optimiser.zero_grad()
        cross_entropy(network(seen), labels[order]).backward()
        optimiser.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(method.network.state_dict()[name], value, rtol=1e-5, atol=1e-7)
    assert not method.network.training, "a network with dropout would drop values of both sides"


def test_a_warm_up_depends_on_its_step_only_and_sees_augmented_images(split):
    batch = real_side(split, {"kind": "cobra"}).batch(0)
    real = pixels(split, batch.index)

    def losses(steps, **changes):
        method = distiller(split, "dm", noise(split), **{"warm_up": 2, **changes})
        return {step: method.match(step, real, batch)[0].item() for step in steps}

    assert losses([0, 1, 2]) == losses([2, 1, 0])
    assert losses([0]) != losses([0], warm_up=0)
    augmented = distiller(split, "dm", noise(split), warm_up=2, augment="crop_cutout")
    assert augmented.recipe.augment == "crop_cutout"
    state = torch.get_rng_state()
    augmented.match(0, real, batch)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_unknown_distance_is_one_line(split):
    with pytest.raises(DdbiasError, match=r"unknown embedding distance 'absolut'.*Did you mean 'absolute'"):
        distiller(split, "dm", noise(split), distance="absolut")


@pytest.mark.parametrize("kind", ["dm", "dc", "idc"])
def test_the_scale_of_a_target_is_its_share_of_the_loss(split, kind, pooled):
    side = real_side(split, {"kind": "fairdd"})
    batch = side.batch(0)
    real, changes = pixels(split, batch.index), {"factor": 1, "init": "noise"} if kind == "idc" else {}

    def loss(scale):
        given = pooled(batch, batch.pool, batch.classes, scale)
        method = distiller(split, kind, noise(split).clamp(-0.3, 0.3), side, **changes)
        if kind == "idc":
            return sum(method.match_class(0, label, real, given)[0].item() for label in range(3))
        return method.match(0, real, given)[0].item()

    first, last = torch.eye(len(batch.classes))[[0, -1]]
    assert loss(0.5 * first + 3 * last) == pytest.approx(0.5 * loss(first) + 3 * loss(last), rel=1e-4)
    assert loss(first) > 0 < loss(last)
