"""MTT: the gradient through the steps on synthetic images, and the whole method against a slow plain loop."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import stream
from ddbias.data.distilled import load_distilled
from ddbias.data.split import denormalize
from ddbias.datasets import normalisation
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill import engine, first_images, mtt, write
from ddbias.distill.mtt import Distiller, Published, published
from ddbias.distill.pretraining import last_network, open_member, save_member, train_member
from ddbias.distill.unrolled import WAYS
from ddbias.evaluation import protocol
from ddbias.learning import device, networks
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.precision import compiling
from ddbias.learning.training import Recipe
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

needs_fast = pytest.mark.skipif(
    device.machine_obstacle(CPU) is not None, reason=f"no fast path: {device.machine_obstacle(CPU)}"
)
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


def distiller(split, pool, images=None, *, seed=0, precision="exact", **changes):
    return Distiller(
        split,
        settings={**SETTINGS, **changes},
        network=None,
        images=noise(split) if images is None else images,
        seed=seed,
        device=CPU,
        precision=precision,
        models=pool,
    )


def run(method, steps, start=0):
    return [method.step(step, None, None) for step in range(start, steps)]


# ---- the gradient ---------------------------------------------------------------------------------------------------


def ways(split, pool, step=0, **changes):
    """Loss, gradient of the images, of the step size and perhaps of the soft labels, for every way."""
    found = {}
    for memory in WAYS:
        method = distiller(split, pool, memory=memory, **changes)
        loss, gradient = method.match(step, None, None)
        found[memory] = (loss, gradient, *method.gradients)
    return found


@pytest.mark.slow
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
    labels = torch.randn(len(images), 3, dtype=torch.float64, generator=stream(2))

    def slopes(learned, parameters, turn, create_graph):
        named = dict(zip(method.names, parameters, strict=True))
        logits = torch.func.functional_call(method.network, named, (learned[0],))
        # In words: minus the mean over images of the sum over classes of softmax(z) log softmax(logits).
        loss = -sum(
            (z.exp() / z.exp().sum() * (out.exp() / out.exp().sum()).log()).sum()
            for z, out in zip(learned[1], logits, strict=True)
        ) / len(logits)
        return torch.autograd.grad(loss, parameters, create_graph=create_graph)

    def loss(images, labels, rate):
        return WAYS["graph"](slopes, [images, labels], rate, start, target, 5)[0]

    found = {way: WAYS[way](slopes, [images, labels], rate, start, target, 5) for way in ("graph", "replay")}
    point, small = [images, labels, rate], 1e-5
    for place, value in enumerate(point):
        direction = torch.randn(value.shape, dtype=torch.float64, generator=stream(1, place))
        up, down = ([*point[:place], value + by * direction, *point[place + 1 :]] for by in (small, -small))
        along = (loss(*up) - loss(*down)) / (2 * small)
        for _, gradients, rate_gradient in found.values():
            torch.testing.assert_close(([*gradients, rate_gradient][place] * direction).sum(), along, rtol=1e-4, atol=0)


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


def plain(split, files, images, chosen, steps, seed, logits=None):
    """MTT as published: one flat vector of parameters, torch's optimisers, one graph; DATM's with `logits`."""
    members = [open_member(path) for path in files]
    network = networks.build("convnet", channels=3, size=8, classes=3, seed=99, width=8, depth=2).train()
    names = [name for name, _ in network.named_parameters()]
    augment, labels = DSA(chosen["augment"], align_corners=True), torch.arange(3).repeat_interleave(len(images) // 3)
    images, rate = images.clone().requires_grad_(True), torch.tensor(chosen["step_size"], requires_grad=True)
    pixels = torch.optim.SGD([images], lr=chosen["learning_rate"], momentum=chosen["momentum"])
    sizes = torch.optim.SGD([rate], lr=chosen["step_size_learning_rate"], momentum=0.5)
    optimisers = [pixels, sizes]
    if logits is not None:
        logits = logits.clone().requires_grad_(True)
        optimisers.append(torch.optim.SGD([logits], lr=chosen["soft_label_learning_rate"], momentum=chosen["momentum"]))
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
            outputs = torch.func.functional_call(network, named, (inputs,))
            if logits is None:
                loss = cross_entropy(outputs, labels[rows])
            else:
                loss = -(logits[rows].softmax(1) * outputs.log_softmax(1)).sum() / len(rows)
            student = student - rate * torch.autograd.grad(loss, student, create_graph=True)[0]
        loss = ((student - target) ** 2).sum() / ((start - target) ** 2).sum()
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        losses.append(loss.item())
        rates.append(rate.item())
    return images.detach(), losses, rates, None if logits is None else logits.detach()


@pytest.mark.parametrize("memory", ["graph", "replay"])
@pytest.mark.parametrize("changes", [{}, {"syn_batch": 4}, {"augment": "none", "syn_steps": 7}])
def test_equals_a_plain_loop(split, pool, memory, changes):
    start = noise(split, seed=3)
    expected, losses, rates, _ = plain(split, pool["experts"], start, {**SETTINGS, **changes}, 5, seed=6)
    images = start.clone()
    history = run(distiller(split, pool, images, seed=6, memory=memory, **changes), 5)
    assert [line["loss"] for line in history] == pytest.approx(losses, rel=1e-5)
    assert [line["learning_rate"] for line in history] == pytest.approx(rates, rel=1e-5)
    torch.testing.assert_close(images, expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(images, start, atol=1e-3)
    assert len(set(rates)) == 5


# ---- soft labels ----------------------------------------------------------------------------------------------------

SOFT = {"soft_labels": True, "soft_label_learning_rate": 3.0, "init": "real"}


@pytest.fixture(scope="module")
def good(split, tmp_path_factory):
    """A pool whose experts classify most images correctly."""
    return train_pool(split, tmp_path_factory.mktemp("good"), members=2, epochs=40)


def chosen_by_hand(split, files, seed):
    """The logits of all images and which are right, by the expert of a seed in float64."""
    member = open_member(files[seed % len(files)])
    network = networks.build("convnet", channels=3, size=8, classes=3, seed=99, width=8, depth=2).double().eval()
    network.load_state_dict({name: value.double() for name, value in member.state(member.epochs[-1]).items()})
    mean, std = (np.reshape(split.meta[name], (3, 1, 1)) for name in ("mean", "std"))
    with torch.no_grad():
        logits = network(torch.tensor((split.images / 255 - mean) / std))
    return logits, logits.argmax(1).numpy() == split.labels


def whole_run(split, pool, *, checkpoint=None, seed=1, ipc=2, weights=None, **changes):
    return engine.run(
        split,
        real=RealSettings(np.ones(len(split)) if weights is None else weights),
        settings={**SETTINGS, **SOFT, "iterations": 4, **changes},
        network=None,
        ipc=ipc,
        seed=seed,
        device=CPU,
        precision="exact",
        checkpoint=checkpoint or Checkpoint(None),
        models=pool,
    )


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["graph", "replay"])
@pytest.mark.parametrize("changes", [{}, {"syn_batch": 4}])
def test_soft_labels_equal_a_plain_loop(split, good, memory, changes):
    settings = {**SETTINGS, **SOFT, "momentum": 0.7, **changes}
    logits, right = chosen_by_hand(split, good["experts"], seed=1)
    rows = np.concatenate([np.flatnonzero(right & (split.labels == label))[:2] for label in range(3)])
    start = split.normalize(torch.from_numpy(split.images[rows]))
    expected, losses, rates, learned = plain(split, good["experts"], start, settings, 4, 1, logits[rows].float())
    images = start.clone()
    method = distiller(split, good, images, seed=1, memory=memory, **{**SOFT, "momentum": 0.7, **changes})
    torch.testing.assert_close(method.logits.double(), logits[rows], rtol=1e-4, atol=1e-4)
    history = run(method, 4)
    assert [line["loss"] for line in history] == pytest.approx(losses, rel=1e-4)
    assert [line["learning_rate"] for line in history] == pytest.approx(rates, rel=1e-4)
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(method.logits, learned, rtol=1e-4, atol=1e-4)
    assert (learned - logits[rows]).abs().min() > 0  # every logit was moved
    soft = method.soft_labels
    assert soft.temperature == 1
    values = learned.double().numpy()
    wanted = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    np.testing.assert_allclose(soft.probabilities, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("syn_batch", [None, 4])
def test_ways_to_the_gradient_of_soft_labels(split, good, syn_batch):
    given = {**SOFT, "syn_batch": syn_batch}
    found = ways(split, good, syn_steps=6, **given)
    for replayed, graph in zip(found["replay"], found["graph"], strict=True):
        torch.testing.assert_close(replayed, graph, rtol=1e-4, atol=1e-4 * graph.abs().max().item())
    assert len(found["graph"]) == 4
    one = ways(split, good, syn_steps=1, **given)
    for constant, graph in zip(one["constant"], one["graph"], strict=True):
        torch.testing.assert_close(constant, graph, rtol=1e-4, atol=1e-4 * graph.abs().max().item())


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("memory", WAYS)
@pytest.mark.parametrize("rounded", [False, True])
def test_a_captured_gradient_is_the_plain_one(split, good, memory, soft, rounded):
    """What a GPU would record and start again, or what is compiled: here its functions are called instead."""
    plain, method = (distiller(split, good, memory=memory, syn_batch=4, **(SOFT if soft else {})) for _ in range(2))
    network = method.network
    if rounded:
        network = compiling.not_in_place(compiling.rounded_copy(network, torch.float32))
    method.step_gradient = mtt.StepGradient(network, capture=lambda function: function)
    for ours, theirs in zip(method.match(1, None, None), plain.match(1, None, None), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6 * theirs.abs().max().item())
    for ours, theirs in zip(method.gradients, plain.gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6 * theirs.abs().max().item())


@needs_fast
@pytest.mark.thorough
def test_fast_moves_the_images_as_exact_does(split, good, log_lines):
    exact, fast = (distiller(split, good, precision=precision) for precision in ("exact", "fast"))
    assert fast.step_gradient.captured is not None
    assert log_lines == []
    (loss, ours), (truth, theirs) = (method.match(1, None, None) for method in (fast, exact))
    assert loss.item() == pytest.approx(truth.item(), rel=0.03)
    assert torch.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.98  # bfloat16 has 8 bits


def test_the_first_images_are_those_that_the_expert_knows(split, good):
    known = {}
    for seed in (0, 1):
        _, right = chosen_by_hand(split, good["experts"], seed)
        assert 6 < right.sum() < len(split), "the test needs some wrong ones"
        for init in ("real", "weighted_real", "stratified"):
            first = whole_run(split, good, seed=seed, ipc=5, init=init, iterations=0).images
            pixels = denormalize(first, split.meta["mean"], split.meta["std"]).numpy()
            rows = [int(np.flatnonzero((split.images == image).all((1, 2, 3)))[0]) for image in pixels]
            assert right[rows].all()
            assert split.labels[rows].tolist() == [0] * 5 + [1] * 5 + [2] * 5
            assert len(set(rows)) == 15
            known[seed, init] = rows
    assert known[0, "real"] != known[1, "real"]


def test_leaving_out_images_changes_nothing_else_in_a_draw(split):
    """The first of the others in the same order; a weighted draw keeps its proportions."""
    weights = np.ones(len(split))
    weights[:7] = 20
    among = np.ones(len(split), bool)
    among[::3] = False
    side = RealSide(split.labels, RealSettings(weights), batch_size=1, seed=0)
    counts = np.zeros(len(split))
    for seed in range(1500):
        rows = first_images.initial_rows(split, side, init="weighted_real", ipc=1, seed=seed, among=among).numpy()
        counts[rows] += 1
    assert not counts[~among].any()
    for label in range(3):
        some = among & (split.labels == label)
        wanted = weights[some] / weights[some].sum()
        assert abs(counts[some] / 1500 - wanted).max() < 4 * np.sqrt(0.25 / 1500)
    everyone = first_images.initial_rows(split, side, init="real", ipc=2, seed=0, among=np.ones(len(split), bool))
    assert torch.equal(everyone, first_images.initial_rows(split, side, init="real", ipc=2, seed=0))


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 3])
def test_soft_labels_go_on_after_a_kill(split, good, tmp_path, after):
    class Killed(Exception):
        pass

    class Stops(Checkpoint):
        def save(self, step, tensors):
            super().save(step, tensors)
            if step == after:
                raise Killed

    expected = whole_run(split, good)
    with pytest.raises(Killed):
        whole_run(split, good, checkpoint=Stops(tmp_path / "state.safetensors", "me", every=0))
    found = whole_run(split, good, checkpoint=Checkpoint(tmp_path / "state.safetensors", "me", every=0))
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.soft_labels.probabilities, expected.soft_labels.probabilities)
    assert found.history == expected.history
    assert whole_run(split, good, soft_labels=False).soft_labels is None


def test_a_soft_set_is_written_and_a_network_trained_on_it(split, few_digits, good, tmp_path):
    made = whole_run(split, good, ipc=4)
    outputs = SimpleNamespace(
        **{name: tmp_path / name for name in ("history", "preview", "run")}, distilled=tmp_path / "s.safetensors"
    )
    provenance = {"device": "cpu", "device_type": "x"}
    cell = {"distiller": "mtt", "seed": "1"}
    write.save(made, split, cell=cell, settings={}, provenance=provenance, outputs=outputs, run=write.Run())
    loaded = load_distilled(outputs.distilled)
    assert torch.equal(loaded.soft_targets().probabilities, made.soft_labels.probabilities)
    found = protocol.evaluate(
        *loaded.tensors(),
        few_digits("test"),
        soft_labels=loaded.soft_targets(),
        network=NETWORK,
        recipe=Recipe(learning_rate=0.05, batch_size=256),
        epochs=None,
        steps=60,
        repeats=1,
        seed=0,
        device=CPU,
    )
    assert found.counts.sum() == len(few_digits("test"))


def test_soft_labels_need_real_images_that_an_expert_knows(split, good):
    with pytest.raises(DdbiasError, match="choose another init than noise"):
        whole_run(split, good, init="noise")
    with pytest.raises(DdbiasError, match=r"only \d+ images of class \d can be first ones, not 20"):
        whole_run(split, good, ipc=20)
    with pytest.raises(DdbiasError, match="unknown pool of models 'expert'"):
        whole_run(split, good, models="expert")


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, SOFT])
def test_with_zca_all_happens_in_the_whitened_space(split, tmp_path, changes):
    """The plain loop, on images whitened by float64 formulas, with experts trained on such images."""
    white = replace(split, whitening=normalisation.whitening("zca", split))
    pool = train_pool(white, tmp_path, members=2, epochs=15)
    mean, matrix = white.whitening.mean.double().numpy(), white.whitening.matrix.double().numpy()

    def seen(images):
        return ((images.double().flatten(1).numpy() - mean) @ matrix).reshape(images.shape).astype(np.float32)

    settings = {"soft_labels": False, **changes}
    made, first = (whole_run(white, pool, **settings, iterations=number) for number in (4, 0))
    start = torch.from_numpy(seen(first.images))
    logits = None if made.soft_labels is None else last_network(pool["experts"][1], split, "experts")(start)
    expected, losses, _, learned = plain(split, pool["experts"], start, {**SETTINGS, **settings}, 4, 1, logits)
    assert made.history["loss"] == pytest.approx(losses, rel=1e-3)
    np.testing.assert_allclose(seen(made.images), expected, rtol=1e-3, atol=1e-3)
    assert (expected - start).abs().max() > 0.1
    if learned is not None:
        torch.testing.assert_close(made.soft_labels.probabilities, learned.softmax(1), rtol=1e-3, atol=1e-4)
    pixels = denormalize(first.images, split.meta["mean"], split.meta["std"]).numpy()
    assert all((split.images == image).all((1, 2, 3)).any() for image in pixels)  # real images, stored as pixels


@pytest.mark.slow
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

    def read(member, epoch):
        starts.append(epoch)
        return {name: torch.randn(2) for name in method.names}

    with monkeypatch.context() as patched:
        patched.setattr(mtt.Member, "state", read)
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
        "soft_labels": False,
        "soft_label_learning_rate": 2,
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


def test_buffers_are_those_of_the_start_of_a_segment(split, tmp_path):
    method = distiller(split, train_pool(split, tmp_path, {**NETWORK, "kind": "convnet_bn"}, members=1))
    read, member = [], method.members[0]
    state = type(member).state
    object.__setattr__(member, "state", lambda epoch: read.append(epoch) or state(member, epoch))
    for step in range(4):
        method.segment(step)
        first, last = (state(member, epoch) for epoch in read[-2:])
        for name, buffer in method.network.named_buffers():
            assert torch.equal(buffer, first[name])
            assert not torch.equal(first[name], last[name])


def test_a_step_size_that_is_no_number_ends_the_run(split, pool):
    method = distiller(split, pool)
    method.step_size.fill_(float("nan"))
    with pytest.raises(DdbiasError, match="the learned step size is nan at step 0; lower step_size_learning_rate"):
        method.step(0, None, None)
