"""The common style of all figures: fonts, grid, and the same colour and marker for the same debias everywhere.

Colours are seaborn's colour-blind palette; markers differ as well, so a figure can be read in grey.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Iterable

from matplotlib.figure import Figure

from ddbias.results.figures import names
from ddbias.results.tables.formats import metric_words

KNOWN = {  # debias: (colour of the palette, marker)
    "uniform": (7, "o"),
    "kde": (0, "s"),
    "group_balanced": (2, "D"),
    "fairdd": (1, "^"),
    "cobra": (4, "v"),
}
OTHER_COLOURS, OTHER_MARKERS = (3, 9, 5, 6), "PX<>*hpd"  # for any other name; disjoint from the known looks
HOLLOW = "hollow: not converged"
CROSSED = "crossed: a network diverged"
LETTER = 0.09  # inches of a letter of a title at most
ALIGNED, CONFLICTING = 7, 1  # colours of the palette: grey and orange


def rc() -> dict:
    """Return the matplotlib settings of all figures; the font ships with matplotlib, so any machine has it."""
    import seaborn

    return {
        **seaborn.axes_style("whitegrid"),
        "font.family": ["sans-serif"],
        "font.sans-serif": [names.FONT],
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.labelsize": 9,
        "figure.titlesize": 11,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "axes.edgecolor": ".7",
        "grid.color": ".9",
        "svg.hashsalt": "ddbias",
        "hatch.linewidth": 0.6,
    }


def colour(position: int) -> tuple[float, float, float]:
    """Return one of the ten colours of the colour-blind palette."""
    import seaborn

    return seaborn.color_palette("colorblind", 10)[position % 10]


def debias_styles(debias: Iterable[str]) -> dict[str, dict]:
    """Return ``{"color", "marker"}`` for each debias name: fixed by the name, and different within one figure."""
    order = list(KNOWN)
    styles, taken = {}, set()
    for name in sorted(set(debias), key=lambda name: (order.index(name) if name in KNOWN else len(order), name)):
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        look = KNOWN.get(name) or _other_look(number)
        while look in taken and len(taken) < len(OTHER_COLOURS) * len(OTHER_MARKERS):
            number += 1  # two names fell on one look: the later one moves on
            look = _other_look(number)
        taken.add(look)
        styles[name] = {"color": colour(look[0]), "marker": look[1]}
    return styles


def _other_look(number: int) -> tuple[int, str]:
    number %= len(OTHER_COLOURS) * len(OTHER_MARKERS)
    return OTHER_COLOURS[number % len(OTHER_COLOURS)], OTHER_MARKERS[number // len(OTHER_COLOURS)]


def marker(colour: object, *, hollow: bool = False) -> dict:
    """Return how a marker of a mean is filled and edged: hollow where the set behind it has not converged."""
    if hollow:
        return {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 1.4}
    return {"markerfacecolor": colour, "markeredgecolor": "black", "markeredgewidth": 0.6}


def cross(axis, x, y):
    """Draw a cross over a value with a diverged network; return the handle for a legend."""
    look = {"markersize": 10, "markeredgecolor": "black", "markeredgewidth": 1.2, "zorder": 5}
    return axis.plot(x, y, "x", linestyle="none", **look)[0]


def points(axis, looks: dict[str, dict]) -> tuple[list, list[str]]:
    """Return handles and labels of a legend: a marker for each debias, in the order of the looks."""
    handles = [
        axis.plot([], [], linestyle="none", markersize=6, **marker(look["color"]), **look)[0] for look in looks.values()
    ]
    return handles, list(map(names.text, looks))


def legend(axis, handles: list, labels: list[str], *, hollow: bool, crossed: bool) -> tuple[list, list[str]]:
    """Return handles and labels of a legend, with those of hollow and crossed markers if there are any."""
    if hollow:
        (handle,) = axis.plot([], [], "o", markersize=6, linestyle="none", **marker(".4", hollow=True))
        handles, labels = [*handles, handle], [*labels, HOLLOW]
    if crossed:
        handles, labels = [*handles, cross(axis, [], [])], [*labels, CROSSED]
    return handles, labels


def panels(count: int, *, width: float = 3.4, height: float = 3.0, columns: int = 3, **options) -> tuple:
    """Return a figure and `count` axes, in rows of at most `columns`."""
    columns = 2 if count == 4 and columns > 2 else min(count, columns)  # 2 x 2 rather than 3 + 1
    rows = -(-count // columns)
    figure = Figure(figsize=(max(width * columns, 4.2), height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options).reshape(-1)
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def title(figure: Figure, text: str) -> None:
    """Write a text above a figure, broken at commas where it is too long."""
    room, lines = figure.get_figwidth() / LETTER, [""]
    for part in text.split(", "):
        longer = ", ".join(filter(None, [lines[-1], part]))
        lines = [*lines[:-1], longer] if not lines[-1] or names.width(longer) <= room else [*lines, part]
    figure.suptitle("\n".join(lines))


def columns(figure: Figure, labels: Iterable[str]) -> int:
    """Return how many columns of a legend with these labels fit a figure."""
    labels = list(labels)
    return max(1, min(len(labels), int(figure.get_figwidth() / (0.6 + LETTER * names.longest(labels)))))


def nothing_yet(what: str) -> Figure:
    """Return a figure that says that none of its runs has finished."""
    return _words(f"No {what} yet:\nnone of the runs shown here has finished.")


def no_value(metric: str, why: str = "") -> Figure:
    """Return a figure that says why it has no value of a metric: none of its runs has finished, if nothing is given."""
    words = metric_words(metric)
    if not why:
        return nothing_yet(f"value of {words}")
    return _words("\n".join([f"The {words} is not defined here:", *textwrap.wrap(why, 55)]))


def _words(text: str) -> Figure:
    figure = Figure(figsize=(4.2, 1.2))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def describe(keys: Iterable[dict], always: tuple[str, ...] = ()) -> tuple[list[str], str]:
    """Word what differs between the parts of a figure, and what is common to all.

    Parameters
    ----------
    keys : iterable of dict
        One per part, with the same names in the same order.
    always : tuple of str
        Names to state for each part even when they do not differ.

    Returns
    -------
    labels : list of str
        What differs, per part, e.g. ``"ratio 0.95"``.
    common : str
        What is the same, e.g. ``"digits, IPC 10"``.
    """
    keys = list(keys)
    differs = [name for name in keys[0] if name in always or len({str(key[name]) for key in keys}) > 1]
    labels = [", ".join(_word(name, key[name]) for name in differs) for key in keys]
    common = ", ".join(_word(name, value) for name, value in keys[0].items() if name not in differs)
    return labels, common


def _word(name: str, value: object) -> str:
    prefix = {"ratio": "ratio ", "ipc": "IPC ", "seed": "seed ", "test": "test set "}.get(name, "")
    return f"{prefix}{names.text(value)}"
