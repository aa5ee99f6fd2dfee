"""Gradients of all classes at once, the way of a GPU, computed here on the CPU and captured by nothing.

In float32 they are those of `ExactGradients` class by class; in bfloat16 close to them.
"""

import numpy as np
import pytest
import torch
from ddbias.base.seeding import stream
from ddbias.debias.real_side import RealSettings, RealSide, Target
from ddbias.distill.gradient_distance import METRICS
from ddbias.distill.gradient_matching import Distiller
from ddbias.distill.precision import batched_gradients
from ddbias.distill.precision.batched_gradients import BatchedGradients, rows_of
from ddbias.distill.precision.class_gradients import ExactGradients, FastGradients
from ddbias.learning import device, networks
from ddbias.learning.augment.dsa import STRATEGIES
from ddbias.learning.precision import compiling
from hypothesis import given, settings
from hypothesis import strategies as st

CPU = torch.device("cpu")
CLASSES, IPC, REAL = 3, 2, 7
LOSS, COSINE = 0.03, 0.98  # as of the fast way on the CPU
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
SETTINGS = {
    "learning_rate": 0.1,
    "momentum": 0.5,
    "outer_loop": 3,
    "inner_loop": 2,
    "real_batch": 12,
    "network_learning_rate": 0.1,
    "network_batch": 4,
    "distance": "ours",
    "augment": "_".join(STRATEGIES),
}

pytestmark = pytest.mark.usefixtures("one_thread")


def as_it_is(function):
    return function


def network(kind="convnet", size=8, **options):
    options = {"width": 8, "depth": 2, **options} if kind == "convnet" else options
    return networks.build(kind, channels=3, size=size, classes=CLASSES, seed=0, **options)


def batched(model, distance="ours", dtype=torch.float32):
    gradients = BatchedGradients(model, distance, dtype=dtype, compiled=as_it_is)
    gradients.refresh()
    return gradients


def drawn(classes=(0, 1, 2), *, kind="uniform", size=8):
    """Real images (R, B, ...), labels (R,) and shares (R, B); synthetic images (K, ipc, ...)."""
    generator = stream(0, "drawn", kind)
    real = torch.randn(len(classes), REAL, 3, size, size, generator=generator)
    share = torch.full((len(classes), REAL), 1 / REAL)
    if kind != "uniform":
        share = torch.rand(len(classes), REAL, generator=generator)
    if kind == "ragged":
        share[0, 3:], share[-1, 5:] = 0, 0
    synthetic = torch.randn(CLASSES, IPC, 3, size, size, generator=generator)
    return real, torch.tensor(classes), share / share.sum(1, keepdim=True), synthetic


def plain(model, distance, real, labels, share, synthetic):
    """One target after another of the images that count, one class after another."""
    exact = ExactGradients(model, distance)
    counts = [s > 0 for s in share]
    targets = [
        exact.real(images[c], label.expand(int(c.sum())), s[c])
        for images, label, s, c in zip(real, labels, share, counts, strict=True)
    ]
    results = []
    for label, images in enumerate(synthetic):
        own = [target for target, of in zip(targets, labels.tolist(), strict=True) if of == label]
        results.append(exact.match(images, torch.full((IPC,), label), own, torch.ones(len(own))))
    losses, slopes = zip(*results, strict=True)
    return targets, torch.stack(losses).sum(), torch.stack(slopes)


def close(given, wanted, tolerance=1e-5):
    """Relative to the largest value: what is nearly nothing beside it is rounding."""
    torch.testing.assert_close(given, wanted, rtol=tolerance, atol=tolerance * wanted.abs().max().item())


def compare(model, data, distance="ours", tolerance=1e-5):
    real, labels, share, synthetic = data
    gradients = batched(model, distance)
    targets, loss, slope = plain(model, distance, real, labels, share, synthetic)
    given = gradients.real_all(real, labels, share)
    for r, target in enumerate(targets):
        whole = [torch.cat([tensor.flatten() for tensor in side]) for side in ([g[r] for g in given], target)]
        close(*whole)
    distance, gradient = gradients.match_all(synthetic, torch.arange(CLASSES), given, labels, torch.ones(len(labels)))
    torch.testing.assert_close(distance, loss, rtol=1e-5, atol=0)
    assert gradient.shape == synthetic.shape
    close(gradient, slope, tolerance)


