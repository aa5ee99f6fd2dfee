"""The distance of characteristic functions against its formula in plain loops of complex numbers, in float64."""

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import stream
from ddbias.debias.apply import real_settings
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill.distribution_matching import Distiller
from ddbias.distill.embedding_distance import CharacteristicDistance, embedding_distance

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
SETTINGS = {"learning_rate": 1.0, "momentum": 0.0, "augment": "none"}
CONSTANTS = {"distance": "characteristic", "frequencies": 5, "alpha": 0.3, "beta": 0.7}
KINDS = ["uniform", "weighted", "weighted_mean", "fairdd", "cobra"]
STEP = 3

pytestmark = pytest.mark.usefixtures("one_thread", "unprobed")


def real_side(split, how):
    weights = np.random.default_rng(0).exponential(size=len(split)) ** 2
    given = {
        "uniform": lambda: RealSettings.plain(len(split)),
        "weighted": lambda: RealSettings(weights),
        "weighted_mean": lambda: RealSettings(weights, draw="weighted_mean"),
    }.get(how, lambda: real_settings({"kind": how}, split, None))
    return RealSide(split.labels, given(), batch_size=14, seed=0)


def plain_function(embeddings, shares, frequencies):
    """Return sum_i share_i exp(i t.f_i) at every frequency, one image and one frequency after the other."""
    values = []
    for t in frequencies:
        total = 0j
        for f, share in zip(embeddings, shares, strict=True):
            total += share * np.exp(1j * (t @ f) / np.sqrt(f @ f))
        values.append(total)
    return values


def plain_distance(real, synthetic, alpha, beta):
    terms = []
    for t, s in zip(real, synthetic, strict=True):
        amplitudes = (abs(t) - abs(s)) ** 2
        phases = abs(t) * abs(s) - t.real * s.real - t.imag * s.imag
        terms.append(np.sqrt(alpha * amplitudes + 2 * beta * max(phases, 0)))
    return 300 * np.mean(terms)


@pytest.mark.parametrize("ipc", [1, 3])
@pytest.mark.parametrize("how", KINDS)
def test_dm_with_it_equals_a_plain_loop(split, how, ipc):
    images = torch.randn((split.classes * ipc, *split.shape), generator=stream(0, "test"))
    batch = real_side(split, how).batch(STEP)
    method = Distiller(
        split, settings=SETTINGS | CONSTANTS, network=NETWORK, images=images, seed=0, device=CPU, precision="exact"
    )
    real = split.normalize(torch.from_numpy(split.images[batch.index.numpy()]))
    loss, gradient = method.match(STEP, real, batch)
    with torch.no_grad():
        embedded = [method.network.embed(some).double().numpy() for some in (real, images)]
    frequencies = method.distance.frequencies.T.double().numpy()
    expected = 0.0
    for target, scale in zip(batch.targets, batch.scale.tolist(), strict=True):
        rows, label = target.images.numpy(), target.label
        wanted = plain_function(embedded[0][rows], target.share.numpy(), frequencies)
        given = plain_function(embedded[1][label * ipc :][:ipc], [1 / ipc] * ipc, frequencies)
        expected += scale * plain_distance(wanted, given, 0.3, 0.7)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).abs().amax(1) > 0).all()


def test_its_gradient_is_that_of_differences():
    distance = CharacteristicDistance(frequencies=4, alpha=0.3, beta=0.7)
    distance.draw(6, stream(0, "frequencies"), CPU)
    distance.frequencies = distance.frequencies.double()
    real, synthetic = torch.randn(2, 5, 6, generator=stream(0, "embedding"), dtype=torch.float64)
    target = distance.lift(real).mean(0, keepdim=True)

    def loss(embedding):
        return distance.between(target, distance.lift(embedding).mean(0, keepdim=True)).sum()

    assert torch.autograd.gradcheck(loss, synthetic.requires_grad_(True))


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("means", ["equal", "zero", "target zero"])
def test_its_gradient_is_finite_without_amplitude_and_without_a_difference(alpha, beta, means):
    distance = CharacteristicDistance(frequencies=3, alpha=alpha, beta=beta)
    some = torch.tensor([[0.1, -0.4, 0.7, 0.2, 0.5, -0.3]])
    nothing = torch.zeros_like(some)
    target, given = {"equal": (some, some), "zero": (some, nothing), "target zero": (nothing, some)}[means]
    leaf = given.clone().requires_grad_(True)
    (value,) = distance.between(target, leaf)
    (slope,) = torch.autograd.grad(value, leaf)
    assert slope.isfinite().all()
    assert value < 1 if means == "equal" or not alpha else value > 1  # phases say nothing without amplitude


def test_a_mixture_of_groups_has_the_mean_of_their_functions():
    """COBRA's barycentre of characteristic functions is the function of the balanced mixture."""
    distance = CharacteristicDistance(frequencies=50, alpha=0.5, beta=0.5)
    distance.draw(6, stream(0, "frequencies"), CPU)
    few, many = torch.randn(2, 6), torch.randn(6, 6)
    barycentre = (distance.lift(few).mean(0) + distance.lift(many).mean(0)) / 2
    balanced = distance.lift(torch.cat([few, few, few, many])).mean(0)
    assert distance.between(barycentre[None], balanced[None]).item() < 0.1  # of 300


def test_an_unknown_distance_is_named():
    with pytest.raises(DdbiasError, match="embedding distance"):
        embedding_distance({"distance": "characteristics"})
