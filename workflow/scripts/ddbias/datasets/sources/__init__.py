"""Images before a bias is injected: one function per source, found by the ``kind`` of its settings.

It takes its options, ``data`` (root, mirrors) and, if it decodes image files, ``size`` as keywords, and returns
``{"train": ..., "test": ...}``. ``NORMALISE`` in its file is the normalisation of the published code.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from ddbias.base import plugins
from ddbias.base.plugins.given import need_kind
from ddbias.datasets.normalisation import OWN, Normalisation
from ddbias.datasets.sources.record import RawImages


def load(
    settings: Mapping[str, object], *, data: Mapping[str, object], size: int | None = None
) -> dict[str, RawImages]:
    """Return the training and the test images of a source.

    Parameters
    ----------
    settings : mapping
        ``kind`` and the options of that source.
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
    loader, options = plugins.chosen("source", settings, reserved=("data", "size"))
    if "size" in inspect.signature(loader).parameters:
        options["size"] = size
    with plugins.calling("source", settings["kind"]):
        found = loader(data=data, **options)
        need_kind(found, dict, "its images", None)
        for name in ("train", "test"):
            need_kind(found.get(name), RawImages, f"'{name}'", None)
            found[name].check(name)
    return found


def published_normalisation(kind: str) -> Normalisation:
    """Return the normalisation of the published code of a source; ``own`` if there is none."""
    return getattr(plugins.module("source", kind), "NORMALISE", {}).get(kind, OWN)


__all__ = ["RawImages", "load", "published_normalisation"]
