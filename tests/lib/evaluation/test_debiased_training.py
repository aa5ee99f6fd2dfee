"""Debiasing while a network is trained, against slow plain loops, and what it does on biased digits."""

import inspect
import math

import numpy as np
import pytest
import torch
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import derive, stream
from ddbias.data.split import Split, channel_statistics
from ddbias.evaluation import debiased_training, metrics, protocol
from ddbias.evaluation.debiased_training import dfa, lff, selecmix
from ddbias.learning import networks
from ddbias.learning.networks import Network
from ddbias.learning.training import Recipe, predict, train
from ddbias.planning import code_digest
from ddbias.planning.config import load_schema
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

CPU = torch.device("cpu")
LEARNERS = {"lff": lff.Learner, "selecmix": selecmix.Learner, "dfa": dfa.Learner}

pytestmark = pytest.mark.usefixtures("one_thread")


def builder(name="convnet", *, size=8, classes=3, **options):
    """Return what the kinds call; the weights of a network depend on the names."""
    options = options or {"width": 4, "depth": 1}

    def build(*names):
        return networks.build(name, channels=3, size=size, classes=classes, seed=derive(0, *names), **options)

    return build


def batch(count=12, classes=3, seed=0):
    images = torch.randn((count, 3, 8, 8), generator=torch.Generator().manual_seed(seed))
    return images, torch.arange(count) % classes


def learner(kind, labels, build=None, *, classes=3, steps=10, **options):
    return LEARNERS[kind](build or builder(), labels, classes=classes, steps=steps, seed=0, **options)


# ---- the registry ---------------------------------------------------------------------------------------------------


def test_the_schema_has_every_kind_with_its_options_and_defaults():
    defs = load_schema()["$defs"]
    assert set(defs["debiasing"]) == {"none", *plugins.kinds("debiasing")} == {"none", *LEARNERS}
    for kind, make in LEARNERS.items():
        own = plugins.find("debiasing", kind).options
        plain = {name: defs[o["$ref"].removeprefix("#/$defs/")]["default"] for name, o in own.items() if "$ref" in o}
        options = {name: p.default for name, p in inspect.signature(make).parameters.items() if p.default != p.empty}
        assert {name: option.get("default", plain.get(name)) for name, option in own.items()} == options


def test_an_unknown_kind_is_one_line():
    with pytest.raises(DdbiasError, match="unknown debiasing kind 'lef'; known: dfa, lff, selecmix"):
        debiased_training.model_and_loss({"kind": "lef"}, builder(), batch()[1], classes=3, steps=1, seed=0)


def test_an_evaluation_depends_on_its_kind_only():
    def files(*kinds):
        found = code_digest.files("evaluate", [("network", "convnet"), *kinds])
        return {"/".join(path.parts[-2:]) for path in found}

    plain = files()
    assert not plain & {f"debiased_training/{kind}.py" for kind in LEARNERS}
    assert not [name for name in plain if name.startswith("surrogate/")]
    mixing = files(("debiasing", "selecmix"))
    assert {"debiased_training/selecmix.py", "surrogate/selecmix.py", "surrogate/contrastive.py"} <= mixing
    assert not mixing & {"debiased_training/dfa.py", "debiased_training/lff.py", "surrogate/lff.py"}
    assert {"debiased_training/lff.py", "surrogate/lff.py"} <= files(("debiasing", "dfa"))


