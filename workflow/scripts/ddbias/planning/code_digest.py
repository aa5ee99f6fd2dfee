"""A digest of the code that a job runs, so that an edit reruns what it can change and nothing else.

Which files a job reaches is found by reading import statements, never by importing; the files of kinds, which nobody
imports, are those of the kinds that a job uses: an edit of one distiller does not rerun the others, and a new one
reruns nothing.

What counts is what code does, wherever it lies: not comments, docstrings, layout, the names of files and folders, or
the options that a kind declares (they reach a job as parameters).
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ddbias.base import paths, plugins
from ddbias.base.plugins.declarations import DECLARATION, Plugin, assigned, built_in
from ddbias.base.versions import versions

SCRIPTS = paths.SCRIPTS
# Packages and modules that change no result: how a job lives, what is planned, what is said and shown beside it.
WITHOUT_EFFECT = (
    *("runtime", "planning"),
    *("base.environment", "base.errors", "base.locks", "base.log", "base.paths", "base.plugins", "base.terminal"),
    *("base.versions", "data.preview"),  # the versions themselves count
)


def digest(script: str, kinds: Iterable[tuple[str, str]] = ()) -> str:
    """Return a digest of the code that a job runs, with the versions of the libraries it computes with.

    Covers the files of `files`, and the ``__init__.py`` of the packages they use. Parameters as there.
    """
    used = [plugins.find(section, kind) for section, kind in kinds]
    reached = _reached(script, _files_of(used))
    parts = [_content(path) for path in reached]
    # Which of its functions or classes is the kind, and what it always has.
    parts += [f"uses {plugin.use} {plugin.facts.get('fixed', {})}" for plugin in used if plugin.use]
    parts += [f"{name} {version}" for name, version in _versions(reached).items()]
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def _versions(reached: Iterable[Path]) -> dict[str, str]:
    """Return the versions of what files import, without the local label: CPU and GPU builds share results."""
    found = versions(name for path in reached for name in _outside(path))
    return {name: version.split("+")[0] for name, version in found.items()}


def files(script: str, kinds: Iterable[tuple[str, str]] = ()) -> list[Path]:
    """Return a script and every library file that it uses.

    Parameters
    ----------
    script : str
        Name of a rule's script, or the path of one, without ``.py``.
    kinds : iterable of (section, kind)
        What the job uses, e.g. ``("distiller", "dm")``.

    Returns
    -------
    list of Path
        Sorted; without the library's ``__init__.py`` and modules that change no result. Those of a plug-in as the study
        names them, those of the library absolute.

    Raises
    ------
    DdbiasError
        For an unknown kind.
    """
    own = _files_of(plugins.find(section, kind) for section, kind in kinds)
    return [path for path in _reached(script, own) if path in own or path.name != "__init__.py"]


def forget() -> None:
    """Forget what files were read: for a process in which they are edited."""
    for cached in (_reached, _content, _code, _tree, _import_statements, _imported, _outside, built_in):
        cached.cache_clear()


def _files_of(own: Iterable[Plugin]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(file for plugin in own for file in plugin.files))


@cache
def _reached(script: str, own: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return a script and all library files it reaches, sorted, without those that change no result."""
    # Loading the file of a kind runs the package that it lies in.
    packages = [path.parent / "__init__.py" for path in own if _module(path)]
    todo = [SCRIPTS / f"{script}.py", *own, *packages]
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path not in seen and not _has_no_effect(path):
            seen.add(path)
            todo.extend(file for file, _ in _imported(path))
    return tuple(sorted(seen))


def _module(path: Path) -> str:
    """Return the dotted name of a file of the library below ``ddbias``; an empty text for any other file."""
    library = SCRIPTS / "ddbias"
    if not path.is_relative_to(library):
        return ""
    parts = path.relative_to(library).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _has_no_effect(path: Path) -> bool:
    module = _module(path)
    if path == SCRIPTS / "ddbias/__init__.py":  # the version and the list of public names
        return True
    return any(module == name or module.startswith(f"{name}.") for name in WITHOUT_EFFECT)


# ---- what code does -----------------------------------------------------------------------------------------------


@cache
def _content(path: Path) -> str:
    """Return a digest of what a file does: its own code, and what each name that it imports from the library is."""
    return _joined(_code(path), _names(_imported(path)))


