"""The attribute classifier: what it learns from, and that it reads colours that it was told nothing of."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.datasets.synthesis import synthesize_dataset
from ddbias.evaluation.images import attribute_model
from ddbias.evaluation.images.attribute_model import load, save, train_attribute_model

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 8, "depth": 1}
SETTINGS = {"steps": 300, "batch_size": 32, "learning_rate": 0.05}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def splits():
    """All digits, 8x8 pixels, with ten colours; the test split of conflicting samples only."""
    return synthesize_dataset(
        source={"kind": "digits"}, bias={"kind": "foreground", "severity": 1}, ratio=0.95, test="anti", seed=0, data={}
    )


@pytest.fixture(scope="module")
def trained(splits):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the tests that train another one: several threads add up in another order
    model = train_attribute_model(*splits, network=NETWORK, settings=SETTINGS, device=CPU)
    torch.set_num_threads(threads)
    return model


def test_reads_the_colours_of_images_that_it_has_not_seen(splits, trained):
    train, _ = splits
    assert trained.accuracy > 0.95
    for wanted in (train.conflicting, ~train.conflicting):  # aligned ones too, though the test split has none
        read = trained.read(train.normalize(torch.from_numpy(train.images[wanted])))
        assert (read == train.attributes[wanted]).mean() > 0.95


def test_a_fifth_is_held_out(splits, trained):
    learnt, held_out = attribute_model._parted(*(splits[1].attributes, splits[1].labels))
    rows = np.concatenate(learnt + held_out)
    assert sorted(rows) == list(range(len(splits[1])))
    assert sum(map(len, held_out)) == len(splits[1]) // 5
    for group in learnt + held_out:
        assert len({(splits[1].attributes[row], splits[1].labels[row]) for row in group}) == 1
    assert trained.support > len(splits[1]) // 5, "aligned images are held out, too"


def test_groups_that_the_test_split_lacks_come_from_the_training_split(splits):
    train, test = splits
    images, attributes, labels = attribute_model._pool(train, test)
    added = attributes[len(test) :], labels[len(test) :]
    assert (added[0] == added[1]).all()
    assert set(added[1]) == set(range(10))
    most = max(np.sum((test.attributes == a) & (test.labels == c)) for a in range(10) for c in range(10))
    assert len(added[0]) == 10 * most
    np.testing.assert_array_equal(images[: len(test)], test.images)
    unknown = attribute_model._pool(replace(train, attributes=None), test)
    np.testing.assert_array_equal(unknown[0], test.images)


def test_groups_are_drawn_equally_often(splits, monkeypatch):
    _, test = splits
    seen = []

    def note(model, optimiser, images, attributes, rows, **_):
        seen.append(rows)
        return torch.zeros(())

    monkeypatch.setattr(attribute_model, "train_step", note)
    learnt = [np.arange(3), np.arange(3, 100)]
    settings = {"steps": 50, "batch_size": 64, "learning_rate": 1.0}
    attribute_model._train(attribute_model.build(NETWORK, test), test, None, None, learnt, settings)
    counts = np.bincount(torch.cat(seen).numpy(), minlength=100)
    assert len(seen) == 50
    assert abs(counts[:3].sum() / counts.sum() - 0.5) < 0.03
    assert (counts[:3] > 0).all()


def test_a_stored_classifier_reads_the_same(splits, trained, tmp_path):
    save(tmp_path / "m.safetensors", trained, {})
    again = load(tmp_path / "m.safetensors", NETWORK, splits[1])
    images = splits[1].normalize(torch.from_numpy(splits[1].images))
    np.testing.assert_array_equal(again.read(images), trained.read(images))
    assert (again.accuracy, again.support) == (trained.accuracy, trained.support)
    second = train_attribute_model(*splits, network=NETWORK, settings=SETTINGS, device=CPU)
    save(tmp_path / "n.safetensors", second, {})
    assert (tmp_path / "n.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


@pytest.mark.parametrize("unknown", [{"attributes": None}, {"meta": {"attribute_names": ["red"]}}])
def test_an_attribute_that_is_unknown_or_constant_has_no_classifier(splits, tmp_path, unknown):
    test = replace(splits[1], **unknown)
    assert train_attribute_model(splits[0], test, network=NETWORK, settings=SETTINGS, device=CPU) is None
    save(tmp_path / "m.safetensors", None, {})
    assert load(tmp_path / "m.safetensors", NETWORK, test) is None


def test_mistakes_are_one_line(few_digits):
    train, test = few_digits(), few_digits("test")
    with pytest.raises(DdbiasError, match="diverged; lower the learning_rate"):
        train_attribute_model(train, test, network=NETWORK, settings={**SETTINGS, "learning_rate": 1e30}, device=CPU)
    one = few_digits("test", classes=1, per_class=3)
    with pytest.raises(DdbiasError, match="3 test images are too few"):
        train_attribute_model(one, one, network=NETWORK, settings=SETTINGS, device=CPU)
