"""A finished table as CSV (for programs) and as Markdown, LaTeX and HTML (for people).

The formats for people are compact: one line per run setting, one group of columns per metric, and values that are the
same in every line once above the table. Equal tables give equal bytes.
"""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ddbias.base import escape
from ddbias.data import store
from ddbias.evaluation import comparisons

CSV_COLUMNS = (
    *("dataset", "ratio", "distiller", "debias", "ipc", "evaluation", "metric"),
    *("mean", "std", "interval", "n", "networks", "published", "gap"),
    *("against", "difference", "difference_interval", "difference_n"),
    *("converged", "moved", "first_conflicting", "diverged", "scale"),
)
NOT_RUN, NOT_DEFINED, NOT_PAIRED = "not run yet", "not defined", "not paired"
MARK = "†"  # behind a number that rests on a set that has not converged
DIVERGED = "‡"  # behind one that rests on a network that diverged
MARKS = {MARK: "not converged", DIVERGED: "a network diverged"}
HTML_BEGIN, HTML_END = "<!-- table begins -->", "<!-- table ends -->"
LOWER_IS_BETTER = (
    *("deo_max", "deo_mean", "equalized_odds"),
    *("attribute_accuracy", "attribute_information", "calibration_error"),
    *comparisons.AMPLIFICATIONS,
)


def _marks(converged: str, diverged: int) -> str:
    marks = {MARK: converged == "false", DIVERGED: diverged > 0}
    return "".join(f" {mark}" for mark, holds in marks.items() if holds)


@dataclass(frozen=True)
class Difference:
    """How much more an entry has than the one with the debias `against`: points, over the n seeds that both have.

    ``converged`` and ``diverged`` are those of an `Entry`, of the sets and networks of both.
    """

    against: str
    mean: float | None
    interval: float | None
    n: int
    converged: str = ""
    diverged: int = 0


@dataclass(frozen=True)
class Entry:
    """One number of a table.

    Attributes
    ----------
    key : mapping of str
        dataset, ratio, distiller, debias, ipc, evaluation, in this order.
    metric : str
    mean, std : float or None
        Percent; None if there is no value.
    n, networks : int
        Number of distillation seeds, and of networks for each of them.
    interval : float or None
        Half of the 95 % interval of the mean over seeds, percent; None for one seed.
    published, published_std : float or None
        Percent.
    state : str
        Why there is no mean, or an empty string.
    why : str
        Why it is not defined, where that is the state.
    converged : {"true", "false", ""}
        Whether the sets behind the number have converged; empty if it is not defined or not known.
    moved, first_conflicting : float or None
        Mean change of a pixel in 0..255, mean number of conflicting samples among the first images.
    diverged : int
        How many networks behind the number have.
    difference : Difference or None
    """

    key: Mapping[str, str]
    metric: str
    mean: float | None
    std: float | None
    n: int
    networks: int = 1
    interval: float | None = None
    published: float | None = None
    published_std: float | None = None
    state: str = ""
    why: str = ""
    converged: str = ""
    moved: float | None = None
    first_conflicting: float | None = None
    diverged: int = 0
    difference: Difference | None = None

    @property
    def marks(self) -> str:
        """The marks after the number, explained in the notes of a table."""
        return "" if self.state else _marks(self.converged, self.diverged)

    @property
    def gap(self) -> float | None:
        """Mean - published, in percentage points."""
        return None if self.mean is None or self.published is None else self.mean - self.published


@dataclass(frozen=True)
class Table:
    """Entries in order, with caption and notes."""

    caption: str
    scale: str
    entries: list[Entry]
    notes: list[str]
    spread: str = "interval"

    @property
    def metrics(self) -> list[str]:
        """The metrics with a column of their own: not those that no cell has, unless there is no other."""
        metrics = dict.fromkeys(entry.metric for entry in self.entries)
        defined = {entry.metric for entry in self.entries if entry.state != NOT_DEFINED}
        return [metric for metric in metrics if metric in defined] or list(metrics)

    @property
    def head(self) -> str:
        """Description of a value and its ±."""
        return "mean ± std" if self.spread == "deviation" else "mean ± 95 %"