# ---- what all have in common ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["convnet", "convnet_bn"])
@pytest.mark.parametrize("kind", LEARNERS)
def test_all_networks_learn_and_a_training_can_be_repeated(kind, name):
    images, labels = batch(20)
    state = torch.get_rng_state()

    def trained():
        model = learner(kind, labels, builder(name, width=4, depth=1), steps=8)
        first = [parameter.detach().clone() for parameter in model.parameters()]
        train(
            model, images, labels, recipe=Recipe(learning_rate=0.1, batch_size=8, augment="color_crop"), steps=8,
            generator=stream(0, "batches"), loss=model.loss,
        )  # fmt: skip
        assert not any(torch.equal(a, b) for a, b in zip(first, model.parameters(), strict=True))
        return model

    once, again = trained(), trained()
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), again.parameters(), strict=True))
    assert once.eval()(images).shape == (20, 3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", LEARNERS)
@pytest.mark.parametrize("labels", [[0], [1, 1, 1], [0, 1, 2]])
def test_tiny_batches_have_a_finite_loss(kind, labels):
    """One image, one class, one image per class: there may be no pair."""
    labels = torch.tensor(labels)
    model = learner(kind, labels, swap_after=0.0) if kind == "dfa" else learner(kind, labels)
    for _ in range(4):
        loss = model.loss(batch(len(labels))[0], labels, torch.arange(len(labels)))
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(("kind", "part"), [("lff", "debiased"), ("selecmix", "main"), ("dfa", "intrinsic")])
def test_what_predicts_starts_as_in_plain_training(kind, part):
    images, labels = batch()
    assert torch.equal(getattr(learner(kind, labels), part).embed(images), builder()().embed(images))


def test_a_stated_cross_entropy_is_the_default_loss(few_digits):
    split = few_digits()
    images, labels = split.normalize(torch.from_numpy(split.images)), torch.from_numpy(split.labels)

    def trained(**options):
        model = builder()()
        if options:
            options = {"loss": lambda inputs, targets, rows: cross_entropy(model(inputs), targets)}
        train(model, images, labels, recipe=Recipe(batch_size=16), epochs=2, generator=stream(0), **options)
        return model.state_dict()

    assert all(torch.equal(a, b) for a, b in zip(trained().values(), trained(loss=True).values(), strict=True))


def test_without_debiasing_nothing_has_changed(few_digits):
    split, test = few_digits(), few_digits("test")
    images, labels = split.normalize(torch.from_numpy(split.images)), torch.from_numpy(split.labels)
    recipe, network = Recipe(batch_size=16, augment="color_crop"), {"kind": "convnet", "width": 8, "depth": 1}
    given = {"network": network, "recipe": recipe, "epochs": 3, "steps": None, "repeats": 2, "seed": 5, "device": CPU}
    counts = protocol.evaluate(images, labels, test, **given).counts
    for repeat in range(2):
        model = networks.build(
            "convnet", channels=3, size=8, classes=3, seed=derive(5, "evaluation", repeat), width=8, depth=1
        )
        train(model, images, labels, recipe=recipe, epochs=3, generator=stream(5, "evaluation", repeat, "batches"))
        predictions = predict(model, test.normalize(torch.from_numpy(test.images))).numpy()
        expected = metrics.count(test.attributes, test.labels, predictions, 10, 3)
        np.testing.assert_array_equal(counts[repeat], expected)


# ---- learning from failure ------------------------------------------------------------------------------------------


def test_lff_weighs_by_the_relative_difficulty_of_running_averages():
    images, labels = batch(12)
    model = learner("lff", labels, decay=0.7, q=0.6)
    averages = {"biased": {}, "debiased": {}}
    for rows in ([0, 1, 2, 3, 4, 5], [4, 5, 6, 7], [0, 1, 4, 11, 8]):
        expected = 0.0
        losses = {}
        for name, average in averages.items():
            log_p = getattr(model, name)(images[rows]).log_softmax(1).detach().double()
            losses[name] = [-log_p[i, labels[row]].item() for i, row in enumerate(rows)]
            for row, loss in zip(rows, losses[name], strict=True):
                average[row] = 0.7 * average[row] + 0.3 * loss if row in average else loss
        for i, row in enumerate(rows):
            scaled = {}
            for name, average in averages.items():
                largest = max(value for other, value in average.items() if labels[other] == labels[row])
                scaled[name] = average[row] / largest
            weight = scaled["biased"] / (scaled["biased"] + scaled["debiased"] + 1e-8)
            failed, missed = losses["biased"][i], losses["debiased"][i]
            expected += (weight * missed + 0.6 * math.exp(-0.6 * failed) * failed) / len(rows)
        loss = model.loss(images[rows], labels[rows], torch.tensor(rows))
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_lff_the_weights_carry_no_gradient():
    images, labels = batch(6)
    model = learner("lff", labels)
    parameters = list(model.debiased.parameters())
    gradients = torch.autograd.grad(model.loss(images, labels, torch.arange(6)), parameters)
    weights = lff.Difficulty(labels, 3, 0.7).update(
        torch.arange(6),
        *(cross_entropy(network(images), labels, reduction="none") for network in (model.biased, model.debiased)),
    )
    assert not weights.requires_grad
    loss = (weights * cross_entropy(model.debiased(images), labels, reduction="none")).mean()
    for ours, expected in zip(gradients, torch.autograd.grad(loss, parameters), strict=True):
        torch.testing.assert_close(ours, expected)


# ---- SelecMix -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_selecmix_pairs_are_those_of_a_plain_search(labels, seed):
    similarity = np.random.default_rng(seed).uniform(-1, 1, (len(labels), len(labels)))
    positives, negatives = [], []
    for i, label in enumerate(labels):
        same = [j for j in range(len(labels)) if labels[j] == label and j != i]
        other = [j for j in range(len(labels)) if labels[j] != label]
        positives.append(min(same, key=lambda j: similarity[i, j], default=i))
        negatives.append(max(other, key=lambda j: similarity[i, j], default=i))
    given_ = torch.from_numpy(similarity), torch.tensor(labels)
    assert selecmix.contradicting_positives(*given_).tolist() == positives
    assert selecmix.contradicting_negatives(*given_).tolist() == negatives


def test_selecmix_mixtures_are_mostly_the_partner_and_have_its_label():
    count = 30
    labels = torch.arange(count) % 3
    images = torch.eye(count)[:, :, None, None]  # a mixture then shows its shares
    similarity = torch.rand((count, count), generator=torch.Generator().manual_seed(1))
    model = learner("selecmix", labels)
    taken, shares = [], []
    for _ in range(20):
        mixed, targets = model.mixtures(images, labels, similarity)
        mixed = mixed.flatten(1)
        own = mixed.diagonal()
        partners = (mixed - torch.diag(own)).argmax(1)
        assert ((own >= 0) & (own <= 0.5)).all()
        torch.testing.assert_close(mixed.sum(1), torch.ones(count))
        torch.testing.assert_close(mixed[torch.arange(count), partners], 1 - own)
        assert torch.equal(targets, labels[partners])
        choices = [
            find(similarity, labels) for find in (selecmix.contradicting_positives, selecmix.contradicting_negatives)
        ]
        taken.append([torch.equal(partners, choice) for choice in choices])
        shares.append(own)
    assert all(sum(which) == 1 for which in taken)
    assert 3 <= sum(which[0] for which in taken) <= 17  # a fair coin: all else has a probability of 0.0004
    shares = torch.cat(shares)
    assert 0.23 < shares.mean() < 0.27
    assert shares.max() > 0.48


def test_selecmix_the_main_network_sees_mixtures_and_does_not_move_the_other():
    images, labels = batch()
    model = learner("selecmix", labels)
    seen = []
    model.main.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].detach(), output)))
    model.loss(images, labels, torch.arange(12))
    ((mixed, logits),) = seen
    assert not [1 for image in mixed if any(torch.equal(image, other) for other in images)]
    parameters = list(model.contrastive.parameters())
    assert all(g is None for g in torch.autograd.grad(logits.sum(), parameters, allow_unused=True))


