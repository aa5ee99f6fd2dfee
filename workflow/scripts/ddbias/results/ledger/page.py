"""The ledger as one page, for people: Markdown, and HTML that can be sorted and filtered offline."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ddbias.base import escape, paths
from ddbias.data import store
from ddbias.results import offline_page
from ddbias.results.ledger.asked import Asked
from ddbias.results.ledger.ours import Ours, find, read_kept
from ddbias.results.ledger.reasons import reasons, share
from ddbias.results.offline_page import NONE
from ddbias.results.tables.formats import LOWER_IS_BETTER, fixed
from ddbias.results.tables.published import PUBLISHED_KEYS, Published, read_published, select_published

TEMPLATE = paths.RESOURCES / "ledger.html.j2"
PUBLISHED = paths.RESOURCES / "published_results.csv"
TITLE = "Published numbers and ours"
NOTES = (
    "Percent. The ± of a published number is the one it was printed with, that of ours half of its 95 % interval "
    "(Student's t over distillation seeds). Gap = ours − published, in points; ↓: lower is better.",
    "Ours is that of the largest scale that was run: finished results, else a table kept in docs/measured. Amounts are "
    "shares of scale paper; of a kept table that does not record them they are those of the study as it is now, not as "
    "it was at the commit.",
    "Where several cells try one number, the counts take that of the largest part of the published work (iterations, "
    "real images, epochs), of these that of most seeds.",
    "What no study covers, and why: docs/reproduce.md.",
)
NEAR = 3  # points from a published number that count as reached
GAPS = ("deo_max", "deo_mean")
FULL = 98  # percent: a gap between groups that is as large as it gets
KEYS = ("dataset", "setting", "method", "ipc", "metric", "study")


@dataclass(frozen=True)
class Line:
    """A published number with our number of a study."""

    asked: Asked
    number: Published
    ours: Ours | None
    reasons: list[str]

    @property
    def keys(self) -> dict[str, str]:
        """The fields that identify the line for a reader."""
        texts = {name: str(self.asked.published[name]) for name in PUBLISHED_KEYS}
        arrow = " ↓" if self.asked.metric in LOWER_IS_BETTER else ""
        return {**texts, "metric": texts["metric"] + arrow, "study": self.asked.study}

    @property
    def gap(self) -> float | None:
        """Ours - published, in percentage points."""
        return None if self.ours is None or self.ours.mean is None else self.ours.mean - self.number.value

    @property
    def near(self) -> bool:
        """Whether the gap is at most `NEAR` points."""
        return self.gap is not None and abs(self.gap) <= NEAR

    @property
    def within(self) -> bool:
        """Whether the gap is more, but within the interval of ours."""
        return self.gap is not None and NEAR < abs(self.gap) <= (self.ours.interval or 0)

    @property
    def status(self) -> str:
        """Whether it was run, and to the end."""
        if self.ours is None:
            return "not run"
        return "not converged" if self.ours.converged is False else "run"

    @property
    def numbers(self) -> dict[str, str]:
        """Published, ours, gap and seeds as text; a dash if there is none."""
        published = _with(self.number.value, self.number.std)
        seeds = NONE if self.ours is None else str(self.ours.seeds)
        ours = NONE if self.gap is None else _with(self.ours.mean, self.ours.interval)
        gap = fixed(self.gap, 1, sign=True).replace("-", "−") or NONE
        return {"published": published, "ours": ours, "gap": gap, "seeds": seeds}

    @property
    def origin(self) -> str:
        """Where ours is from."""
        found = self.ours
        parts = (found.origin, f"commit {found.commit}" if found.commit else "", found.date)
        return ", ".join(filter(None, parts))


def _with(value: float, spread: float | None) -> str:
    return fixed(value, 1) + (f" ± {fixed(spread, 1)}" if spread is not None else "")


class Ledger(NamedTuple):
    """All lines in the order of their sources, and the published numbers of every table of a source."""

    lines: list[Line]
    published: Counter


def read(asked: Iterable[Asked], *, published: Path, kept: Iterable[Path], folder: Path = Path()) -> Ledger:
    """Find ours beside every published number that is asked for.

    Parameters
    ----------
    asked : iterable of Asked
    published : path
        The CSV of published numbers.
    kept : iterable of path
        Tables in ``docs/measured``.
    folder : path
        Where the studies were run: what ``results/`` is in.

    Raises
    ------
    DdbiasError
        If a file is damaged, or a published number is not found exactly once.
    """
    rows, measured = read_published(published), read_kept(kept)
    places = {tuple(row[key] for key in PUBLISHED_KEYS): place for place, row in enumerate(rows)}
    sources = list(dict.fromkeys(row["source"] for row in rows))
    lines = []
    for one in asked:
        number = select_published(rows, one.published)
        ours = find(one, measured, folder)
        lines.append(Line(one, number, ours, [] if ours is None else reasons(one, ours)))

    def order(line: Line) -> tuple:
        keys = [str(line.asked.published[key]) for key in PUBLISHED_KEYS]
        return sources.index(keys[0]), _natural(keys[1]), places[tuple(keys)], line.asked.study

    counts = Counter((row["source"], row["table"]) for row in rows)
    return Ledger(sorted(lines, key=order), counts)


def _natural(text: str) -> list:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text)]


def write(ledger: Ledger, folder: Path, commit: str) -> None:
    """Write ``ledger.md`` and ``ledger.html`` into a folder, which is made if it does not exist."""
    store.write_bytes(folder / "ledger.md", markdown(ledger, commit).encode())
    store.write_bytes(folder / "ledger.html", page(ledger, commit).encode())


def _summary(ledger: Ledger, commit: str) -> str:
    covered, run = _distinct(ledger.lines), _distinct(line for line in ledger.lines if line.ours)
    once = _once(line for line in ledger.lines if line.ours)
    near = [line for line in once if line.near]
    kinds = Counter(str(line.asked.published["metric"]) for line in near)
    split = f" ({', '.join(f'{metric} {count:,}' for metric, count in sorted(kinds.items()))})" if kinds else ""
    full = sum(line.asked.metric in GAPS and line.number.value >= FULL for line in near)
    return (
        f"Commit {commit}. Of {ledger.published.total():,} published numbers studies cover {len(covered):,}; "
        f"{len(run):,} of these were run. Tables print some of these again: counted once they are {len(once):,}, of "
        f"which {len(near):,} are within {NEAR} points of ours{split}, and {sum(line.within for line in once):,} more "
        f"only within its interval. {full:,} of those within {NEAR} points are DEO of {FULL} and more: the bias is "
        "untouched in both."
    )


def _once(lines: Iterable[Line]) -> list[Line]:
    """Return a line of each number that was run, whatever tables print it and whatever cells of studies try it.

    Of several lines it is that of the largest part of the published work, of these that of most seeds.
    """
    groups: dict[tuple, list[Line]] = {}
    for line in lines:
        joined = [line]
        for key in _names(line):
            joined += [one for one in groups.get(key, ()) if one not in joined]
        groups.update((key, joined) for one in joined for key in _names(one))
    distinct = {id(group): group for group in groups.values()}.values()
    return [max(group, key=lambda line: (share(line.asked, line.ours), line.ours.seeds)) for group in distinct]


def _names(line: Line) -> list[tuple]:
    """Return what lines of one number share: the published row, or else our cell and the value."""
    row = tuple(str(line.asked.published[key]) for key in PUBLISHED_KEYS)
    return [row, (line.keys["source"], *line.asked.cell.values(), line.asked.metric, line.number.value)]


def _distinct(lines: Iterable[Line]) -> set[tuple[str, ...]]:
    return {tuple(str(line.asked.published[key]) for key in PUBLISHED_KEYS) for line in lines}


def _tables(lines: Sequence[Line]) -> dict[tuple[str, str], list[Line]]:
    found: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        found.setdefault((line.keys["source"], line.keys["table"]), []).append(line)
    return found


# ---- Markdown -----------------------------------------------------------------------------------------------------


def markdown(ledger: Ledger, commit: str) -> str:
    """Return the ledger as Markdown: what is covered, a table for each published one, commands."""
    tables = _tables(ledger.lines)
    commands = {line.asked.command: 0 for line in ledger.lines if not line.ours}
    commands = {command: number for number, command in enumerate(commands, 1)}
    text = [f"# {TITLE}", "", escape.markdown(_summary(ledger, commit)), ""]
    for note in NOTES:
        text += [escape.markdown(note), ""]
    text += ["## What is covered", ""]
    text += _table(("source", "table", "published", "covered", "run"), 2, _coverage(ledger, tables))
    source = ""
    for (name, table), lines in tables.items():
        if name != source:
            source = name
            text += [f"## {escape.markdown(name)}", ""]
        text += [f"### {escape.markdown(table)}", "", *_published_table(lines, commands)]
    if commands:
        text += ["## Commands of what was not run", ""]
        text += [f"{number}. {escape.markdown_code(command)}" for command, number in commands.items()]
    return "\n".join([*text, ""])


def _coverage(ledger: Ledger, tables: Mapping) -> list[list[str]]:
    found = []
    for (source, table), count in sorted(ledger.published.items(), key=lambda item: _place(ledger, *item[0])):
        lines = tables.get((source, table), [])
        covered, run = _distinct(lines), _distinct(line for line in lines if line.ours)
        found.append([source, table, str(count), str(len(covered)), str(len(run))])
    return found


def _place(ledger: Ledger, source: str, table: str) -> tuple:
    return [name for name, _ in ledger.published].index(source), _natural(table)


def _published_table(lines: Sequence[Line], commands: Mapping[str, int]) -> list[str]:
    """Return one published table; what is the same in every line is said once above it."""
    keyed = [line.keys for line in lines]
    same = {name: keyed[0][name] for name in KEYS if len(lines) > 1 and len({key[name] for key in keyed}) == 1}
    names = [name for name in KEYS if name not in same]
    rows = []
    for line, key in zip(lines, keyed, strict=True):
        if line.ours:
            why = "; ".join([*line.reasons, line.origin])
        else:
            why = f"not run, command {commands[line.asked.command]}"
        rows.append([*(key[name] for name in names), *line.numbers.values(), why])
    said = ", ".join(f"{name} {value}" for name, value in same.items() if value)
    head = [*names, *lines[0].numbers, "why they may differ, and where ours is from"]
    return [*([f"In every line: {escape.markdown(said)}.", ""] if said else []), *_table(head, len(names), rows)]


def _table(head: Sequence[str], texts: int, rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a GitHub table: `texts` columns to the left, numbers to the right, and any text after them to the left."""
    numbers = {"published", "covered", "run", "ours", "gap", "seeds"}
    rules = [":--" if place < texts or name not in numbers else "--:" for place, name in enumerate(head)]
    body = [[escape.markdown(text) for text in row] for row in rows]
    return [*(f"| {' | '.join(row)} |" for row in (head, rules, *body)), ""]


