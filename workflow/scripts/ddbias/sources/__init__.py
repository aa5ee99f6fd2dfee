"""Images before a bias is injected: one function per source, found by the ``kind`` of its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ddbias.options import choose
from ddbias.sources.digits import load_digits
from ddbias.sources.idx import load_fashion_mnist, load_mnist
from ddbias.sources.parquet import load_parquet
from ddbias.sources.record import RawImages

# Each takes its options and `data` (root, mirrors) as keywords and returns {"train": ..., "test": ...}.
SOURCES: dict[str, Callable[..., dict[str, RawImages]]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "fashion_mnist": load_fashion_mnist,
    "parquet": load_parquet,
}


def load(settings: Mapping[str, object], *, data: Mapping[str, object]) -> dict[str, RawImages]:
    """Return the training and the test images of a source.

    Parameters
    ----------
    settings : mapping
        ``kind``, a key of `SOURCES`, and the options of that source.
    data : mapping
        ``root`` and ``mirrors``: where files are looked for, see `ddbias.lookup.places`.

    Returns
    -------
    dict of str to RawImages
        Keys ``train`` and ``test``.

    Raises
    ------
    DdbiasError
        For wrong settings, and for files that are missing or damaged.
    """
    loader, options = choose("source", SOURCES, settings, reserved=("data",))
    return loader(data=data, **options)


__all__ = ["SOURCES", "RawImages", "load"]
