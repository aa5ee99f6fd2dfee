"""Whether a set was distilled at all: the probe, the rule, how far images moved, and when a run stops."""

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import derive, stream
from ddbias.data.split import denormalize
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill import convergence, engine, first_images
from ddbias.distill.convergence import has_converged, moved
from ddbias.distill.learner import step_scale
from ddbias.learning import networks
from ddbias.learning.augment.dsa import DSA
from ddbias.runtime.checkpoint import Checkpoint

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
DM = {"kind": "dm", "iterations": 16, "real_batch": 12, "learning_rate": 1.0, "momentum": 0.5, "init": "real"}
DM |= {"augment": "crop_scale"}
DC = {"kind": "dc", "outer_loop": 2, "inner_loop": 1, "network_learning_rate": 0.01, "network_batch": 8}
DC |= {"distance": "ours", "learning_rate": 0.1, "iterations": 4}
IDC = {"kind": "idc", "outer_loop": 2, "factor": 1, "synthetic_batch": 8, "distance": "mse", "augment": "crop"}
IDC |= {"network_images": 8, "network_batch": 8, "network_learning_rate": 0.01, "network_momentum": 0.9}
IDC |= {"network_weight_decay": 0.0, "cutmix": 0.0, "cutmix_beta": 1.0, "learning_rate": None, "iterations": 4}

pytestmark = pytest.mark.usefixtures("one_thread")


def run(split, weights=None, *, real=None, network=NETWORK, ipc=2, seed=3, checkpoint=None, **changes):
    return engine.run(
        split,
        real=real or RealSettings(np.ones(len(split)) if weights is None else weights),
        settings=DM | changes,
        network=network,
        ipc=ipc,
        seed=seed,
        device=CPU,
        precision="exact",
        checkpoint=checkpoint or Checkpoint(None),
    )


def curve(first, *quarters, noise=0.0):
    """Losses of a first look and 24 more, a level for each quarter."""
    return np.append(first, np.repeat(quarters, 6) + np.random.default_rng(1).normal(size=24) * noise)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (curve(9, 4, 2, 1, 1), True),
        (curve(9, 4, 2, 1.15, 1), True),  # .15 of 8
        (curve(9, 4, 2, 1.2, 1), False),
        (curve(9, 4, 2, 1.2, 1, noise=0.3), True),  # not told from none
        (curve(9, 4, 2, 1, 1.5), False),  # rises, though it ends far below its start
        (curve(9, 4, 2, 1, 1.1, noise=0.3), True),
        (curve(1, 4, 2, 1, 1.5), False),
        (curve(1, 8, 8, 8, 8, noise=0.1), False),  # no longer changes, above its start
        (curve(1, 4, 3, 2, 1.5), False),  # falls from where larger steps had taken it
        (curve(9, 4, 2, 1, 1)[:8], False),  # too few looks
        (np.linspace(4, 1, 25), False),
    ],
)
def test_a_run_has_converged_when_its_last_quarter_took_little_of_the_way(losses, expected):
    assert has_converged(losses) is expected


@pytest.mark.parametrize("weighted", [False, True])
def test_the_probe_is_the_matching_loss_on_networks_and_images_that_no_step_uses(split, weighted):
    weights = np.random.default_rng(0).random(len(split)) + 0.1 if weighted else np.ones(len(split))
    result = run(split, weights)
    side = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=1, seed=3)
    first = first_images.initial_images(split, side, init="real", ipc=2, seed=3)
    seed, augment = derive(3, "probe"), DSA("crop_scale")
    side = RealSide(split.labels, RealSettings(weights), batch_size=convergence.BATCH, seed=seed)
    for images, look in ((first, 0), (result.images, -1)):
        losses = []
        for index in range(convergence.NETWORKS):
            network = networks.build("convnet", channels=3, size=split.shape[1], classes=3, seed=0, width=8, depth=2)
            networks.reset(network, stream(seed, "network", index))
            batch, loss = side.batch(index), 0.0
            for label in range(3):
                same = derive(seed, "augment", index, label) % 2**31
                rows = batch.index[batch.labels == label]
                real = network.embed(augment(split.normalize(torch.from_numpy(split.images[rows.numpy()])), same))
                share = batch.pool[label, batch.labels == label]
                mean = network.embed(augment(images.chunk(3)[label], same)).mean(0)
                loss += float((share @ real - mean).square().sum().detach())
            losses.append(loss)
        probe = result.record["probe"]
        assert probe["loss"][look] == pytest.approx(np.mean(losses), rel=1e-4)
        assert probe["standard_error"][look] == pytest.approx(np.std(losses, ddof=1) / np.sqrt(len(losses)), rel=1e-3)
    assert probe["iteration"] == list(range(17))


