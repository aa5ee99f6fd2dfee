"""How large a data set will be, told before any job runs: without torch, and without reading an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ddbias.study import OWN_ATTRIBUTE, Study

# Training and test images, classes, channels and side; tests compare digits, MNIST and CIFAR-10 with the
# sources. Those of the faces are about what their papers say.
PUBLISHED = {
    "digits": (1_200, 597, 10, 1, 8),
    "mnist": (60_000, 10_000, 10, 1, 28),
    "fashion_mnist": (60_000, 10_000, 10, 1, 28),
    "cifar10": (50_000, 10_000, 10, 3, 32),
    "bffhq": (19_200, 1_000, 2, 3, 64),
    "utkface": (19_000, 4_700, 3, 3, 64),
    "celeba": (162_770, 19_962, 2, 3, 64),
}
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


@cache
def data_size(study: Study, dataset: str) -> DataSize:
    """Return the size of a data set of a study."""
    settings = study.config["datasets"][dataset]
    source, bias = settings["source"], settings["bias"]
    train, test, classes, channels, side = PUBLISHED.get(source["kind"], UNKNOWN)
    known = source["kind"] in PUBLISHED
    if source["kind"] == "parquet" and (counted := _in_parquet(source, study.config["data"])):
        train, test, known = *counted, True
    classes = len(source.get("label_names") or ()) or classes
    if bias.get("per_class"):
        train = min(train, classes * bias["per_class"])
    channels = settings["channels"] or channels
    if channels == 1 and bias["kind"] not in OWN_ATTRIBUTE:
        channels = 3
    side = settings["size"] or side
    if settings["pad"] is None and side == 28:
        side = 32
    elif isinstance(settings["pad"], int):
        side += 2 * settings["pad"]
    elif settings["pad"]:
        side += settings["pad"][0] + settings["pad"][2]
    return DataSize(train, test, classes, channels, side, known)


def _in_parquet(source: Mapping, data: Mapping) -> tuple[int, int] | None:
    """Count the rows of the files by what their ends say; None where one is missing or damaged."""
    import pyarrow as pa
    from pyarrow import parquet

    from ddbias import lookup
    from ddbias.errors import DdbiasError

    try:
        found = [parquet.read_metadata(lookup.find(source[part], data)).num_rows for part in ("train", "test")]
    except (DdbiasError, pa.ArrowException, OSError):
        return None
    return found[0], found[1]
