"""Turning label and attribute columns of the splits of a data set into one numbering with names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ddbias.base.errors import DdbiasError, nearest


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
        Names to use, in the order of the numbers.

    Returns
    -------
    codes : list of ndarray of int64, shape (N,)
        One array per column.
    names : list of str

    Raises
    ------
    DdbiasError
        For missing or negative values, values without a name, and names that differ between the files.
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
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return True
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return False
    raise DdbiasError(f"{column} is {kind}; it must hold integers 0, 1, 2, ... or strings")


def _from_text(what: str, columns: Sequence[Column], names: Sequence[str] | None) -> tuple[list[np.ndarray], list[str]]:
    texts = [[str(value) for value in column.values.to_pylist()] for column in columns]
    if names is None:
        known = texts if what == "attribute" else texts[:1]
        names = sorted({text for part in known for text in part})
    position = {str(name): number for number, name in enumerate(names)}
    for column, part in zip(columns, texts, strict=True):
        strange = next((text for text in part if text not in position), None)
        if strange is not None:
            raise DdbiasError(
                f"row {part.index(strange)} of {column} is '{strange}', which is not among the {what} names "
                f"({', '.join(position)}).{nearest(strange, position)}"
            )
    return [np.array([position[text] for text in part], np.int64) for part in texts], list(position)


def _from_integers(
    what: str, columns: Sequence[Column], names: Sequence[str] | None
) -> tuple[list[np.ndarray], list[str]]:
    codes = [np.asarray(column.values.to_numpy(zero_copy_only=False)).astype(np.int64) for column in columns]
    if names is None:
        names = columns[0].names
        for column in columns[1:]:
            if column.names != names:
                raise DdbiasError(
                    f"the {what} names of {columns[0].path} ({_shown(names)}) and {column.path} "
                    f"({_shown(column.names)}) differ; give both files the same, or set {what}_names:"
                )
    if names is None:
        known = codes if what == "attribute" else codes[:1]
        names = [str(number) for number in range(max(int(part.max()) for part in known) + 1)]
    for column, part in zip(columns, codes, strict=True):
        wrong = np.flatnonzero((part < 0) | (part >= len(names)))
        if len(wrong):
            value = int(part[wrong[0]])
            allowed = f"{what}s must be 0 to {len(names) - 1}" if value >= 0 else f"{what}s must not be negative"
            raise DdbiasError(f"row {wrong[0]} of {column} is {value}; {allowed}")
    return codes, [str(name) for name in names]


def check_no_gap(labels: np.ndarray, names: Sequence[str], where: str) -> None:
    """Raise `DdbiasError` if a class has no training image; `where` says which labels these are."""
    counts = np.bincount(labels, minlength=len(names))
    if (counts == 0).any():
        gap = int(np.flatnonzero(counts == 0)[0])
        called = "" if names[gap] == str(gap) else f" ('{names[gap]}')"
        raise DdbiasError(
            f"{where} never holds {gap}{called}, though labels run from 0 to {len(names) - 1}; "
            "number the classes without a gap, each with at least one training image"
        )


def _shown(names: Sequence[str] | None) -> str:
    return "none" if names is None else ", ".join(names)
