"""Soft labels: their loss, their file, what is refused."""

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.data.distilled import load_distilled
from ddbias.data.soft_labels import SoftLabels
from ddbias.data.training_set import training_soft_labels

META = {"kind": "distilled", "mean": [0.5], "std": [0.5], "label_names": ["a", "b", "c"]}
SOFT = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])


def write(folder, soft=None, **changes):
    tensors = {"images": torch.zeros(3, 1, 4, 4), "labels": torch.arange(3)}
    tensors |= {} if soft is None else {"soft_labels": soft}
    store.write_tensors(folder / "distilled.safetensors", tensors, META | changes)
    return folder / "distilled.safetensors"


def test_the_loss_has_the_gradient_of_the_divergence():
    """From the definition, KL(p | q) = sum p log(p / q), by differences."""
    generator, temperature = np.random.default_rng(0), 3.0
    logits, target = generator.normal(size=(4, 5)), generator.dirichlet(np.ones(5), size=4)

    def divergence(values):
        q = np.exp(values / temperature)
        q /= q.sum(1, keepdims=True)
        return temperature**2 * (target * np.log(target / q)).sum(1).mean()

    leaf = torch.tensor(logits, requires_grad=True)
    SoftLabels(torch.tensor(target), temperature).loss(leaf, torch.tensor(target)).backward()
    for index in np.ndindex(4, 5):
        step = np.zeros_like(logits)
        step[index] = 1e-5
        slope = (divergence(logits + step) - divergence(logits - step)) / 2e-5
        assert leaf.grad[index].item() == pytest.approx(slope, abs=1e-8)


def test_they_lie_beside_the_hard_labels(tmp_path):
    path = write(tmp_path, SOFT, temperature=4)
    found, loaded = training_soft_labels(path), load_distilled(path)
    assert torch.equal(found.probabilities, SOFT)
    assert found.temperature == loaded.soft_labels.temperature == 4
    assert torch.equal(loaded.soft_targets().probabilities, SOFT)
    assert loaded.labels.tolist() == [0, 1, 2]


def test_a_set_without_them_has_none(tmp_path):
    path = write(tmp_path)
    assert training_soft_labels(path) is None
    assert load_distilled(path).soft_targets() is None


def test_every_tile_has_those_of_its_image(tmp_path):
    path = write(tmp_path, SOFT, formation=2)
    for found in (training_soft_labels(path), load_distilled(path).soft_targets()):
        assert torch.equal(found.probabilities, torch.cat([row.expand(4, 3) for row in SOFT]))
        assert found.temperature == 1


@pytest.mark.parametrize(
    ("soft", "changes"),
    [
        (SOFT[:2], {}),
        (SOFT[:, :2], {}),
        (SOFT.double(), {}),
        (SOFT * 2, {}),
        (SOFT - 0.5, {}),
        (SOFT * float("nan"), {}),
        (SOFT, {"temperature": 0}),
        (SOFT, {"temperature": "high"}),
    ],
)
def test_what_are_no_probabilities_is_refused(tmp_path, soft, changes):
    path = write(tmp_path, soft, **changes)
    with pytest.raises(DdbiasError, match=f"{path} is damaged .*its soft labels are no probabilities"):
        load_distilled(path)
