"""Published numbers beside the cells of a table: lists in an entry mean all combinations."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ddbias.base.cell import texts


@dataclass(frozen=True)
class Published:
    """One published number of a table.

    Attributes
    ----------
    entry : int
        Place in the study file's list.
    cell : dict of str
        The fields of a `ddbias.base.cell.Cell` but the seed, and ``metric``.
    value : dict
        Selects the number, see `ddbias.results.tables.published.select_published`.
    untold : dict of str
        Keys that `value` lacks, since the entry has no text for the cell's value of a field: that field.
    differences : tuple of str
        How our protocol differs from the published one, in words.
    """

    entry: int
    cell: dict[str, str]
    value: dict[str, object]
    untold: dict[str, str]
    differences: tuple[str, ...]


def expand(entries: Iterable[Mapping]) -> Iterator[Published]:
    """Yield every published number of a table.

    Parameters
    ----------
    entries : iterable of mapping
        ``tables.<name>.published`` of a completed study. A key of ``cell`` is one value or a list of some; a key of
        ``value`` is a text, or ``{field: {value: text}}`` with a field of the cell. ``ipc`` is the cell's if left out.
    """
    for number, entry in enumerate(entries):
        axes = {key: value if isinstance(value, list) else [value] for key, value in entry["cell"].items()}
        for values in itertools.product(*axes.values()):
            cell = texts(dict(zip(axes, values, strict=True)))
            value: dict[str, object] = {}
            untold: dict[str, str] = {}
            for key, wanted in entry["value"].items():
                if isinstance(wanted, Mapping):
                    ((field, choices),) = wanted.items()
                    found = {texts({field: name})[field]: text for name, text in choices.items()}
                    if cell[field] not in found:
                        untold[key] = field
                        continue
                    wanted = found[cell[field]]
                value[key] = wanted
            value.setdefault("ipc", cell["ipc"])
            yield Published(number, cell, value, untold, tuple(entry["differences"]))