def test_a_probe_network_that_follows_the_images_is_compared_with_its_own_targets(split, tmp_path):
    """With a warm-up a look trains its network on the images, so it depends on these alone, and on no look before."""

    class Killed(Exception):
        pass

    class Kills(Checkpoint):
        def save(self, step, tensors):
            super().save(step, tensors)
            if step == 6:
                raise Killed

    options = {"warm_up": 3, "iterations": 8}
    whole = run(split, **options)
    with pytest.raises(Killed):
        run(split, checkpoint=Kills(tmp_path / "state", "a", every=0), **options)
    resumed = run(split, checkpoint=Checkpoint(tmp_path / "state", "a", every=0), **options)
    assert torch.equal(resumed.images, whole.images)
    assert resumed.record == whole.record


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dc", "idc"])
def test_a_look_changes_nothing_of_a_run(split, kind, monkeypatch):
    options = {"dc": DC, "idc": IDC}[kind]
    looked = run(split, **options)
    monkeypatch.setattr(convergence.Probe, "due", lambda self, step: step == 0)
    assert torch.equal(run(split, **options).images, looked.images)
    assert looked.record["probe"]["iteration"] == [look / 2 for look in range(9)]  # of two steps each
    assert len(set(looked.record["probe"]["loss"])) > 4


def test_how_far_images_moved_is_in_grey_levels(split):
    result = run(split, iterations=3)
    first = run(split, iterations=0)
    std = torch.tensor(split.meta["std"]).view(-1, 1, 1)
    change = ((result.images - first.images) * std * 255).abs().mean()
    assert result.record["moved"] == pytest.approx(float(change), rel=1e-5)
    assert (first.record["moved"], first.record["converged"]) == (0, None)
    pixels = denormalize(first.images, split.meta["mean"], split.meta["std"])
    assert moved(first.images, first.images + 1 / std / 255, split.meta["std"]) == pytest.approx(1)
    assert pixels.float().mean() > 0


@pytest.mark.slow
def test_a_run_stops_where_it_has_converged_and_goes_on_where_it_was_killed(split, tmp_path, monkeypatch):
    small = {"iterations": 96, "learning_rate": 3.0, "until": "converged"}
    stopped = run(split, **small)
    done = stopped.record["iterations"]
    assert convergence.FEWEST * 4 <= done < 96
    decayed = run(split, **small, decay="cosine")
    assert decayed.record["iterations"] == 2 * done
    assert decayed.record["converged"]
    assert torch.equal(
        run(split, **(small | {"iterations": 2 * done, "until": None}), decay="cosine").images, decayed.images
    )
    assert stopped.record["converged"]
    assert len(stopped.history["loss"]) == done
    assert torch.equal(run(split, **(small | {"iterations": 96, "until": None})).images, stopped.images) is False
    # The same as a run of so many steps, looked at as often.
    monkeypatch.setattr(convergence, "LOOKS", done * convergence.LOOKS // 96)
    assert torch.equal(run(split, **(small | {"iterations": done, "until": None})).images, stopped.images)
    monkeypatch.undo()

    class Killed(Exception):
        pass

    class Kills(Checkpoint):
        def due(self):
            return True

        def save(self, step, tensors):
            super().save(step, tensors)
            if step in (5, done - 1, done) and step not in seen:
                seen.add(step)
                raise Killed

    seen = set()
    for _ in range(3):
        with pytest.raises(Killed):
            run(split, checkpoint=Kills(tmp_path / "state", "a", every=0), **small)
    resumed = run(split, checkpoint=Kills(tmp_path / "state", "a", every=0), **small)
    assert torch.equal(resumed.images, stopped.images)
    assert resumed.record == stopped.record
    assert resumed.history == stopped.history


def test_an_iteration_in_which_a_run_stops_counts(split, monkeypatch):
    monkeypatch.setattr(convergence, "has_converged", lambda losses: len(losses) > convergence.FEWEST)
    stopped = run(split, **{**DC, "outer_loop": 5, "iterations": 10, "until": "converged"})
    assert len(stopped.history["loss"]) == 48  # looked at every sixth of 50 steps; of five steps each are iterations
    assert stopped.record["iterations"] == 10


@pytest.mark.parametrize("factor", [1, 2])
def test_conflicting_first_images_are_counted_unless_they_are_mosaics(split, factor):
    side = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=1, seed=3)
    rows = first_images.initial_rows(split, side, init="real", ipc=4, seed=3)
    made = run(split, ipc=4, **{**IDC, "factor": factor, "iterations": 1, "outer_loop": 1})
    assert made.record["first_conflicting"] == (split.conflicting[rows.numpy()].sum() if factor == 1 else None)


