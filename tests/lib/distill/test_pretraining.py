"""Pools of models: equality with a plain loop, what weights do, resumption, and reading one snapshot."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import derive, stream
from ddbias.data import store
from ddbias.data.split import Split
from ddbias.debias.real_side import check_weights
from ddbias.distill import pretraining
from ddbias.distill.pretraining import epoch_order, open_member, rate, save_member, train_member
from ddbias.learning import device, networks
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.precision import compiling
from ddbias.runtime.checkpoint import Checkpoint
from torch.nn.functional import cross_entropy

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
SETTINGS = {"epochs": 3, "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-3, "batch_size": 16}
SETTINGS |= {"augment": "color_crop_cutout_flip_scale_rotate", "drops": [1 / 3, 2 / 3], "seed": 4}
STEPS = 3 * 4  # 60 images in batches of 16, the last one of 12

pytestmark = pytest.mark.usefixtures("one_thread")


def trained(split, weights=None, *, member=0, network=NETWORK, checkpoint=None, precision="exact", **changes):
    return train_member(
        split,
        network=network,
        settings={**SETTINGS, **changes},
        weights=weights,
        member=member,
        device=CPU,
        precision=precision,
        checkpoint=checkpoint or Checkpoint(None),
    )


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 1 - 1e-6), (torch.bfloat16, 0.99)])
def test_fast_trains_nearly_the_same_member(split, monkeypatch, multiply_in, log_lines, dtype, least):
    """Compiled by nothing, since compilation changes no more than the order of sums."""
    monkeypatch.setattr(device, "machine_obstacle", lambda where: None)
    monkeypatch.setattr(compiling, "compiled", lambda function: function)
    multiply_in(dtype)
    exact, fast = (trained(split, precision=precision, augment="none") for precision in ("exact", "fast"))
    moves = [
        torch.cat([(values - member[f"0.{name[2:]}"]).flatten() for name, values in member.items() if name[0] == "3"])
        for member in (exact, fast)
    ]
    assert exact.keys() == fast.keys()
    assert not same(exact, fast)
    assert torch.cosine_similarity(*moves, dim=0) > least
    assert [line for line in log_lines if "precision" in line] == []


def test_a_member_that_cannot_be_compiled_is_trained_exactly(split, log_lines):
    batch = {**NETWORK, "norm": "batch"}
    assert same(trained(split, network=batch, precision="fast"), trained(split, network=batch))
    told = "precision fast: the network has batch norm, so the member is trained exactly"
    assert [line for line in log_lines if "precision" in line] == [told]


def uneven(split, seed=0):
    return np.random.default_rng(seed).exponential(size=len(split)) ** 2


def cut(split, rows):
    return Split(split.images[rows], split.labels[rows], split.attributes[rows], split.index[rows], split.meta)


# ---- training -------------------------------------------------------------------------------------------------------


def plain(split, weights, member, settings):
    """The published training in words: torch's optimiser and its schedule of the rate."""
    seed = derive(settings["seed"], "member", member)
    mean, std = (torch.tensor(split.meta[name]).view(3, 1, 1) for name in ("mean", "std"))
    images = (torch.tensor(split.images) / 255 - mean) / std
    labels, augment = torch.tensor(split.labels), DSA(settings["augment"], align_corners=True)
    network = networks.build(
        "convnet", channels=3, size=8, classes=3, seed=derive(seed, "network"), width=8, depth=2
    ).train()
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=settings["learning_rate"],
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
    )
    milestones = [round(share * settings["epochs"]) for share in settings["drops"]]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=0.1)
    kept, step = [{k: v.clone() for k, v in network.state_dict().items()}], 0
    for epoch in range(settings["epochs"]):
        generator = stream(seed, "order", epoch)
        if weights is None:
            order = torch.randperm(len(labels), generator=generator)
        else:
            order = torch.multinomial(torch.tensor(weights), len(labels), replacement=True, generator=generator)
        for rows in order.split(settings["batch_size"]):
            inputs = augment.per_sample(images[rows], stream(seed, "augment", step))
            optimiser.zero_grad()
            cross_entropy(network(inputs), labels[rows]).backward()
            optimiser.step()
            step += 1
        schedule.step()
        kept.append({k: v.clone() for k, v in network.state_dict().items()})
    return kept


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("changes", [{}, {"momentum": 0.0, "weight_decay": 0.0, "drops": [], "augment": "none"}])
def test_equals_a_plain_loop(split, weighted, changes):
    weights = check_weights(uneven(split), split.labels) if weighted else None
    snapshots = trained(split, weights, member=1, **changes)
    expected = plain(split, weights, 1, {**SETTINGS, **changes})
    assert len(expected) == 4
    assert set(snapshots) == {f"{epoch}.{name}" for epoch in range(4) for name in expected[0]}
    for epoch, state in enumerate(expected):
        for name, value in state.items():
            torch.testing.assert_close(snapshots[f"{epoch}.{name}"], value, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(expected[3]["head.weight"], expected[0]["head.weight"], atol=1e-3)


def test_rates_of_the_published_schedule():
    settings = {**SETTINGS, "epochs": 150, "learning_rate": 0.01, "drops": [0.33333333, 0.66666667]}
    rates = [rate(settings, epoch) for epoch in range(150)]
    assert rates == pytest.approx([0.01] * 50 + [0.001] * 50 + [0.0001] * 50)


def test_members_differ_and_repeat(split):
    first = trained(split)
    before = torch.random.get_rng_state()
    assert same(trained(split), first)
    assert torch.equal(torch.random.get_rng_state(), before)
    for other in (trained(split, member=1), trained(split, seed=5)):
        assert not torch.equal(other["0.head.weight"], first["0.head.weight"])
        assert not torch.equal(other["3.head.weight"], first["3.head.weight"])
    assert same(trained(dataclasses.replace(split, attributes=None)), first)


def test_snapshots_are_of_their_epochs(split):
    """A training that ends earlier has the same beginning, and no snapshot changes afterwards."""
    long, short = trained(split, drops=[]), trained(split, drops=[], epochs=2)
    assert same({name: long[name] for name in short}, short)
    weights = [long[f"{epoch}.head.weight"] for epoch in range(4)]
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(weights))


