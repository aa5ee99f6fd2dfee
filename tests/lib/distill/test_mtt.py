"""MTT: the gradient through the steps on synthetic images, and the whole method against a slow plain loop."""

import numpy as np
import pytest
import torch
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import stream
from ddbias.distill import mtt
from ddbias.distill.mtt import Distiller, Published, published
from ddbias.distill.pretraining import open_member, save_member, train_member
from ddbias.distill.unrolled import WAYS
from ddbias.learning import networks
from ddbias.learning.augment.dsa import DSA
from ddbias.planning.config import load_schema
from ddbias.runtime.checkpoint import Checkpoint
from torch.nn.functional import cross_entropy

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
AUGMENT = "color_crop_cutout_flip_scale_rotate"
POOL = {
    "epochs": 4,
    "learning_rate": 0.05,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "batch_size": 16,
    "augment": AUGMENT,
    "drops": [],
    "seed": 0,
}
SETTINGS = {
    "kind": "mtt",
    "models": "experts",
    "syn_steps": 4,
    "expert_epochs": 2,
    "max_start": 3,
    "learning_rate": 1.0,
    "momentum": 0.5,
    "step_size": 0.05,
    "step_size_learning_rate": 1e-5,
    "syn_batch": None,
    "augment": AUGMENT,
    "memory": "replay",
}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def split(few_digits):
    return few_digits()


def train_pool(split, folder, network=NETWORK, members=3, **changes):
    files = []
    for member in range(members):
        files.append(folder / f"member{member}.safetensors")
        given = {"network": network, "settings": {**POOL, **changes}, "member": member}
        snapshots = train_member(split, weights=None, device=CPU, checkpoint=Checkpoint(None), **given)
        save_member(files[-1], snapshots, split, provenance={}, **given)
    return {"experts": files}


@pytest.fixture(scope="module")
def pool(split, tmp_path_factory):
    return train_pool(split, tmp_path_factory.mktemp("pool"))


def noise(split, ipc=2, seed=0):
    return torch.randn((split.classes * ipc, *split.shape), generator=stream(seed, "test"))


def distiller(split, pool, images=None, *, seed=0, **changes):
    return Distiller(
        split,
        settings={**SETTINGS, **changes},
        network=None,
        images=noise(split) if images is None else images,
        seed=seed,
        device=CPU,
        precision="exact",
        models=pool,
    )


def run(method, steps, start=0):
    return [method.step(step, None, None) for step in range(start, steps)]


# ---- the gradient ---------------------------------------------------------------------------------------------------


def ways(split, pool, step=0, **changes):
    """Loss, gradient of the images and of the step size, for every way."""
    found = {}
    for memory in WAYS:
        method = distiller(split, pool, memory=memory, **changes)
        loss, gradient = method.match(step, None, None)
        found[memory] = (loss, gradient, method.rate_gradient)
    return found


@pytest.mark.parametrize("syn_batch", [None, 4])
@pytest.mark.parametrize("kind", ["convnet", "convnet_bn", "lenet"])
def test_replay_is_the_graph(few_digits, tmp_path, split, kind, syn_batch):
    network = {"kind": kind} if kind == "lenet" else {**NETWORK, "kind": kind}
    if kind == "lenet":  # needs larger images, and has no embedding to speak of
        images = np.repeat(np.repeat(split.images, 4, 2), 4, 3)
        split = type(split)(images, split.labels, split.attributes, split.index, split.meta)
    pool = train_pool(split, tmp_path, network, members=1)
    found = ways(split, pool, syn_steps=6, syn_batch=syn_batch)
    for replayed, graph in zip(found["replay"], found["graph"], strict=True):
        torch.testing.assert_close(replayed, graph, rtol=1e-4, atol=1e-4 * graph.abs().max().item())
    assert found["graph"][1].flatten(1).norm(dim=1).min() > 0  # every image matters


