"""How large a data set and its smallest class will be, before any job runs: without torch, by one image at most."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ddbias.base import folders, lookup, plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.names import composed

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
        False if the sizes are assumed.
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
    facts = plugins.find("source", source["kind"]).facts.get("facts") or _told_by_files(source, data)
    names = ("train", "test", "classes", "channels", "side")
    train, test, classes, channels, side = (facts[name] for name in names) if facts else UNKNOWN
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
    return DataSize(train, test, classes, channels, side, bool(facts))


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
        return min(_label_counts(source, data), default=None)
    return plugins.find("source", source["kind"]).facts.get("facts", {}).get("smallest_class")


def keeps_attribute(bias: str) -> bool:
    """Tell whether a kind of bias keeps the attribute of the source."""
    return bool(plugins.find("bias", bias).facts.get("own_attribute"))


def _told_by_files(source: Mapping, data: Mapping) -> dict[str, int] | None:
    """Return the facts of a source of the user's own: of one image, the others being alike; None if it cannot."""
    if source["kind"] not in OWN:
        return None
    try:
        train, test, classes, image = OWN[source["kind"]](source, data)
        return {"train": train, "test": test, "classes": classes, **_shape(image)}
    except (DdbiasError, StopIteration, LookupError, TypeError, ValueError, OSError):
        return None  # the job that reads the files says what is wrong with them


def _parquet(source: Mapping, data: Mapping) -> tuple[int, int, int, object]:
    """Return rows of both files by what their ends say, the classes, and the first image."""
    from pyarrow import parquet

    parts = [lookup.find_files(source[part], data, ".parquet") for part in ("train", "test")]
    rows = [sum(parquet.read_metadata(path).num_rows for path in files) for files in parts]
    head = parquet.ParquetFile(parts[0][0])
    first = next(head.iter_batches(1, columns=[source["image"]])).column(0)[0].as_py()
    encoded = first["bytes"] if isinstance(first, dict) else first
    return *rows, len(_label_counts(source, data)), io.BytesIO(encoded)


def _image_folder(source: Mapping, data: Mapping) -> tuple[int, int, int, object]:
    """Return the number of files of both folders, that of the first's folders, which are the classes, and a file."""
    places = [lookup.find_folder(source[part], data) for part in ("train", "test")]
    if places[0] == places[1]:
        raise LookupError("a table tells which image is in which split; here it is not read")
    train, test = (folders.listing(place).images for place in places)
    return len(train), len(test), len({name.split("/")[0] for name in train}), places[0] / train[0]


OWN = {"parquet": _parquet, "image_folder": _image_folder}


def _shape(image: object) -> dict[str, int]:
    from PIL import Image

    with Image.open(image, formats=("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")) as opened:
        return {"channels": 1 if opened.mode in ("1", "L") else 3, "side": max(opened.size)}


def _label_counts(source: Mapping[str, object], data: Mapping[str, object]) -> list[int]:
    """Return how often each label is in a training file, the only column that is read; empty if it cannot be told."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    try:
        files = lookup.find_files(source["train"], data, ".parquet")
        parts = [parquet.read_table(path, columns=[source["label"]]).column(0) for path in files]
        labels = pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)
        counts: Counter[str] = Counter()
        for found in compute.value_counts(labels.drop_null()).to_pylist():
            counts[composed(found["values"])] += found["counts"]
        return list(counts.values())
    except (DdbiasError, pa.ArrowException, OSError, IndexError):
        return []