# ---- HTML ---------------------------------------------------------------------------------------------------------


class Head(NamedTuple):
    """The head of a column: its name, its class, and what a line has there; ``value`` is what it is sorted by."""

    name: str
    kind: str
    text: Callable[[Line], str]
    value: Callable[[Line], float | str | None] = lambda line: None


class Text(NamedTuple):
    """A cell of the table, with what it is sorted by if that is not its text."""

    text: str
    value: float | str | None


def _key(name: str, kind: str = "key") -> Head:
    return Head(name, kind, lambda line: line.keys[name])


def _paper(line: Line) -> str:
    """Return a short name of the source, with its table."""
    name = re.split(r" arXiv| \(|, quoted", line.keys["source"])[0].removeprefix("README ")
    return f"{name}, {line.keys['table']}"


HEADS = (
    Head("published in", "key wrap", _paper),
    _key("dataset"),
    _key("setting", "key wrap"),
    _key("method", "key wrap"),
    _key("ipc"),
    _key("metric"),
    Head("status", "key", lambda line: line.status),
    Head("published", "", lambda line: line.numbers["published"], lambda line: line.number.value),
    Head("ours", "", lambda line: line.numbers["ours"], lambda line: "" if line.gap is None else line.ours.mean),
    Head("gap", "", lambda line: line.numbers["gap"], lambda line: "" if line.gap is None else round(line.gap, 2)),
    Head("seeds", "", lambda line: line.numbers["seeds"]),
    Head("why", "key wrap wide", lambda line: "; ".join(line.reasons)),
)
CHOSEN = ("published in", "dataset", "method", "ipc", "metric", "status")


