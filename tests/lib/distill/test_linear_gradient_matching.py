"""Linear gradient matching against torch's own linear layer and plain loops; what a debias changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ddbias import testing
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import stream
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill.linear_gradient_matching import Distiller
from ddbias.distill.pretraining import last_network
from ddbias.learning import networks
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.optimiser import Adam
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = {"models": "pool", "weights_file": None, "learning_rate": 0.1, "views": 2, "augment": "crop_scale"}
SETTINGS |= {"decay": "none"}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def split():
    plain = testing.tiny_split()  # normalised by 0 and 1, so that nobody would see who forgets it
    return replace(plain, meta={**plain.meta, "mean": [0.1, 0.2, 0.3], "std": [0.25, 0.3, 0.2]})


@pytest.fixture
def models(split, tmp_path):
    return testing.Case("lgm", split=split, folder=tmp_path).models


def distiller(split, pools, images, seed=0, network=None, folder="", **changes):
    how = {"settings": SETTINGS | changes, "network": network, "data": {"root": str(folder)}, "device": CPU}
    return Distiller(split, precision="exact", models=pools, images=images, seed=seed, **how)


def plain_gradient(weights, features, labels, share):
    """The gradient of sum(share * cross-entropy) for a linear layer, weights and biases, by torch."""
    layer = nn.Linear(features.shape[1], len(weights)).double()
    with torch.no_grad():
        layer.weight.copy_(weights)
        layer.bias.zero_()
    loss = (share * cross_entropy(layer(features), labels, reduction="none")).sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(layer.parameters()), create_graph=True)])


@pytest.mark.parametrize("pooling", ["mean", "groups"])
def test_a_step_is_that_of_plain_loops(split, models, pooling):
    weights = np.random.default_rng(0).random(len(split)) + 0.1
    groups = None if pooling == "mean" else split.attributes.astype(np.int64)
    side = RealSide(
        split.labels,
        RealSettings(weights, groups, pooling, "weighted_mean" if pooling == "mean" else "uniform"),
        batch_size=9,
        seed=0,
    )
    batch = side.batch(4)
    images = torch.randn(split.classes * 2, *split.shape, generator=stream(0, "test"))
    method = distiller(split, models, images)
    loss, gradient = method.match(4, None, batch)

    network = last_network(models["pool"][0], split, "pool").double()
    classifier = torch.randn(split.classes, method.features.shape[1], generator=stream(0, "classifier", 4))[:, :-1]
    real = network.embed(split.normalize(torch.from_numpy(split.images[batch.index.numpy()])).double())
    leaf = images.double().requires_grad_(True)
    augment, streams = DSA(SETTINGS["augment"]), [stream(0, "augment", 4, view) for view in range(2)]
    views = torch.cat([augment.per_sample(leaf.float(), drawn) for drawn in streams])
    own, labels = network.embed(views.double()), torch.arange(split.classes).repeat_interleave(2).repeat(2)
    mine = {
        c: plain_gradient(classifier, own[labels == c], labels[labels == c], torch.full((4,), 0.25))
        for c in range(split.classes)
    }
    theirs = [
        plain_gradient(classifier, real[t.images], torch.full((len(t.images),), t.label), t.share)
        for t in batch.targets
    ]
    if pooling == "mean":
        wanted = 1 - torch.cosine_similarity(sum(theirs), sum(mine.values()), dim=0)
    else:
        assert len(theirs) > split.classes
        wanted = sum(
            t.scale * (1 - torch.cosine_similarity(g, mine[t.label], dim=0))
            for t, g in zip(batch.targets, theirs, strict=True)
        )
        wanted = wanted / split.classes
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    (slope,) = torch.autograd.grad(wanted, leaf)
    assert slope.abs().max() > 0
    torch.testing.assert_close(gradient.double(), slope, rtol=1e-2, atol=1e-3 * slope.abs().max().item())
    assert method.probe_loss(4, None, batch) == pytest.approx(loss.item(), rel=1e-6)


def test_the_loss_falls_and_images_that_are_the_real_ones_have_none(split, models):
    """All real images of each class, unchanged: the gradients are the same."""
    counts = np.bincount(split.labels)
    assert len(set(counts)) == 1
    rows = torch.from_numpy(np.argsort(split.labels, kind="stable"))
    side = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=int(counts[0]), seed=0)
    real = split.normalize(torch.from_numpy(split.images[rows.numpy()]))
    same = distiller(split, models, real.clone(), augment="none", views=1)
    assert same.match(0, None, side.batch(0))[0].item() == pytest.approx(0, abs=1e-5)
    method = distiller(split, models, torch.randn(split.classes, *split.shape, generator=stream(1, "test")))
    losses = [method.step(step, None, side.batch(step))["loss"] for step in range(30)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_a_foreign_pool_is_named(models):
    other = testing.tiny_split(classes=4)
    with pytest.raises(DdbiasError, match="models pool are not for images"):
        distiller(other, models, torch.zeros(4, *other.shape))


NETWORK = {"kind": "convnet", "width": 8, "depth": 2, "norm": "instance", "activation": "relu", "pooling": "avg"}


@pytest.mark.parametrize("beginning", ["", "module.", "body."])
def test_weights_of_a_file_are_those_of_the_body(split, tmp_path, beginning, log_lines):
    network = networks.build("convnet", channels=3, size=8, classes=7, seed=5, width=8, depth=2)
    state = {beginning + name: value.clone() for name, value in network.body.state_dict().items()}
    save_file(state | {f"{beginning}fc.weight": torch.zeros(2, 2)}, tmp_path / "given.safetensors")
    given = {"models": None, "weights_file": "given.safetensors", "network": NETWORK, "folder": tmp_path}
    method = distiller(split, {}, torch.zeros(3, *split.shape), **given)
    wanted = network.embed(split.normalize(torch.from_numpy(split.images)))
    torch.testing.assert_close(method.features[:, :-1], wanted.detach(), rtol=1e-4, atol=1e-4)
    assert log_lines[-1].endswith(f"given.safetensors: {len(state)} parameters read, 1 left out")


def test_a_file_that_does_not_fit_is_named(split, tmp_path, models):
    given = {"models": None, "weights_file": "given.safetensors", "network": NETWORK, "folder": tmp_path}
    images = torch.zeros(3, *split.shape)
    save_file({"other": torch.zeros(1)}, tmp_path / "given.safetensors")
    with pytest.raises(DdbiasError, match=r"has no parameter .* of the network; name the network that the file was"):
        distiller(split, {}, images, **given)
    state = networks.build("convnet", channels=3, size=8, classes=3, seed=5, width=16, depth=2).body.state_dict()
    save_file(state, tmp_path / "given.safetensors")
    with pytest.raises(DdbiasError, match=r"of shape .* the parameter"):
        distiller(split, {}, images, **given)
    (tmp_path / "given.safetensors").write_bytes(b"no tensors")
    with pytest.raises(DdbiasError, match="is damaged or no safetensors file"):
        distiller(split, {}, images, **given)
    for changes in (given | {"network": None}, given | {"models": "pool"}, given | {"weights_file": None}):
        with pytest.raises(DdbiasError, match="lgm needs models, the name of a pool, or both"):
            distiller(split, models, images, **changes)


def test_adam_is_torchs():
    ours, theirs = (torch.linspace(-1, 1, 12).view(3, 4).clone() for _ in range(2))
    theirs.requires_grad_(True)
    reference, adam = torch.optim.Adam([theirs], lr=0.01), Adam([ours], learning_rate=0.01)
    for step in range(7):
        gradient = torch.randn(3, 4, generator=stream(0, "adam", step))
        if step == 3:  # a resumed one goes on
            state, adam = adam.state_dict(), Adam([ours], learning_rate=0.01)
            adam.load_state_dict(state)
        adam.apply([gradient])
        theirs.grad = gradient.clone()
        reference.step()
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-8)
