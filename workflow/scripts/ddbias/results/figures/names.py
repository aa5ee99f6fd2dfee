"""Texts of a user in figures: not as formulas, on one line, in letters that a font of this machine has."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from ddbias.base.terminal import line, shortened

FONT = "DejaVu Sans"  # ships with matplotlib
LONGEST = 40  # letters of a name
UPRIGHT = ("Regular", "Book", "Roman", "Medium")
NUMBERED = "#: number of a class in the data set, from 1; no font here has the letters of its name"


def text(value: object) -> str:
    r"""Return a text for a figure: matplotlib reads no formula in it, and letters that no font has become ``?``.

    Examples
    --------
    >>> print(text("$a_b$"))
    \$a_b\$
    """
    shown = shortened(line(value), LONGEST)
    missing = fallbacks(shown)[1]
    shown = "".join("?" if character in missing else character for character in shown).replace("$", r"\$")
    return f"\N{ZERO WIDTH SPACE}{shown}" if shown.startswith("_") else shown  # else a legend would leave it out


def classes(names: Sequence[object]) -> tuple[list[str], str]:
    """Return the names of classes for a figure, and a note to put below it, or an empty one.

    A name in letters that no font has is the number of the class.
    """
    lines = [shortened(line(name), LONGEST) for name in names]
    missing = fallbacks("".join(lines))[1]
    shown = [f"#{place}" if missing & set(line) else text(line) for place, line in enumerate(lines, 1)]
    return shown, NUMBERED if missing else ""


def width(text: str) -> int:
    """Return how wide a text is, in letters; those of Chinese, Japanese and Korean are twice as wide as others."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def write(figure: Figure) -> None:
    """Give all texts of a figure the fonts that have their letters: `FONT`, and others for what it lacks."""
    texts = figure.findobj(Text)
    others, _ = fallbacks("".join(part.get_text() for part in texts))
    for part in texts if others else ():
        part.set_fontfamily([FONT, *others])


def fallbacks(written: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the fonts of this machine that have what `FONT` lacks of a text, and the letters that none has."""
    lacking = frozenset(character for character in written if character > "~") - _letters(_own())
    return _fallbacks(lacking - {"\n"}) if lacking else ((), frozenset())


@functools.lru_cache
def _fallbacks(lacking: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    found = []
    for family, path in _installed():
        if lacking and (new := lacking & _letters(path)):
            lacking -= new
            known = {Path(font.fname).resolve() for font in font_manager.fontManager.ttflist}
            if Path(path).resolve() not in known:  # installed after matplotlib made its list
                font_manager.fontManager.addfont(path)
            found.append(family)
    return tuple(found), lacking


def _own() -> str:
    return font_manager.findfont(FONT)


@functools.lru_cache
def _installed() -> list[tuple[str, str]]:
    """Return family and file of the upright fonts of the system, Noto first, always in one order."""
    found = []
    for path in font_manager.findSystemFonts():
        try:
            font = FT2Font(path)
        except (OSError, RuntimeError):
            continue  # damaged, or of pixels
        if font.scalable and font.style_name in UPRIGHT and "resort" not in font.family_name.lower():
            found.append((font.family_name, path))
    return sorted(found, key=lambda one: ("noto" not in one[0].lower(), one))


@functools.lru_cache(maxsize=8)
def _letters(path: str) -> frozenset[str]:
    return frozenset(map(chr, FT2Font(path).get_charmap()))


def longest(texts: Iterable[str]) -> int:
    """Return the width of the widest line of some texts, in letters."""
    return max((width(line) for text in texts for line in text.split("\n")), default=0)