def test_it_learns(split):
    snapshots = trained(split, epochs=12, augment="none", drops=[])
    network = networks.build("convnet", channels=3, size=8, classes=3, seed=9, width=8, depth=2)
    accuracy = []
    for epoch in (0, 12):
        network.load_state_dict({name: snapshots[f"{epoch}.{name}"] for name in network.state_dict()})
        found = network(split.normalize(torch.tensor(split.images))).argmax(1).numpy()
        accuracy.append((found == split.labels).mean())
    assert accuracy[1] > 0.9 > accuracy[0]


def test_a_diverging_member_is_named(split):
    with pytest.raises(DdbiasError, match=r"the loss of member 2 is not finite at step .*; lower its learning rate"):
        trained(split, member=2, network={**NETWORK, "norm": "none"}, learning_rate=1e12, epochs=20)


# ---- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 0.3, 7.0])
def test_equal_weights_are_no_weights(few_digits, scale):
    split = cut(few_digits(), np.arange(3, 60))
    assert np.bincount(split.labels).tolist() == [17, 20, 20]  # so that scaling them rounds differently
    assert same(trained(split, np.full(len(split), scale), epochs=1), trained(split, epochs=1))


def test_weights_change_the_training(split):
    weighted = trained(split, uneven(split))
    assert torch.equal(weighted["0.head.weight"], trained(split)["0.head.weight"])  # not the first parameters
    assert not torch.equal(weighted["3.head.weight"], trained(split)["3.head.weight"])
    # Their scale within a class says nothing.
    scaled = uneven(split) * np.array([1.0, 4.0, 0.25])[split.labels]
    assert same(trained(split, scaled), weighted)


def test_an_epoch_is_as_long_with_weights_as_without(split, monkeypatch):
    sizes = []
    step = pretraining.train_step
    monkeypatch.setattr(
        pretraining, "train_step", lambda *given, **named: sizes.append(len(given[4])) or step(*given, **named)
    )
    trained(split, uneven(split), epochs=2)
    assert sizes == [16, 16, 16, 12] * 2


def test_whole_weights_count_as_repetitions():
    """Draws with integer weights follow the same distribution as those from repeated samples."""
    labels = np.array([0, 0, 0, 1, 1, 1])
    times = np.array([1, 2, 5, 2, 5, 1])
    epochs = 2000

    def shares(labels, weights, origin):
        rows = torch.cat([epoch_order(labels, weights, stream(0, "order", epoch)) for epoch in range(epochs)])
        return np.bincount(origin[rows.numpy()], minlength=6) / len(rows)

    weighted = shares(labels, check_weights(times, labels), np.arange(6))
    repeated = np.repeat(np.arange(6), times)
    copied = shares(labels[repeated], None, repeated)
    np.testing.assert_allclose(copied, times / 16)
    spread = np.sqrt(copied * (1 - copied) / (6 * epochs))
    assert (np.abs(weighted - copied) < 4 * spread).all()


def test_samples_of_weight_zero_are_not_seen(split):
    weights = np.where(np.arange(len(split)) % 20 < 5, 1.0, 0.0)
    rows = epoch_order(split.labels, check_weights(weights, split.labels), stream(0))
    assert (weights[rows.numpy()] == 1).all()
    images = split.images.copy()
    images[weights == 0] = 255
    noisy = dataclasses.replace(split, images=images)
    assert same(trained(noisy, weights, epochs=1), trained(split, weights, epochs=1))


def test_weights_that_are_none_are_refused(split):
    with pytest.raises(DdbiasError, match="weights must be finite and not negative"):
        trained(split, np.full(len(split), -1.0))


