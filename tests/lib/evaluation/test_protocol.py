import jsonschema
import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.base.log import Progress
from ddbias.base.seeding import stream
from ddbias.data import store
from ddbias.data.soft_labels import SoftLabels
from ddbias.data.split import Split, channel_statistics
from ddbias.data.training_set import training_set
from ddbias.evaluation import calibration, metrics, protocol, records
from ddbias.learning.training import Recipe
from ddbias.learning.training import train as train_network
from ddbias.runtime.checkpoint import Checkpoint
from torch.nn.functional import one_hot

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 8, "depth": 1}
CELL = {"study": "digits", "scale": "quick", "dataset": "digits_fg", "ratio": "0.95", "distiller": "dm"}
CELL |= {"debias": "kde", "ipc": "10", "seed": 0, "evaluation": "convnet"}

DIVERGING = {"recipe": Recipe(learning_rate=1e6, batch_size=16), "network": {**NETWORK, "norm": "none"}, "epochs": 4}

pytestmark = pytest.mark.usefixtures("one_thread")


def counted(images, labels, test, *, repeats=2, seed=0, recipe=None, epochs=2, steps=None, network=NETWORK):
    return outcome_of(images, labels, test, repeats, seed, recipe, epochs, steps, network).counts


def outcome_of(images, labels, test, repeats=2, seed=0, recipe=None, epochs=2, steps=None, network=NETWORK, state=None):
    return protocol.evaluate(
        images,
        labels,
        test,
        network=network,
        recipe=recipe or Recipe(batch_size=16),
        epochs=epochs,
        steps=steps,
        repeats=repeats,
        seed=seed,
        device=CPU,
        checkpoint=state,
    )


def outcome(counts, seed=0):
    """Counts with made-up confidences, but for the last network, which diverged."""
    bins = np.random.default_rng(seed).random((len(counts), calibration.BINS, 3))
    return protocol.Outcome(counts, [*bins[:-1], None])


def training(split):
    return split.normalize(torch.from_numpy(split.images)), torch.from_numpy(split.labels)


def test_counts_hold_every_test_sample_once(few_digits):
    train, test = few_digits(), few_digits("test", per_class=17)
    counts = counted(*training(train), test)
    assert counts.shape == (2, 10, 3, 3)
    cells = np.zeros((10, 3), int)
    np.add.at(cells, (test.attributes, test.labels), 1)
    for network in counts:
        np.testing.assert_array_equal(network.sum(2), cells)
    assert not np.array_equal(counts[0], counts[1])


def test_unknown_attributes_are_one_group(few_digits):
    train, test = few_digits(), few_digits("test", known=False)
    counts = counted(*training(train), test)
    assert counts.shape == (2, 1, 3, 3)
    known = counted(*training(train), few_digits("test"))
    np.testing.assert_array_equal(counts[:, 0], known.sum(1))
    assert {row["metric"] for row in protocol.rows(outcome(counts), CELL)} == {"accuracy", "calibration_error"}


def test_repeats_and_seeds(few_digits):
    images, labels = training(few_digits())
    test = few_digits("test")
    state = torch.get_rng_state()
    one, three = counted(images, labels, test, repeats=1), counted(images, labels, test, repeats=3)
    np.testing.assert_array_equal(three[:1], one)  # more networks extend
    np.testing.assert_array_equal(three, counted(images, labels, test, repeats=3))
    assert not np.array_equal(three, counted(images, labels, test, repeats=3, seed=1))
    assert torch.equal(torch.get_rng_state(), state)


def test_every_network_has_its_own_order_of_batches(few_digits, monkeypatch):
    images, labels = training(few_digits())
    seeds = []
    monkeypatch.setattr(protocol, "train", lambda *_, generator, **__: seeds.append(generator.initial_seed()))
    for seed in (0, 1):
        counted(images, labels, few_digits("test"), repeats=2, seed=seed)
    assert len(set(seeds)) == 4