@cache
def _code(path: Path) -> str:
    """Return a digest of a file's own code, without what it declares."""
    return _written(node for node in _tree(path).body if not _is_declaration(node))


def _names(imported: Iterable[tuple[Path, str]]) -> list[str]:
    """Return what imported names are: how they are called, with a digest of the file that they come from."""
    return sorted(f"{name} {_code(file)}" for file, name in imported if not _has_no_effect(file))


def _joined(first: str, others: Iterable[str]) -> str:
    return hashlib.sha256("\n".join([first, *others]).encode()).hexdigest()


def _written(body: Iterable[ast.stmt]) -> str:
    """Return a digest of statements, without docstrings, comments, layout and imports of the library."""
    return hashlib.sha256(_text(list(body)).encode()).hexdigest()


def _text(node: object) -> str:
    """Write a syntax tree: kinds of nodes and what is in them, which minor versions of Python agree on."""
    if isinstance(node, ast.AST):
        fields = [(name, _text(value)) for name, value in ast.iter_fields(node) if value not in (None, [])]
        return f"{type(node).__name__}({' '.join(f'{name}={text}' for name, text in fields)})"
    if isinstance(node, list):
        return f"[{' '.join(_text(item) for item in node if not _does_nothing(item))}]"
    return repr(node)


def _does_nothing(node: object) -> bool:
    """Tell whether a statement is a mere text, such as a docstring, or an import of the library, which counts apart."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    if isinstance(node, ast.ImportFrom):
        return _is_ours(node.module)
    return isinstance(node, ast.Import) and all(_is_ours(alias.name) for alias in node.names)


def _is_declaration(node: ast.stmt) -> bool:
    return DECLARATION in assigned(node)


# ---- what code imports --------------------------------------------------------------------------------------------


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def _is_ours(module: str | None) -> bool:
    return (module or "").split(".")[0] == "ddbias"


@cache
def _import_statements(path: Path) -> tuple[ast.stmt, ...]:
    return tuple(node for node in ast.walk(_tree(path)) if isinstance(node, (ast.Import, ast.ImportFrom)))


@cache
def _imported(path: Path) -> tuple[tuple[Path, str], ...]:
    """Return (file, name) of all that a file imports from the library, inside functions too.

    The name is what is imported and what it is called, ``load as read``; of a whole module the latter only.
    """
    found: list[tuple[Path, str]] = []
    for node in _import_statements(path):
        if isinstance(node, ast.ImportFrom) and _is_ours(node.module):
            for alias in node.names:
                called = alias.asname or alias.name
                is_module = _module_files(f"{node.module}.{alias.name}", "")
                name = f"as {called}" if is_module else f"{alias.name} as {called}"
                found += [(file, name) for file in _files_with(node.module, alias.name)]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                files = _module_files(alias.name, "")
                if alias.name == "ddbias":  # all of its public names can be meant
                    files = [file for name in _homes() for file in _files_with("ddbias", name)]
                found += [(file, f"as {alias.asname or 'itself'}") for file in files]
    return tuple(found)


def _files_with(module: str, name: str) -> list[Path]:
    """Return the files of a name that is imported from a module; of a public name of the library, of where it is."""
    if module == "ddbias" and name in _homes():
        return _module_files(f"ddbias.{_homes()[name].partition(':')[0]}", "")
    return _module_files(module, name)


def _homes() -> dict[str, str]:
    """Return the modules of the library's public names."""
    tree = _tree(SCRIPTS / "ddbias/__init__.py")
    return next(ast.literal_eval(node.value) for node in tree.body if assigned(node) == {"_HOMES"})


@cache
def _outside(path: Path) -> tuple[str, ...]:
    """Return the top-level names of all other modules that a file imports."""
    nodes = _import_statements(path)
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return tuple({name.split(".")[0] for name in names})


def _module_files(module: str | None, name: str) -> list[Path]:
    """Return the files of a module and, when `name` is a module in it, of that one."""
    if not _is_ours(module):
        return []
    base = SCRIPTS.joinpath(*module.split("."))
    candidates = [base.with_suffix(".py"), base / "__init__.py", base / f"{name}.py", base / name / "__init__.py"]
    return [file for file in candidates if file.is_file()]
