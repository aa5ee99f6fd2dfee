"""Published numbers: one CSV with their sources, from which a table's row selects one."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ddbias.base.errors import DdbiasError, unknown

PUBLISHED_KEYS = ("source", "table", "dataset", "setting", "method", "ipc", "metric")


@dataclass(frozen=True)
class Published:
    """A published number, in percent; `std` is None where the source prints none."""

    value: float
    std: float | None
    source: str


def read_published(path: str | Path) -> list[dict[str, str]]:
    """Read the CSV of published numbers as strings; a missing column raises `DdbiasError`."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in (*PUBLISHED_KEYS, "value", "std") if name not in (reader.fieldnames or ())]
        if missing:
            raise DdbiasError(f"{path} lacks the columns {', '.join(missing)}; restore it from the repository")
        return list(reader)


def select_published(rows: Sequence[Mapping[str, str]], selector: Mapping[str, object]) -> Published:
    """Return the one published number that `selector` names.

    Parameters
    ----------
    rows : sequence of mapping
        What `read_published` returns.
    selector : mapping
        Wanted values for some of `PUBLISHED_KEYS`, compared as strings; None stands for an empty entry.

    Raises
    ------
    DdbiasError
        If no row or several rows match, or a key is not a column.
    """
    for key, wanted in selector.items():
        if key not in PUBLISHED_KEYS:
            raise DdbiasError(f"published: {unknown('key', key, PUBLISHED_KEYS)}")
        text = "" if wanted is None else str(wanted)
        matching = [row for row in rows if row[key] == text]
        if not matching:
            raise DdbiasError(f"published: no such number, {unknown(key, text, {row[key] for row in rows})}")
        rows = matching
    if len(rows) > 1:
        names = ", ".join(f"{key} {value}" for key, value in selector.items())
        differing = [key for key in PUBLISHED_KEYS if len({row[key] for row in rows}) > 1]
        raise DdbiasError(f"published: {len(rows)} numbers match ({names}); give also {', '.join(differing) or 'one'}")
    row = rows[0]
    std = float(row["std"]) if row["std"] else None
    return Published(float(row["value"]), std, f"{row['source']}, {row['table']}")