# ---- resumption -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 4, 6, STEPS])
@pytest.mark.parametrize("kind", ["convnet", "convnet_bn"])
def test_a_killed_training_goes_on_to_the_same_result(split, tmp_path, monkeypatch, after, kind):
    network, weights, state = {**NETWORK, "kind": kind}, uneven(split), tmp_path / "state.safetensors"
    whole = trained(split, weights, network=network)
    done, step = [], pretraining.train_step

    def dies(*given, **named):
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(given[4])
        return step(*given, **named)

    monkeypatch.setattr(pretraining, "train_step", dies)
    if after < STEPS:
        with pytest.raises(KeyboardInterrupt):
            trained(split, weights, network=network, checkpoint=Checkpoint(state, "me", every=0))
    else:  # killed between the last step and the output
        trained(split, weights, network=network, checkpoint=Checkpoint(state, "me", every=0))
    monkeypatch.setattr(pretraining, "train_step", lambda *g, **n: done.append(g[4]) or step(*g, **n))
    again = trained(split, weights, network=network, checkpoint=Checkpoint(state, "me", every=0))
    assert len(done) == STEPS  # nothing was done twice
    assert same(again, whole)


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(split, tmp_path):
    path, network = tmp_path / "pool" / "member3.safetensors", {**NETWORK, "kind": "convnet_bn"}
    snapshots = trained(split, member=3, network=network)
    save_member(path, snapshots, split, network=network, settings=SETTINGS, member=3, provenance={"torch": "x"})
    return path, snapshots


def test_a_member_comes_back(saved):
    path, snapshots = saved
    member = open_member(path)
    assert (member.path, member.member, member.epochs) == (path, 3, (0, 1, 2, 3))
    assert (member.network, member.settings) == ({**NETWORK, "kind": "convnet_bn"}, SETTINGS)
    assert (member.channels, member.size, member.classes) == (3, 8, 3)
    network = networks.build("convnet_bn", channels=3, size=8, classes=3, seed=9, width=8, depth=2)
    for epoch in member.epochs:
        state = member.state(epoch)
        assert all(torch.equal(state[name], snapshots[f"{epoch}.{name}"]) for name in state)
        network.load_state_dict(state)  # complete, statistics of batch norm included
    assert int(member.state(3)["body.1.num_batches_tracked"]) == STEPS


def test_one_snapshot_is_read_alone(saved, monkeypatch):
    """More epochs than ten, so that epoch 1 is the beginning of another one's number."""
    path, snapshots = saved
    first = {name[2:]: value for name, value in snapshots.items() if name.startswith("1.")}
    more = {f"{epoch}.{name}": value.clone() for epoch in range(12) for name, value in first.items()}
    _, meta = store.read_tensors(path, prefix=None)
    store.write_tensors(path, more, {**meta, "epochs": list(range(12))})
    member, read = open_member(path), []
    import safetensors

    class Spy:
        def __init__(self, *given, **named):
            self.file = safe_open(*given, **named)

        def __enter__(self):
            self.file = self.file.__enter__()
            return self

        def __exit__(self, *what):
            return self.file.__exit__(*what)

        def get_tensor(self, name):
            read.append(name)
            return self.file.get_tensor(name)

        def __getattr__(self, name):
            return getattr(self.file, name)

    safe_open = safetensors.safe_open
    monkeypatch.setattr(safetensors, "safe_open", Spy)
    state = member.state(1)
    assert read
    assert all(name.startswith("1.") for name in read)
    assert {f"1.{name}" for name in state} == set(read) == {name for name in more if name.startswith("1.")}
    read.clear()
    open_member(path)
    assert read == []


def test_the_file_has_one_metadata_key_and_reproducible_bytes(saved, split):
    from safetensors import safe_open

    path, snapshots = saved
    with safe_open(str(path), framework="pt") as file:
        assert list(file.metadata()) == ["ddbias"]
    first = path.read_bytes()
    save_member(
        path,
        dict(reversed(snapshots.items())),
        split,
        network={**NETWORK, "kind": "convnet_bn"},
        settings=SETTINGS,
        member=3,
        provenance={"torch": "x"},
    )
    assert path.read_bytes() == first


def test_mistakes(saved, tmp_path):
    path, _ = saved
    with pytest.raises(DdbiasError, match=r"member3.safetensors has no snapshot of epoch 4, only of 0 to 3"):
        open_member(path).state(4)
    with pytest.raises(DdbiasError, match="no file"):
        open_member(tmp_path / "absent.safetensors")
    other = tmp_path / "other.safetensors"
    store.write_tensors(other, {"a": torch.zeros(1)}, {"kind": "something"})
    with pytest.raises(DdbiasError, match="is not a member of a pool of models"):
        open_member(other)
    other.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DdbiasError, match="is damaged"):
        open_member(other)
