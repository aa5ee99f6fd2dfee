"""The engine; DM against a slow plain loop; what every distiller keeps besides is in test_contract.py."""

import numpy as np
import pytest
import torch
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import derive, stream
from ddbias.data.split import Split
from ddbias.debias.real_side import DRAWS, RealSettings, RealSide
from ddbias.distill import engine, first_images
from ddbias.distill.learner import Learner
from ddbias.distill.selector import Assembler, Selector
from ddbias.learning import networks
from ddbias.learning.augment.dsa import DSA
from ddbias.planning.config import load_schema
from ddbias.runtime.checkpoint import Checkpoint

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
AUGMENT = "color_crop_cutout_flip_scale_rotate"
STEPS = 3
SMALL = {"iterations": STEPS, "real_batch": 12, "outer_loop": 2, "inner_loop": 1, "epochs": 1}
DISTILLERS = [kind for kind, plugin in plugins.kinds("distiller").items() if "files" not in plugin.facts]
LEARNERS = [kind for kind in DISTILLERS if hasattr(plugins.module("distiller", kind), "Distiller")]
SELECTORS = [kind for kind in DISTILLERS if hasattr(plugins.module("distiller", kind), "Selection")]

pytestmark = pytest.mark.usefixtures("one_thread", "unprobed")


def defaults(section, kind, *without):
    """What the config's schema fills in for a kind."""
    properties = load_schema()["$defs"][section].get(kind, {}).get("properties", {})
    given = {name: item["default"] for name, item in properties.items() if "default" in item}
    return {name: value for name, value in given.items() if name not in ("kind", *without)}


def settings(kind="dm", **changes):
    options = defaults("distiller", kind)
    return {"kind": kind, **options, **{name: SMALL[name] for name in SMALL if name in options}, **changes}


def made(split, weights=None, checkpoint=None, *, kind="dm", draw="proportional", ipc=2, seed=0, **changes):
    return engine.run(
        split,
        real=RealSettings(np.ones(len(split)) if weights is None else weights, draw=draw),
        settings=settings(kind, **changes),
        network=NETWORK,
        ipc="all" if kind == "whole" else ipc,
        seed=seed,
        device=CPU,
        precision="exact",
        checkpoint=checkpoint or Checkpoint(None),
    )


def cut(split, rows):
    return Split(split.images[rows], split.labels[rows], split.attributes[rows], split.index[rows], split.meta)


def same(a, b):
    tensors = [(a.labels, b.labels), (a.images, b.images), (a.rows, b.rows)]
    return a.history == b.history and all(x is y is None or torch.equal(x, y) for x, y in tensors)


def uneven(split, seed=0):
    return np.random.default_rng(seed).exponential(size=len(split)) ** 2


# ---- distribution matching ------------------------------------------------------------------------------------------


def drawn(members, weights, draw, batch, generator):
    """Rows of one class and the share that each has in the target."""
    if draw == "proportional" and np.ptp(weights) > 0 and len(members) > batch:
        chosen = torch.multinomial(torch.from_numpy(weights), batch, replacement=True, generator=generator).numpy()
        return members[chosen], np.full(batch, 1 / batch)
    chosen = torch.randperm(len(members), generator=generator)[:batch].numpy()
    total = weights.mean() * len(chosen) if draw == "weighted_mean" else weights[chosen].sum()
    return members[chosen], weights[chosen] / total


