"""CLoM: its losses against the published value and plain arithmetic, its draws, and its place in a distiller."""

import numpy as np
import pytest
import torch
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import stream
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill import engine, pretraining
from ddbias.distill.distribution_matching import Distiller
from ddbias.distill.guidance.clom import Guidance, cosine_loss
from ddbias.learning import networks
from ddbias.runtime.checkpoint import Checkpoint
from torch.nn.functional import cross_entropy

NETWORK = {"kind": "convnet", "width": 4, "depth": 2}
POOL = {"epochs": 3, "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0, "batch_size": 16, "augment": "none"}
POOL |= {"drops": [], "seed": 0}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pools(split, tmp_path_factory):
    """Two pools of two members each, narrow and wide."""
    folder = tmp_path_factory.mktemp("pools")
    made = {}
    for name, network in (("narrow", NETWORK), ("wide", {**NETWORK, "width": 6})):
        made[name] = []
        for member in range(2):
            path = folder / name / "uniform" / f"member{member}.safetensors"
            snapshots = pretraining.train_member(
                split,
                network=network,
                settings=POOL,
                weights=None,
                member=member,
                device=CPU,
                checkpoint=Checkpoint(None),
            )
            pretraining.save_member(
                path, snapshots, split, network=network, settings=POOL, member=member, provenance={}
            )
            made[name].append(path)
    return made


def settings(**changes):
    return {"kind": "clom", "loss": "ce", "alpha": 10.0, "trained": [1], "real_batch": 12, "models": [], **changes}


def made(split, models, **changes):
    labels = torch.arange(3).repeat_interleave(2)
    return Guidance(settings(**changes), models=models, split=split, labels=labels, seed=0, device=CPU)


def images(split, seed=1):
    return torch.randn((6, *split.shape), generator=torch.Generator().manual_seed(seed))


def network_of(split, path, epoch):
    member = pretraining.open_member(path)
    options = {key: value for key, value in member.network.items() if key != "kind"}
    channels, size, _ = split.shape
    network = networks.build("convnet", channels=channels, size=size, classes=3, seed=9, **options)
    network.load_state_dict(member.state(epoch))
    return network


def test_published_value_of_the_cosine_loss():
    s, t = torch.sin(torch.arange(1.0, 21)).view(4, 5), torch.cos(torch.arange(1.0, 31)).view(6, 5)
    loss = cosine_loss(s, torch.tensor([0, 0, 1, 1]), t, torch.tensor([0, 1, 0, 1, 2, 2]))
    assert loss.item() == pytest.approx(0.3113006603, rel=1e-6)


def test_cosine_loss_is_the_plain_double_loop():
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(5, 4)), rng.normal(size=(7, 4))
    a, b = rng.integers(0, 3, 5), rng.integers(0, 3, 7)
    same = total = 0.0
    for i in range(5):
        for j in range(7):
            distance = 1 - s[i] @ t[j] / np.linalg.norm(s[i]) / np.linalg.norm(t[j])
            total += distance
            same += distance * (a[i] == b[j])
    found = cosine_loss(*(torch.from_numpy(x) for x in (s, a, t, b)))
    assert found.item() == pytest.approx(same / total)


def test_cross_entropy_of_the_last_snapshot(split, pools):
    one = {"narrow": pools["narrow"][:1]}
    value, gradient = made(split, one)(images(split), 0)
    x = images(split).requires_grad_(True)
    expected = 10 * cross_entropy(network_of(split, one["narrow"][0], 3)(x), torch.tensor([0, 0, 1, 1, 2, 2]))
    assert value == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, x)[0])


@pytest.mark.parametrize(("trained", "epoch"), [([0], 0), ([0.5], 2), ([1], 3)])
def test_share_of_the_training(split, pools, trained, epoch):
    one = {"narrow": pools["narrow"][:1]}
    value, _ = made(split, one, trained=trained)(images(split), 0)
    losses = [
        10
        * cross_entropy(network_of(split, one["narrow"][0], e)(images(split)), torch.tensor([0, 0, 1, 1, 2, 2])).item()
        for e in range(4)
    ]
    assert np.argmin(np.abs(np.array(losses) - value)) == epoch


def test_every_pool_member_and_snapshot_is_drawn_and_the_step_names_the_draw(split, pools):
    guide = made(split, pools, trained=[0, 1])
    x = images(split)
    values = [guide(x, step)[0] for step in range(60)]
    assert len(set(values)) == 2 * 2 * 2
    again = made(split, pools, trained=[0, 1])
    assert [again(x, step)[0] for step in range(59, -1, -1)] == values[::-1]


