"""A user's arrays in memory as the training split that the stages read from a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike

from ddbias.base import groups
from ddbias.base.errors import DdbiasError
from ddbias.data.split import Split, channel_statistics
from ddbias.datasets import normalisation


def split_of(
    images: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    attributes: ArrayLike | None,
    pairing: groups.Pairing,
    normalise: normalisation.Normalisation,
    label_names: Sequence[str] | None = None,
) -> Split:
    """Return the training split of some arrays; the parameters and errors are those of `ddbias.distill`."""
    images = array("images", images)
    if images.dtype != np.uint8:
        raise DdbiasError(f"the images are {images.dtype}; give pixels 0..255 as uint8")
    shape = images.shape
    images = images[:, None] if images.ndim == 3 else images
    if images.ndim == 4 and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or not len(images) or images.shape[1] not in (1, 3) or images.shape[2] != images.shape[3]:
        raise DdbiasError(f"the images have the shape {shape}; give squares as (N, H, W, C), (N, C, H, W) or (N, H, W)")
    images = np.array(images, order="C")  # a copy: what the caller does with the array later changes nothing here
    labels = _numbers("labels", labels, len(images))
    classes = int(labels.max()) + 1
    empty = np.flatnonzero(np.bincount(labels) == 0)
    if len(empty):
        raise DdbiasError(f"no image has the label {empty[0]}; number the labels from 0 without a gap")
    if isinstance(label_names, str):
        raise DdbiasError(f"label_names is {label_names!r}; give a list of a name for each label")
    names = [str(name) for name in label_names] if label_names is not None else [str(i) for i in range(classes)]
    if len(names) != classes or classes < 2 or len(set(names)) < classes:
        raise DdbiasError(
            f"the labels are 0..{classes - 1}, with the names {', '.join(names)}; two or more, each with its own name"
        )
    known = None if attributes is None else _numbers("attributes", attributes, len(images))
    kinds = None if known is None else int(known.max()) + 1
    pairing = _pairing(pairing, classes, kinds)
    normalise = plain(normalise)
    mean, std = normalisation.constants(normalise, normalisation.OWN, images)
    own_mean, own_std = channel_statistics(images)
    meta = {
        "label_names": names,
        "attribute_names": None if kinds is None else [str(i) for i in range(kinds)],
        "pairing": pairing,
        "mean": mean,
        "std": std,
        "own_mean": own_mean,
        "own_std": own_std,
    }
    split = Split(images, labels, known, np.arange(len(images)), meta)
    return replace(split, whitening=normalisation.whitening(normalise, split))


def _pairing(pairing: groups.Pairing, classes: int, kinds: int | None) -> groups.Pairing:
    """Return a pairing of labels with attributes, of which there are so many, after a look at it."""
    if pairing is None or (isinstance(pairing, str) and pairing == groups.IDENTITY):
        return pairing
    partners = array("numbers of the pairing", pairing)
    if partners.shape != (classes,) or partners.dtype.kind not in "iu":
        raise DdbiasError(f"the pairing is {pairing!r}; give the attribute of each of {classes} labels, or identity")
    if partners.min() < 0 or (kinds is not None and partners.max() >= kinds):
        last = "" if kinds is None else f" to {kinds - 1}"
        raise DdbiasError(f"the pairing is {pairing!r}; attributes are numbered from 0{last}")
    return partners.tolist()


def _numbers(what: str, values: ArrayLike | torch.Tensor, count: int) -> np.ndarray:
    values = array(what, values)
    if values.dtype.kind in "iu" and values.size and values.min() < 0:
        raise DdbiasError(f"one of the {what} is {values.min()}; number them from 0")
    if values.shape != (count,) or values.dtype.kind not in "iu":
        given = f"the {what} are {values.dtype} of shape {values.shape}"
        raise DdbiasError(f"{given}; give each of the {count} images a whole number from 0")
    if values.max() >= count:
        raise DdbiasError(f"the {what} go up to {values.max()}, and there are {count} images; number them from 0")
    return values.astype(np.int64)


def array(what: str, values: ArrayLike | torch.Tensor) -> np.ndarray:
    """Return values, of any device, as an array; `what` names them for a message."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    try:
        return np.asarray(list(values) if isinstance(values, Iterator) else values)
    except ValueError:  # rows of different lengths
        raise DdbiasError(f"the {what} differ in shape; give all in the same one") from None


def plain(value: object) -> object:
    """Return numbers of NumPy and torch as Python's, wherever they lie."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
