"""Common parts of our pages: each opens offline from a file, with one style and one script, allowed by their hash.

A content security policy forbids every request, and every style and script but the page's own; all texts are escaped.
``report.css`` and ``report.js`` sort, filter and open the rows of the one table with the id ``runs``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

from ddbias.base.terminal import visible
from ddbias.results.tables.pool import by_size

NONE = "–"  # in a cell of the table of rows: nothing to say; report.js sorts it last


def render(template: Path, **shown: object) -> str:
    """Return a page.

    Parameters
    ----------
    template : path
        Jinja2 template that extends ``page.html.j2``; that one, ``report.css`` and ``report.js`` lie beside it.
    shown : object
        What the template shows.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(template.parent)
    environment = Environment(
        loader=loader,
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,  # not what is HTML already
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = ((template.parent / f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return environment.get_template(template.name).render(
        **shown,
        style=trusted(style),
        style_hash=_hash(style),
        script=trusted(script),
        script_hash=_hash(script),
        breakable=_breakable,
    )


def trusted(text: str):
    """Mark text of our own as HTML that needs no escaping."""
    from markupsafe import Markup

    return Markup(text)


def values(texts: Iterable[str]) -> list[str]:
    """Return the different texts, numbers in numerical order: what can be chosen in a filter."""
    return sorted(set(texts), key=by_size)


def _breakable(text: str):
    """Escape a name and let it break after its underscores, for narrow screens; its text stays the same."""
    from markupsafe import escape

    return escape(visible(text)).replace("_", trusted("_<wbr>"))


def _hash(text: str):
    """Return what the content security policy knows a style or script by."""
    return trusted(f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}")