def test_the_gradient_is_that_of_the_loss(split, pool):
    """Central differences of the loss in float64 along random directions."""
    method = distiller(split, pool, syn_steps=5, augment="none")
    method.network.double()
    start, target = ([p.double() for p in side] for side in method.segment(0))
    images, rate = method.images.double(), torch.tensor(0.05, dtype=torch.float64)

    def slopes(images, parameters, turn, create_graph):
        named = dict(zip(method.names, parameters, strict=True))
        logits = torch.func.functional_call(method.network, named, (images,))
        return torch.autograd.grad(cross_entropy(logits, method.labels), parameters, create_graph=create_graph)

    def loss(images, rate):
        return WAYS["graph"](slopes, images, rate, start, target, 5)[0]

    direction = torch.randn(images.shape, dtype=torch.float64, generator=stream(1))
    small = 1e-5
    for way in ("graph", "replay"):
        _, gradient, rate_gradient = WAYS[way](slopes, images, rate, start, target, 5)
        along = (loss(images + small * direction, rate) - loss(images - small * direction, rate)) / (2 * small)
        torch.testing.assert_close((gradient * direction).sum(), along, rtol=1e-4, atol=0)
        along = (loss(images, rate + small) - loss(images, rate - small)) / (2 * small)
        torch.testing.assert_close(rate_gradient, along, rtol=1e-4, atol=0)


def plain_tesla(method, step):
    """The formula as printed: sums of gradients, at parameters that are constants."""
    start, target = (torch.cat([p.flatten() for p in side]) for side in method.segment(step))
    rate, images, order = method.step_size.item(), method.images, stream(method.seed, "order", step)
    steps, size = method.settings["syn_steps"], method.settings["syn_batch"] or len(images)
    batches = []
    while len(batches) < steps:
        batches += torch.randperm(len(images), generator=order).split(size)

    def slope(x, flat, rows, turn):
        parameters, at = {}, 0
        for name, p in method.network.named_parameters():
            parameters[name] = flat[at : at + p.numel()].view(p.shape)
            at += p.numel()
        inputs = method.augment.per_sample(x[rows], stream(method.seed, "augment", step, turn))
        loss = cross_entropy(torch.func.functional_call(method.network, parameters, (inputs,)), method.labels[rows])
        return torch.autograd.grad(loss, flat, create_graph=True)[0]

    flats, total = [start.requires_grad_(True)], torch.zeros_like(start)
    for turn in range(steps):
        given = slope(images, flats[-1], batches[turn], turn).detach()
        total += given
        flats.append((flats[-1] - rate * given).detach().requires_grad_(True))
    start, whole = start.detach(), ((start - target) ** 2).sum().detach()
    constants = 2 * rate * (target - start) + 2 * rate**2 * total
    gradient = torch.zeros_like(images)
    for turn in range(steps):
        x = images.clone().requires_grad_(True)
        product = constants @ slope(x, flats[turn], batches[turn], turn) / whole
        gradient += torch.autograd.grad(product, x)[0]
    learned = torch.tensor(rate, requires_grad=True)
    loss = ((start - learned * total - target) ** 2).sum() / whole
    return loss.detach(), gradient, torch.autograd.grad(loss, learned)[0]


@pytest.mark.parametrize("syn_batch", [None, 4])
def test_constant_is_the_published_formula_of_tesla(split, pool, syn_batch):
    found = ways(split, pool, step=1, syn_steps=6, syn_batch=syn_batch)["constant"]
    expected = plain_tesla(distiller(split, pool, syn_steps=6, syn_batch=syn_batch), 1)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


def test_tesla_is_exact_for_one_step_and_else_an_approximation(split, pool):
    one = ways(split, pool, syn_steps=1)
    for ours, exact in zip(one["constant"], one["graph"], strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-4 * exact.abs().max().item())

    def angle_and_error(step_size):
        many = ways(split, pool, syn_steps=6, step_size=step_size)
        torch.testing.assert_close(many["constant"][0], many["graph"][0], rtol=1e-5, atol=0)  # the loss is the same
        a, b = many["constant"][1].flatten(), many["graph"][1].flatten()
        return torch.cosine_similarity(a, b, dim=0), (a - b).norm() / b.norm()

    (near, small), (far, large) = angle_and_error(0.005), angle_and_error(0.5)
    assert small < large / 10
    assert near > 0.99 > far
    assert large > 0.01  # so the Hessian terms are really left out


