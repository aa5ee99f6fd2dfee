"""Picking an entry of a registry by the ``kind`` of its settings, with readable errors for wrong names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from ddbias.base.errors import DdbiasError, unknown


def choose(
    what: str, registry: Mapping[str, Callable], settings: Mapping[str, object], *, reserved: tuple[str, ...] = ()
) -> tuple[Callable, dict[str, object]]:
    """Return the registry entry that ``settings["kind"]`` names, and the other settings as its keyword arguments.

    Parameters
    ----------
    what : str
        Noun for the messages, e.g. ``"source"``.
    registry : mapping of str to callable
        Functions or classes whose parameters are the allowed options.
    settings : mapping
        ``kind`` and options.
    reserved : tuple of str
        Parameters that the caller fills and a user may not set.

    Raises
    ------
    DdbiasError
        For a missing or unknown kind, an unknown option, or one that is needed and not given.
    """
    if "kind" not in settings:
        raise DdbiasError(f"a {what} needs a kind; known: {', '.join(sorted(registry))}")
    kind = settings["kind"]
    if kind not in registry:
        raise unknown(what, kind, registry)
    options = {name: value for name, value in settings.items() if name != "kind"}
    parameters = {n: p for n, p in inspect.signature(registry[kind]).parameters.items() if n not in reserved}
    for name in options:
        if name not in parameters:
            raise unknown(f"option of {what} '{kind}'", name, parameters)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            raise DdbiasError(f"{what} '{kind}' needs the option '{name}'")
    return registry[kind], options
