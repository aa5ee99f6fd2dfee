"""Everything with a ``kind``: the library's own, and what a user adds from files named under ``plugins:`` in a study.

Which kinds there are is known from their declarations (`ddbias.base.plugins.declarations`); their code is loaded where
it is called, in jobs only. That of a user's plug-in is code that the user chose to run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from ddbias.base.errors import DdbiasError, Misuse, PluginError, unknown
from ddbias.base.plugins.declarations import CODE, Plugin, built_in, read

LONGEST = 300  # characters of what is told of another's error
PREFIX = "ddbias_plugin_"  # of the names of loaded modules
_used: dict[tuple[str, str], Plugin] = {}


def use(paths: Iterable[str | Path]) -> None:
    """Make the plug-ins at some paths known to this process, and no others; their code does not run yet.

    Raises `DdbiasError` as `ddbias.base.plugins.declarations.read` does.
    """
    found = {(plugin.section, plugin.kind): plugin for plugin in read(paths)}
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:  # their files may have been edited
        del sys.modules[name]
    _used.clear()
    _used.update(found)


def kinds(section: str) -> dict[str, Plugin]:
    """Return all kinds of a section, first the library's own, then those of plug-ins."""
    return {kind: plugin for (place, kind), plugin in {**built_in(), **_used}.items() if place == section}


def find(section: str, kind: object) -> Plugin:
    """Return what is declared of a kind; an unknown one raises `DdbiasError`."""
    known = kinds(section)
    if not isinstance(kind, str) or kind not in known:
        raise unknown(f"{section} kind", kind, known)
    return known[kind]


def module(section: str, kind: str) -> ModuleType:
    """Return the loaded module of a kind.

    Raises
    ------
    DdbiasError
        For an unknown kind, or if the code of a plug-in fails while it is loaded.
    """
    plugin = find(section, kind)
    return importlib.import_module(plugin.module) if plugin.built_in else _load(plugin.file)


def implementation(section: str, kind: str) -> Callable:
    """Return the function or class that a kind of the sections `declarations.BY_NAME` uses, with its fixed options."""
    plugin = find(section, kind)
    found, fixed = getattr(module(section, kind), plugin.use), plugin.facts.get("fixed")
    if not callable(found):
        raise plugin.error(f"uses {plugin.use}, which is no function or class but {type(found).__name__}")
    return partial(found, **fixed) if fixed else found


def chosen(
    section: str, settings: Mapping[str, object], *, reserved: tuple[str, ...] = ()
) -> tuple[Callable, dict[str, object]]:
    """Return the implementation that ``settings["kind"]`` names, and the other settings as its keyword arguments.

    Parameters
    ----------
    section : str
        One of `declarations.BY_NAME`.
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
        raise DdbiasError(f"a {section} needs a kind; known: {', '.join(sorted(kinds(section)))}")
    found = implementation(section, settings["kind"])
    options = {name: value for name, value in settings.items() if name != "kind"}
    parameters = {n: p for n, p in inspect.signature(found).parameters.items() if n not in reserved}
    for name in options:
        if name not in parameters:
            raise unknown(f"option of {section} '{settings['kind']}'", name, parameters)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            raise DdbiasError(f"{section} '{settings['kind']}' needs the option '{name}'")
    return found, options


@contextmanager
def calling(section: str, kind: str) -> Iterator[None]:
    """Report errors within as the plug-in's, in one line with its file: for calls of a kind's code.

    The line is that where its code failed, or where the function or class begins whose call or result was wrong. For
    a kind of the library nothing is done.

    Raises
    ------
    PluginError
        Instead of any exception but `DdbiasError`, which is its cause.
    """
    try:
        yield
    except DdbiasError:
        raise
    except Exception as error:
        plugin = find(section, kind)
        if plugin.built_in:
            raise
        name = (error.of if isinstance(error, Misuse) else None) or plugin.use or CODE[section]
        told = _told(error) if isinstance(error, Misuse) else f"fails: {_told(error)}"
        raise mistake(error) or plugin.error(told, name) from error


def mistake(error: BaseException) -> PluginError | None:
    """Return what to tell of an error that arose in the code of a plug-in, with file and line; None for others."""
    files = {file.resolve(): file for plugin in _used.values() for file in plugin.files}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if (file := files.get(Path(frame.filename).resolve())) is not None:
            return PluginError(f"plug-in {file}, line {frame.lineno}: {_told(error)}")
    return None


def _told(error: BaseException) -> str:
    """Return an error in one line."""
    text = " ".join(str(error).split())
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return text if isinstance(error, Misuse) else f"{type(error).__name__}: {text}".removesuffix(": ")


class _Source(SourceFileLoader):
    """Compiles from source every time: a cached file is told apart by its date only, in whole seconds."""

    def get_code(self, fullname: str):
        return self.source_to_code(self.get_data(self.path), self.path)


def _name(file: Path) -> str:
    return f"{PREFIX}{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]}"


def _load(file: Path) -> ModuleType:
    name = _name(file)
    if name in sys.modules:
        return sys.modules[name]
    folder = [str(file.parent)] if file.name == "__init__.py" else None
    loader = _Source(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=folder)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, SyntaxError) and error.filename:  # of a file that it imports
            where = f"plug-in {error.filename}, line {error.lineno}"
            raise PluginError(f"{where}: not valid Python: {error.msg}") from error
        raise mistake(error) or PluginError(f"plug-in {file}: {_told(error)}") from error
    return loaded
