"""How many training images the smallest class of a source has: no more images per class can be asked for.

Asked before any job runs, so it neither imports torch nor reads an image.
"""

from __future__ import annotations

from collections.abc import Mapping

from ddbias.errors import DdbiasError

# Facts of published files and of the fixed split of scikit-learn's digits; tests count them in the sources. None where
# they are the user's own, or a choice of labels away.
SMALLEST = {
    "digits": 116,
    "mnist": 5421,
    "fashion_mnist": 6000,
    "cifar10": 5000,
    "image_folder": None,
    "pth": None,
    "bffhq": None,
    "utkface": None,
    "celeba": None,
}


def smallest_class(source: Mapping[str, object], data: Mapping[str, object]) -> int | None:
    """Return the number of training images of the smallest class before a bias is injected.

    Parameters
    ----------
    source : mapping
        ``kind`` and options, as in a completed config.
    data : mapping
        ``root`` and ``mirrors``: where files are looked for.

    Returns
    -------
    int or None
        None when it cannot be told yet: a source that is not listed here, or a file that is missing or damaged, of
        which the job that reads it has more to say.
    """
    if source["kind"] == "parquet":
        return _in_parquet(source, data)
    return SMALLEST.get(source["kind"])


def _in_parquet(source: Mapping[str, object], data: Mapping[str, object]) -> int | None:
    """Count the label column of a training file, the only column that is read."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    from ddbias import lookup

    try:
        path = lookup.find(source["train"], data)
        labels = parquet.read_table(path, columns=[source["label"]]).column(0)
        return min(compute.value_counts(labels).field("counts").to_pylist(), default=None)
    except (DdbiasError, pa.ArrowException, OSError, IndexError):
        return None