def plain_dm(split, weights, images, chosen, draw, seed):
    """DM as published: class by class, torch's own optimiser."""
    mean, std = (torch.tensor(split.meta[name]).view(3, 1, 1) for name in ("mean", "std"))
    images = images.clone().requires_grad_(True)
    optimiser = torch.optim.SGD([images], lr=chosen["learning_rate"], momentum=0.5)
    network = networks.build("convnet", channels=3, size=8, classes=split.classes, seed=99, width=8, depth=2)
    augment, losses, ipc = DSA(chosen["augment"]), [], len(images) // split.classes
    for step in range(chosen["iterations"]):
        networks.reset(network, stream(seed, "network", step))
        loss = 0.0
        for label in range(split.classes):
            members = np.flatnonzero(split.labels == label)
            generator = stream(seed, "real_batch", step, label)
            rows, share = drawn(members, weights[members], draw, chosen["real_batch"], generator)
            siamese = derive(seed, "augment", step, label) % 2**31
            real = augment((torch.tensor(split.images[rows]) / 255 - mean) / std, siamese)
            synthetic = augment(images[label * ipc : (label + 1) * ipc], siamese)
            target = 0.0
            for image, part in zip(real, share, strict=True):
                target = target + float(part) * network.embed(image[None])[0].detach()
            loss = loss + ((target - network.embed(synthetic).mean(0)) ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return images.detach(), losses


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("kind", ["uniform", "random"])
@pytest.mark.parametrize("augment", ["none", AUGMENT])
def test_dm_equals_a_plain_loop(split, draw, kind, augment):
    weights = np.ones(len(split)) if kind == "uniform" else uneven(split)
    chosen = settings(augment=augment, iterations=4, init="real")
    side = RealSide(split.labels, RealSettings(weights, draw=draw), batch_size=1, seed=5)
    start = first_images.initial_images(split, side, init="real", ipc=3, seed=5)
    expected, losses = plain_dm(split, weights, start, chosen, draw, 5)
    result = made(split, weights, draw=draw, ipc=3, seed=5, augment=augment, iterations=4, init="real")
    torch.testing.assert_close(result.images, expected, rtol=1e-5, atol=1e-5)
    assert result.history["loss"] == pytest.approx(losses, rel=1e-5)
    assert not torch.allclose(expected, start, atol=1e-2)


def test_the_target_depends_on_the_weights_and_the_draw(split):
    results = [made(split, weights, draw=draw).history["loss"] for weights in (None, uneven(split)) for draw in DRAWS]
    assert results[0] == results[1] == results[2]  # equal weights: one draw
    assert len({tuple(loss) for loss in results}) == 4


@pytest.mark.parametrize("scale", [0.3, 7.0])
@pytest.mark.parametrize("draw", DRAWS)
def test_equal_weights_are_no_weights(few_digits, scale, draw):
    split = cut(few_digits(), np.arange(3, 60))
    assert np.bincount(split.labels).tolist() == [17, 20, 20]  # so that scaling them rounds differently
    assert same(made(split, np.full(len(split), scale), draw=draw), made(split, draw=draw))


def test_the_loss_falls(split):
    loss = made(split, iterations=60, init="noise", augment="none", real_batch=20, ipc=1).history["loss"]
    assert len(loss) == 60
    assert np.mean(loss[-10:]) < 0.5 * np.mean(loss[:10])


def test_batch_norm_networks_see_all_classes_in_one_pass(split):
    side = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=8, seed=0)
    images = first_images.initial_images(split, side, init="real", ipc=2, seed=0)
    method = plugins.module("distiller", "dm").Distiller(
        split,
        settings=settings(augment="none"),
        network={**NETWORK, "norm": "batch"},
        images=images,
        seed=0,
        device=CPU,
        precision="exact",
    )
    batch = side.batch(0)
    real = split.normalize(torch.from_numpy(split.images[batch.index.numpy()]))
    loss, gradient = method.match(0, real, batch)
    images = images.clone().requires_grad_(True)
    target = torch.stack([part.mean(0) for part in method.network.embed(real).split(8)])
    mean = torch.stack([part.mean(0) for part in method.network.embed(images).split(2)])
    expected = ((target - mean) ** 2).sum()
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, images)[0], rtol=1e-4, atol=1e-6)


def test_the_images_of_few_classes_at_a_time_change_nothing(split, monkeypatch):
    from ddbias.distill import distribution_matching

    whole = made(split, ipc=3)
    monkeypatch.setattr(distribution_matching, "GRAPH_IMAGES", 4)  # one class
    parts = made(split, ipc=3)
    assert parts.history["loss"] == pytest.approx(whole.history["loss"], rel=1e-5)
    torch.testing.assert_close(parts.images, whole.images, rtol=1e-5, atol=1e-5)


# ---- every distiller ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DISTILLERS)
def test_a_module_is_a_learner_a_selector_or_an_assembler(kind):
    defined = vars(plugins.module("distiller", kind))
    forms = {"Distiller": Learner, "Selection": Selector, "Assembly": Assembler}
    ((name, base),) = [(name, base) for name, base in forms.items() if name in defined]
    assert issubclass(defined[name], base)


def test_every_learner_starts_as_the_engine_can():
    definitions = load_schema()["$defs"]
    for kind in LEARNERS:
        assert definitions["distiller"][kind]["properties"]["init"]["$ref"] == "#/$defs/init"
    assert definitions["init"]["enum"] == list(first_images.INITS)


def test_other_images_at_the_start_do_not_survive_a_resume(split, tmp_path):
    state = tmp_path / "state.safetensors"
    first = made(split, checkpoint=Checkpoint(state, "a", every=0))
    other = made(split, checkpoint=Checkpoint(state, "b", every=0), seed=3)
    assert same(other, made(split, seed=3))
    assert not same(first, other)


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_selector_keeps_real_images(split, selector):
    """That they are different ones of their classes, and follow the seed, is part of the contract."""
    result = made(split, uneven(split), kind=selector, ipc=4)
    assert result.history == {}
    if selector == "whole":
        assert result.rows.tolist() == list(range(len(split)))
        assert result.images is None
    else:
        assert result.labels.tolist() == [c for c in range(3) for _ in range(4)]
        assert torch.equal(result.images, split.normalize(torch.from_numpy(split.images[result.rows.numpy()])))


