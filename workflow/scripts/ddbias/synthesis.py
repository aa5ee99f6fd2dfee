"""From a source and a bias to the two splits that every later stage reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ddbias import bias as biases
from ddbias import preview, sources
from ddbias.data import Split, channel_statistics, save_split
from ddbias.errors import DdbiasError, unknown
from ddbias.sources.images import resize

CONVENTIONS = ("balanced", "anti", "natural")
_MNIST_SIDE, _MNIST_PAD = 28, 2  # 28 -> 32, the side that the published networks are built for

_PREVIEW_COLUMNS = 10


def synthesize_dataset(
    *,
    source: Mapping[str, object],
    bias: Mapping[str, object],
    ratio: float | None,
    test: str,
    size: int | None = None,
    pad: int | Sequence[int] | None = None,
    seed: int,
    data: Mapping[str, object],
) -> tuple[Split, Split]:
    """Inject a bias into a source.

    Parameters
    ----------
    source : mapping
        ``kind`` and options, see `ddbias.sources.load`.
    bias : mapping
        ``kind`` and options, see `ddbias.bias.build`.
    ratio : float or None
        Aligned ratio 0..1 of the training split; None (or ``"natural"``) for a bias that assigns no attribute.
    test : str
        Convention of the test split: ``"balanced"`` (attributes uniform within each class), ``"anti"`` (every
        sample conflicting: the "unbiased" set of arXiv:2403.16028) or ``"natural"`` (as the training split).
    size : int or None
        Side in pixels that the source's images are resized to first; None keeps them.
    pad : int, sequence of int, or None
        Black pixels added after resizing and before the bias (so a coloured background covers them): on every
        side, or (top, right, bottom, left). None: 2 for 28x28 images, else 0.
    seed : int
        Seed of the bias's noise.
    data : mapping
        ``root`` and ``mirrors``: where the source's files are looked for; does not change the result.

    Returns
    -------
    train, test : Split
        ``meta`` holds label and attribute names, the training split's per-channel mean and std, ratio, convention,
        source (its provenance), bias, seed, and ``counts`` (label x attribute, None if attributes are unknown).

    Raises
    ------
    DdbiasError
        For wrong settings, and for source files that are missing or damaged.
    """
    if test not in CONVENTIONS:
        raise unknown("test convention", test, CONVENTIONS)
    injected = biases.build(bias)
    ratio = _check_ratio(ratio, test, bias["kind"], injected.assigns)
    raw = sources.load(source, data=data)
    biased = {}
    for split, part in raw.items():
        share = ratio if split == "train" else _test_ratio(test, ratio, injected)
        biased[split] = _inject(part, injected, share, _prepare(part.images, size, pad), split, seed)
    mean, std = channel_statistics(biased["train"].images)
    names = injected.attribute_names if injected.assigns else raw["train"].attribute_names
    shared = {
        "label_names": list(raw["train"].label_names),
        "attribute_names": None if names is None else list(names),
        "mean": mean,
        "std": std,
        "ratio": ratio,
        "bias": dict(bias),
        "source": dict(raw["train"].provenance),
        "seed": seed,
    }
    train_split, test_split = (
        replace(
            biased[split],
            meta={**shared, "split": split, "convention": convention, "counts": _counts(biased[split], shared)},
        )
        for split, convention in (("train", "natural"), ("test", test))
    )
    return train_split, test_split


def _test_ratio(test: str, ratio: float | None, injected: biases.Bias) -> float | None:
    """Return the aligned ratio that makes the test split follow its convention."""
    if not injected.assigns or test == "natural":
        return ratio
    return 0.0 if test == "anti" else 1 / len(injected.attribute_names)


def _inject(
    part: sources.RawImages, injected: biases.Bias, share: float | None, images: np.ndarray, split: str, seed: int
) -> Split:
    """Assign the attributes and make them visible."""
    attributes = part.attributes
    if injected.assigns:
        attributes = biases.assign_attributes(part.labels, share, len(injected.attribute_names))
    index = np.arange(len(part))
    images = injected.apply(images, attributes, index=index, split=split, seed=seed)
    return Split(images, part.labels, attributes, index)


def _check_ratio(ratio: float | str | None, test: str, kind: str, assigns: bool) -> float | None:
    """Return the ratio as a float, or None for a bias that assigns no attribute."""
    ratio = None if ratio == "natural" else ratio
    if assigns and (isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1):
        raise DdbiasError(f"ratio is {ratio!r}; bias '{kind}' needs an aligned ratio between 0 and 1")
    if not assigns and ratio is not None:
        raise DdbiasError(f"ratio is {ratio!r}, but bias '{kind}' assigns no attribute; set the ratio to null")
    if not assigns and test != "natural":
        raise DdbiasError(f"test is '{test}', but bias '{kind}' assigns no attribute; set test: natural")
    return None if ratio is None else float(ratio)


def _prepare(images: np.ndarray, size: int | None, pad: int | Sequence[int] | None) -> np.ndarray:
    """Resize, then pad."""
    if size is not None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise DdbiasError(f"size is {size!r}; it must be a whole number of pixels, at least 1")
        images = resize(images, size)
    if pad is None:
        pad = _MNIST_PAD if images.shape[2:] == (_MNIST_SIDE, _MNIST_SIDE) else 0
    sides = [pad] * 4 if isinstance(pad, int) else list(pad)
    if len(sides) != 4 or not all(isinstance(side, int) and side >= 0 for side in sides):
        raise DdbiasError(f"pad is {pad!r}; it must be a number of pixels, or four: [top, right, bottom, left]")
    top, right, bottom, left = sides
    if any(sides):
        images = np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right)))
    height, width = images.shape[2:]
    if height != width:
        raise DdbiasError(f"the images are {width}x{height} pixels and networks need squares; set size: or pad:")
    return images


def _counts(split: Split, names: Mapping[str, object]) -> list[list[int]] | None:
    """Return how many samples have each label (row) and attribute (column)."""
    if split.attributes is None:
        return None
    shape = len(names["label_names"]), len(names["attribute_names"])
    cells = np.ravel_multi_index((split.labels, split.attributes), shape)
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape).tolist()


def write_dataset(
    *, train_path: str | Path, test_path: str | Path, preview_path: str | Path, **settings: object
) -> None:
    """Synthesize a data set (settings as of `synthesize_dataset`) and write its splits and a preview of the first."""
    train, test = synthesize_dataset(**settings)
    save_preview(preview_path, train)
    save_split(train_path, train)
    save_split(test_path, test)


def save_preview(path: str | Path, split: Split) -> None:
    """Write a PNG with one row per class: aligned samples, a gap, conflicting samples.

    Five of each, evenly spaced over the data set (attributes ascend with the position, so the first ones would
    all look the same); ten of the class when attributes are unknown. What a class lacks stays white.
    """
    tiles = np.full((split.classes, _PREVIEW_COLUMNS, *split.shape), preview.PAPER, np.uint8)
    half = _PREVIEW_COLUMNS // 2
    for label in range(split.classes):
        of_class = split.labels == label
        if split.conflicting is None:
            blocks = [(0, _PREVIEW_COLUMNS, of_class)]
        else:
            blocks = [(0, half, of_class & ~split.conflicting), (half, half, of_class & split.conflicting)]
        for start, count, mask in blocks:
            chosen = _spread(np.flatnonzero(mask), count)
            tiles[label, start : start + len(chosen)] = split.images[chosen]
    preview.save_grid(path, tiles, gap_before=None if split.conflicting is None else half)


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Return `count` of the rows, evenly spaced, or all of them when there are fewer."""
    return rows[np.arange(count) * len(rows) // count] if len(rows) > count else rows