# ---- against the exact way ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 0, 1, 2, 2, 2), (2, 0, 1, 0)])
@pytest.mark.parametrize("kind", ["uniform", "random", "ragged"])
@pytest.mark.parametrize("metric", METRICS)
def test_all_at_once_is_one_by_one(kind, classes, metric):
    compare(network(), drawn(classes, kind=kind), metric)


@pytest.mark.parametrize(
    ("kind", "size", "options"),
    [
        *[("convnet", 8, {"norm": norm}) for norm in ("none", "layer", "instance", "group")],
        *[("convnet", 8, {"pooling": pooling}) for pooling in ("none", "max")],
        *[("convnet", 8, {"activation": activation}) for activation in ("sigmoid", "leakyrelu")],
        ("mlp", 8, {}),
        ("lenet", 32, {}),
    ],
)
def test_of_any_network(kind, size, options):
    """Norms, poolings and activations each have rules of their own for the class axis and second derivatives."""
    # Of the MLP the exact way itself is 2e-5 away from float64.
    tolerance = 5e-5 if kind == "mlp" else 1e-5
    compare(network(kind, size, **options), drawn(kind="random", size=size), tolerance=tolerance)


def test_in_parts_of_few_images(monkeypatch):
    monkeypatch.setattr(compiling, "CAPTURED_IMAGES", 2 * REAL)
    monkeypatch.setattr(batched_gradients, "TWOFOLD_IMAGES", 2 * IPC)
    compare(network(), drawn((2, 0, 0, 1, 2), kind="ragged"))
    monkeypatch.setattr(batched_gradients, "TWOFOLD_IMAGES", 1)  # a class is the least
    compare(network(), drawn((1, 0, 2, 1)))


def test_new_parameters_are_taken_up():
    model, data = network(), drawn()
    gradients = batched(model)
    before = gradients.real_all(*data[:3])
    networks.reset(model, stream(1, "init"))
    assert all(torch.equal(a, b) for a, b in zip(gradients.real_all(*data[:3]), before, strict=True))
    gradients.refresh()
    after = ExactGradients(model, "ours").real(data[0][1], torch.ones(REAL, dtype=torch.int64), data[2][1])
    for tensor, wanted in zip(gradients.real_all(*data[:3]), after, strict=True):
        close(tensor[1], wanted)


def cosine(a, b):
    return torch.cosine_similarity(a.flatten(), b.flatten(), dim=0)


@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_bfloat16_is_close(norm):
    model = network(depth=1, norm=norm)
    data = drawn((0, 1, 1, 2), kind="ragged")
    gradients = batched(model, dtype=torch.bfloat16)
    targets, loss, slope = plain(model, "ours", *data)
    given = gradients.real_all(*data[:3])
    assert {tensor.dtype for tensor in given} == {torch.float32}
    assert all(cosine(g[r], t) > COSINE for r, target in enumerate(targets) for g, t in zip(given, target, strict=True))
    assert not torch.equal(given[0][0], targets[0][0])
    distance, gradient = gradients.match_all(data[3], torch.arange(CLASSES), given, data[1], torch.ones(len(data[1])))
    assert gradient.dtype == distance.dtype == torch.float32
    assert distance.item() == pytest.approx(loss.item(), rel=LOSS)
    assert cosine(gradient, slope) > COSINE
    assert gradient.norm().item() == pytest.approx(slope.norm().item(), rel=LOSS)


# ---- what is to be filled up ----------------------------------------------------------------------------------------


