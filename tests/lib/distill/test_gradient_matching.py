"""DC and DSA: the published distance, and the whole method against a slow plain loop.

That every debias works with both, repeats, and goes on after a kill is tested with all distillers in test_distill.py.
"""

import numpy as np
import pytest
import torch
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import derive, stream
from ddbias.data.split import Split
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill import engine, first_images
from ddbias.distill.gradient_matching import METRICS, Distiller, gradient_distance, loops
from ddbias.distill.precision.class_gradients import FastGradients
from ddbias.learning import device, networks
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.precision import compiling
from ddbias.planning.config import load_schema
from ddbias.runtime.checkpoint import Checkpoint
from torch.nn.functional import cross_entropy

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
AUGMENT = "color_crop_cutout_flip_scale_rotate"
LOSS, COSINE = 0.03, 0.98  # bfloat16 has 8 bits; relative, of losses and lengths, and of directions
SMALL = {"iterations": 2, "outer_loop": 3, "inner_loop": 2, "real_batch": 12, "network_batch": 4}

pytestmark = pytest.mark.usefixtures("one_thread", "unprobed")


def published(kind):
    """The defaults of the config's schema."""
    properties = load_schema()["$defs"]["distiller"][kind]["properties"]
    return {name: item["default"] for name, item in properties.items() if "default" in item}


def settings(kind="dc", **changes):
    return {"kind": kind, **published(kind), **SMALL, **changes}


def made(split, weights=None, *, draw="proportional", ipc=2, seed=0, network=NETWORK, **changes):
    return engine.run(
        split,
        real=RealSettings(np.ones(len(split)) if weights is None else weights, draw=draw),
        settings=settings(**changes),
        network=network,
        ipc=ipc,
        seed=seed,
        device=CPU,
        precision="exact",
        checkpoint=Checkpoint(None),
    )


def distiller(split, images, *, network=NETWORK, seed=0, precision="exact", **changes):
    return Distiller(
        split, settings=settings(**changes), network=network, images=images, seed=seed, device=CPU, precision=precision
    )


def noise(split, ipc=2, seed=0):
    return torch.randn((split.classes * ipc, *split.shape), generator=stream(seed, "test"))


def real_side(split, size=12, weights=None, **options):
    weights = np.ones(len(split)) if weights is None else weights
    return RealSide(split.labels, RealSettings(weights, **options), batch_size=size, seed=0)


def pixels(split, batch):
    return split.normalize(torch.from_numpy(split.images[batch.index.numpy()]))


def cut(split, rows):
    return Split(split.images[rows], split.labels[rows], split.attributes[rows], split.index[rows], split.meta)


# ---- distance -------------------------------------------------------------------------------------------------------

SHAPES = ((4, 3, 3, 3), (4,), (5, 8), (5,))


def probe(function):
    starts = (1, 201, 301, 401)
    return [
        function(torch.arange(start, start + int(np.prod(shape)), dtype=torch.float32)).reshape(shape)
        for start, shape in zip(starts, SHAPES, strict=True)
    ]


@pytest.mark.parametrize(("metric", "value"), [("ours", 8.954014), ("mse", 157.35555), ("cos", 1.0022646)])
def test_published_distances(metric, value):
    assert gradient_distance(probe(torch.sin), probe(torch.cos), metric).item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("index", "value"), list(enumerate((3.966673, 0, 4.987342, 0))))
def test_published_distances_of_single_layers(index, value):
    a, b = probe(torch.sin)[index : index + 1], probe(torch.cos)[index : index + 1]
    assert gradient_distance(a, b, "ours").item() == pytest.approx(value, rel=1e-6)


def plain_distance(a, b, metric):
    """The distance in words: row by row, number by number."""
    if metric == "mse":
        return sum(((x - y) ** 2).sum() for x, y in zip(a, b, strict=True))
    if metric == "l1":
        return sum(abs(x - y).sum() for x, y in zip(a, b, strict=True))
    if metric == "cos":
        a, b = ([torch.cat([x.reshape(-1) for x in side])[None]] for side in (a, b))
    total = 0.0
    for x, y in zip(a, b, strict=True):
        for row in range(len(x) if x.dim() > 1 else 0):
            u, v = x[row].reshape(-1), y[row].reshape(-1)
            total = total + 1 - torch.dot(u, v) / (u.dot(u).sqrt() * v.dot(v).sqrt() + 0.000001)
    return total


