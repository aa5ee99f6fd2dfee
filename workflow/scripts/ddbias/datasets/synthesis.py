"""From a source and a bias to the two splits that every later stage reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ddbias.base import groups, plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.plugins.given import need, need_kind
from ddbias.base.seeding import numpy_stream
from ddbias.data import preview
from ddbias.data.split import Split, channel_statistics, save_split
from ddbias.datasets import bias as biases
from ddbias.datasets import normalisation, sources
from ddbias.datasets.assignment import replace_at_random
from ddbias.datasets.bias.context import Context
from ddbias.datasets.sources.channels import to_channels
from ddbias.datasets.sources.images import check_size, resize

_MNIST_SIDE, _MNIST_PAD = 28, 2  # 28 -> 32, what published networks are built for; one channel they pad themselves

_PREVIEW_COLUMNS = 10


def synthesize_dataset(
    *,
    source: Mapping[str, object],
    bias: Mapping[str, object],
    ratio: float | None,
    test: str,
    channels: int | None = None,
    size: int | None = None,
    pad: int | Sequence[int] | None = None,
    normalise: normalisation.Normalisation | None = None,
    attribute_noise: Mapping[str, object] | None = None,
    seed: int,
    data: Mapping[str, object],
) -> tuple[Split, Split]:
    """Inject a bias into a source.

    Parameters
    ----------
    source : mapping
        ``kind`` and options, see `ddbias.datasets.sources.load`.
    bias : mapping
        ``kind`` and options, see `ddbias.datasets.bias.build`.
    ratio : float or None
        Aligned ratio 0..1 of the training split; None (or ``"natural"``) for a bias that changes none.
    test : str
        Convention of the test split: ``"balanced"`` (attributes uniform within each class), ``"anti"`` (every
        sample conflicting: the "unbiased" set of arXiv:2403.16028) or ``"natural"`` (as the training split; all
        test images as they are for a bias that keeps the source's attribute).
    channels : int or None
        1 turns RGB images grey, 3 repeats the channel of grey ones; None keeps them.
    size : int or None
        Side in pixels that the source's images are resized to first; None keeps them.
    pad : int, sequence of int, or None
        Black pixels added after resizing and before the bias (so a coloured background covers them): on every
        side, or (top, right, bottom, left). None: that of the bias, else 2 for 28x28 images, else 0.
    normalise : "own", "none", "zca", (mean, std) or None
        Normalisation of pixels for networks, see `ddbias.datasets.normalisation`; None: that of the published code of
        the bias, else of the source.
    attribute_noise : mapping or None
        ``share`` (0..1) of the training images whose attribute is replaced by a random one once the bias is visible,
        and its ``draw``, "uniform" by default or "shuffled" (`ddbias.datasets.assignment.replace_at_random`): what is
        recorded is wrong; images and test split are as ever.
    seed : int
        Seed of the bias's noise, and of which attributes are wrong.
    data : mapping
        ``root`` and ``mirrors``: where the source's files are searched; does not change the result.

    Returns
    -------
    train, test : Split
        ``meta`` holds label and attribute names, ``pairing`` (the attribute paired with each label, or None), the
        per-channel mean and std that networks see pixels normalised with, those of the training split itself
        (``own_mean``, ``own_std``), ratio, convention, source (its provenance), bias, seed, and
        ``counts`` (label x attribute, None if attributes are unknown), and ``wanted`` if fewer images were available
        than requested. All of the training split is as recorded, which ``attribute_noise`` makes wrong.

    Raises
    ------
    DdbiasError
        For wrong settings, and for source files that are missing or damaged.
    """
    injected = biases.build(bias)
    ratio = _check_ratio(ratio, bias["kind"], injected.takes_ratio)
    check_size(size)
    raw = sources.load(source, data=data, size=size)
    if len(raw["train"].label_names) < 2:
        (only,) = raw["train"].label_names
        raise DdbiasError(f"all images have the label '{only}'; a data set needs two labels or more")
    with plugins.calling("bias", bias["kind"]):
        injected = injected.fitted(raw["train"])  # what the test split does may hang on the training split
    sizes = {split: len(part) for split, part in raw.items()}
    contexts = {split: Context(split, ratio, test, seed, sizes, data) for split in raw}
    preparation = {"channels": channels, "size": size, "pad": injected.pad if pad is None else pad}
    made = {split: _inject(raw.pop(split), injected, bias["kind"], contexts[split], preparation) for split in contexts}
    if attribute_noise:
        made["train"] = _mislabelled(*made["train"], seed=seed, **attribute_noise)
    published = injected.normalise
    if isinstance(published, Mapping):
        published = published.get(source["kind"])
    published = published or sources.published_normalisation(source["kind"])
    mean, std = normalisation.constants(normalise, published, made["train"][0].images)
    own_mean, own_std = channel_statistics(made["train"][0].images)
    statistics = {"mean": mean, "std": std, "own_mean": own_mean, "own_std": own_std}
    shared = {**statistics, "ratio": ratio, "bias": dict(bias), "seed": seed}
    for key in ("label_names", "attribute_names", "pairing"):
        if made["train"][1][key] != made["test"][1][key]:
            raise DdbiasError(f"training and test split differ in their {key}; give both the same, or set them")
    train_split, test_split = (
        replace(split, meta={**meta, **shared, "split": name, "convention": "natural" if name == "train" else test})
        for name, (split, meta) in made.items()
    )
    whitening = normalisation.whitening(normalise, train_split)
    return replace(train_split, whitening=whitening), replace(test_split, whitening=whitening)


def _inject(
    part: sources.RawImages, injected: biases.Bias, kind: str, context: Context, preparation: Mapping[str, object]
) -> tuple[Split, dict]:
    """Choose the images, give them attributes and make these visible; returns the split and facts about it."""
    with plugins.calling("bias", kind):
        assignment = injected.assign(part, context)
        names, pairing = injected.attribute_names(part), injected.pairing(part)
        need_kind(assignment, biases.Assignment, "what is assigned", "assign")
        assignment.check(len(part), names)
    rows, attributes = assignment.rows, assignment.attributes
    every = len(rows) == len(part) and np.array_equal(rows, np.arange(len(part)))
    images = _prepare(part.images if every else part.images[rows], **preparation)
    with plugins.calling("bias", kind):
        shape = [len(rows), None, *images.shape[2:]]
        images = injected.apply(images, attributes, rows, context)
        need(images, "its images", "apply", shape=shape, types=["uint8"])
    labels = part.labels if every else part.labels[rows]
    known = attributes is not None
    counts = groups.counts(labels, attributes, len(part.label_names), len(names)).tolist() if known else None
    meta = {
        "label_names": list(part.label_names),
        "attribute_names": names,
        "pairing": pairing,
        "counts": counts,
        "wanted": None if assignment.wanted is None else assignment.wanted.tolist(),
        "source": dict(part.provenance),
    }
    return Split(images, labels, attributes, rows), meta


def _mislabelled(split: Split, meta: Mapping, *, share: float, draw: str = "uniform", seed: int) -> tuple[Split, dict]:
    """Return the split with a share of its attributes replaced at random, and its facts as they are then."""
    if split.attributes is None:
        raise DdbiasError("attribute_noise needs attributes, which this data set does not have; leave it out")
    count = len(meta["attribute_names"])
    generator = numpy_stream(seed, "attribute_noise")
    attributes = replace_at_random(split.labels, split.attributes, share, draw, count, generator)
    counts = groups.counts(split.labels, attributes, len(meta["label_names"]), count).tolist()
    return replace(split, attributes=attributes), {
        **meta,
        "counts": counts,
        "attribute_noise": {"share": share, "draw": draw},
    }


def _check_ratio(ratio: float | str | None, kind: str, takes_ratio: bool) -> float | None:
    """Return the ratio as a float, or None for a bias that takes none."""
    ratio = None if ratio == "natural" else ratio
    if takes_ratio and (isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1):
        raise DdbiasError(f"ratio is {ratio!r}; bias '{kind}' needs an aligned ratio between 0 and 1")
    if not takes_ratio and ratio is not None:
        raise DdbiasError(f"ratio is {ratio!r}, but bias '{kind}' changes no ratio; set it to null, or use subsample")
    return None if ratio is None else float(ratio)


def _prepare(images: np.ndarray, channels: int | None, size: int | None, pad: int | Sequence[int] | None) -> np.ndarray:
    """Convert to grey or RGB, resize, then pad."""
    if channels is not None:
        images = to_channels(images, channels)
    if size is not None:
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