def fixed(value: float | None, decimals: int, *, sign: bool = False) -> str:
    """Format a number with fixed decimals, None as an empty string, and never a negative zero."""
    if value is None:
        return ""
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    return text if float(text) else f"{0:.{decimals}f}"


def write_csv(path: str | Path, table: Table) -> None:
    """Write one line per cell, percent with two decimals; a value that does not exist is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for entry in table.entries:
        numbers = [fixed(value, 2) for value in (entry.mean, entry.std, entry.interval)]
        numbers += [entry.n, entry.networks, fixed(entry.published, 2), fixed(entry.gap, 2)]
        other = entry.difference
        numbers += [other.against, fixed(other.mean, 2), fixed(other.interval, 2), other.n] if other else [""] * 4
        numbers += [entry.converged, fixed(entry.moved, 2), fixed(entry.first_conflicting, 1)]
        numbers.append(entry.diverged if entry.n else "")
        writer.writerow([*entry.key.values(), entry.metric, *numbers, table.scale])
    store.write_bytes(path, text.getvalue().encode())


@dataclass
class Layout:
    """A table as text: `same` holds in every line, `groups` are (metric, column heads)."""

    same: dict[str, str]
    keys: list[str]
    groups: list[tuple[str, list[str]]]
    lines: list[list[str]] = field(default_factory=list)

    @property
    def heads(self) -> list[str]:
        """Heads of all columns in one line."""
        return self.keys + [head for _, heads in self.groups for head in heads]

    @property
    def constant(self) -> str:
        """One sentence with what is the same in every line, or an empty string."""
        return f"In every line: {', '.join(f'{k} {v}' for k, v in self.same.items())}." if self.same else ""


def lay_out(table: Table) -> Layout:
    """Group the entries into lines of one run setting each, in the order of their first entry."""
    lines: list[tuple[dict, dict[str, Entry]]] = []
    for entry in table.entries:
        key = dict(entry.key)
        # The same cell may be asked for twice, against two published numbers: then it gets a second line.
        free = [entries for known, entries in lines if known == key and entry.metric not in entries]
        if not free:
            lines.append((key, {}))
            free = [lines[-1][1]]
        free[0][entry.metric] = entry
    names = list(table.entries[0].key) if table.entries else []
    same = {n: lines[0][0][n] for n in names if len({key[n] for key, _ in lines}) == 1} if len(lines) > 1 else {}
    keys = [name for name in names if name not in same]
    groups = []
    for metric in table.metrics:
        shown = [entry for entry in table.entries if entry.metric == metric]
        others = dict.fromkeys(f"minus {entry.difference.against}" for entry in shown if entry.difference)
        compared = ("published", "gap") if any(entry.published is not None for entry in shown) else ()
        groups.append((metric, [metric_head(metric), "n", *others, *compared]))
    layout = Layout(same, keys, groups)
    for key, entries in lines:
        texts = [_entry_texts(entries.get(metric), heads[1:], table.spread) for metric, heads in groups]
        layout.lines.append([key[name] for name in keys] + [text for group in texts for text in group])
    return layout


def metric_head(metric: str) -> str:
    """Return the name of a metric as people read it, with an arrow where lower is better."""
    name = metric_words(metric)
    return f"{name} ↓" if metric in LOWER_IS_BETTER else name


def metric_words(metric: str) -> str:
    """Return the name of a metric as people say it."""
    return metric.replace("deo_", "DEO ").replace("_", " ")


def _entry_texts(entry: Entry | None, heads: list[str], spread: str) -> list[str]:
    """Return the texts of one metric group: the value, and what stands under the heads of its other columns."""
    if entry is None:
        return [""] * (1 + len(heads))
    value = entry.state or _with_spread(entry.mean, entry.interval if spread == "interval" else entry.std)
    texts = {"n": seeds(entry.n), "published": _with_spread(entry.published, entry.published_std)}
    texts["gap"] = _with_spread(entry.gap, None, sign=True)
    if entry.difference:
        texts[f"minus {entry.difference.against}"] = _difference_text(entry.difference, entry.n)
    return [value + entry.marks, *(texts.get(head, "") for head in heads)]


def _difference_text(difference: Difference, n: int) -> str:
    """Return a difference, with its number of seeds where that is not the `n` of the entry."""
    if not difference.n:
        return ""
    number = f" ({difference.n} seed{'s' if difference.n > 1 else ''})" if difference.n != n else ""
    text = _with_spread(difference.mean, difference.interval, sign=True) + number
    return text + _marks(difference.converged, difference.diverged)


def seeds(number: int) -> str:
    """Return a number of distillation seeds as people read it: alone it has no interval, which is said."""
    return "1 seed" if number == 1 else str(number)


def _with_spread(value: float | None, spread: float | None, *, sign: bool = False) -> str:
    return " ± ".join(filter(None, [fixed(value, 1, sign=sign), fixed(spread, 1)])).replace("-", "−")


def write_markdown(path: str | Path, table: Table) -> None:
    """Write a GitHub table with the caption above and the notes below."""
    layout = lay_out(table)
    keys = len(layout.keys)
    rows = [layout.heads, *layout.lines]
    cells = [f"| {' | '.join(map(escape.markdown, row))} |" for row in rows]
    cells.insert(1, f"|{'|'.join([' :-- '] * keys + [' --: '] * (len(layout.heads) - keys))}|")
    lines = [f"**{escape.markdown(table.caption)}**", ""] if table.caption.strip() else []
    lines += [escape.markdown(layout.constant), ""] if layout.constant else []
    lines += [*cells, "", *(f"- {escape.markdown(note)}" for note in table.notes), ""]
    store.write_bytes(path, "\n".join(lines).encode())


def write_tex(path: str | Path, table: Table) -> None:
    r"""Write a ``table`` environment as wide as the column at most; it needs ``booktabs`` and ``graphicx``, no more.

    Heads are broken into lines, a number of seeds that all lines share is said below, and what is still wider than the
    column is made smaller.
    """
    layout, same = _without_common_seeds(lay_out(table))
    column = len(layout.keys)
    rules, plain = [], all(len(heads) == 1 for _, heads in layout.groups)
    for _, heads in layout.groups:
        rules.append(rf"\cmidrule(lr){{{column + 1}-{column + len(heads)}}}")
        column += len(heads)
    metrics = [_stacked(heads[0], 7 + 7 * len(heads)) for _, heads in layout.groups]
    if plain:
        head = [_tex_row([*map(escape.latex, layout.keys), *metrics])]
    else:
        first = [""] * len(layout.keys)
        first += [
            rf"\multicolumn{{{len(heads)}}}{{c}}{{{metric}}}"
            for metric, (_, heads) in zip(metrics, layout.groups, strict=True)
        ]
        second = layout.keys + [text for _, heads in layout.groups for text in ("mean", *heads[1:])]
        head = [_tex_row(first), " ".join(rules), _tex_row([_stacked(text, 10) for text in second])]
    lines = [r"% \usepackage{booktabs,graphicx}", r"\begin{table}", r"\centering\small"]
    lines += [rf"\caption{{{escape.latex(table.caption)}}}"] if table.caption.strip() else []
    lines += [r"\smallskip\setlength{\tabcolsep}{4pt}%", rf"\resizebox{{{_NARROWER}}}{{!}}{{%"]
    lines += [rf"\begin{{tabular}}{{{'l' * len(layout.keys)}{'r' * (column - len(layout.keys))}}}", r"\toprule"]
    lines += [*head, r"\midrule"]
    lines += [_tex_row(map(escape.latex, line)) for line in layout.lines]
    lines += [r"\bottomrule", r"\end{tabular}}", "", r"\smallskip\raggedright\footnotesize"]
    notes = filter(None, [layout.constant, same, *table.notes])
    lines += [escape.latex(" ".join(notes)), r"\end{table}", ""]
    store.write_bytes(path, "\n".join(lines).encode())


_NARROWER = r"\ifdim\width>\linewidth\linewidth\else\width\fi"


def _without_common_seeds(layout: Layout) -> tuple[Layout, str]:
    """Take out the columns of the number of seeds where it is the same everywhere; return what says it instead."""
    heads = [*layout.keys, *(head if place else "" for _, group in layout.groups for place, head in enumerate(group))]
    numbers = {line[place] for line in layout.lines for place, head in enumerate(heads) if head == "n"} - {""}
    if len(numbers) != 1:
        return layout, ""
    groups = [(metric, [head for head in group if head != "n"]) for metric, group in layout.groups]
    kept = [place for place, head in enumerate(heads) if head != "n"]
    lines = [[line[place] for place in kept] for line in layout.lines]
    return replace(layout, groups=groups, lines=lines), f"n = {numbers.pop()} everywhere."


def _stacked(text: str, width: int) -> str:
    """Return a head of a column as LaTeX, its words in lines of about so many letters."""
    together = text.replace(" ↓", "\N{NO-BREAK SPACE}↓")
    lines = [escape.latex(line) for line in textwrap.wrap(together, width, break_long_words=False)]
    stacked = r" \\ ".join(lines)
    return rf"\shortstack{{{stacked}}}" if len(lines) > 1 else stacked


def _tex_row(cells: Iterable[str]) -> str:
    return rf"{' & '.join(cells)} \\"


STYLE = """\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:1.5rem;max-width:70rem}
.result{overflow-x:auto}.result table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.caption{font-weight:600;margin:.3rem 0}.result th,.result td{padding:.25rem .5rem;text-align:right;white-space:nowrap}
.result .key{text-align:left}.result [colspan]{text-align:center}
.result thead th[rowspan],.result thead tr:last-child th{border-bottom:1px solid}
.result tbody tr:hover{background:#8882}.result .open{opacity:.65;font-style:italic}
.notes{font-size:.85rem;opacity:.85;padding-left:1.1rem}"""


def html_fragment(table: Table) -> str:
    """Return the table and its notes as HTML with every text escaped, without page or style around it."""
    layout, html = lay_out(table), escape.html
    heads = [f'<th scope="col" rowspan="2" class="key">{html(name)}</th>' for name in layout.keys]
    heads += [f'<th scope="colgroup" colspan="{len(group)}">{html(group[0])}</th>' for _, group in layout.groups]
    second = [f'<th scope="col">{html(h)}</th>' for _, group in layout.groups for h in (table.head, *group[1:])]
    body, caption = [], html(table.caption)
    for line in layout.lines:
        cells = [f'<td class="key">{html(text)}</td>' for text in line[: len(layout.keys)]]
        for text in line[len(layout.keys) :]:
            unfinished = ' class="open"' if text.startswith("not ") else ""
            cells.append(f"<td{unfinished}>{html(text)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    notes = "".join(f"<li>{html(note)}</li>" for note in filter(None, [layout.constant, *table.notes]))
    return "\n".join(
        [
            # Not a <caption>: in the scrolling part it would be cut on a telephone.
            f'<p class="caption">{caption}</p>' if caption else "",
            f'<div class="result"><table aria-label="{caption or "Results"}">',
            f"<thead><tr>{''.join(heads)}</tr><tr>{''.join(second)}</tr></thead>",
            "<tbody>",
            *body,
            "</tbody></table></div>",
            f'<ul class="notes">{notes}</ul>',
        ]
    )


def write_html(path: str | Path, table: Table) -> None:
    """Write a page with the table alone; the part between the two marks can stand in another page."""
    page = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{escape.html(table.caption) or 'Results'}</title><style>{STYLE}</style></head><body>",
        HTML_BEGIN,
        html_fragment(table),
        HTML_END,
        "</body></html>",
        "",
    ]
    store.write_bytes(path, "\n".join(page).encode())