def test_only_what_has_a_probe_can_stop_where_it_has_converged(split):
    with pytest.raises(DdbiasError, match="give a number of iterations"):
        run(split, kind="dm", iterations=0, until="converged")


def test_a_scaled_step_means_the_same_however_images_are_normalised_and_however_many_there_are(few_digits):
    split = few_digits()

    def first_step(split, ipc, **changes):
        return run(split, iterations=1, ipc=ipc, augment="none", step="scaled", **changes).record["moved"]

    own = {"mean": split.meta["own_mean"], "std": split.meta["own_std"]}
    halves = {"mean": [0.5] * 3, "std": [0.5] * 3}
    other = [type(split)(split.images, split.labels, split.attributes, split.index, {**split.meta, **constants})
             for constants in (own, halves)]  # fmt: skip
    steps = [first_step(one, 4) for one in (split, *other)]
    # Not exactly: black is the value of the convolutions' padding only where nothing is subtracted.
    assert max(steps) / min(steps) < 1.3
    published = [run(one, iterations=1, ipc=4, augment="none").record["moved"] for one in (split, *other)]
    assert max(published) / min(published) > 3
    assert step_scale(split, 20).flatten().tolist() == pytest.approx([2 * min(split.meta["own_std"]) ** 2] * 3)


def test_a_scaled_step_does_not_grow_with_the_number_of_groups_that_are_added(split):
    groups = np.arange(len(split)) % 4
    images = {}
    for step in ("published", "scaled"):
        for reduction in ("sum", "mean"):
            real = RealSettings(np.ones(len(split)), groups, "groups", "uniform", reduction)
            images[step, reduction] = run(split, real=real, iterations=1, step=step, updates_per_network=2).images
    start = run(split, iterations=0).images
    torch.testing.assert_close(images["scaled", "sum"], images["scaled", "mean"], rtol=1e-5, atol=1e-5)
    moved = [(images["published", how] - start).norm() for how in ("sum", "mean")]
    assert moved[0] > 3 * moved[1]


def test_several_updates_of_one_network_match_the_same_targets(split):
    twice = run(split, iterations=1, updates_per_network=2, learning_rate=0.5)
    side = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=12, seed=3)
    images = first_images.initial_images(split, side, init="real", ipc=2, seed=3)
    network = networks.build("convnet", channels=3, size=split.shape[1], classes=3, seed=0, width=8, depth=2)
    networks.reset(network, stream(3, "network", 0))
    batch, augment, buffer = side.batch(0), DSA("crop_scale"), torch.zeros(())
    for _ in range(2):
        leaf, loss = images.clone().requires_grad_(True), 0.0
        for label in range(3):
            same = derive(3, "augment", 0, label) % 2**31
            rows = batch.index[batch.labels == label]
            real = network.embed(augment(split.normalize(torch.from_numpy(split.images[rows.numpy()])), same))
            loss += (real.mean(0) - network.embed(augment(leaf.chunk(3)[label], same)).mean(0)).square().sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        buffer = 0.5 * buffer + gradient
        images = images - 0.5 * buffer
    assert torch.allclose(twice.images, images, atol=1e-4)


