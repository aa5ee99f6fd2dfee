"""How large a data set and its smallest class will be, told before any job runs: no torch, and no image is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ddbias.base import lookup, plugins
from ddbias.base.errors import DdbiasError

UNKNOWN = (100_000, 20_000, 10, 3, 64)  # your own images, where nothing says more


@dataclass(frozen=True)
class DataSize:
    """Images of a data set.

    Attributes
    ----------
    train, test : int
        Images of the splits.
    classes, channels, side : int
    known : bool
        False where sizes are taken for granted.
    """

    train: int
    test: int
    classes: int
    channels: int
    side: int
    known: bool

    @property
    def image_bytes(self) -> int:
        """Return the bytes of one image as it is stored, one for each value."""
        return self.channels * self.side**2


def data_size(settings: Mapping, data: Mapping) -> DataSize:
    """Return how large a data set will be.

    Parameters
    ----------
    settings : mapping
        Of the data set, as in a completed config.
    data : mapping
        ``root`` and ``mirrors``: where files are looked for.
    """
    source, bias = settings["source"], settings["bias"]
    facts = plugins.find("source", source["kind"]).facts.get("facts", {})
    names = ("train", "test", "classes", "channels", "side")
    train, test, classes, channels, side = (facts[name] for name in names) if facts else UNKNOWN
    known = bool(facts)
    if source["kind"] == "parquet" and (counted := _rows(source, data)):
        train, test, known = *counted, True
    classes = len(source.get("label_names") or ()) or classes
    if bias.get("per_class"):
        train = min(train, classes * bias["per_class"])
    channels = settings["channels"] or channels
    if channels == 1 and not keeps_attribute(bias["kind"]):
        channels = 3
    side = settings["size"] or side
    if settings["pad"] is None and side == 28:
        side = 32
    elif isinstance(settings["pad"], int):
        side += 2 * settings["pad"]
    elif settings["pad"]:
        side += settings["pad"][0] + settings["pad"][2]
    return DataSize(train, test, classes, channels, side, known)


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
        None when it cannot be told yet: a source that does not declare it, or a file that is missing or damaged, of
        which the job that reads it has more to say.
    """
    if source["kind"] == "parquet":
        return _smallest_label(source, data)
    return plugins.find("source", source["kind"]).facts.get("facts", {}).get("smallest_class")


def keeps_attribute(bias: str) -> bool:
    """Tell whether a kind of bias keeps the attribute of the source."""
    return bool(plugins.find("bias", bias).facts.get("own_attribute"))


def _rows(source: Mapping, data: Mapping) -> tuple[int, int] | None:
    """Count the rows of the files by what their ends say; None where one is missing or damaged."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        found = [parquet.read_metadata(lookup.find(source[part], data)).num_rows for part in ("train", "test")]
    except (DdbiasError, pa.ArrowException, OSError):
        return None
    return found[0], found[1]


def _smallest_label(source: Mapping[str, object], data: Mapping[str, object]) -> int | None:
    """Count the label column of a training file, the only column that is read."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    try:
        path = lookup.find(source["train"], data)
        labels = parquet.read_table(path, columns=[source["label"]]).column(0)
        return min(compute.value_counts(labels).field("counts").to_pylist(), default=None)
    except (DdbiasError, pa.ArrowException, OSError, IndexError):
        return None
