"""Measure a distilled set as images: how diverse it is compared with real images, and which attributes it shows.

Definitions: `ddbias.evaluation.images.image_metrics`. Pixels are clipped to 0..1 and normalised again for networks. The
set is compared with as many real images of each class, drawn anew in every repeat, and its attributes are predicted by
the attribute classifier (`ddbias.evaluation.images.attribute_model`).

Cost: one pass of a network over ``(repeats + 1) * K * n`` images and ``2 * repeats * K * n ** 2`` distances, n at most
`MOST`: seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.groups import IDENTITY
from ddbias.base.seeding import derive, numpy_stream
from ddbias.data import store
from ddbias.data.split import Split
from ddbias.evaluation.images import image_metrics
from ddbias.evaluation.images.attribute_model import AttributeModel
from ddbias.learning import networks

MOST = 200  # images of a class that are looked at, drawn at random from larger classes
BATCH = 256

Embedding = Callable[[torch.Tensor], torch.Tensor]  # normalised images (B, C, H, W) to unit vectors (B, D)


@dataclass(frozen=True)
class Images:
    """A distilled set, as pixels.

    Attributes
    ----------
    pixels : Tensor of float32, shape (N, C, H, W)
        0..1.
    labels : ndarray of int64, shape (N,)
    """

    pixels: torch.Tensor
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, label: int) -> torch.Tensor:
        """Return the pixels of a class."""
        return self.pixels[torch.from_numpy(np.flatnonzero(self.labels == label))]


def shown(images: torch.Tensor, labels: torch.Tensor, split: Split, seed: int) -> Images:
    """Return the images of a distilled set that are measured: at most `MOST` of each class, clipped to 0..1.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        As `ddbias.data.training_set.training_set` returns them: normalised float32, or raw uint8.
    labels : Tensor of int64, shape (N,)
    split : Split
        Says how images are normalised.
    seed : int
    """
    labels = labels.numpy()
    rows = [_drawn(np.flatnonzero(labels == c), MOST, seed, "shown", c) for c in np.unique(labels)]
    rows = np.sort(np.concatenate(rows))
    chosen = images[torch.from_numpy(rows)]
    if chosen.dtype == torch.uint8:
        return Images(chosen.float() / 255, labels[rows])
    mean, std = (torch.tensor(split.meta[name], dtype=torch.float32).view(-1, 1, 1) for name in ("mean", "std"))
    return Images((chosen.float() * std + mean).clamp(0, 1), labels[rows])


def diversity(
    images: Images,
    reference: Split,
    embeddings: Callable[[int], Embedding],
    *,
    repeats: int,
    seed: int,
    device: torch.device,
) -> Iterator[dict[str, float]]:
    """Yield the diversity of a set compared with each of several draws of as many real images.

    Parameters
    ----------
    images : Images
    reference : Split
        Where the real images come from.
    embeddings : callable
        Returns the embedding of a repeat.
    repeats, seed : int
        Sets of one seed and size are compared with the same real images.
    device : device

    Yields
    ------
    dict
        ``pixel_distance``, ``embedding_distance``, ``coverage``, ``density``; undefined ones are left out.
    """
    classes = np.unique(images.labels)
    members = {c: np.flatnonzero(reference.labels == c) for c in classes}
    for repeat in range(repeats):
        embed = embeddings(repeat)
        pixels, points = [], []
        for c in classes:
            ours = images.of(c)
            rows = _drawn(members[c], len(ours), seed, "real", repeat, c)
            real = torch.from_numpy(np.array(reference.images[rows])).float() / 255
            pixels.append((ours.flatten(1).numpy(), real.flatten(1).numpy()))
            points.append(tuple(_points(embed, part, reference, device) for part in (ours, real)))
        covered = np.mean([image_metrics.coverage_and_density(*pair) for pair in points], axis=0)
        yield _known(
            pixel_distance=image_metrics.relative_distance(pixels),
            embedding_distance=image_metrics.relative_distance(points),
            coverage=covered[0],
            density=covered[1],
        )


def inheritance(images: Images, split: Split, model: AttributeModel | None, device: torch.device) -> dict[str, float]:
    """Return metrics of the attributes that a classifier predicts for a set.

    Parameters
    ----------
    images : Images
    split : Split
        Has the names of the attributes and their pairing with the labels.
    model : AttributeModel or None
        None gives nothing: the attribute is not known.
    device : device

    Returns
    -------
    dict
        ``aligned_share``, ``attribute_entropy``, ``attribute_classifier_accuracy``; those that cannot be said are left
        out.
    """
    if model is None:
        return {}
    model = replace(model, network=model.network.to(device))
    read = model.read(_normalised(images.pixels, split).to(device))
    groups = len(split.meta["attribute_names"])
    return _known(
        aligned_share=image_metrics.aligned_share(read, images.labels, split.meta.get("pairing", IDENTITY)),
        attribute_entropy=image_metrics.attribute_entropy(read, images.labels, classes=split.classes, groups=groups),
        attribute_classifier_accuracy=model.accuracy,
    )


def untrained(network: Mapping, split: Split, seed: int, device: torch.device) -> Callable[[int], Embedding]:
    """Return the embeddings of untrained networks, a new one in every repeat.

    They have no bias, and suit images of any kind: see arXiv 2002.09797 on random embeddings.
    """

    def of(repeat: int) -> Embedding:
        first = derive(seed, "image_measures", "embedding", repeat)
        model = networks.of_settings(network, split.shape, split.classes, first).to(device).eval()
        return lambda images: torch.nn.functional.normalize(model.embed(images), dim=1)

    return of


def learnt(path: str, split: Split, device: torch.device) -> Callable[[int], Embedding]:
    """Return the embedding of the trained surrogate in a file, the same in every repeat."""
    tensors, meta = store.read_tensors(path)
    store.require(path, "a surrogate", meta, ("settings", "network", "seed"))
    kind = meta["settings"]["kind"]
    code = plugins.module("surrogate", kind)
    with plugins.calling("surrogate", kind):
        objective = code.Objective(split, meta["network"], meta["settings"], meta["seed"])
    store.load_state(path, objective.model, tensors)
    objective.to(device).model.eval()
    return lambda repeat: lambda images: objective.read(images)["embedding"]


def rows(
    diverse: list[dict[str, float]], inherited: dict[str, float], cell: Mapping, *, images: int, tested: int
) -> list[dict]:
    """Return one row per repeat and metric: the wildcards of `cell`, ``repeat``, ``metric``, ``value``, ``support``.

    Parameters
    ----------
    diverse : list of dict
        What `diversity` yields.
    inherited : dict
        What `inheritance` returns: in repeat 0, since nothing in it is drawn.
    cell : mapping
        All wildcards; ``seed`` an int.
    images, tested : int
        Images behind a value, and behind the accuracy of the classifier.

    Raises
    ------
    DdbiasError
        If there is nothing to write.
    """
    if not any(diverse) and not inherited:
        raise DdbiasError(
            "no metric of images is defined for one image per class without a known attribute; leave this evaluation "
            "out of the entries of the grid with one image per class"
        )
    table = []
    for repeat, values in enumerate(diverse):
        everything = values | (inherited if repeat == 0 else {})
        for metric in (name for name in image_metrics.METRICS if name in everything):
            support = tested if metric == "attribute_classifier_accuracy" else images
            table.append({**cell, "repeat": repeat, "metric": metric, "value": everything[metric], "support": support})
    return table


def _drawn(rows: np.ndarray, most: int, seed: int, *names: object) -> np.ndarray:
    """Return at most so many of some rows, drawn without replacement, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(numpy_stream(seed, "image_measures", *names).permutation(rows)[:most])


def _normalised(pixels: torch.Tensor, split: Split) -> torch.Tensor:
    """Return pixels 0..1 as networks see them."""
    return split.normalize(255 * pixels)


@torch.no_grad()
def _points(embed: Embedding, pixels: torch.Tensor, split: Split, device: torch.device) -> np.ndarray:
    """Return the embedding (N, D) of pixels 0..1."""
    parts = [embed(part.to(device)).cpu() for part in _normalised(pixels, split).split(BATCH)]
    return torch.cat(parts).numpy()


def _known(**values: float) -> dict[str, float]:
    """Return the values that can be said."""
    return {name: float(value) for name, value in values.items() if not np.isnan(value)}
