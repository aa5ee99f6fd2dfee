r"""A text of a user as a terminal or a log may show it: what would be obeyed is written.

That is control characters, and marks that turn the direction of what follows; they are written as Python writes them,
``\x1b``. Standard library only, since the launcher uses it, too.
"""

from __future__ import annotations

import re

LONGEST_LINE = 1000  # characters
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(text: object) -> str:
    r"""Return a text in which what would be obeyed is written; line breaks and tabs stay.

    Examples
    --------
    >>> print(visible("\x1b[31mred"))
    \x1b[31mred
    """
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def line(text: object) -> str:
    """Return a text on one line, with single spaces and nothing that would be obeyed."""
    return visible(" ".join(str(text).split()))


def shortened(text: str, most: int, between: str = "…") -> str:
    """Return a text with its middle left out where it is too long: its end often tells more."""
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - len(between)]}{between}{text[len(text) - end :]}"


def terminal(text: object) -> str:
    """Return a text as one line of a terminal or a log, its middle left out beyond 1,000 characters."""
    return terminal_line(line(text))


def terminal_line(text: str) -> str:
    """Return a line of several, as of a traceback, whose spaces say something, as `terminal` does."""
    text = visible(text)
    return shortened(text, LONGEST_LINE, f" … ({len(text):,} characters) … ")