@pytest.mark.parametrize(("memory", "steady"), [("graph", False), ("replay", True), ("constant", True)])
def test_memory_in_the_number_of_steps(split, pool, memory, steady):
    """Bytes that autograd keeps at one time: what it packs, less what it has let go."""

    class Kept:
        now = peak = 0

        def __init__(self, tensor):
            self.tensor, self.size = tensor, tensor.numel() * tensor.element_size()
            Kept.now += self.size
            Kept.peak = max(Kept.peak, Kept.now)

        def __del__(self):
            Kept.now -= self.size

    def peak(steps):
        Kept.now = Kept.peak = 0
        method = distiller(split, pool, memory=memory, syn_steps=steps, augment="none")
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            method.match(0, None, None)
        return Kept.peak

    assert (peak(12) < 1.1 * peak(3)) == steady
    assert (peak(12) > 3 * peak(3)) != steady


# ---- the method -----------------------------------------------------------------------------------------------------


def plain(split, files, images, chosen, steps, seed):
    """MTT as published: one flat vector of parameters, torch's optimisers, one graph."""
    members = [open_member(path) for path in files]
    network = networks.build("convnet", channels=3, size=8, classes=3, seed=99, width=8, depth=2).train()
    names = [name for name, _ in network.named_parameters()]
    augment, labels = DSA(chosen["augment"], align_corners=True), torch.arange(3).repeat_interleave(len(images) // 3)
    images, rate = images.clone().requires_grad_(True), torch.tensor(chosen["step_size"], requires_grad=True)
    pixels = torch.optim.SGD([images], lr=chosen["learning_rate"], momentum=chosen["momentum"])
    sizes = torch.optim.SGD([rate], lr=chosen["step_size_learning_rate"], momentum=0.5)
    losses, rates, queue = [], [], []
    for step in range(steps):
        if not queue:
            order = torch.randperm(len(members), generator=stream(seed, "experts", step // len(members)))
            queue = [members[i] for i in order.tolist()]
        expert = queue.pop(0)
        epoch = torch.randint(chosen["max_start"], (1,), generator=stream(seed, "start", step)).item()
        start, target = (
            torch.cat([expert.state(e)[name].flatten() for name in names])
            for e in (epoch, epoch + chosen["expert_epochs"])
        )
        student, batches, generator = start.clone().requires_grad_(True), [], stream(seed, "order", step)
        for turn in range(chosen["syn_steps"]):
            if not batches:
                size = chosen["syn_batch"] or len(images)
                batches = list(torch.randperm(len(images), generator=generator).split(size))
            rows = batches.pop(0)
            parts = student.split([p.numel() for p in network.parameters()])
            named = {
                name: part.view(p.shape) for (name, p), part in zip(network.named_parameters(), parts, strict=True)
            }
            inputs = augment.per_sample(images[rows], stream(seed, "augment", step, turn))
            loss = cross_entropy(torch.func.functional_call(network, named, (inputs,)), labels[rows])
            student = student - rate * torch.autograd.grad(loss, student, create_graph=True)[0]
        loss = ((student - target) ** 2).sum() / ((start - target) ** 2).sum()
        pixels.zero_grad()
        sizes.zero_grad()
        loss.backward()
        pixels.step()
        sizes.step()
        losses.append(loss.item())
        rates.append(rate.item())
    return images.detach(), losses, rates


@pytest.mark.parametrize("memory", ["graph", "replay"])
@pytest.mark.parametrize("changes", [{}, {"syn_batch": 4}, {"augment": "none", "syn_steps": 7}])
def test_equals_a_plain_loop(split, pool, memory, changes):
    start = noise(split, seed=3)
    expected, losses, rates = plain(split, pool["experts"], start, {**SETTINGS, **changes}, 5, seed=6)
    images = start.clone()
    history = run(distiller(split, pool, images, seed=6, memory=memory, **changes), 5)
    assert [line["loss"] for line in history] == pytest.approx(losses, rel=1e-5)
    assert [line["learning_rate"] for line in history] == pytest.approx(rates, rel=1e-5)
    torch.testing.assert_close(images, expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(images, start, atol=1e-3)
    assert len(set(rates)) == 5


def test_it_learns_and_its_step_size_with_it(split, pool):
    images = noise(split, ipc=3)
    method = distiller(split, pool, images, learning_rate=20.0, step_size=0.01, step_size_learning_rate=1e-4)
    history = run(method, 60)
    losses = [line["loss"] for line in history]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    assert history[-1]["learning_rate"] > 0.02
    assert method.learned_rate == history[-1]["learning_rate"]


@pytest.mark.parametrize("memory", WAYS)
def test_it_repeats_and_leaves_the_global_generator_alone(split, pool, memory):
    before = torch.random.get_rng_state()
    images = [noise(split) for _ in range(3)]
    found = [
        run(distiller(split, pool, part, seed=seed, memory=memory), 3)
        for part, seed in zip(images, (0, 0, 1), strict=True)
    ]
    assert torch.equal(images[0], images[1])
    assert found[0] == found[1] != found[2]
    assert not torch.equal(images[0], images[2])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("after", [1, 4])
def test_it_goes_on_after_a_kill(split, pool, tmp_path, after):
    whole = noise(split)
    expected = run(distiller(split, pool, whole), 5)
    state = Checkpoint(tmp_path / "state.safetensors", "me", every=0)
    method = distiller(split, pool)
    run(method, after)
    state.save(after, method.state_dict())
    images = noise(split, seed=8)
    method = distiller(split, pool, images)
    step, tensors = Checkpoint(state.path, "me").load()
    method.load_state_dict(tensors)
    assert run(method, 5, start=step) == expected[after:]
    assert torch.equal(images, whole)
    assert distiller(split, pool).step_size.item() == pytest.approx(0.05)  # a state's tensors are copied


def test_experts_have_their_turns_and_all_epochs_are_drawn(split, pool):
    method = distiller(split, pool)
    drawn = []
    for member in method.members:
        object.__setattr__(member, "state", lambda epoch, member=member: drawn.append((member.member, epoch)) or NAMED)
    names = {name: torch.zeros(1) for name in method.names}
    moving = iter(range(10**6))

    class Moving(dict):
        def __getitem__(self, name):
            return names[name] + next(moving)

    NAMED = Moving()
    for step in range(60):
        method.segment(step)
    starts, ends = drawn[::2], drawn[1::2]
    assert all((a, e + 2) == (b, f) for (a, e), (b, f) in zip(starts, ends, strict=True))
    turns = [[member for member, _ in starts[i : i + 3]] for i in range(0, 60, 3)]
    assert all(sorted(turn) == [0, 1, 2] for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 3
    counts = np.bincount([epoch for _, epoch in starts])
    assert len(counts) == 3
    assert counts.min() > 8


def test_other_experts_make_other_images(split, pool):
    images = [noise(split) for _ in range(2)]
    run(distiller(split, pool, images[0]), 2)
    run(distiller(split, {"experts": pool["experts"][:1]}, images[1]), 2)
    assert not torch.equal(*images)


# ---- settings -------------------------------------------------------------------------------------------------------


def test_published_settings():
    first = Published(50, 2, 2, 100, 0.01, 1e-7)
    tenth = Published(30, 2, 20, 100, 0.001, 1e-5)
    fiftieth = Published(30, 2, 40, 1000, 0.001, 1e-5)
    for ipc, row in [(1, first), (9, first), (10, tenth), (49, tenth), (50, fiftieth), (1000, fiftieth)]:
        assert published(ipc) == row


NULL = dict.fromkeys(Published.__annotations__)


def test_starts_are_in_a_window_that_grows(split, pool, monkeypatch):
    """As DATM's: uniform from min_start, its end grows evenly from first_max_start to max_start."""
    method = distiller(split, pool, max_start=3, min_start=1, first_max_start=2, growth=100)
    starts = []
    monkeypatch.setattr(method, "_parameters", lambda member, epoch: starts.append(epoch) or [torch.randn(2)])
    for step in range(200):
        method.segment(step)
    assert starts[1::2] == [epoch + 2 for epoch in starts[::2]]
    assert set(starts[:200:2]) == {1}
    assert 30 < starts[200::2].count(1) < 70
    assert set(starts[200::2]) == {1, 2}
    assert [method.window(step) for step in (0, 99, 100, 10_000)] == [(1, 2), (1, 2), (1, 3), (1, 3)]
    wide = distiller(split, pool, max_start=3, first_max_start=1, growth=100)
    assert [wide.window(step)[1] for step in (0, 49, 50, 99, 100)] == [1, 1, 2, 2, 3]


def test_null_takes_the_published_ones_as_far_as_the_pool_reaches(split, pool):
    method = distiller(split, pool, noise(split, ipc=10), **NULL)
    assert {name: method.settings[name] for name in NULL} == {
        "syn_steps": 30,
        "expert_epochs": 2,
        "max_start": 3,  # 20 in the table; starts 0, 1, 2 and two epochs more are the four of the pool
        "learning_rate": 100,
        "step_size": 0.001,
        "step_size_learning_rate": 1e-5,
    }
    assert method.optimiser.learning_rate == 100
    assert method.step_size.item() == pytest.approx(0.001)
    assert distiller(split, pool, noise(split, ipc=1), **NULL).settings["max_start"] == 2


def test_the_schema_has_the_published_defaults():
    properties = load_schema()["$defs"]["distiller"]["mtt"]["properties"]
    assert {name: item["default"] for name, item in properties.items() if "default" in item} == {
        **NULL,
        "iterations": 5000,
        "momentum": 0.5,
        "syn_batch": None,
        "init": "real",
        "augment": AUGMENT,
        "memory": "replay",
        "min_start": 0,
        "first_max_start": None,
        "growth": 5000,
    }
    assert properties["memory"]["enum"] == list(WAYS)
    assert plugins.module("distiller", "mtt") is mtt
    assert mtt.Distiller.needs_models
    assert not mtt.Distiller.needs_real


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": "expert"}, r"unknown pool of models 'expert'; known: experts\. Did you mean 'experts'"),
        ({"memory": "little"}, "unknown memory 'little'"),
        ({"expert_epochs": 5}, "expert_epochs is 5, but the pool of models has only 4 epochs"),
        ({"max_start": 4}, "max_start is 4 and expert_epochs 2, but the pool.* only 4 epochs; use max_start 3 or less"),
        ({"min_start": 3}, "min_start 3 and below first_max_start 3, which grows to max_start 3; use ascending"),
        ({"first_max_start": 4}, "below first_max_start 4, which grows to max_start 3"),
        ({"augment": "colour"}, "unknown augmentation 'colour'"),
    ],
)
def test_mistakes(split, pool, changes, message):
    with pytest.raises(DdbiasError, match=message):
        distiller(split, pool, **changes)


def test_a_pool_of_another_data_set(few_digits, pool):
    with pytest.raises(DdbiasError, match=r"knows 3x8x8 images of 3 classes, the data set has 3x8x8 and 4"):
        distiller(few_digits(classes=4), pool)


def test_a_pool_of_two_networks(split, pool, tmp_path):
    other = train_pool(split, tmp_path, {**NETWORK, "width": 4}, members=1)["experts"]
    with pytest.raises(DdbiasError, match="differ in network or epochs"):
        distiller(split, {"experts": pool["experts"] + other})
    with pytest.raises(DdbiasError, match="has no member"):
        distiller(split, {"experts": []})


def test_an_expert_that_stands_still(split, tmp_path):
    pool = train_pool(split, tmp_path, members=1, learning_rate=0.0)
    with pytest.raises(DdbiasError, match=r"member0.safetensors does not move after epoch \d; raise"):
        run(distiller(split, pool), 1)


def test_a_step_size_that_turns_negative_ends_the_run(split, pool):
    with pytest.raises(DdbiasError, match=r"the learned step size is -.* at step \d+; lower step_size_learning_rate"):
        run(distiller(split, pool, step_size=0.5, step_size_learning_rate=10.0), 20)
