"""Mistakes that a user can make, told in one line: the cause, the value, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DdbiasError(Exception):
    """An error whose message is all that a user needs; shown without a traceback."""


class PluginError(DdbiasError):
    """A mistake in a file of the user's that adds a kind; its cause, if it has one, is what the code raised."""


class Misuse(TypeError):
    """A plug-in returned what its section does not allow; `ddbias.base.plugins.calling` adds file and line.

    Parameters
    ----------
    text : str
        What it returned, and what it must return.
    of : str or None
        The function or class that returned it.
    """

    def __init__(self, text: str, of: str | None = None) -> None:
        super().__init__(text)
        self.of = of


def unreadable(error: OSError) -> str:
    """Return in one line what may not be read."""
    return f"{error.filename} cannot be read ({error.strerror}); change its owner or rights and run again"


def nearest(name: object, known: Iterable[object]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name closest to `name`, in any case, or an empty string."""
    names = {str(k).lower(): str(k) for k in known}
    match = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    return f" Did you mean '{names[match[0]]}'?" if match else ""


def unknown(what: str, name: object, known: Iterable[object]) -> DdbiasError:
    """Build the error for a name that is not among `known`."""
    known = sorted(str(k) for k in known)
    return DdbiasError(f"unknown {what} '{name}'; known: {', '.join(known) or 'none'}.{nearest(name, known)}")