def test_cosine_guidance_uses_real_images_of_the_split(split, pools):
    one = {"narrow": pools["narrow"][:1]}
    guide = made(split, one, loss="cos", real_batch=4000)
    value, gradient = guide(images(split), 0)
    network = network_of(split, one["narrow"][0], 3)
    real = split.normalize(torch.from_numpy(np.array(split.images)))
    with torch.no_grad():
        whole = cosine_loss(
            network.embed(images(split)),
            torch.tensor([0, 0, 1, 1, 2, 2]),
            network.embed(real),
            torch.from_numpy(split.labels),
        )
    assert value == pytest.approx(10 * whole.item(), rel=0.03)  # a draw of 4,000 with replacement from all 60
    assert gradient.abs().max() > 0
    generator = stream(0, "guidance", 0)
    for _ in range(3):  # the pool, its member and the snapshot: one each
        torch.randint(1, (), generator=generator)
    rows = torch.randint(len(split), (12,), generator=generator)
    seen = (torch.from_numpy(split.images[rows.numpy()]) / 255 - torch.tensor(split.meta["mean"]).view(-1, 1, 1)) / (
        torch.tensor(split.meta["std"]).view(-1, 1, 1)
    )
    with torch.no_grad():
        some = cosine_loss(
            network.embed(images(split)),
            torch.tensor([0, 0, 1, 1, 2, 2]),
            network.embed(seen),
            torch.from_numpy(split.labels)[rows],
        )
    assert made(split, one, loss="cos", real_batch=12)(images(split), 0)[0] == pytest.approx(10 * some.item(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("unprobed")
@pytest.mark.parametrize("kind", ["dm", "dc", "dsa"])
def test_guidance_in_a_distiller(split, pools, kind, tmp_path):
    """With a huge alpha the guide's loss falls; without one nothing else changes."""
    config = {
        "kind": kind,
        "iterations": 20,
        "real_batch": 8,
        "learning_rate": 0.1,
        "momentum": 0.0,
        "init": "noise",
        "augment": "none",
        "outer_loop": 1,
        "inner_loop": 1,
        "network_learning_rate": 0.01,
        "network_batch": 16,
        "distance": "squared" if kind == "dm" else "ours",
    }

    def run(guidance):
        return engine.run(
            split,
            real=RealSettings.plain(len(split)),
            settings={**config, "guidance": guidance},
            network=NETWORK,
            ipc=2,
            seed=0,
            device=CPU,
            precision="exact",
            checkpoint=Checkpoint(None),
            models={"narrow": pools["narrow"][:1]},
        )

    guided = run(settings(alpha=30.0)).history["guidance"]
    assert guided[-1] < guided[0] / 2
    assert torch.equal(run(None).images, run(settings(alpha=0.0)).images)


@pytest.mark.parametrize("pooling", ["mean", "groups"])
def test_a_scaled_step_scales_the_guidance_with_the_matching(split, pooling):
    """Both step sizes lie on the gradient of matching + alpha * guidance."""
    how = {
        "mean": RealSettings.plain(len(split)),
        "groups": RealSettings(np.ones(len(split)), split.attributes, "groups", "uniform"),
    }
    side = RealSide(split.labels, how[pooling], batch_size=9, seed=0)
    batch = side.batch(0)
    real = split.normalize(torch.from_numpy(split.images[batch.index.numpy()]))
    moves = {}
    for step, rate in (("published", 1.0), ("scaled", 10.0)):
        moved = []
        for guidance in (None, lambda given, _: (0.0, torch.ones_like(given))):
            given = images(split)
            options = {"learning_rate": rate, "momentum": 0.0, "augment": "none", "step": step}
            more = {"network": NETWORK, "seed": 0, "device": CPU, "precision": "exact", "guidance": guidance}
            Distiller(split, settings=options, images=given, **more).step(0, real, batch)
            moved.append((given - images(split)).double())
        moves[step] = moved[0], moved[1] - moved[0]
    (match, guide), (scaled_match, scaled_guide) = moves["published"], moves["scaled"]
    sizes = match.abs().max() * scaled_guide.abs().max()
    torch.testing.assert_close(scaled_guide * match / sizes, guide * scaled_match / sizes, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"), [({"loss": "kl"}, "unknown guidance loss 'kl'"), ({"loss": "ce"}, "know 3 classes")]
)
def test_wrong_settings(split, pools, few_digits, changes, message):
    other = few_digits("train", classes=4) if "ce" in changes["loss"] else split
    with pytest.raises(DdbiasError, match=message):
        made(other, pools, **changes)


def test_unknown_kind():
    with pytest.raises(DdbiasError, match=r"unknown guidance kind 'clim'.*Did you mean 'clom'"):
        plugins.module("guidance", "clim")