# ---- disentangled feature augmentation ------------------------------------------------------------------------------


class Identity(Network):
    """Embeds an image (3, 1, 1) as its three values."""

    def __init__(self):
        super().__init__(nn.Identity(), 3, 3)


def loss_of_readers(*, crossed, **options):
    """Return the loss when the debiased head reads the label off z_i and the biased one off z_b, or the other way."""
    labels = torch.arange(9) % 3
    model = learner("dfa", labels, lambda *names: Identity(), swap_after=0.0, **options)
    intrinsic = 6 * torch.cat([torch.eye(3), torch.zeros(3, 3)], 1)
    bias = intrinsic.roll(3, 1)
    with torch.no_grad():
        for name, weight in zip(
            ("debiased", "biased"), (bias, intrinsic) if crossed else (intrinsic, bias), strict=True
        ):
            model.heads[name].weight.copy_(weight)
            model.heads[name].bias.zero_()
    images = torch.eye(3)[labels][:, :, None, None]
    return model.loss(images, labels, torch.arange(9)).item()


def test_dfa_labels_follow_the_features_that_are_swapped():
    assert loss_of_readers(crossed=False) < 0.02
    # Crossed heads are right about every image as it is, and wrong about most of the swapped ones.
    assert loss_of_readers(crossed=True, swap_weight=0.0) < 0.02
    assert loss_of_readers(crossed=True) > 1