def test_random_follows_the_weights(split):
    weights = np.zeros(len(split))
    favourites = [3, 7, 21, 30, 44, 59]
    weights[favourites] = 1
    assert sorted(made(split, weights, kind="random", ipc=2).rows.tolist()) == favourites
    more = made(split, weights, kind="random", ipc=5).rows.tolist()  # the rest comes from the others
    assert set(favourites) < set(more)
    assert len(set(more)) == 15


# ---- initial images -------------------------------------------------------------------------------------------------


def rows_of(split, images):
    """The row of the split that each image is."""
    pixels = split.normalize(torch.from_numpy(split.images))
    distance = (pixels[None] - images[:, None]).flatten(2).abs().amax(2)
    assert (distance.amin(1) == 0).all()
    return distance.argmin(1).numpy()


def first(split, weights, init, ipc=4, seed=0):
    side = RealSide(split.labels, RealSettings(weights), batch_size=1, seed=seed)
    return first_images.initial_images(split, side, init=init, ipc=ipc, seed=seed)


def test_real_init_holds_different_images_of_each_class(split):
    images = first(split, uneven(split), "real")
    rows = rows_of(split, images)
    assert split.labels[rows].tolist() == [c for c in range(3) for _ in range(4)]
    assert len(set(rows.tolist())) == 12
    assert torch.equal(images, first(split, np.ones(len(split)), "real"))  # whatever the weights
    assert not torch.equal(images, first(split, uneven(split), "real", seed=1))


def test_weighted_init_follows_the_weights(split):
    ones = np.ones(len(split))
    assert torch.equal(first(split, ones, "weighted_real"), first(split, ones, "real"))
    weights = np.where(np.arange(len(split)) % 20 < 4, 1.0, 1e-9)
    rows = rows_of(split, first(split, weights, "weighted_real"))
    assert sorted(rows.tolist()) == np.flatnonzero(weights == 1).tolist()


def test_noise_init_is_standard_normal(split):
    noise = first(split, uneven(split), "noise", ipc=20)
    assert noise.shape == (60, 3, 8, 8)
    assert noise.mean().abs() < 5 / np.sqrt(noise.numel())
    assert (noise.std() - 1).abs() < 5 / np.sqrt(2 * noise.numel())
    assert not torch.equal(noise, first(split, uneven(split), "noise", ipc=20, seed=1))


# ---- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ipc": 21}, "ipc 21 is more than the 20 images of the smallest class"),
        ({"ipc": 21, "kind": "random"}, "ipc 21 is more than the 20 images of the smallest class"),
        ({"ipc": "all"}, "ipc all does not fit the distiller dm"),
        ({"ipc": "all", "kind": "random"}, "ipc all does not fit the distiller random"),
        ({"init": "reel"}, "unknown init 'reel'.*Did you mean 'real'"),
        ({"draw": "proportionl"}, "unknown draw 'proportionl'.*Did you mean 'proportional'"),
        ({"kind": "randm"}, "unknown distiller kind 'randm'.*Did you mean 'random'"),
        ({"augment": "crop_cutut"}, "unknown augmentation 'cutut'.*Did you mean 'cutout'"),
        ({"learning_rate": 1e30}, "the loss is not finite at step 1; lower the learning rate"),
    ],
)
def test_a_mistake_is_one_line(split, changes, message):
    with pytest.raises(DdbiasError, match=message) as error:
        made(split, **changes)
    assert "\n" not in str(error.value)


def test_a_last_update_that_is_not_finite_is_a_mistake(split, monkeypatch):
    method = plugins.module("distiller", "dm").Distiller
    step = method.step

    def explode(self, number, *rest):
        values = step(self, number, *rest)
        with torch.no_grad():
            self.images[0, 0, 0, 0] = torch.inf
        return values

    monkeypatch.setattr(method, "step", explode)
    with pytest.raises(DdbiasError, match="distill: the images are not finite; lower their learning rate"):
        made(split, iterations=1)


def test_the_smallest_class_decides(few_digits):
    split = few_digits()
    keep = np.flatnonzero((split.labels != 1) | (np.arange(len(split)) < 23))
    small = cut(split, keep)
    assert made(small, ipc=3).images.shape[0] == 9
    with pytest.raises(DdbiasError, match="ipc 4 is more than the 3 images of the smallest class"):
        made(small, ipc=4)
