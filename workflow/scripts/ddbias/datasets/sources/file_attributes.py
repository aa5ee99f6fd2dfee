"""Label, attribute and split of image files: from their folder, their name, or a CSV file."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ddbias.base import lookup
from ddbias.base.errors import DdbiasError, nearest, unknown
from ddbias.base.log import logger
from ddbias.base.names import composed

LABEL, ATTRIBUTE, SPLIT = "label", "attribute", "split"
# What a table calls the split of an image; WILDS has numbers. Those for validation are left out.
TRAIN, VALIDATION, TEST = ("0", "train", "training"), ("1", "val", "valid", "validation"), ("2", "test", "testing")
PARTS = dict.fromkeys(TRAIN, "train") | dict.fromkeys(VALIDATION) | dict.fromkeys(TEST, "test")
DELIMITERS = ",;\t"
SECONDS, SECONDS_PER_FILE = 20.0, 0.001  # far more than any sensible pattern takes
# Python's matcher cannot be stopped from within, and a pattern like (a+)+b takes years for some names.
_MATCHER = """
import json, re, sys
pattern, names = json.load(sys.stdin)
found = [re.fullmatch(pattern, name) for name in names]
json.dump([match and match.groupdict() for match in found], sys.stdout)
"""

Fields = list[dict[str, str | None]]  # per image: attribute, and label where it is told here
Splits = Mapping[str, tuple[Path, Sequence[str]]]  # per split: its folder, and relative paths of its images


def read_fields(settings: Mapping[str, object] | None, splits: Splits, data: Mapping[str, object]) -> dict[str, Fields]:
    """Return label and attribute of every image.

    Parameters
    ----------
    settings : mapping or None
        ``{"from": "folder"}``: the folder below the label's is the attribute. ``{"from": "csv", "file", "path",
        "attribute"[, "label", "split"]}``: columns of a CSV file, see `_keys` for what a path may be; ``split`` is
        for `divide`. ``{"from": "name", "pattern"}``: groups ``attribute`` and perhaps
        ``label`` of a regular expression that the whole file name matches. None: no attribute is known.
    splits : mapping
        Folder and image files (relative paths) of every split.
    data : mapping
        ``root`` and ``mirrors``: where the CSV file is looked for.

    Returns
    -------
    dict of str to list of dict
        In the order of the files: ``label`` (the first folder of the path unless `settings` name another source) and
        ``attribute`` (None if unknown).

    Raises
    ------
    DdbiasError
        For wrong settings and files without a label or an attribute, named.
    """
    if settings is None:
        return {
            split: [{ATTRIBUTE: None, LABEL: _folder(folder, name, 0)} for name in names]
            for split, (folder, names) in splits.items()
        }
    how = settings.get("from")
    if how not in _READERS:
        raise unknown("attribute.from", how, _READERS)
    reader, needed, optional = _READERS[how]
    for key in settings:
        if key not in ("from", *needed, *optional):
            raise unknown(f"key of attribute (from: {how})", key, ("from", *needed, *optional))
    for key in needed:
        if key not in settings:
            raise DdbiasError(f"attribute.{key} is missing; from: {how} needs {', '.join(needed)}")
    for key, value in settings.items():
        if not isinstance(value, str):
            raise DdbiasError(f"attribute.{key} is {value!r}; it must be text")
    return reader(settings, splits, data)


def _folder(folder: Path, name: str, depth: int) -> str:
    """Return the folder of an image that stands for its label (depth 0) or attribute (1)."""
    parts = name.split("/")[:-1]
    if len(parts) <= depth:
        layout = ("<label>/<file>", "<label>/<attribute>/<file>")[depth]
        raise DdbiasError(f"{folder / name} does not lie in a folder of its {(LABEL, ATTRIBUTE)[depth]} ({layout})")
    return composed(parts[depth])


def _from_folders(settings: Mapping, splits: Splits, data: Mapping) -> dict[str, Fields]:
    return {
        split: [{ATTRIBUTE: _folder(folder, name, 1), LABEL: _folder(folder, name, 0)} for name in names]
        for split, (folder, names) in splits.items()
    }


def _from_names(settings: Mapping, splits: Splits, data: Mapping) -> dict[str, Fields]:
    pattern = composed(settings["pattern"])
    try:
        groups = re.compile(pattern).groupindex
    except (re.error, RecursionError, OverflowError) as error:
        raise DdbiasError(f"attribute.pattern {pattern!r} is no regular expression ({error})") from error
    if ATTRIBUTE not in groups:
        raise DdbiasError(f"attribute.pattern {pattern!r} has no group (?P<{ATTRIBUTE}>...), which holds the attribute")
    found = {}
    for split, (folder, names) in splits.items():
        matches = _match(pattern, [composed(PurePosixPath(name).name) for name in names])
        found[split] = []
        for name, match in zip(names, matches, strict=True):
            if match is None:
                raise DdbiasError(
                    f"the name of {folder / name} does not match attribute.pattern {pattern!r}; a pattern must match "
                    "the whole file name, extension included"
                )
            empty = next((key for key in (ATTRIBUTE, LABEL) if key in groups and not match[key]), None)
            if empty:
                raise DdbiasError(f"attribute.pattern {pattern!r} finds no {empty} in the name of {folder / name}")
            label = match[LABEL] if LABEL in groups else _folder(folder, name, 0)
            found[split].append({ATTRIBUTE: match[ATTRIBUTE], LABEL: label})
    return found


def _match(pattern: str, names: Sequence[str]) -> list[dict[str, str | None] | None]:
    """Match names in a process of its own, which is stopped when it takes too long."""
    limit = SECONDS + SECONDS_PER_FILE * len(names)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _MATCHER],
            input=json.dumps([pattern, list(names)]),
            capture_output=True,
            text=True,
            timeout=limit,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise DdbiasError(
            f"attribute.pattern {pattern!r} takes more than {limit:.0f} s for {len(names):,} names; avoid repeats "
            "within repeats, as in (a+)+"
        ) from error
    return json.loads(done.stdout)


def divide(settings: Mapping[str, object] | None, splits: Splits, data: Mapping[str, object]) -> Splits:
    """Return the images of each split, told apart by a column of a table where both lie in one folder.

    Parameters
    ----------
    settings, splits, data
        As of `read_fields`. Without a column ``split``, the splits are returned as they are.

    Raises
    ------
    DdbiasError
        If no column tells the splits apart and one folder is named for both or holds the other, a value of that column
        is not among `PARTS`, a split has no image, or an image of the table is missing.
    """
    column = settings.get(SPLIT) if settings and settings.get("from") == "csv" else None
    if column is None:
        one, other = (folder.resolve() for folder, _ in splits.values())
        if one == other or one in other.parents or other in one.parents:
            outer, inner = sorted((one, other), key=lambda folder: len(folder.parts))
            how = "is named for both splits" if outer == inner else f"lies in {outer}, which is the other split"
            raise DdbiasError(
                f"{inner} {how}; name two folders of which neither holds the other, or the column of a CSV file that "
                "tells the split of an image: attribute: {from: csv, split: ...}"
            )
        return splits
    path = lookup.find(settings["file"], data)
    rows = _read_csv(path, settings["path"], {SPLIT: column})
    for key, row in rows.items():
        if row[SPLIT].casefold() not in PARTS:
            raise DdbiasError(
                f"column '{column}' of {path} says '{row[SPLIT]}' of {key}; it must be 0 or train, 1 or val, 2 or test"
            )
    divided, seen = {}, set()
    for split, (folder, names) in splits.items():
        found = {name: _key(folder, name, rows) for name in names}
        seen |= {*found.values()}
        for name, key in found.items():
            if key is None:
                raise _not_listed(folder / name, settings["path"], path, rows)
        there = [name for name, key in found.items() if PARTS[rows[key][SPLIT].casefold()] == split]
        if not there:
            raise DdbiasError(f"column '{column}' of {path} says {split} of no image in {folder}; correct the table")
        divided[split] = folder, there
    missing = [key for key, row in rows.items() if key not in seen and PARTS[row[SPLIT].casefold()]]
    if missing:
        raise DdbiasError(f"{len(missing):,} images of {path} are missing, as {missing[0]}; complete the copy")
    return divided


def _keys(folder: Path, name: str) -> list[str]:
    """Return what a table may call an image, the most telling first: any end of its whole path, such as
    ``/data/birds/train/a/1.png``, ``train/a/1.png`` or ``1.png``; then the same without the file ending.
    """
    whole = PurePosixPath(composed(PurePosixPath(folder.absolute().as_posix(), name)))
    parts = whole.parts[1:]
    ends = [str(whole), *("/".join(parts[start:]) for start in range(len(parts)))]
    ending = whole.suffix
    return ends + ([end.removesuffix(ending) for end in ends] if ending else [])


def _key(folder: Path, name: str, rows: Mapping[str, object]) -> str | None:
    """Return what a table calls an image, None if it does not hold it."""
    return next((key for key in _keys(folder, name) if key in rows), None)


def _not_listed(image: Path, column: str, table: Path, rows: Mapping[str, object]) -> DdbiasError:
    like = next((f", which has such as '{key}'" for key in rows), "")
    return DdbiasError(f"{image} is not in column '{column}' of {table}{like}; add or remove it")


def _from_csv(settings: Mapping, splits: Splits, data: Mapping) -> dict[str, Fields]:
    path = lookup.find(settings["file"], data)
    columns = {key: settings[key] for key in (ATTRIBUTE, LABEL) if key in settings}
    rows = _read_csv(path, settings["path"], columns)
    taken: dict[str, Path] = {}
    others: dict[str, str] = {}  # what else the table may call an image, and what it was found by
    found = {}
    for split, (folder, names) in splits.items():
        found[split] = []
        for name in names:
            key = _key(folder, name, rows)
            if key is None:
                raise _not_listed(folder / name, settings["path"], path, rows)
            if key in taken:
                raise DdbiasError(
                    f"'{key}' in column '{settings['path']}' of {path} may mean {taken[key]} or {folder / name}; "
                    f"write its path with {folder.name}/ in front"
                )
            if lacking := next((what for what in columns if not rows[key][what]), None):
                raise DdbiasError(f"'{key}' in {path} has no {lacking} (column '{columns[lacking]}'); add it")
            taken[key] = folder / name
            others |= {other: key for other in _keys(folder, name) if other in rows and other != key}
            fields = rows[key]
            found[split].append(fields if LABEL in fields else {**fields, LABEL: _folder(folder, name, 0)})
    left = [] if SPLIT in settings else [key for key in rows if key not in taken]
    for key in left:
        if rows[key] != rows.get(others.get(key), rows[key]):
            raise DdbiasError(
                f"'{key}' and '{others[key]}' in column '{settings['path']}' of {path} both name {taken[others[key]]}, "
                "and say different things of it; remove one"
            )
    if left:  # images of another folder, perhaps, but perhaps of an incomplete copy
        logger.warning("rows of %s that name no image there is: %s, the first %s", path, f"{len(left):,}", left[0])
    return found


def _read_csv(path: Path, key: str, columns: Mapping[str, str]) -> dict[str, dict[str, str | None]]:
    """Return the wanted columns of every row by its path; empty text where a field is empty."""
    rows: dict[str, dict[str, str | None]] = {}
    key, columns = composed(key), {what: composed(name) for what, name in columns.items()}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            text = composed(file.read())
        lines = list(io.StringIO(text, newline=""))
        first = next((i for i, line in enumerate(lines) if line.strip("\r\n")), 0)
        head = lines[first] if lines else ""
        delimiter = max(DELIMITERS, key=head.count)
        if re.fullmatch(f"sep=[{DELIMITERS}]", head.strip("\r\n")):  # Excel's first line
            delimiter = head[4]
            first = next((i for i in range(first + 1, len(lines)) if lines[i].strip("\r\n")), len(lines))
        table = csv.DictReader(lines[first:], strict=True, delimiter=delimiter)
        header = table.fieldnames or []
        if not header:
            raise DdbiasError(f"{path} is empty; it must begin with the names of its columns")
        if key in columns.values():
            raise DdbiasError(f"column '{key}' of {path} holds the paths and nothing else; name another column")
        for name in (key, *columns.values()):
            if header.count(name) > 1:
                raise DdbiasError(f"{path} has {header.count(name)} columns '{name}'; rename all but one")
            if name not in header:
                raise DdbiasError(f"{path} has no column '{name}'; it has: {', '.join(header)}.{nearest(name, header)}")
        for row in table:
            line = first + table.line_num
            if None in row:
                raise DdbiasError(
                    f"line {line} of {path} has more fields than the {len(header)} of its first line; "
                    "put text that holds a separator in quotes"
                )
            stated = (row[key] or "").strip()
            values = {what: " ".join((row[name] or "").split()) for what, name in columns.items()}
            if not stated:
                if any(values.values()):
                    raise DdbiasError(f"line {line} of {path} has no path (column '{key}'); add it, or remove the line")
                continue
            place = PurePosixPath(stated.replace("\\", "/")).as_posix()
            if place in rows:
                raise DdbiasError(f"line {line} of {path} names '{place}' a second time; remove one")
            rows[place] = values
    except (UnicodeDecodeError, csv.Error) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise DdbiasError(
            f"{path} cannot be read as a CSV file ({reason}); store it as UTF-8 with commas, semicolons or tabs"
        ) from error
    return rows


_READERS: dict[str, tuple[Callable[..., dict[str, Fields]], tuple[str, ...], tuple[str, ...]]] = {
    "folder": (_from_folders, (), ()),
    "csv": (_from_csv, ("file", "path", ATTRIBUTE), (LABEL, SPLIT)),
    "name": (_from_names, ("pattern",), ()),
}
