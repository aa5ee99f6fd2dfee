"""Losses of the kinds of surrogate against derivatives, plain loops and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ddbias.base import plugins
from ddbias.debias import coarse as coarse_module
from ddbias.debias.coarse import coarse, factor
from ddbias.debias.surrogate import embed
from ddbias.debias.surrogate.generalised_ce import generalised_cross_entropy
from ddbias.debias.surrogate.lff import AveragedLosses, class_maxima, relative_difficulty
from ddbias.debias.surrogate.selecmix import generalised_supcon_loss
from ddbias.debias.surrogate.supcon import supcon_loss
from hypothesis import given, settings
from hypothesis import strategies as st

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 4, "depth": 2}


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------ generalised cross-entropy


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_gradient_of_the_generalised_loss_is_that_of_its_closed_form(q):
    logits, labels = (3 * noise(40, 5)).requires_grad_(), torch.arange(40) % 5
    (found,) = torch.autograd.grad(generalised_cross_entropy(logits, labels, q=q).sum(), logits)
    probability = logits.softmax(1)[torch.arange(40), labels]
    (expected,) = torch.autograd.grad(((1 - probability**q) / q).sum(), logits)
    torch.testing.assert_close(found, q * expected, rtol=1e-10, atol=1e-14)


def test_the_generalised_loss_is_the_weighted_cross_entropy():
    logits, labels = noise(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    for found, row, label in zip(generalised_cross_entropy(logits, labels), logits.tolist(), labels, strict=True):
        probability = math.exp(row[label]) / math.fsum(math.exp(value) for value in row)
        assert found.item() == pytest.approx(0.7 * probability**0.7 * -math.log(probability), rel=1e-12)


def test_hopeless_samples_weigh_nothing_and_give_numbers():
    logits = torch.tensor([[-200.0, 200.0], [200.0, -200.0]], requires_grad=True)
    losses = generalised_cross_entropy(logits, torch.tensor([0, 0]))
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert losses.tolist() == [0, 0]
    assert not gradient.any()


# ---------------------------------------------------------------------------------------- generalised contrastive loss


def test_towards_no_weighting_it_is_the_contrastive_loss():
    features, labels = noise(20, 2, 6), torch.arange(20) % 4
    q = 1e-9
    found = generalised_supcon_loss(features, labels, q=q, temperature=0.2) / q
    assert found.item() == pytest.approx(supcon_loss(features, labels, temperature=0.2).item(), rel=1e-6)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=6), st.integers(1, 2), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_gradient_of_the_contrastive_one_is_that_of_its_closed_form(labels, views, seed):
    """Pairs in a plain loop, each with ``1 - p^q`` instead of the weighted logarithm."""
    features = noise(len(labels), views, 3, seed=seed).requires_grad_()
    found = generalised_supcon_loss(features, torch.tensor(labels), q=0.7, temperature=0.2, base_temperature=0.1)
    points = [(label, features[i, v] / features[i, v].norm()) for i, label in enumerate(labels) for v in range(views)]
    total = torch.zeros((), dtype=torch.float64)
    value = 0.0
    for i, (label, anchor) in enumerate(points):
        others = [(other, torch.exp(anchor @ point / 0.2)) for j, (other, point) in enumerate(points) if j != i]
        whole = sum(similarity for _, similarity in others)
        positives = [similarity / whole for other, similarity in others if other == label]
        for p in positives:
            total = total + (1 - p**0.7) / len(positives)
            value -= 0.7 * p.item() ** 0.7 * math.log(p.item()) / len(positives)
    scale = 0.2 / 0.1 / len(points)
    assert found.item() == pytest.approx(scale * value, rel=1e-9, abs=1e-12)
    if total.requires_grad:
        (ours,) = torch.autograd.grad(found, features)
        (theirs,) = torch.autograd.grad(scale * total, features)
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(("augment", "views"), [("none", 1), ("crop_scale", 2)])
def test_without_augmentation_there_is_one_view(few_digits, augment, views):
    options = {"augment": augment, "embedding": "features", "dimensions": 8, "q": 0.7, "temperature": 0.2}
    objective = plugins.module("surrogate", "selecmix").Objective(few_digits(), NETWORK, options, 0)
    assert objective.views == views
    images = [torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(view)) for view in range(views)]
    assert objective.features(images).shape == (6, views, 8)
    assert objective.loss(images, torch.arange(6) % 3, torch.arange(6)) > 0


# ------------------------------------------------------------------------------------------------------------- LfF


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5, 0.7, 0.99]))
@settings(max_examples=30, deadline=None)
def test_averaged_losses_are_a_plain_loop(seed, decay):
    generator = np.random.default_rng(seed)
    labels = generator.integers(3, size=12)
    averages = AveragedLosses(torch.tensor(labels), 4, decay)  # class 3 is empty
    kept: dict[int, float] = {}
    for _ in range(6):
        rows = generator.permutation(12)[:5]
        losses = generator.exponential(size=5)
        found = averages.update(torch.tensor(rows), torch.tensor(losses, dtype=torch.float32))
        for row, loss in zip(rows, losses, strict=True):
            kept[row] = decay * kept[row] + (1 - decay) * loss if row in kept else loss
        largest = {k: max([v for row, v in kept.items() if labels[row] == k], default=0) for k in range(3)}
        expected = [kept[row] / largest[labels[row]] for row in rows]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)
        assert found.max() <= 1


def test_class_maxima_and_difficulty_of_nothing_are_numbers():
    maxima = class_maxima(torch.zeros(3), torch.tensor([0, 0, 2]), 4)
    assert (maxima > 0).all()
    assert relative_difficulty(torch.zeros(2), torch.zeros(2)).tolist() == [0, 0]
    given = relative_difficulty(torch.tensor([1.0, 0.2, 0.0]), torch.tensor([0.0, 0.6, 1.0]))
    np.testing.assert_allclose(given, [1, 0.25, 0], atol=1e-6)


@pytest.fixture
def lff(few_digits):
    options = {"q": 0.7, "decay": 0.7}
    return plugins.module("surrogate", "lff").Objective(few_digits(), NETWORK, options, 0).to(CPU)


def batches(split, count=6, size=16):
    for step in range(count):
        rows = torch.randperm(len(split), generator=torch.Generator().manual_seed(step))[:size]
        yield split.normalize(torch.tensor(split.images[rows.numpy()])), torch.tensor(split.labels)[rows], rows


def test_loss_of_lff_is_a_plain_loop(few_digits, lff):
    """Sample by sample, with averages in dictionaries: nothing of the loss is shared."""
    split = few_digits()
    kept = {"biased": {}, "debiased": {}}
    for images, labels, rows in batches(split):
        found = lff.loss([images], labels, rows)
        logs = {name: lff.model[name](images).double().log_softmax(1).tolist() for name in kept}
        for name, average in kept.items():
            for i, row in enumerate(rows.tolist()):
                loss = -logs[name][i][labels[i]]
                average[row] = 0.7 * average[row] + 0.3 * loss if row in average else loss
        total = 0.0
        for i, row in enumerate(rows.tolist()):
            relative = {
                name: average[row] / max(v for r, v in average.items() if split.labels[r] == labels[i])
                for name, average in kept.items()
            }
            weight = relative["biased"] / (relative["biased"] + relative["debiased"])
            biased = -logs["biased"][i][labels[i]]
            total += 0.7 * math.exp(-0.7 * biased) * biased + weight * -logs["debiased"][i][labels[i]]
        assert found.item() == pytest.approx(total / len(rows), rel=1e-4)


def test_the_weights_of_lff_are_constants_and_its_networks_apart(few_digits, lff):
    images, labels, rows = next(batches(few_digits()))
    loss = lff.loss([images], labels, rows)
    gradients = dict(zip(lff.model.state_dict(), torch.autograd.grad(loss, lff.trained()), strict=True))
    averages = [lff.averages[name].values[rows] for name in ("biased", "debiased")]  # of the first step: the losses
    maxima = [class_maxima(average.values, average.labels, 3)[labels] for average in lff.averages.values()]
    weights = relative_difficulty(*(loss / largest for loss, largest in zip(averages, maxima, strict=True)))
    biased, debiased = lff.model["biased"], lff.model["debiased"]
    closed = {
        "biased": 0.7 * ((1 - biased(images).softmax(1)[torch.arange(16), labels] ** 0.7) / 0.7).mean(),
        "debiased": (weights * torch.nn.functional.cross_entropy(debiased(images), labels, reduction="none")).mean(),
    }
    for name, value in closed.items():
        for parameter, expected in zip(
            lff.model[name].state_dict(), torch.autograd.grad(value, list(lff.model[name].parameters())), strict=True
        ):
            torch.testing.assert_close(gradients[f"{name}.{parameter}"], expected, rtol=1e-3, atol=1e-6)


def test_the_biased_network_of_lff_is_the_classifier_of_the_same_seed(few_digits, lff):
    other = plugins.module("surrogate", "generalised_ce").Objective(few_digits(), NETWORK, {"q": 0.7}, 0)
    for name, value in other.model.state_dict().items():
        assert torch.equal(value, lff.model["biased"].state_dict()[name])
    assert not torch.equal(lff.model["biased"].head.weight, lff.model["debiased"].head.weight)


def test_stored_difficulty_is_that_of_the_stored_networks(few_digits, lff):
    split = few_digits()
    columns = embed(lff, split, device=CPU)
    inputs = split.normalize(torch.tensor(split.images))
    with torch.no_grad():
        losses = {
            name: -network(inputs).log_softmax(1)[torch.arange(len(split)), torch.tensor(split.labels)].numpy()
            for name, network in lff.model.items()
        }
    for label in range(3):
        members = split.labels == label
        biased, debiased = (values[members] / values[members].max() for values in losses.values())
        np.testing.assert_allclose(columns["difficulty"][members], biased / (biased + debiased), rtol=1e-4)
    assert columns["difficulty"].min() >= 0
    assert columns["difficulty"].max() <= 1


@pytest.fixture
def cross_fitted(few_digits):
    settings = {"q": 0.7, "folds": 3, "steps": 8}
    return plugins.module("surrogate", "cross_fitted").Objective(few_digits(), NETWORK, settings, 0)


def test_no_classifier_is_trained_on_its_own_fold(few_digits, cross_fitted):
    split = few_digits()
    images, labels = split.normalize(torch.tensor(split.images)), torch.tensor(split.labels)
    rows = torch.arange(len(split))
    for number, network in enumerate(cross_fitted.model["trained"]):
        own = rows[cross_fitted.fold == number]
        gradients = torch.autograd.grad(
            cross_fitted.loss([images[own]], labels[own], own), network.parameters(), allow_unused=True
        )
        assert all(gradient is None or not gradient.any() for gradient in gradients)
    seen = [cross_fitted.fold != number for number in range(3)]
    expected = sum(
        generalised_cross_entropy(network(images[mask]), labels[mask], q=0.7).mean()
        for network, mask in zip(cross_fitted.model["trained"], seen, strict=True)
    )
    torch.testing.assert_close(cross_fitted.loss([images], labels, rows), expected)


def test_a_sample_is_asked_of_the_classifier_of_its_fold_at_each_moment(few_digits, cross_fitted):
    split = few_digits()
    images, labels = split.normalize(torch.tensor(split.images)), torch.tensor(split.labels)
    rows, seen = torch.arange(len(split)), {}
    for step in range(9):
        if step in (2, 4, 8):
            with torch.no_grad():
                seen[step] = torch.stack([network(images) for network in cross_fitted.model["trained"]])  # (F, N, K)
        if step < 8:
            loss = cross_fitted.loss([images], labels, rows)
            with torch.no_grad():
                for parameter, gradient in zip(
                    cross_fitted.trained(), torch.autograd.grad(loss, cross_fitted.trained()), strict=True
                ):
                    parameter -= 0.3 * gradient
    columns = embed(cross_fitted, split, device=CPU)
    own = [logits[cross_fitted.fold, rows] for logits in seen.values()]
    for moment, logits in enumerate(own):
        likely = logits.double().softmax(1)
        np.testing.assert_array_equal(columns["predictions"][:, moment], logits.argmax(1))
        out = likely[rows, labels] < likely.amax(1) / 20  # of ten classes
        np.testing.assert_array_equal(columns["excluded"][:, moment], out)
    np.testing.assert_allclose(columns["logits"], own[-1], atol=1e-5)
    likely = own[-1].softmax(1)
    np.testing.assert_allclose(columns["embedding"], likely / likely.norm(dim=1, keepdim=True), atol=1e-5)


@pytest.mark.parametrize(("side", "left"), [(8, 8), (31, 31), (32, 16), (64, 16), (28, 28), (100, 16)])
def test_coarse_images_are_means_of_blocks(side, left):
    images = torch.rand(2, 3, side, side)
    found, by = coarse(images), factor(side)
    assert found.shape[-1] == left == side // by
    cut = images[:, :, : left * by, : left * by].reshape(2, 3, left, by, left, by)
    torch.testing.assert_close(found, cut.mean((3, 5)))


def test_all_images_of_a_large_split_are_averaged(few_digits, monkeypatch):
    monkeypatch.setattr(coarse_module, "_AT_ONCE", 7)
    split = few_digits(normalised=True)
    found = coarse_module.coarse_split(split)
    torch.testing.assert_close(found, coarse_module.coarse(split.scaled(torch.tensor(split.images))), rtol=0, atol=0)


@pytest.mark.parametrize("kind", plugins.kinds("surrogate"))
def test_the_loss_has_the_options_of_the_settings(few_digits, kind):
    """None of which is the default."""
    split = few_digits()
    options = {"q": 0.3, "temperature": 0.5, "decay": 0.4, "folds": 2, "steps": 8}
    options |= {"dimensions": 8, "embedding": "features", "augment": "crop_scale"}
    objective = plugins.module("surrogate", kind).Objective(split, NETWORK, options, 0).to(CPU)
    images, labels = split.normalize(torch.tensor(split.images)), torch.tensor(split.labels)
    rows = torch.arange(len(split))

    def logs(network):  # log-probabilities of the labels
        return network(images).log_softmax(1)[rows, labels]

    def generalised(log):
        return 0.3 * log.exp() ** 0.3 * -log

    with torch.no_grad():
        found = objective.loss([images] * objective.views, labels, rows)
        if kind == "cross_fitted":
            one, other = objective.model["trained"]
            assert not torch.equal(one.head.weight, other.head.weight)
            expected = sum(
                generalised(logs(network))[objective.fold != number].mean()
                for number, network in enumerate((one, other))
            )
        elif kind == "lff":
            biased, debiased = (logs(objective.model[name]) for name in ("biased", "debiased"))
            part = [  # of the first step, so that the averages are the losses
                log / torch.stack([log[labels == label].min() for label in range(3)])[labels]
                for log in (biased, debiased)
            ]
            expected = (generalised(biased) - part[0] / (part[0] + part[1]) * debiased).mean()
        elif kind in ("supcon", "selecmix"):
            features = objective.features([images, images])
            expected = (
                supcon_loss(features, labels, temperature=0.5)
                if kind == "supcon"
                else generalised_supcon_loss(features, labels, q=0.3, temperature=0.5)
            )
        else:
            log = logs(objective.model)
            expected = (-log if kind == "cross_entropy" else generalised(log)).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