def page(ledger: Ledger, commit: str) -> str:
    """Return the ledger as HTML: one row for each line, with the command and the facts behind it."""
    rows = [_row(number, line) for number, line in enumerate(ledger.lines, 1)]
    choices = [
        (place, head.name, offline_page.values(head.text(line) for line in ledger.lines))
        for place, head in enumerate(HEADS, 1)
        if head.name in CHOSEN
    ]
    summary = _summary(ledger, commit)
    shown = {"title": TITLE, "summary": summary, "notes": NOTES, "heads": HEADS, "choices": choices, "rows": rows}
    return offline_page.render(TEMPLATE, **shown)


def _row(number: int, line: Line) -> dict:
    key, asked, ours = line.keys, line.asked, line.ours
    facts = {}
    if ours:
        facts = {
            "from": ours.origin,
            "scale": ours.scale,
            "commit": ours.commit,
            "device": ours.device,
            "date": ours.date,
        }
    ipc = f"IPC {key['ipc']}" if key["ipc"] else ""
    names = [*(key[name] for name in ("source", "table", "dataset", "setting", "method")), ipc, key["metric"]]
    return {
        "id": f"row{number}",
        "title": ", ".join(filter(None, names)),
        "cells": [Text(head.text(line), head.value(line)) for head in HEADS],
        "command": asked.command,
        "cell": {"study": asked.path, "its table": asked.table, "cell": " ".join(asked.cell.values())},
        "facts": {name: text for name, text in facts.items() if text},
    }