def test_the_learning_rate_falls_in_the_second_half(split):
    def change(iterations, **more):
        settings = {"momentum": 0.0, "augment": "none", "learning_rate": 0.5}
        return run(split, iterations=iterations, **settings, **more).images

    three = change(3, decay="none")
    assert not torch.equal(change(4), three)
    assert torch.equal(change(2, decay="cosine"), change(2))  # the second step begins at the whole rate
    last_plain, last = change(4) - three, change(4, decay="cosine") - three
    assert torch.allclose(last, 0.5 * last_plain, atol=1e-6)  # the cosine is at its middle
    with pytest.raises(DdbiasError, match=r"decay.*'cosin'.*cosine"):
        run(split, decay="cosin")


def test_balanced_first_images_hold_as_many_of_every_attribute(few_digits):
    split = few_digits()
    names = len(split.meta["attribute_names"])
    for ipc, seed in ((3, 0), (5, 1), (2 * names, 2)):
        rows = first_images.balanced_rows(split, ipc, seed).numpy()
        assert len(set(rows.tolist())) == 3 * ipc
        assert (split.labels[rows] == np.repeat(np.arange(3), ipc)).all()
        for label in range(3):
            has = np.bincount(split.attributes[split.labels == label], minlength=names)
            found = np.bincount(split.attributes[rows[split.labels[rows] == label]], minlength=names)
            # Water filling: none lies more than one below another unless its images are used up.
            assert (found <= has).all()
            assert (found[found < has] >= found.max() - 1).all()
    assert torch.equal(first_images.balanced_rows(split, 5, 1), first_images.balanced_rows(split, 5, 1))
    assert not torch.equal(first_images.balanced_rows(split, 5, 1), first_images.balanced_rows(split, 5, 2))
    first = run(split, np.arange(len(split)) + 1.0, init="balanced", iterations=0, ipc=5)  # whatever the weights
    rows = first_images.balanced_rows(split, 5, 3).numpy()
    assert first.record["first_conflicting"] == split.conflicting[rows].sum()
    some = np.arange(len(split)) % 2 == 0
    assert some[first_images.balanced_rows(split, 5, 0, some)].all()
    unknown = type(split)(split.images, split.labels, None, split.index, split.meta)
    with pytest.raises(DdbiasError, match="choose real"):
        run(unknown, init="balanced", iterations=0)


def test_first_images_hold_as_many_conflicting_samples_as_the_training_set(few_digits):
    split = few_digits()
    share = split.conflicting.mean()
    for ipc, seed in ((3, 0), (5, 1), (10, 2)):
        rows = first_images.stratified_rows(split, ipc, seed).numpy()
        assert len(set(rows.tolist())) == 3 * ipc
        assert (split.labels[rows] == np.repeat(np.arange(3), ipc)).all()
        assert abs(split.conflicting[rows].sum() - share * 3 * ipc) <= 0.5
        assert (first_images.stratified_rows(split, ipc, seed).numpy() == rows).all()
    first = run(split, init="stratified", iterations=0, ipc=5)
    assert (
        first.record["first_conflicting"] == split.conflicting[first_images.stratified_rows(split, 5, 3).numpy()].sum()
    )
    debiased = run(split, np.arange(len(split)) + 1.0, init="stratified", iterations=0, ipc=5)
    assert torch.equal(debiased.images, first.images)  # whatever the weights
    unknown = type(split)(split.images, split.labels, None, split.index, split.meta)
    with pytest.raises(DdbiasError, match="choose real"):
        run(unknown, init="stratified", iterations=0)


def test_conflicting_first_images_fill_up_where_aligned_ones_may_not_be_taken(few_digits):
    split = few_digits()
    aligned = np.flatnonzero(~split.conflicting & (split.labels == 0))
    among = np.ones(len(split), bool)
    among[aligned[1:]] = False  # as of an expert that takes them for another class
    rows = first_images.stratified_rows(split, 3, 0, among).numpy()
    assert split.labels[rows].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert among[rows].all()
    assert aligned[0] in rows
