"""A classifier that predicts the attribute (colour, corruption, background) of distilled images.

Ours: a small network trained with plain cross-entropy on the attribute. Groups (attribute, label) are drawn equally
often, so that label and attribute are independent. It learns from four
fifths of the *test* split: the training split may hold no conflicting sample, and no method sees this classifier.
Groups that the test split lacks, as the aligned ones where it holds conflicting samples only, come from the training
split; otherwise the classifier would learn that no image is aligned. Its accuracy is measured on the last fifth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ddbias.base.errors import DdbiasError
from ddbias.base.log import Progress
from ddbias.base.seeding import derive, global_stream, numpy_stream, stream
from ddbias.data import store
from ddbias.data.split import Split
from ddbias.learning import networks
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.optimiser import SGD
from ddbias.learning.training import predict, step_phases, train_step

HELD_OUT = 5  # one image in so many is kept to measure the accuracy
SEED = 0  # one instrument for all distilled sets of a data set, whatever their seed


@dataclass(frozen=True)
class AttributeModel:
    """A trained classifier.

    Attributes
    ----------
    network : Network
        Maps normalised images (B, C, H, W) to logits (B, A).
    accuracy : float
        Mean over groups of the accuracy on images that it was not trained on, 0..1.
    support : int
        Number of those images.
    """

    network: networks.Network
    accuracy: float
    support: int

    def read(self, images: torch.Tensor) -> np.ndarray:
        """Return the attribute (N,) int64 of normalised float images (N, C, H, W)."""
        return predict(self.network, images).cpu().numpy()


def train_attribute_model(
    train: Split, test: Split, *, network: Mapping, settings: Mapping, device: torch.device
) -> AttributeModel | None:
    """Train the classifier of a data set.

    Parameters
    ----------
    train, test : Split
        Both normalised alike.
    network : mapping
        ``kind`` and options.
    settings : mapping
        ``steps``, ``batch_size`` and ``learning_rate``, which is a tenth in the second half of the steps.
    device : device

    Returns
    -------
    AttributeModel or None
        None where the attribute is not known or the same in all images.

    Raises
    ------
    DdbiasError
        If the training diverges, or there are too few images to measure the accuracy.
    """
    if test.attributes is None or len(test.meta["attribute_names"]) < 2:
        return None
    images, attributes, labels = _pool(train, test)
    learnt, held_out = _parted(attributes, labels)
    if not held_out:
        raise DdbiasError(
            f"{len(test)} test images are too few to learn the attribute from; leave this evaluation out of the grid "
            "of this data set"
        )
    pixels, targets = torch.from_numpy(images).to(device), torch.from_numpy(attributes).to(device)
    model = build(network, test).to(device)
    with global_stream(SEED, "attribute_model", "global"):
        _train(model, test, pixels, targets, learnt, settings)
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise DdbiasError("the attribute classifier diverged; lower the learning_rate of the evaluation")
    right = [_right(model, test, pixels, targets, rows) for rows in held_out]
    return AttributeModel(model, float(np.mean(right)), sum(map(len, held_out)))


def build(network: Mapping, split: Split) -> networks.Network:
    """Return the untrained classifier of the attributes of a split; `network` has ``kind`` and options."""
    attributes = len(split.meta["attribute_names"])
    return networks.of_settings(network, split.shape, attributes, derive(SEED, "attribute_model"))


def _pool(train: Split, test: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images (uint8), attributes and labels of the test split and of the groups that only the other one has.

    Of each of those as many images at most as the largest group of the test split.
    """
    there = set(zip(test.attributes.tolist(), test.labels.tolist(), strict=True))
    most = np.unique(np.stack([test.attributes, test.labels]), axis=1, return_counts=True)[1].max()
    added = []
    if train.attributes is not None:
        for attribute, label in np.unique(np.stack([train.attributes, train.labels]), axis=1).T:
            if (attribute, label) not in there:
                rows = np.flatnonzero((train.attributes == attribute) & (train.labels == label))
                drawn = numpy_stream(SEED, "attribute_model", "added", attribute, label).permutation(rows)[:most]
                added.append(np.sort(drawn))
    rows = np.concatenate(added) if added else np.empty(0, np.int64)
    pairs = [(test.images, train.images), (test.attributes, train.attributes), (test.labels, train.labels)]
    return tuple(np.concatenate([ours, theirs[rows]]) if len(rows) else np.array(ours) for ours, theirs in pairs)


def _parted(attributes: np.ndarray, labels: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the rows of every group that are learnt from, and those that are held out; groups without any left out.

    Every `HELD_OUT`-th image is held out, counted through all groups: of small groups too, now and then.
    """
    learnt, held_out, position = [], [], 0
    for group in np.unique(np.stack([attributes, labels]), axis=1).T:
        rows = np.flatnonzero((attributes == group[0]) & (labels == group[1]))
        rows = numpy_stream(SEED, "attribute_model", "held out", *group).permutation(rows)
        kept = (position + np.arange(len(rows))) % HELD_OUT == HELD_OUT - 1
        learnt.append(rows[~kept])
        held_out.append(rows[kept])
        position += len(rows)
    return [rows for rows in learnt if len(rows)], [rows for rows in held_out if len(rows)]


def _train(model, split: Split, images, attributes, groups: list[np.ndarray], settings: Mapping) -> None:
    """Train in place on rows of `images`, each from a group drawn at random."""
    sizes = torch.tensor([len(rows) for rows in groups])
    starts, order = sizes.cumsum(0) - sizes, torch.from_numpy(np.concatenate(groups))
    model.train()
    progress, augment, step = Progress(settings["steps"], "attribute classifier"), DSA("none"), 0
    for phase, count in enumerate(step_phases(settings["steps"])):
        rate = settings["learning_rate"] * 0.1**phase
        optimiser = SGD(model.parameters(), learning_rate=rate, momentum=0.9, weight_decay=5e-4)
        for _ in range(count):
            generator = stream(SEED, "attribute_model", "batch", step)
            group = torch.randint(len(groups), (settings["batch_size"],), generator=generator)
            place = (torch.rand(len(group), generator=generator, dtype=torch.float64) * sizes[group]).long()
            options = {"augment": augment, "prepare": split.normalize, "generator": generator}
            loss = train_step(model, optimiser, images, attributes, order[starts[group] + place], **options)
            progress.show(step, loss=loss.item())
            step += 1


def _right(model, split: Split, images: torch.Tensor, attributes: torch.Tensor, rows: np.ndarray) -> float:
    """Return the accuracy on some rows."""
    rows = torch.from_numpy(rows).to(images.device)
    return float((predict(model, images[rows], prepare=split.normalize) == attributes[rows]).double().mean())


def save(path: str | Path, model: AttributeModel | None, meta: Mapping) -> None:
    """Write a classifier, or that there is none: without tensors, and with ``accuracy`` null."""
    tensors, facts = {}, {"accuracy": None, "support": 0}
    if model is not None:
        tensors, facts = model.network.state_dict(), {"accuracy": model.accuracy, "support": model.support}
    store.write_tensors(path, tensors, {**meta, **facts})


def load(path: str | Path, network: Mapping, split: Split) -> AttributeModel | None:
    """Read what `save` wrote of a classifier of the attributes of `split`; None if there is none."""
    tensors, meta = store.read_tensors(path)
    store.require(path, "a classifier of attributes", meta, ("accuracy", "support"))
    if meta["accuracy"] is None:
        return None
    model = build(network, split)
    store.load_state(path, model, tensors)
    return AttributeModel(model, meta["accuracy"], meta["support"])