def test_dfa_each_head_moves_its_own_encoder():
    images, labels = batch()
    model = learner("dfa", labels)
    debiased, biased = model.logits(model.intrinsic.embed(images), model.bias.embed(images))
    for logits, own, other in ((debiased, model.intrinsic, model.bias), (biased, model.bias, model.intrinsic)):
        theirs = torch.autograd.grad(logits.sum(), list(other.parameters()), allow_unused=True, retain_graph=True)
        assert all(gradient is None for gradient in theirs)
        assert all(gradient.any() for gradient in torch.autograd.grad(logits.sum(), list(own.body[0].parameters())))


def test_dfa_loss_is_that_of_a_plain_loop():
    images, labels = batch(9)
    options = {"q": 0.6, "bias_weight": 2.5, "swap_weight": 0.4, "swap_after": 0.25}
    model = learner("dfa", labels, steps=8, **options)
    z_i, z_b = model.intrinsic.embed(images).detach(), model.bias.embed(images).detach()
    swaps = stream(0, "swaps")

    def losses(name, i, j, label):
        p = model.heads[name](torch.cat([z_i[i], z_b[j]])).softmax(0)[label].item()
        return -math.log(p), p

    for step in range(4):
        plain = [(losses("biased", i, i, labels[i])[0], losses("debiased", i, i, labels[i])[0]) for i in range(9)]
        largest = [[max(plain[j][k] for j in range(9) if labels[j] == label) for k in range(2)] for label in range(3)]
        partners = torch.randperm(9, generator=swaps).tolist() if step >= 2 else None
        expected = 0.0
        for i, (failed, missed) in enumerate(plain):
            b, d = failed / largest[labels[i]][0], missed / largest[labels[i]][1]
            for j, factor in ((i, 1.0), (partners[i] if partners else None, 0.4)):
                if j is not None:
                    bias_loss, p = losses("biased", i, j, labels[j])
                    own = b / (b + d) * losses("debiased", i, j, labels[i])[0]
                    expected += factor * (own + 2.5 * 0.6 * p**0.6 * bias_loss) / 9
        loss = model.loss(images, labels, torch.arange(9))
        assert loss.item() == pytest.approx(expected, rel=1e-4)


# ---- does it help? --------------------------------------------------------------------------------------------------


def coloured_digits(images, labels, attributes):
    """Return digits of ten saturated colours, one for each attribute."""
    hue = np.arange(10)[:, None] * 0.6 + np.array([0, 4, 2])
    palette = np.clip(np.abs(hue % 6 - 3) - 1, 0, 1)
    pixels = (images[:, None] / 16 * 255 * palette[attributes][:, :, None, None]).astype(np.uint8)
    mean, std = channel_statistics(pixels)
    names = [str(i) for i in range(10)]
    meta = {"label_names": names, "attribute_names": names, "mean": mean, "std": std}
    return Split(pixels, labels, attributes, np.arange(len(labels)), meta)


@pytest.fixture(scope="module")
def conflicting_accuracy():
    """Return a function: accuracies (3,) on conflicting test digits after training with 10 % conflicting ones."""
    digits, rng = load_digits(), np.random.default_rng(0)
    order = rng.permutation(len(digits.target))
    images, labels = digits.images[order], digits.target[order].astype(np.int64)
    other = (labels + rng.integers(1, 10, len(labels))) % 10
    attributes = np.where((rng.random(len(labels)) < 0.1) | (np.arange(len(labels)) >= 1200), other, labels)
    split, test = (
        coloured_digits(images[part], labels[part], attributes[part]) for part in (slice(1200), slice(1200, None))
    )
    test.meta.update(mean=split.meta["mean"], std=split.meta["std"])
    raw, targets = torch.from_numpy(split.images), torch.from_numpy(split.labels)

    def measure(kind):
        outcome = protocol.evaluate(
            raw, targets, test, network={"kind": "mlp", "width": 64}, recipe=Recipe(learning_rate=0.05, batch_size=100),
            epochs=None, steps=400, repeats=3, seed=0, device=CPU, debiasing={"kind": kind},
        )  # fmt: skip
        return np.einsum("rakk->r", outcome.counts) / len(test)

    return measure


@pytest.fixture(scope="module")
def plain_accuracy(conflicting_accuracy):
    return conflicting_accuracy("none")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "lff" else pytest.mark.thorough) for kind in LEARNERS]
)
def test_conflicting_digits_are_told_better_than_after_plain_training(kind, conflicting_accuracy, plain_accuracy):
    accuracy = conflicting_accuracy(kind)
    assert (accuracy > plain_accuracy).all()
    assert accuracy.mean() > plain_accuracy.mean() + 0.025
