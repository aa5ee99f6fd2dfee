"""Methods that a user adds from files of their own, named under ``plugins:`` in the study.

Which ones there are is known from their declarations (`ddbias.base.plugins.declarations`); their code is loaded where
it is called, in jobs only. It is code that the user chose to run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from ddbias.base.errors import DdbiasError
from ddbias.base.plugins.declarations import PACKAGES, Plugin, read

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


def added(package: str, kind: str) -> Plugin | None:
    """Return the plug-in that adds a kind to the registry of a package, None if none does."""
    section = next(name for name, folder in (*PACKAGES.items(), (package, package)) if folder == package)
    return _used.get((section, kind))


def kinds(section: str) -> list[str]:
    """Return the kinds that plug-ins add to a section."""
    return [kind for place, kind in _used if place == section]


def module(section: str, kind: str) -> ModuleType | None:
    """Return the loaded module of the plug-in that adds this kind, None if no plug-in does.

    Raises
    ------
    DdbiasError
        If its code fails while it is loaded.
    """
    plugin = _used.get((section, kind))
    return _load(plugin.file) if plugin else None


def extended(section: str, registry: Mapping[str, Callable], kind: object) -> Mapping[str, Callable]:
    """Return a registry of functions or classes, with that of the plug-in which adds `kind`, if one does."""
    plugin = _used.get((section, kind)) if isinstance(kind, str) else None
    return {**registry, kind: getattr(_load(plugin.file), plugin.use)} if plugin else registry


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
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        where = f" in line {lines[-1]}" if lines else ""
        raise DdbiasError(f"plug-in {file}: {type(error).__name__} while it is loaded{where}: {error}") from error
    return loaded
