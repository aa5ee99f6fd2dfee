"""The contrastive loss against published probes, plain loops and another library; training and resuming any kind."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.data.split import Split, channel_statistics
from ddbias.debias import surrogate
from ddbias.debias.surrogate import contrastive, embed, train_surrogate, training
from ddbias.debias.surrogate.supcon import supcon_loss
from ddbias.runtime.checkpoint import Checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

PROBE_LABELS = torch.tensor([0, 1, 0, 2, 1, 2])
BASE = 0.07
CPU = torch.device("cpu")


@pytest.fixture
def waves():
    """The features of the published probes."""
    return torch.nn.functional.normalize(torch.sin(torch.arange(1.0, 49)).view(6, 2, 4), dim=2)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def slow_loss(features, labels, temperature, base_temperature, mode):
    """The definition (arXiv 2004.11362) in plain loops over anchors, positives and all others."""
    count, views, _ = features.shape
    points = [(i, v, features[i, v] / features[i, v].norm()) for v in range(views) for i in range(count)]
    losses = []
    for i, v, anchor in points:
        if mode == "one" and v > 0:
            continue
        others = [(j, z) for j, u, z in points if (j, u) != (i, v)]
        positives = [z for j, z in others if (j == i if labels is None else labels[j] == labels[i])]
        total = math.fsum(math.exp(float(anchor @ z) / temperature) for _, z in others)
        terms = [float(anchor @ z) / temperature - math.log(total) for z in positives]
        losses.append(-temperature / base_temperature * math.fsum(terms) / max(len(terms), 1))
    return math.fsum(losses) / len(losses)


# ------------------------------------------------------------------------------------------------------------ loss


@pytest.mark.parametrize(
    ("labels", "mode", "expected"),
    [
        (PROBE_LABELS, "all", (16.989515, 17.332047, 25.456961)),
        (PROBE_LABELS, "one", (16.620173, 16.959740, 25.101748)),
        (None, "all", (22.339324, 22.681860, 30.806772)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_are_the_published_probes(waves, labels, mode, expected, dtype):
    found = [
        supcon_loss(waves.to(dtype), labels, temperature=t, base_temperature=BASE, mode=mode) for t in (0.07, 0.1, 0.5)
    ]
    assert [loss.item() for loss in found] == pytest.approx(expected, rel=1e-5)
    assert all(loss.dtype == dtype and loss.ndim == 0 for loss in found)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=7),
    st.integers(1, 3),
    st.sampled_from([0.05, 0.1, 1.0]),
    st.sampled_from(["all", "one"]),
    st.booleans(),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_loss_is_its_definition(labels, views, temperature, mode, known, seed):
    if len(labels) * views == 1:
        views = 2  # an anchor needs something to be contrasted with
    features = noise(len(labels), views, 3, seed=seed, dtype=torch.float64)
    labels = torch.tensor(labels) if known else None
    found = supcon_loss(features, labels, temperature=temperature, base_temperature=BASE, mode=mode)
    assert found.item() == pytest.approx(slow_loss(features, labels, temperature, BASE, mode), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("temperature", [0.07, 0.1, 0.5])
def test_loss_is_that_of_pytorch_metric_learning_times_the_ratio_of_temperatures(temperature):
    library = pytest.importorskip("pytorch_metric_learning.losses")
    features, labels = noise(20, 2, 16), torch.arange(20) % 4
    theirs = library.SupConLoss(temperature=temperature)(features.transpose(0, 1).reshape(40, 16), labels.repeat(2))
    ours = supcon_loss(features, labels, temperature=temperature, base_temperature=BASE)
    assert ours.item() == pytest.approx(theirs.item() * temperature / BASE, rel=1e-5)


def test_an_anchor_without_positives_adds_nothing_but_counts():
    features, labels = noise(5, 1, 4, dtype=torch.float64), torch.tensor([0, 0, 1, 2, 2])
    loss = supcon_loss(features, labels)
    pairs = [slow_loss(features, labels, 0.1, BASE, "all")]
    assert loss.item() == pytest.approx(pairs[0])
    alone = supcon_loss(features, torch.arange(5))
    assert alone.item() == 0


@pytest.mark.parametrize("labels", [PROBE_LABELS, torch.arange(6), torch.zeros(6, dtype=torch.long), None])
@pytest.mark.parametrize("views", [1, 2])
def test_gradients_are_finite(labels, views):
    features = noise(6, views, 4, dtype=torch.float64).requires_grad_()
    supcon_loss(features, labels, temperature=0.01).backward()
    assert torch.isfinite(features.grad).all()
    collapsed = torch.ones(6, views, 4).requires_grad_()
    supcon_loss(collapsed, labels).backward()
    assert torch.isfinite(collapsed.grad).all()


def test_gradients_are_those_of_the_definition():
    features = noise(4, 2, 3, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 1, 0, 2])
    assert torch.autograd.gradcheck(lambda f: supcon_loss(f, labels), features)


def test_order_scale_and_names_change_nothing():
    features, labels = noise(12, 2, 5, dtype=torch.float64), torch.arange(12) % 3
    expected = supcon_loss(features, labels).item()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    assert supcon_loss(features[order], labels[order]).item() == pytest.approx(expected, rel=1e-12)
    assert supcon_loss(features.flip(1), labels).item() == pytest.approx(expected, rel=1e-12)
    scales = torch.rand(12, 2, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.1
    assert supcon_loss(features * scales, labels).item() == pytest.approx(expected, rel=1e-12)
    assert supcon_loss(features, 10 - 3 * labels).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_compiling_loses_nothing_beyond_its_input(dtype):
    features, labels = noise(64, 2, 32).to(dtype), torch.arange(64) % 4
    assert supcon_loss(features, labels).item() == pytest.approx(supcon_loss(features.double(), labels).item(), 1e-5)


def test_wrong_shapes_and_modes_are_refused():
    with pytest.raises(ValueError, match="images, views, dimensions"):
        supcon_loss(noise(4, 3), None)
    with pytest.raises(ValueError, match="do not fit 4 images"):
        supcon_loss(noise(4, 2, 3), torch.zeros(8))
    with pytest.raises(ValueError, match="mode must be 'all' or 'one', not 'two'"):
        supcon_loss(noise(4, 2, 3), None, mode="two")


# ---------------------------------------------------------------------------------------------------------- training

SETTINGS = {"kind": "supcon", "epochs": 1.5, "steps": None, "batch_size": 32, "learning_rate": 0.05, "momentum": 0.9}
SETTINGS |= {"weight_decay": 1e-4, "temperature": 0.1, "dimensions": 16, "augment": "crop_cutout_scale_rotate"}
SETTINGS |= {"embedding": "features", "q": 0.7, "decay": 0.7, "folds": 2, "early_stopping": False, "check_every": 2}
NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
STEPS = 6  # 1.5 epochs of 120 images in batches of 32
BEFORE = [5.64497, 5.49826, 5.66703, 4.5823, 4.93374, 5.38499]


@pytest.fixture(scope="module")
def digits():
    """120 real digits in two colours, paired with the label for most."""
    from sklearn.datasets import load_digits

    source = load_digits()
    grey = np.rint(source.images[:120] * (255 / 16)).astype(np.uint8)
    attributes = np.where(np.arange(120) % 5 == 0, 1 - source.target[:120] % 2, source.target[:120] % 2)
    images = np.zeros((120, 2, 8, 8), np.uint8)
    images[np.arange(120), attributes] = grey
    mean, std = channel_statistics(images)
    meta = {"label_names": [str(d) for d in range(10)], "mean": mean, "std": std}
    return Split(images, source.target[:120].astype(np.int64), attributes.astype(np.int64), np.arange(120), meta)


def fit(split, *, checkpoint=None, seed=0, network=NETWORK, **changed):
    return train_surrogate(
        split,
        network=network,
        settings=SETTINGS | changed,
        seed=seed,
        device=CPU,
        checkpoint=checkpoint or Checkpoint(None),
    )


def same(first, second):
    """Whether two results (network and history) are identical, bit for bit."""
    (a, a_history), (b, b_history) = first, second
    pairs = zip(a.model.state_dict().items(), b.model.state_dict().items(), strict=True)
    equal = [np.array_equal(a_history[name], b_history[name], equal_nan=True) for name in a_history]
    return all(equal) and all(m == n and torch.equal(x, y) for (m, x), (n, y) in pairs)


@pytest.fixture(scope="module")
def fitted(digits):
    return fit(digits)


def test_history_has_a_finite_loss_for_every_step(fitted):
    history = fitted[1]
    assert history["step"].tolist() == list(range(1, STEPS + 1))
    assert np.isfinite(history["loss"]).all()
    assert np.isnan(history["separation"]).all()  # not asked for
    assert np.isnan(history["auc"]).all()


def test_steps_override_epochs(digits, fitted):
    assert same(fit(digits, steps=STEPS, epochs=100), fitted)
    assert fit(digits, steps=9)[1]["step"].tolist() == list(range(1, 10))


def test_the_contrastive_losses_of_a_run_are_as_ever(fitted):
    """Losses of supcon before there were other kinds; on other processors the last digits may differ."""
    assert fitted[1]["loss"] == pytest.approx(BEFORE, rel=1e-4)


def test_training_repeats_itself_and_leaves_the_global_generators_alone(digits, fitted):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert same(fit(digits), fitted)
    assert not same(fit(digits, seed=1), fitted)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_attributes_are_not_looked_at(digits, fitted):
    assert same(fit(dataclasses.replace(digits, attributes=None)), fitted)


def test_labels_are_looked_at(digits, fitted):
    assert not same(fit(dataclasses.replace(digits, labels=digits.labels[::-1].copy())), fitted)


@pytest.mark.slow
@pytest.mark.parametrize("kind", plugins.kinds("surrogate"))
def test_the_loss_falls(digits, kind):
    # The generalised losses are small where nothing is predicted yet, so they rise first; the plain one tells.
    objective, history = fit(digits, kind=kind, epochs=15, learning_rate=0.1, augment="none")
    columns = embed(objective, digits, device=CPU)
    if kind == "supcon":
        assert history["loss"][-4:].mean() < 0.9 * history["loss"][:4].mean()
    if "logits" in columns:
        accuracy = (columns["logits"].argmax(1) == digits.labels).mean()
        assert accuracy > 0.3  # a tenth by chance
    similarity = columns["embedding"] @ columns["embedding"].T
    alike = digits.labels[:, None] == digits.labels
    start = embed(
        plugins.module("surrogate", kind).Objective(digits, NETWORK, SETTINGS | {"kind": kind}, 0), digits, device=CPU
    )
    before = start["embedding"] @ start["embedding"].T
    assert similarity[alike].mean() - similarity[~alike].mean() > before[alike].mean() - before[~alike].mean()


def test_every_image_is_seen_once_an_epoch_in_two_views(digits, monkeypatch):
    seen = []

    class Spy(training.DSA):
        def per_sample(self, images, generator):
            seen.append((images, generator.get_state()))
            return super().per_sample(images, generator)

    monkeypatch.setattr(training, "DSA", Spy)
    fit(digits, epochs=2)
    batches, states = zip(*seen, strict=True)
    assert all(torch.equal(a, b) for a, b in zip(batches[::2], batches[1::2], strict=True))
    assert len({state.numpy().tobytes() for state in states}) == len(seen) == 2 * 2 * 4
    first, second = torch.cat(batches[0:8:2]), torch.cat(batches[8:16:2])
    assert not torch.equal(first, second)  # another order
    rows = digits.normalize(torch.tensor(digits.images)).flatten(1).tolist()
    assert sorted(first.flatten(1).tolist()) == sorted(second.flatten(1).tolist()) == sorted(rows)


def test_the_classifier_of_the_encoder_is_not_trained(digits, fitted):
    start = plugins.module("surrogate", "supcon").Objective(digits, NETWORK, SETTINGS, 0).model
    trained, fresh = fitted[0].model.state_dict(), start.state_dict()
    moved = {name for name in fresh if not torch.equal(trained[name], fresh[name])}
    assert moved == {name for name, _ in start.named_parameters() if not name.startswith("encoder.head")}


def test_an_unknown_kind_is_refused(digits):
    with pytest.raises(DdbiasError, match=r"unknown surrogate kind 'supcn'.*Did you mean 'supcon'"):
        fit(digits, kind="supcn")


class Killed(Exception):
    pass


RESUMED = [
    *((kind, NETWORK["kind"], False, 4) for kind in plugins.kinds("surrogate")),
    *((kind, "convnet_bn", True, 5) for kind in plugins.kinds("surrogate")),
    ("supcon", "convnet", False, 1),
    ("lff", "convnet", True, 1),
    ("lff", "convnet", True, STEPS),
]


@pytest.mark.parametrize(("kind", "network", "early_stopping", "after"), RESUMED)
def test_a_killed_run_goes_on_to_the_same_result(digits, tmp_path, monkeypatch, kind, network, early_stopping, after):
    options = {"network": NETWORK | {"kind": network}, "kind": kind, "early_stopping": early_stopping}
    state = tmp_path / "state.safetensors"
    steps = []

    class Interrupted(training.Progress):
        def __iter__(self):
            for step in super().__iter__():
                if self.killed and step == after:
                    raise Killed
                steps.append(step)
                yield step
            if self.killed:
                raise Killed

    monkeypatch.setattr(training, "Progress", Interrupted)
    Interrupted.killed = False
    whole = fit(digits, **options)
    steps.clear()
    Interrupted.killed = True
    with pytest.raises(Killed):
        fit(digits, checkpoint=Checkpoint(state, "me", every=0), **options)
    assert steps == list(range(after))
    Interrupted.killed = False
    again = fit(digits, checkpoint=Checkpoint(state, "me", every=0), **options)
    assert steps == list(range(STEPS))  # none was done twice
    assert same(again, whole)


def test_a_state_of_other_settings_is_not_taken_up(digits, tmp_path, fitted):
    state = tmp_path / "state.safetensors"
    fit(digits, seed=1, checkpoint=Checkpoint(state, "other", every=0))
    assert state.exists()
    assert same(fit(digits, checkpoint=Checkpoint(state, "me", every=0)), fitted)


# --------------------------------------------------------------------------------------------------------- embedding


@pytest.mark.parametrize("layer", contrastive.LAYERS)
def test_embeddings_are_on_the_unit_sphere_in_the_order_of_the_split(digits, layer):
    objective, _ = fit(digits, embedding=layer)
    columns = embed(objective, digits, device=CPU)
    found, model = columns["embedding"], objective.model
    size = model.encoder.embedding_size if layer == "features" else SETTINGS["dimensions"]
    assert list(columns) == ["embedding"]
    assert found.shape == (120, size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    inputs = digits.normalize(torch.tensor(digits.images[37:38]))
    with torch.no_grad():
        alone = model.encoder.embed(inputs) if layer == "features" else model.projection(model.encoder.embed(inputs))
    np.testing.assert_allclose(found[37], (alone / alone.norm()).numpy()[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", plugins.kinds("surrogate"))
def test_columns_do_not_depend_on_the_batch_and_training_goes_on_as_before(digits, kind):
    objective, _ = fit(digits, network=NETWORK | {"kind": "convnet_bn"}, kind=kind)
    assert objective.model.training
    whole = embed(objective, digits, device=CPU)
    for batch_size in (1, 50, 119):
        parts = embed(objective, digits, device=CPU, batch_size=batch_size)
        for name, values in whole.items():
            np.testing.assert_allclose(parts[name], values, rtol=1e-3, atol=1e-5)
    assert objective.model.training


def test_a_batch_is_never_larger_than_asked_for(digits, fitted, monkeypatch):
    sizes = []
    flat = lambda images: (sizes.append(len(images)), images.flatten(1))[1]  # noqa: E731
    monkeypatch.setattr(fitted[0].model.encoder, "embed", flat)
    embed(fitted[0], digits, device=CPU, batch_size=50)
    assert max(sizes) <= 50
    assert sum(sizes) == 120


def test_an_unknown_layer_is_refused(digits):
    with pytest.raises(DdbiasError, match=r"unknown embedding 'feature'.*Did you mean 'features'"):
        fit(digits, embedding="feature")


@pytest.mark.parametrize("kind", ["cross_entropy", "generalised_ce", "lff"])
def test_classifiers_give_features_and_logits(digits, kind):
    objective, _ = fit(digits, kind=kind)
    columns = embed(objective, digits, device=CPU)
    network = objective.model["biased"] if kind == "lff" else objective.model
    with torch.no_grad():
        inputs = digits.normalize(torch.tensor(digits.images))
        features, logits = network.embed(inputs), network(inputs)
    np.testing.assert_allclose(columns["logits"], logits.numpy(), rtol=1e-4, atol=1e-5)
    expected = torch.nn.functional.normalize(features, dim=1).numpy()
    np.testing.assert_allclose(columns["embedding"], expected, rtol=1e-4, atol=1e-6)
    assert set(columns) == {"embedding", "logits", *(["difficulty"] if kind == "lff" else [])}
    assert {values.dtype for values in columns.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("known", [True, False])
def test_saved_embeddings_come_back(digits, tmp_path, known):
    split = digits if known else dataclasses.replace(digits, attributes=None)
    values = noise(120, 6).numpy()
    surrogate.save_embeddings(tmp_path / "e.arrow", values, split, {"seed": 3})
    columns, meta = surrogate.load_embeddings(tmp_path / "e.arrow")
    np.testing.assert_array_equal(columns["embedding"], values)
    np.testing.assert_array_equal(columns["label"], split.labels)
    np.testing.assert_array_equal(columns["index"], split.index)
    assert ("attribute" in columns) is known
    assert meta == {"seed": 3, "dimensions": 6}
    assert not {"logits", "difficulty"} & set(columns)


def test_saved_logits_and_difficulty_come_back(digits, tmp_path):
    values, logits, difficulty = noise(120, 6).numpy(), noise(120, 10, seed=1).numpy(), noise(120, seed=2).numpy()
    surrogate.save_embeddings(tmp_path / "e.arrow", values, digits, {}, logits=logits, difficulty=difficulty)
    columns, _ = surrogate.load_embeddings(tmp_path / "e.arrow")
    np.testing.assert_array_equal(columns["logits"], logits)
    np.testing.assert_array_equal(columns["difficulty"], difficulty)
    assert columns["difficulty"].dtype == columns["logits"].dtype == np.float32


def test_saved_predictions_of_three_moments_come_back(few_digits, tmp_path):
    split = few_digits()
    looks = {
        name: np.arange(180, dtype=np.float32).reshape(60, 3) % (k + 2)
        for k, name in enumerate(("predictions", "excluded"))
    }
    surrogate.save_embeddings(tmp_path / "e.arrow", np.ones((60, 4)), split, {}, **looks)
    columns, _ = surrogate.load_embeddings(tmp_path / "e.arrow")
    for name, values in looks.items():
        np.testing.assert_array_equal(columns[name], values)
        assert columns[name].dtype == np.float32