@pytest.mark.parametrize("metric", METRICS)
def test_distance_of_any_layers(metric):
    shapes = ((6, 3, 3, 3), (6,), (6, 4, 4), (1, 9), (3, 5))  # the third is the scale of a layer norm
    a, b = ([torch.randn(s, generator=stream(i, s), dtype=torch.float64) for s in shapes] for i in range(2))
    torch.testing.assert_close(gradient_distance(a, b, metric), plain_distance(a, b, metric))
    assert torch.equal(gradient_distance(a, b, metric), gradient_distance(b, a, metric))
    assert gradient_distance(a, a, metric).item() == pytest.approx(0, abs=1e-5)
    double = gradient_distance([2 * x for x in a], b, metric)
    assert (abs(double / gradient_distance(a, b, metric) - 1) < 1e-5) == (metric not in ("mse", "l1"))


def test_a_filter_that_does_nothing_has_a_finite_slope():
    a, b = torch.zeros(2, 4, requires_grad=True), torch.randn(2, 4, generator=stream(0))
    distance = gradient_distance([a], [b], "ours")
    assert distance.item() == 2
    assert torch.autograd.grad(distance, a)[0].isfinite().all()


# ---- the method -----------------------------------------------------------------------------------------------------


def drawn(members, weights, draw, batch, generator):
    """Rows of one class and the share that each has in the target."""
    if draw == "proportional" and np.ptp(weights) > 0 and len(members) > batch:
        chosen = torch.multinomial(torch.from_numpy(weights), batch, replacement=True, generator=generator).numpy()
        return members[chosen], np.full(batch, 1 / batch)
    chosen = torch.randperm(len(members), generator=generator)[:batch].numpy()
    total = weights.mean() * len(chosen) if draw == "weighted_mean" else weights[chosen].sum()
    return members[chosen], weights[chosen] / total


