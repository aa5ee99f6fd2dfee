"""Images before a bias is injected: one function per source, found by the ``kind`` of its settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from ddbias.base import plugins
from ddbias.base.registry import choose
from ddbias.datasets.normalisation import NONE, Normalisation
from ddbias.datasets.sources.bffhq import load_bffhq
from ddbias.datasets.sources.celeba import load_celeba
from ddbias.datasets.sources.cifar10 import load_cifar10
from ddbias.datasets.sources.digits import load_digits
from ddbias.datasets.sources.idx import load_fashion_mnist, load_mnist
from ddbias.datasets.sources.image_folder import load_image_folder
from ddbias.datasets.sources.parquet import load_parquet
from ddbias.datasets.sources.pth import load_pth
from ddbias.datasets.sources.record import RawImages
from ddbias.datasets.sources.utkface import load_utkface

# Each takes its options, `data` (root, mirrors) and, if it decodes image files, `size` as keywords, and returns
# {"train": ..., "test": ...}.
SOURCES: dict[str, Callable[..., dict[str, RawImages]]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "parquet": load_parquet,
    "image_folder": load_image_folder,
    "pth": load_pth,
    "bffhq": load_bffhq,
    "utkface": load_utkface,
    "celeba": load_celeba,
}


# What the published code of a source normalises with (`ddbias.datasets.normalisation`); others: their own statistics.
_CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_HALF = (0.5, 0.5)
NORMALISE: dict[str, Normalisation] = {
    "mnist": (0.1307, 0.3081),  # DC
    "fashion_mnist": (0.2861, 0.3530),  # DC
    "cifar10": _CIFAR10,  # DC, LfF
    "pth": NONE,  # Lu et al.
    "bffhq": _CIFAR10,  # LDD
    "utkface": _HALF,  # FairDD
    "celeba": _HALF,  # FairDD
}


def load(
    settings: Mapping[str, object], *, data: Mapping[str, object], size: int | None = None
) -> dict[str, RawImages]:
    """Return the training and the test images of a source.

    Parameters
    ----------
    settings : mapping
        ``kind``, a key of `SOURCES`, and the options of that source.
    data : mapping
        ``root`` and ``mirrors``: where files are looked for, see `ddbias.base.lookup.places`.
    size : int or None
        Side in pixels that a source which decodes image files resizes to while doing so; others ignore it.

    Returns
    -------
    dict of str to RawImages
        Keys ``train`` and ``test``.

    Raises
    ------
    DdbiasError
        For wrong settings, and for files that are missing or damaged.
    """
    registry = plugins.extended("source", SOURCES, settings.get("kind"))
    loader, options = choose("source", registry, settings, reserved=("data", "size"))
    if "size" in inspect.signature(loader).parameters:
        options["size"] = size
    return loader(data=data, **options)


__all__ = ["NORMALISE", "SOURCES", "RawImages", "load"]
