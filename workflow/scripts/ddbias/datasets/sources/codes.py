"""Numbering of the labels and attributes in the columns of all splits, with their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ddbias.base.errors import DdbiasError, nearest
from ddbias.base.names import composed

MOST_VALUES = 50  # that are shown, and from which on a column may be a number of each image


@dataclass(frozen=True)
class Column:
    """One column of one file: its values, where it comes from, and the class names its file states (or None)."""

    values: pa.Array
    path: Path
    name: str
    names: list[str] | None

    def __str__(self) -> str:
        return f"column '{self.name}' of {self.path}"


def encode(what: str, columns: Sequence[Column], names: Sequence[str] | None) -> tuple[list[np.ndarray], list[str]]:
    """Number the values of the same column of several files.

    Parameters
    ----------
    what : str
        ``"label"`` or ``"attribute"``: attributes may be strings that only one of the files has, labels may not.
    columns : sequence of Column
        The training file's first.
    names : sequence of str or None
        Names to use: of strings those that there are, in the order of the numbers; of integers the values themselves,
        or names for 0, 1, 2, ... None takes the names that the files state, else the values in their order.

    Returns
    -------
    codes : list of ndarray of int64, shape (N,)
        One array per column.
    names : list of str

    Raises
    ------
    DdbiasError
        For missing values, values without a name, names that differ between the files or may be read in two ways, and
        labels that look like image numbers.
    """
    for column in columns:
        if column.values.null_count:
            row = column.values.is_null().to_pylist().index(True)
            raise DdbiasError(f"row {row} of {column} is empty; every image needs a {what}")
    kinds = [_is_text(column) for column in columns]
    if len(set(kinds)) > 1:
        raise DdbiasError(f"{columns[0]} and {columns[1]} differ in type; store both as integers or as strings")
    return _from_text(what, columns, names) if kinds[0] else _from_integers(what, columns, names)


def _is_text(column: Column) -> bool:
    kind = column.values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return True
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return False
    raise DdbiasError(f"{column} is {kind}; it must hold integers or strings")


def _from_text(what: str, columns: Sequence[Column], names: Sequence[str] | None) -> tuple[list[np.ndarray], list[str]]:
    texts = [[composed(value) for value in column.values.to_pylist()] for column in columns]
    for column, part in zip(columns, texts, strict=True):
        blank = next((row for row, text in enumerate(part) if not text.strip()), None)
        if blank is not None:
            raise DdbiasError(f"row {blank} of {column} is empty; every image needs a {what}")
    if names is None:
        known = texts if what == "attribute" else texts[:1]
        names = sorted({text for part in known for text in part})
        check_few(what, len(names), sum(map(len, known)), columns[0])
    position = {composed(name): number for number, name in enumerate(names)}
    for column, part in zip(columns, texts, strict=True):
        strange = next((text for text in part if text not in position), None)
        if strange is not None:
            raise DdbiasError(
                f"row {part.index(strange)} of {column} is '{strange}', which is not among the {what} names "
                f"({shown(list(position))}).{nearest(strange, position)}"
            )
    return [np.array([position[text] for text in part], np.int64) for part in texts], list(position)


def _from_integers(
    what: str, columns: Sequence[Column], names: Sequence[str] | None
) -> tuple[list[np.ndarray], list[str]]:
    numbers = []
    for column in columns:
        values = np.asarray(column.values.to_numpy(zero_copy_only=False))
        if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
            raise DdbiasError(f"{column} holds {values.max()}, more than 64 bits with a sign hold; store it as text")
        numbers.append(values.astype(np.int64))
    if names is None:
        names = columns[0].names
        for column in columns[1:]:
            if column.names != names:
                raise DdbiasError(
                    f"the {what} names of {columns[0].path} ({shown(names)}) and {column.path} "
                    f"({shown(column.names)}) differ; give both files the same, or set {what}_names:"
                )
    if names is None or _are_values(what, columns, numbers, names):
        return _by_value(what, columns, numbers, names)
    for column, part in zip(columns, numbers, strict=True):
        wrong = np.flatnonzero((part < 0) | (part >= len(names)))
        if len(wrong):
            raise DdbiasError(
                f"row {wrong[0]} of {column} is {part[wrong[0]]}, and the {what} names ({shown(names)}) are those of "
                f"0 to {len(names) - 1}; name the values themselves, or number them from 0"
            )
    return numbers, [str(name) for name in names]


def _are_values(what: str, columns: Sequence[Column], numbers: list[np.ndarray], names: Sequence[str]) -> bool:
    """Tell whether names are the values themselves and not those of 0, 1, 2, ...; refuse what may be either."""
    values = {str(value) for part in numbers for value in np.unique(part).tolist()}
    if not values <= {str(name) for name in names}:
        return False
    places = {str(place) for place in range(len(names))}
    if values <= places and any(str(name) != str(place) for place, name in enumerate(names)):
        raise DdbiasError(
            f"the {what} names ({shown(names)}) may be the values of {columns[0]} or names for 0 to {len(names) - 1}; "
            "put them in the order of the values, or choose names that are no such numbers"
        )
    return True


def _by_value(
    what: str, columns: Sequence[Column], numbers: list[np.ndarray], names: Sequence[str] | None
) -> tuple[list[np.ndarray], list[str]]:
    """Number integers that are names: years, hospitals, -1 and 1."""
    found = [np.unique(part, return_inverse=True) for part in numbers]
    known = [values for values, _ in (found if what == "attribute" else found[:1])]
    rows = sum(len(part) for part in numbers[: len(known)])
    names = np.unique(np.concatenate(known)).tolist() if names is None else names
    check_few(what, len(names), rows, columns[0])
    position = {str(name): place for place, name in enumerate(names)}
    codes = []
    for column, part, (values, place) in zip(columns, numbers, found, strict=True):
        strange = [value for value in values.tolist() if str(value) not in position]
        if strange:
            listed = shown(list(position))
            row = int(np.flatnonzero(part == strange[0])[0])
            raise DdbiasError(f"row {row} of {column} is {strange[0]}, which is not among the {what}s ({listed})")
        codes.append(np.array([position[str(value)] for value in values.tolist()], np.int64)[place])
    return codes, list(position)


def check_no_gap(labels: np.ndarray, names: Sequence[str], where: str) -> None:
    """Raise `DdbiasError` if a class has no training image; `where` says which labels these are."""
    counts = np.bincount(labels, minlength=len(names))
    if (counts == 0).any():
        gap = int(np.flatnonzero(counts == 0)[0])
        called = "" if names[gap] == str(gap) else f" ('{names[gap]}')"
        raise DdbiasError(
            f"{where} never holds {gap}{called}, though {len(names)} labels are named; give every class at least one "
            "training image, or name those that there are"
        )


def check_few(what: str, number: int, rows: int, where: object, mend: str = "name another column") -> None:
    """Raise `DdbiasError` if so many different values in so many rows are rather those of single images."""
    if number > MOST_VALUES and number > rows / 2:
        raise DdbiasError(
            f"{where} has {number:,} different values in {rows:,} rows, so it looks like an image "
            f"number and not like a {what}; {mend}"
        )


def shown(names: Sequence[str] | None) -> str:
    """Return names for a message, some of them where they are many."""
    if names is None:
        return "none"
    more = f" and {len(names) - MOST_VALUES:,} more" if len(names) > MOST_VALUES else ""
    return ", ".join(names[:MOST_VALUES]) + more