def test_a_network_is_tested_on_normalised_images(few_digits):
    train, test = few_digits(normalised=True), few_digits("test", normalised=True)
    images, labels = training(train)
    network = protocol.build(NETWORK, test, CPU, 0, "evaluation", 0)
    batches = stream(0, "evaluation", 0, "batches")
    train_network(network, images, labels, recipe=Recipe(batch_size=16), epochs=2, generator=batches)
    mean, std = (np.reshape(test.meta[name], (3, 1, 1)) for name in ("mean", "std"))
    with torch.no_grad():
        logits = network.eval()(torch.tensor((test.images / 255 - mean) / std, dtype=torch.float32))
    expected = np.zeros((10, 3, 3), int)
    np.add.at(expected, (test.attributes, test.labels, logits.argmax(1).numpy()), 1)
    np.testing.assert_array_equal(counted(images, labels, test, repeats=1)[0], expected)


def test_raw_images_give_what_normalised_ones_give(few_digits):
    train, test = few_digits(normalised=True), few_digits("test", normalised=True)
    images, labels = training(train)
    expected = counted(images, labels, test, epochs=None, steps=9)
    np.testing.assert_array_equal(counted(torch.from_numpy(train.images), labels, test, epochs=None, steps=9), expected)


def stripes(labels, seed):
    """Images whose class is the row that is bright; the attribute is another."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (len(labels), 1, 8, 8), dtype=np.uint8)
    images[np.arange(len(labels)), :, 2 * labels + 1] += 180
    mean, std = channel_statistics(images)
    meta = {"label_names": ["a", "b", "c"], "attribute_names": ["x", "y"], "mean": mean, "std": std}
    return Split(images, labels, np.arange(len(labels)) % 2, np.arange(len(labels)), meta)


def test_separable_classes_are_learnt_and_only_where_labels_tell_them():
    test = stripes(np.arange(90) % 3, seed=1)
    images, labels = training(stripes(np.arange(60) % 3, seed=0))

    def accuracy(labels):
        counts = counted(images, labels, test, epochs=20, recipe=Recipe(batch_size=20))
        return np.einsum("rakk->r", counts) / 90

    assert (accuracy(labels) > 0.95).all()
    wrong = (labels + 1) % 3
    assert (accuracy(wrong) < 0.05).all()


def test_a_diverged_network_is_counted_and_told(few_digits, log_lines):
    test = few_digits("test")
    told = outcome_of(*training(few_digits()), test, repeats=1, **DIVERGING)
    assert told.counts.sum() == len(test)
    assert told.confidence == [None]
    assert "evaluate: network 0 diverged; lower the learning rate of the evaluation" in log_lines


def test_progress_counts_the_steps_of_all_networks(few_digits, log_lines):
    outcome_of(*training(few_digits()), few_digits("test"), epochs=None, steps=3)
    assert (Progress.latest["step"], Progress.latest["steps"]) == (6, 6)
    first, told, second = log_lines
    assert first.startswith("evaluate: network 0, accuracy 0.")
    assert told.startswith("evaluate: 6/6, ")
    assert second.startswith("evaluate: network 1, accuracy 0.")


class Killed(Exception):
    pass


@pytest.mark.parametrize("settings", [{}, DIVERGING])  # a network that diverged has no confidence
def test_a_killed_evaluation_goes_on_with_the_next_network(few_digits, monkeypatch, tmp_path, settings):
    given = (*training(few_digits()), few_digits("test"))
    undisturbed = outcome_of(*given, **settings)
    assert [bins is None for bins in undisturbed.confidence] == [bool(settings)] * 2
    trained, steps, train = [], [], protocol.train

    def killed_in_the_second(model, *arguments, **options):
        trained.append(model)
        steps.append(Progress.latest["step"] / Progress.latest["steps"])
        if len(trained) == 2:
            raise Killed
        train(model, *arguments, **options)

    monkeypatch.setattr(protocol, "train", killed_in_the_second)
    state = Checkpoint(tmp_path / "state.safetensors", every=0)
    with pytest.raises(Killed):
        outcome_of(*given, state=state, **settings)
    found = outcome_of(*given, state=state, **settings)
    assert len(trained) == 3  # the first network was not trained again
    assert steps == [0, 0.5, 0.5]
    np.testing.assert_array_equal(found.counts, undisturbed.counts)
    for bins, expected in zip(found.confidence, undisturbed.confidence, strict=True):
        np.testing.assert_array_equal(bins, expected)


def test_rows_fit_the_schema_and_the_metrics():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, (3, 3, 3, 3))
    validator = jsonschema.Draft202012Validator(records.schema())
    given = outcome(counts)
    rows = protocol.rows(given, CELL)
    for row in rows:
        validator.validate(row)
        assert {key: row[key] for key in CELL} == CELL
        if row["metric"] == "calibration_error":
            assert row["value"] == calibration.calibration_error(given.confidence[row["repeat"]])
        else:
            assert row["value"] == metrics.group_metrics(counts[row["repeat"]])[row["metric"]]
    expected = [(repeat, metric) for repeat in range(3) for metric in metrics.METRICS]
    expected += [(0, "calibration_error"), (1, "calibration_error")]  # network 2 diverged
    assert sorted((row["repeat"], row["metric"]) for row in rows) == sorted(expected)
    accuracy = [row for row in rows if row["metric"] == "accuracy"]
    assert [row["value"] for row in accuracy] == [np.einsum("akk->", c) / c.sum() for c in counts]
    assert [row["support"] for row in accuracy] == counts.sum((1, 2, 3)).tolist()


def test_save_and_read(tmp_path):
    counts = np.random.default_rng(0).integers(1, 9, (2, 3, 3, 3))
    path = tmp_path / "net.parquet"
    given = outcome(counts)
    protocol.save(path, given, cell=CELL, meta={"convention": "balanced"})
    table, meta = store.read_table(path)
    assert table.to_pylist() == protocol.rows(given, CELL)
    assert meta["convention"] == "balanced"
    np.testing.assert_array_equal(meta["counts"], counts)
    assert meta["confidence"] == [given.confidence[0].tolist(), None]
    first = path.read_bytes()
    protocol.save(path, given, cell=CELL, meta={"convention": "balanced"})
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    "change",
    [
        {"seed": "0"},
        {"seed": -1},
        {"scale": "huge"},
        {"ratio": "nearly all"},
        {"ipc": 10},
        {"ipc": "many"},
        {"surrogate": "supcon"},
        {"dataset": None},
    ],
)
def test_save_refuses_an_impossible_row(tmp_path, change):
    given = outcome(np.ones((1, 2, 2, 2), int))
    with pytest.raises(jsonschema.ValidationError):
        protocol.save(tmp_path / "net.parquet", given, cell={**CELL, **change}, meta={})
    lacking = {key: value for key, value in CELL.items() if key != "debias"}
    with pytest.raises(jsonschema.ValidationError, match="debias"):
        protocol.save(tmp_path / "net.parquet", given, cell=lacking, meta={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("side", [8, 9])
def test_the_training_set_is_decoded(tmp_path, side):
    images = torch.randn((4, 3, side, side), generator=torch.Generator().manual_seed(0))
    mean, std, labels = [0.2, 0.4, 0.6], [0.3, 0.2, 0.25], torch.tensor([0, 0, 1, 1])
    path = tmp_path / "distilled.safetensors"
    meta = {"kind": "distilled", "mean": mean, "std": std, "label_names": ["a", "b"]}
    store.write_tensors(path, {"images": images, "labels": labels}, meta | {"formation": 2})
    decoded, classes = training_set(path, None)
    assert classes.tolist() == [0] * 8 + [1] * 8
    tall = (side + 1) // 2
    canvas = torch.stack(
        [torch.full((4, 2 * tall, 2 * tall), (0.5 - m) / s) for m, s in zip(mean, std, strict=True)], 1
    )
    canvas[:, :, :side, :side] = images
    for n in range(4):
        for i in range(2):
            for j in range(2):
                tile = canvas[n : n + 1, :, i * tall : (i + 1) * tall, j * tall : (j + 1) * tall]
                whole = torch.nn.functional.interpolate(tile, size=(side, side), mode="bilinear", align_corners=False)
                torch.testing.assert_close(decoded[4 * n + 2 * i + j], whole[0], rtol=1e-6, atol=1e-6)
    store.write_tensors(path, {"images": images, "labels": labels}, meta)
    plain, classes = training_set(path, None)
    assert torch.equal(plain, images)
    assert torch.equal(classes, labels)


def test_recipe_takes_what_it_knows():
    settings = {"network": "small", "networks": 3, "epochs": 10, "whole_steps": 5, "augment": "crop"}
    settings |= {"learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 7}
    settings |= {"schedule": "constant", "cutmix": 0.5, "augment_rule": "idc"}
    assert protocol.recipe(settings) == Recipe(0.1, 0.0, 0.0, 7, "crop", "constant", 0.5, "idc")


# ---- soft labels ----------------------------------------------------------------------------------------------------


def soft_outcome(images, labels, test, soft, *, cutmix=0.0, debiasing=protocol.PLAIN):
    how = {"network": NETWORK, "recipe": Recipe(batch_size=16, learning_rate=0.05, cutmix=cutmix), "epochs": 20}
    how |= {"steps": None, "repeats": 1, "seed": 0, "device": CPU, "debiasing": debiasing}
    return protocol.evaluate(images, labels, test, soft_labels=soft, **how).counts


@pytest.mark.parametrize("cutmix", [0.0, 1.0])
def test_certain_soft_labels_are_hard_labels(few_digits, cutmix):
    images, labels = training(few_digits())
    test, soft = few_digits("test"), SoftLabels(one_hot(labels, 3).float())
    hard = soft_outcome(images, labels, test, None, cutmix=cutmix)
    np.testing.assert_array_equal(soft_outcome(images, labels, test, soft, cutmix=cutmix), hard)


def test_networks_learn_what_soft_labels_say(few_digits):
    """Of another class than the hard ones, at a high temperature."""
    images, labels = training(few_digits())
    other = (labels + 1) % 3
    soft = SoftLabels((5 * one_hot(other, 3) / 10).softmax(1), 10)
    (counts,) = soft_outcome(images, labels, few_digits("test"), soft)
    told = counts.sum(0)
    assert told[[0, 1, 2], [1, 2, 0]].sum() > 0.8 * told.sum()


def test_soft_labels_and_debiasing_are_refused_together(few_digits):
    images, labels = training(few_digits())
    soft = SoftLabels(one_hot(labels, 3).float())
    with pytest.raises(DdbiasError, match="give the evaluation soft_labels: false"):
        soft_outcome(images, labels, few_digits("test"), soft, debiasing={"kind": "lff"})


def test_every_network_has_random_numbers_of_its_own(few_digits, monkeypatch):
    """Those of the debiased training, and torch's global ones, which a network of yours may draw."""
    seeds, drawn = [], []
    found = protocol.debiased_training.model_and_loss

    def note(*arguments, seed, **options):
        seeds.append(seed)
        return found(*arguments, seed=seed, **options)

    monkeypatch.setattr(protocol.debiased_training, "model_and_loss", note)
    monkeypatch.setattr(protocol, "train", lambda *_, **__: drawn.append(torch.rand(1).item()))
    for seed in (0, 1):
        counted(*training(few_digits()), few_digits("test"), repeats=2, seed=seed)
    assert len(set(seeds)) == len(set(drawn)) == 4


def test_an_evaluation_that_is_killed_after_two_networks_keeps_both(few_digits, monkeypatch, tmp_path):
    given, trained, train = (*training(few_digits()), few_digits("test")), [], protocol.train
    undisturbed = outcome_of(*given, repeats=3)

    def killed_in_the_third(model, *arguments, **options):
        trained.append(model)
        if len(trained) == 3:
            raise KeyboardInterrupt
        train(model, *arguments, **options)

    monkeypatch.setattr(protocol, "train", killed_in_the_third)
    state = protocol.Checkpoint(tmp_path / "state.safetensors", every=0)
    with pytest.raises(KeyboardInterrupt):
        outcome_of(*given, repeats=3, state=state)
    found = outcome_of(*given, repeats=3, state=state)
    assert len(trained) == 4
    assert (found.counts == undisturbed.counts).all()
    for bins, expected in zip(found.confidence, undisturbed.confidence, strict=True):
        assert (bins == expected).all()
    assert (found.confidence[0] != found.confidence[1]).any()