def plain(split, weights, images, chosen, draw, seed):
    """DC as published: all classes in one graph, all parameters, torch's optimisers, the loss image by image."""
    mean, std = (torch.tensor(split.meta[name]).view(3, 1, 1) for name in ("mean", "std"))
    images, losses = images.clone().requires_grad_(True), []
    optimiser = torch.optim.SGD([images], lr=chosen["learning_rate"], momentum=chosen["momentum"])
    augment, ipc, step = DSA(chosen.get("augment", "none")), len(images) // split.classes, 0
    labels = torch.arange(split.classes).repeat_interleave(ipc)
    network = networks.build("convnet", channels=3, size=8, classes=split.classes, seed=99, width=8, depth=2)
    for iteration in range(chosen["iterations"]):
        networks.reset(network, stream(seed, "network", iteration))
        trainer = torch.optim.SGD(network.parameters(), lr=chosen["network_learning_rate"])
        for outer in range(chosen["outer_loop"]):
            loss = 0.0
            for label in range(split.classes):
                members = np.flatnonzero(split.labels == label)
                generator = stream(seed, "real_batch", step, label)
                rows, share = drawn(members, weights[members], draw, chosen["real_batch"], generator)
                siamese = derive(seed, "augment", step, label) % 2**31
                real = augment((torch.tensor(split.images[rows]) / 255 - mean) / std, siamese)
                wanted = [torch.zeros_like(p) for p in network.parameters()]
                for image, part in zip(real, share, strict=True):
                    one = cross_entropy(network(image[None]), torch.tensor([label]))
                    for total, slope in zip(wanted, torch.autograd.grad(one, network.parameters()), strict=True):
                        total += float(part) * slope
                synthetic = augment(images[labels == label], siamese)
                given = cross_entropy(network(synthetic), labels[labels == label])
                given = torch.autograd.grad(given, network.parameters(), create_graph=True)
                loss = loss + plain_distance(given, wanted, chosen["distance"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
            if outer < chosen["outer_loop"] - 1:
                generator = stream(seed, "train", step)
                for _ in range(chosen["inner_loop"]):
                    order = torch.randperm(len(images), generator=generator)
                    for rows in order.split(chosen["network_batch"]):
                        inputs = augment.per_sample(images.detach()[rows], generator)
                        trainer.zero_grad()
                        cross_entropy(network(inputs), labels[rows]).backward()
                        trainer.step()
            step += 1
    return images.detach(), losses


@pytest.mark.parametrize(
    ("kind", "weighted", "draw", "distance"),
    [
        ("dc", False, "proportional", "ours"),
        ("dc", True, "proportional", "ours"),
        ("dc", True, "normalised_mean", "mse"),
        ("dc", False, "proportional", "cos"),
        ("dsa", False, "proportional", "ours"),
        ("dsa", True, "weighted_mean", "ours"),
    ],
)
def test_equals_a_plain_loop(split, kind, weighted, draw, distance):
    weights = np.random.default_rng(0).exponential(size=len(split)) ** 2 if weighted else np.ones(len(split))
    chosen = settings(kind, distance=distance, network_learning_rate=0.1, init="real")
    start = first_images.initial_images(split, real_side(split), init="real", ipc=3, seed=5)
    expected, losses = plain(split, weights, start, chosen, draw, 5)
    result = made(split, weights, draw=draw, ipc=3, seed=5, **chosen)
    assert result.history["loss"] == pytest.approx(losses, rel=5e-5)  # sums in another order, float32
    assert len(losses) == 6
    torch.testing.assert_close(result.images, expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(expected, start, atol=1e-3)


def test_whole_weights_count_as_repetitions(split):
    times = np.arange(len(split)) % 3 + 1
    repeated = cut(split, np.repeat(np.arange(len(split)), times))
    options = {"real_batch": 100, "ipc": 2}
    weighted, plainly = (made(part, weights, **options) for part, weights in ((split, times), (repeated, None)))
    assert weighted.history["loss"] == pytest.approx(plainly.history["loss"], rel=1e-5)
    torch.testing.assert_close(weighted.images, plainly.images, rtol=1e-5, atol=1e-5)
    assert made(split, **options).history["loss"] != pytest.approx(plainly.history["loss"], rel=1e-3)


def test_a_class_may_have_several_targets(split, pooled):
    """As the groups of a class have: every target counts, and all meet the same synthetic gradient."""
    batch = real_side(split).batch(0)
    rows = []
    for label in range(split.classes):
        share = (batch.labels == label).float() / 12
        rows += [2 * share * (torch.arange(len(share)) % 2 == parity) for parity in range(2)]
    grouped = pooled(batch, torch.stack(rows), torch.arange(3).repeat_interleave(2))
    real, images = pixels(split, batch), noise(split)
    method = distiller(split, images, augment="none")
    loss, gradient = method.match(0, real, grouped)
    parts = [method.match(0, real, pooled(batch, torch.stack(rows[parity::2]), torch.arange(3))) for parity in range(2)]
    torch.testing.assert_close(loss, parts[0][0] + parts[1][0])
    torch.testing.assert_close(gradient, parts[0][1] + parts[1][1])


def test_both_sides_are_augmented_alike(split):
    """Where the synthetic images are the real batch, the distance is zero exactly if both see the same parameters."""
    batch, strategies = real_side(split, size=20).batch(0), set()
    real = pixels(split, batch)
    for seed in range(16):
        method = distiller(split, real.clone(), kind="dsa", distance="mse", seed=seed)
        loss, _ = method.match(0, real, batch)
        assert loss < 1e-9
        augment = method.matching.augment
        moved, _ = method.match(0, augment(real, 0), batch)
        assert moved > 1e-6
        strategies |= {
            method.matching.augment.strategy_of(derive(seed, "augment", 0, label) % 2**31) for label in range(3)
        }
    assert strategies == set(augment.names)


@pytest.mark.slow
def test_the_loss_falls(split):
    loss = made(split, ipc=1, iterations=60, outer_loop=1, inner_loop=1, real_batch=20).history["loss"]
    assert len(loss) == 60
    assert np.mean(loss[-10:]) < 0.8 * np.mean(loss[:10])


# ---- loops ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ipc", "outer", "inner"),
    [
        *[(1, 1, 1), (10, 10, 50), (20, 20, 25), (30, 30, 20), (40, 40, 15), (50, 50, 10)],  # DC
        *[(2, 5, 10), (9, 5, 10), (51, 100, 10), (100, 100, 10), (1000, 100, 10)],  # COBRA, FairDD
        *[(11, 10, 50), (19, 10, 50), (45, 40, 15)],  # ours
    ],
)
def test_loops(split, ipc, outer, inner):
    assert loops(ipc) == (outer, inner)
    method = distiller(split, torch.zeros(3 * ipc, 3, 1, 1), outer_loop=None, inner_loop=None)
    assert (method.steps_per_iteration, method.inner_loop) == (outer, inner)
    method = distiller(split, torch.zeros(3 * ipc, 3, 1, 1), outer_loop=7, inner_loop=None)
    assert (method.steps_per_iteration, method.inner_loop) == (7, inner)


def test_each_iteration_draws_a_network_and_trains_it_between_its_steps(split, monkeypatch):
    told, train = [], Distiller.train

    def tell(method, step):
        before = [p.clone() for p in method.network.parameters()]
        train(method, step)
        assert any(not torch.equal(a, b) for a, b in zip(before, method.network.parameters(), strict=True))
        told.append(step)

    reset = networks.reset
    monkeypatch.setattr(Distiller, "train", tell)
    monkeypatch.setattr(networks, "reset", lambda *given: told.append("network") or reset(*given))
    made(split)
    assert told[1:] == ["network", 0, 1, "network", 3, 4]  # the first is the one that is built


def test_defaults_are_the_published_ones():
    common = {"iterations": 1000, "outer_loop": None, "inner_loop": None, "real_batch": 256, "learning_rate": 0.1}
    common |= {"momentum": 0.5, "network_learning_rate": 0.01, "network_batch": 256, "distance": "ours"}
    common |= {"guidance": None}
    assert published("dc") == {**common, "init": "noise"}
    assert published("dsa") == {**common, "init": "real", "augment": AUGMENT}
    assert plugins.module("distiller", "dc") is plugins.module("distiller", "dsa")


# ---- state ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_goes_on_from_any_step(split, norm):
    side, network = real_side(split), {**NETWORK, "norm": norm}

    def go(method, step):
        batch = side.batch(step)
        return method.step(step, pixels(split, batch), batch)["loss"]

    whole, losses, states = distiller(split, noise(split), kind="dsa", network=network), [], []
    for step in range(6):
        losses.append(go(whole, step))
        states.append({name: tensor.detach().clone() for name, tensor in whole.state_dict().items()})
    for stop in range(1, 6):
        second = distiller(split, noise(split, seed=1), kind="dsa", network=network)
        second.load_state_dict(states[stop - 1])
        assert [go(second, step) for step in range(stop, 6)] == losses[stop:]
        assert torch.equal(second.images, whole.images)


# ---- batch norm -----------------------------------------------------------------------------------------------------


def test_batch_norm_uses_fixed_statistics_of_real_images(split):
    batch = real_side(split, size=20).batch(0)
    real, images = pixels(split, batch), noise(split)
    method = distiller(split, images, network={**NETWORK, "norm": "batch"})
    copy = networks.build("convnet", channels=3, size=8, classes=3, seed=0, width=8, depth=2, norm="batch")
    loss, _ = method.match(1, real, batch)  # step 0 would draw another network
    with torch.no_grad():
        copy(torch.cat([part[:16] for part in real.split(20)]))  # 16 images of each class, training mode
    copy.eval()
    expected = 0.0
    for label in range(3):
        sides = (real.split(20)[label], images.detach().split(2)[label])
        losses = [cross_entropy(copy(side), torch.full((len(side),), label)) for side in sides]
        expected += plain_distance(*(torch.autograd.grad(one, copy.parameters()) for one in losses), "ours")
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    for name, buffer in copy.named_buffers():
        assert torch.equal(buffer, method.network.get_buffer(name))
    method.train(0)  # lets them follow the synthetic images again
    assert not torch.equal(copy.get_buffer("body.1.running_mean"), method.network.get_buffer("body.1.running_mean"))


# ---- mistakes and messages ------------------------------------------------------------------------------------------


def test_an_unknown_distance_is_one_line(split):
    message = "unknown gradient distance 'our'; known: cos, l1, mse, ours. Did you mean 'ours'?"
    with pytest.raises(DdbiasError) as error:
        gradient_distance([], [], "our")
    assert str(error.value) == message
    with pytest.raises(DdbiasError) as error:
        made(split, distance="our")
    assert str(error.value) == message


# ---- fast -----------------------------------------------------------------------------------------------------------

needs_fast = pytest.mark.skipif(
    device.machine_obstacle(CPU) is not None, reason=f"no fast path: {device.machine_obstacle(CPU)}"
)


def cosine(a, b):
    return torch.cosine_similarity(a.flatten(), b.flatten(), dim=0)


@pytest.mark.thorough
@needs_fast
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_fast_is_close_to_exact(split, multiply_in, log_lines, dtype):
    """A step, the training after it, and a step of the trained network. Batches do not fill the micro-batches."""
    torch.compiler.reset()
    multiply_in(dtype)
    batch = real_side(split, size=20).batch(0)
    real, start = pixels(split, batch), noise(split, 3)
    options = {"kind": "dsa", "network_learning_rate": 0.1, "network": {**NETWORK, "depth": 1}}
    exact, fast = (distiller(split, start.clone(), precision=name, **options) for name in ("exact", "fast"))
    assert isinstance(fast.matching.gradients, FastGradients)
    for step in range(2):
        results = [method.match(step, real, batch) for method in (exact, fast)]
        (loss, gradient), (fast_loss, fast_gradient) = results
        assert fast_gradient.dtype == torch.float32
        assert fast_loss != loss or dtype == torch.float32
        assert fast_loss.item() == pytest.approx(loss.item(), rel=LOSS)
        assert cosine(fast_gradient, gradient) > COSINE
        assert fast_gradient.norm().item() == pytest.approx(gradient.norm().item(), rel=LOSS)
        if step:
            continue
        torch.set_num_threads(2)  # other workers, same bits
        assert all(torch.equal(a, b) for a, b in zip(fast.match(0, real, batch), results[1], strict=True))
        torch.set_num_threads(1)
        before = [parameter.clone() for parameter in exact.network.parameters()]
        exact.train(0)
        fast.train(0)
        moves = [
            torch.cat([(new - old).flatten() for new, old in zip(m.network.parameters(), before, strict=True)])
            for m in (exact, fast)
        ]
        assert cosine(*moves) > COSINE
        assert moves[1].norm().item() == pytest.approx(moves[0].norm().item(), rel=LOSS)
    assert log_lines == []


def test_where_fast_cannot_be_it_is_exact_and_says_why_once(split, monkeypatch, log_lines):
    batch = real_side(split).batch(0)
    monkeypatch.setattr(device.shutil, "which", lambda name: None)
    exact, fast = (distiller(split, noise(split), precision=precision) for precision in ("exact", "fast"))
    for step in range(2):
        assert exact.step(step, pixels(split, batch), batch) == fast.step(step, pixels(split, batch), batch)
    reason = "there is no C++ compiler"
    assert log_lines == [f"precision fast: {reason}, so gradients are computed exactly"]


@pytest.mark.parametrize(
    "reason", ["torch cannot compile this network", "its results for this network differ too much"]
)
def test_a_probe_decides_whether_fast_is_good_enough(split, monkeypatch, log_lines, reason):
    from torch._dynamo.exc import TorchDynamoException

    def compiled(function):
        def call(*given):
            if "compile" in reason:
                raise TorchDynamoException("no")
            return tuple(-tensor for tensor in function(*given))

        return call

    monkeypatch.setattr(device, "machine_obstacle", lambda device: None)
    monkeypatch.setattr(compiling, "compiled", compiled)
    batch = real_side(split).batch(0)
    exact, fast = (distiller(split, noise(split), precision=precision) for precision in ("exact", "fast"))
    assert exact.step(0, pixels(split, batch), batch) == fast.step(0, pixels(split, batch), batch)
    assert log_lines == [f"precision fast: {reason}, so gradients are computed exactly"]


@pytest.mark.parametrize("kind", ["dc", "dsa"])
def test_the_number_of_threads_changes_nothing_in_a_matching_step(split, kind):
    batch, results = real_side(split, size=20).batch(0), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(distiller(split, noise(split), kind=kind).match(0, pixels(split, batch), batch))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