@given(counts=st.lists(st.integers(1, 150), min_size=1, max_size=5), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_rows_hold_what_the_pool_holds(counts, seed):
    generator, width = stream(seed, "pool"), 150
    pool = torch.zeros(len(counts), width)
    for row, count in zip(pool, counts, strict=True):
        row[torch.randperm(width, generator=generator)[:count]] = torch.rand(count, generator=generator) + 0.1
    chosen = [row.nonzero().flatten() for row in pool]
    rows = rows_of([Target(0, images, row[images]) for images, row in zip(chosen, pool, strict=True)])
    held, positive = torch.zeros_like(pool), torch.zeros(len(counts), dtype=torch.int64)
    for target, index, share in rows:
        assert index.shape == share.shape == (len(target), index.shape[1])
        held.index_put_((target[:, None].expand_as(index), index), share, accumulate=True)
        positive.index_add_(0, target, (share > 0).sum(1))
    assert torch.equal(held, pool)
    assert positive.tolist() == counts
    assert len(set(counts)) == 1 or {index.shape[1] for _, index, _ in rows} <= set(batched_gradients.LENGTHS)


def test_a_full_draw_of_256_is_not_filled_up():
    targets = [Target(c, 256 * c + torch.arange(256), torch.full((256,), 1 / 256)) for c in range(3)]
    ((target, index, share),) = rows_of(targets)
    assert target.tolist() == [0, 1, 2]
    assert torch.equal(index, torch.arange(768).view(3, 256))
    assert (share == 1 / 256).all()


def groups_drawn(aligned, steps=60):
    """Yield the targets of FairDD, 256 images of each of ten classes, ten groups a class, as the data have them."""
    labels = torch.arange(10).repeat_interleave(2000)
    draws = stream(0, "groups")
    other = (labels + torch.randint(1, 10, labels.shape, generator=draws)) % 10
    groups = torch.where(torch.rand(labels.shape, generator=draws) < aligned, labels, other)
    real = RealSettings(np.ones(len(labels)), groups.numpy(), "groups", "uniform")
    side = RealSide(labels.numpy(), real, batch_size=256, seed=0)
    return [side.batch(step).targets for step in range(steps)]


@pytest.mark.slow
@pytest.mark.parametrize("aligned", [0.1, 0.5, 0.95, 0.99])
def test_groups_of_changing_size_need_few_shapes_and_little_padding(aligned):
    steps = groups_drawn(aligned)
    assert len({len(targets) for targets in steps}) > 3 or aligned < 0.95
    filled = [sum(index.numel() for _, index, _ in rows_of(targets)) for targets in steps]
    assert np.mean(filled) < 1.3 * 2560
    shapes = {index.shape for targets in steps for _, index, _ in rows_of(targets)}
    assert len(shapes) <= 8, "torch falls back to single kernels after as many"
    assert len({batched_gradients._filled_up(targets) for targets in steps}) <= 8


def test_the_processor_pads_groups_as_little(monkeypatch):
    """Micro-batches of two sizes; the gradient is that of the exact way."""
    model, sizes = network(), []

    def compiled(function):
        def call(weights, images, *given):
            sizes.append(len(images))
            return function(weights, images, *given)

        return call

    fast = FastGradients(model, "ours", dtype=torch.float32, compiled=compiled)
    fast.refresh()
    exact, generator = ExactGradients(model, "ours"), stream(0, "test")
    for count, wanted in ((1, [8]), (9, [8, 8]), (20, [32]), (243, [32] * 8), (256, [32] * 8), (40, [32, 8])):
        images, share = torch.randn(count, 3, 8, 8, generator=generator), torch.rand(count, generator=generator)
        labels = torch.ones(count, dtype=torch.int64)
        sizes.clear()
        for a, b in zip(fast.real(images, labels, share), exact.real(images, labels, share), strict=True):
            close(a, b)
        assert sorted(sizes, reverse=True) == wanted
    count = sum(-(-len(target.images) // 8) * 8 for targets in groups_drawn(0.95, 20) for target in targets) / 20
    assert count < 1.3 * 2560


# ---- the method -----------------------------------------------------------------------------------------------------


def distiller(split, images, precision, **changes):
    return Distiller(
        split,
        settings={**SETTINGS, **changes},
        network=NETWORK,
        images=images,
        seed=0,
        device=CPU,
        precision=precision,
    )


@pytest.fixture
def like_a_gpu(monkeypatch):
    """The CPU takes the way of a GPU, in float32 and captured by nothing; returns what was captured."""
    taken = []
    monkeypatch.setattr(device, "machine_obstacle", lambda device: None)
    monkeypatch.setattr(compiling, "captures", lambda device: True)
    monkeypatch.setattr(compiling, "captured", lambda function: taken.append(function.__name__) or function)
    copy = compiling.rounded_copy
    monkeypatch.setattr(compiling, "rounded_copy", lambda model, dtype=None: copy(model, torch.float32))
    monkeypatch.setattr(
        BatchedGradients, "dtype", property(lambda self: torch.float32, lambda self, dtype: None), False
    )
    return taken


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["none", SETTINGS["augment"]])
@pytest.mark.parametrize("targets", [1, 2])
def test_a_step_is_that_of_the_exact_way(few_digits, like_a_gpu, log_lines, targets, augment, pooled):
    split = few_digits()
    batch = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=12, seed=0).batch(0)
    if targets == 2:
        rows = []
        for label in range(split.classes):
            share = (batch.labels == label).float() / 12
            rows += [share * (torch.arange(len(share)) % 3 == 0), share * (torch.arange(len(share)) % 3 > 0)]
        batch = pooled(batch, torch.stack(rows), torch.arange(split.classes).repeat_interleave(2))
    real = split.normalize(torch.from_numpy(split.images[batch.index.numpy()]))
    start = torch.randn(split.classes * 2, *split.shape, generator=stream(0, "test"))
    exact, fast = (distiller(split, start.clone(), name, augment=augment) for name in ("exact", "fast"))
    assert isinstance(fast.matching.gradients, BatchedGradients)
    assert {"_real_all", "_match_all", "_every", "_changed", "_pulled_back"} <= set(like_a_gpu)
    for step in range(3):
        (loss, gradient), (wanted, slope) = fast.match(step, real, batch), exact.match(step, real, batch)
        torch.testing.assert_close(loss, wanted, rtol=1e-4, atol=0)
        torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-4 * slope.abs().max().item())
        for method in (fast, exact):
            method.train(step)
    for a, b in zip(fast.network.parameters(), exact.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert log_lines == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "the GPU has too little memory for it"),
        (
            RuntimeError("operation not permitted when stream is capturing\nmore"),
            "it does not run (operation not permitted when stream is capturing)",
        ),
    ],
)
def test_what_cannot_be_captured_is_exact_and_said_once(few_digits, like_a_gpu, monkeypatch, log_lines, error, reason):
    calls = []

    def captured(function):
        def call(*given):
            calls.append(function.__name__)
            if calls.count("_match_all") == compiling.CAPTURED_CALLS:  # when it is replayed
                raise error
            return function(*given)

        return call

    monkeypatch.setattr(compiling, "captured", captured)
    split = few_digits()
    batch = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=12, seed=0).batch(0)
    real = split.normalize(torch.from_numpy(split.images[batch.index.numpy()]))
    start = torch.randn(split.classes * 2, *split.shape, generator=stream(0, "test"))
    exact, fast = (distiller(split, start.clone(), precision) for precision in ("exact", "fast"))
    assert exact.step(0, real, batch) == fast.step(0, real, batch)
    assert log_lines == [f"precision fast: {reason}, so gradients are computed exactly"]


def test_augmentation_that_cannot_be_captured_is_not(few_digits, like_a_gpu, monkeypatch, log_lines):
    def captured(function):
        def call(*given):
            if function.__name__.startswith("_changed"):
                raise RuntimeError("no")
            return function(*given)

        return call

    monkeypatch.setattr(compiling, "captured", captured)
    split = few_digits()
    batch = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=12, seed=0).batch(0)
    real = split.normalize(torch.from_numpy(split.images[batch.index.numpy()]))
    start = torch.randn(split.classes * 2, *split.shape, generator=stream(0, "test"))
    exact, fast = (distiller(split, start.clone(), precision) for precision in ("exact", "fast"))
    assert isinstance(fast.matching.gradients, BatchedGradients)
    assert fast.match(0, real, batch)[0].item() == pytest.approx(exact.match(0, real, batch)[0].item(), rel=1e-4)
    reason = "it does not run (no), so images are augmented without a captured graph"
    assert log_lines == [f"precision fast: {reason}"]
