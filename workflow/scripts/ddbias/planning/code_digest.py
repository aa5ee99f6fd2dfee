"""A digest of the code that a job runs, so that an edit reruns what it can change and nothing else.

Which files a job reaches is found by reading import statements, never by importing. A package whose ``__init__.py``
holds a registry (a dictionary from kind to what implements it) is followed only for the kinds that a job uses: an edit
of one distiller does not rerun the others, and a new one reruns nothing.

What counts is what code does, wherever it lies: not comments, docstrings, layout, the names of files and folders, or
what a plug-in declares (its options reach a job as parameters).
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from ddbias.base import paths, plugins
from ddbias.base.plugins.declarations import DECLARATION
from ddbias.base.versions import versions

SCRIPTS = paths.SCRIPTS
REGISTRIES = {
    "datasets.sources": "SOURCES",
    "datasets.bias": "BIASES",
    "learning.networks": "NETWORKS",
    "debias.surrogate": "KINDS",
    "debias.kinds": "KINDS",
    "distill": "MODULES",
    "distill.guidance": "MODULES",
    "evaluation.debiased_training": "KINDS",
    "results.figures": "PLOTS",
}
# Packages and modules that change no result: how a job lives, what is planned, what is said and shown beside it.
WITHOUT_EFFECT = (
    *("runtime", "planning"),
    *("base.environment", "base.errors", "base.log", "base.plugins", "data.preview"),
)


def digest(script: str, kinds: Iterable[tuple[str, str]] = ()) -> str:
    """Return a digest of the code that a job runs, with the versions of the libraries it computes with.

    Covers the files of `files`, and of the ``__init__.py`` of the packages they use the functions and the entries of
    `kinds`. Parameters as there.
    """
    built_in, own = _sorted_out(kinds)
    reached = _reached(script, built_in, own)
    parts = sorted(_face(path, built_in) if _is_registry(path) else _content(path) for path in reached)
    libraries = versions(name for path in reached for name in _outside(path))
    parts += [f"{name} {version}" for name, version in libraries.items()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def files(script: str, kinds: Iterable[tuple[str, str]] = ()) -> list[Path]:
    """Return a script and every library file that it uses.

    Parameters
    ----------
    script : str
        Name of a rule's script, without ``.py``.
    kinds : iterable of (package, kind)
        The entries of registries that the job uses, e.g. ``("distill", "dm")``.

    Returns
    -------
    list of Path
        Sorted; without the library's ``__init__.py`` and modules that change no result. Those of a plug-in as the study
        names them, those of the library absolute.

    Raises
    ------
    KeyError
        If a kind is not in its registry, and no plug-in adds it.
    """
    built_in, own = _sorted_out(kinds)
    return [path for path in _reached(script, built_in, own) if path in own or path.name != "__init__.py"]


def forget() -> None:
    """Forget what files were read: for a process in which they are edited."""
    for cached in (_reached, _content, _code, _tree, _imported, _outside, registered):
        cached.cache_clear()


def _sorted_out(kinds: Iterable[tuple[str, str]]) -> tuple[tuple[tuple[str, str], ...], tuple[Path, ...]]:
    """Return the kinds of the library, and the files of the plug-ins that add the others."""
    built_in, own = [], []
    for package, kind in kinds:
        added = plugins.files(package, kind)
        own += added
        built_in += [] if added else [(package, kind)]
    return tuple(built_in), tuple(dict.fromkeys(own))


@cache
def _reached(script: str, kinds: tuple[tuple[str, str], ...], own: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return a script and all library files it reaches, sorted, without those that change no result."""
    todo = [SCRIPTS / f"{script}.py", *own, *(path for package, kind in kinds for path in registered(package)[kind])]
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


def _is_registry(path: Path) -> bool:
    return path.name == "__init__.py" and _module(path) in REGISTRIES


# ---- what code does -----------------------------------------------------------------------------------------------


@cache
def _content(path: Path) -> str:
    """Return a digest of what a file does: its own code, and what each name that it imports from the library is."""
    imports = sorted(f"{name} {_code(file)}" for file, name in _imported(path) if not _has_no_effect(file))
    return hashlib.sha256("\n".join([_code(path), *imports]).encode()).hexdigest()


@cache
def _code(path: Path) -> str:
    """Return a digest of a file's own code; of a registry nothing, since what counts of it hangs on the job."""
    return "" if _is_registry(path) else _written(node for node in _parsed(path).body if not _is_declaration(node))


def _face(path: Path, kinds: tuple[tuple[str, str], ...]) -> str:
    """Return a digest of what the functions of a registry's package do, and of the entries of `kinds`."""
    package, tree = _module(path), _parsed(path)
    chosen = {kind for place, kind in kinds if place == package}
    values = [value for kind, value in _entries(tree, REGISTRIES[package]) if kind in chosen]
    # A text names a file, whose content counts by itself.
    entries = [ast.Expr(value) for value in values if not isinstance(value, ast.Constant)]
    return _written([*entries, *(node for node in tree.body if not _targets(node) & {REGISTRIES[package], "__all__"})])


def _written(body: Iterable[ast.stmt]) -> str:
    """Return a digest of statements, without docstrings, comments, layout and imports of the library."""
    module = _Bare().visit(ast.Module(list(body), []))
    return hashlib.sha256(ast.unparse(module).encode()).hexdigest()


class _Bare(ast.NodeTransformer):
    """Leaves out the texts that do nothing, docstrings among them, and what is imported from the library; in place."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if _is_ours(node.module) else node

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        kept = [alias for alias in node.names if not _is_ours(alias.name)]
        return ast.Import(kept) if kept else None


def _is_declaration(node: ast.stmt) -> bool:
    return DECLARATION in _targets(node)


def _targets(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


# ---- what code imports --------------------------------------------------------------------------------------------


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


_tree = cache(_parsed)  # for looking only


def _is_ours(module: str | None) -> bool:
    return (module or "").split(".")[0] == "ddbias"


@cache
def registered(package: str) -> dict[str, tuple[Path, ...]]:
    """Return, for every kind of a registry, the files that implement it."""
    tree = _tree(SCRIPTS.joinpath("ddbias", *package.split("."), "__init__.py"))
    origin = {
        alias.asname or alias.name: _module_files(node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    found = {}
    for kind, value in _entries(tree, REGISTRIES[package]):
        if isinstance(value, ast.Constant):  # the name of a module that is imported when needed
            found[kind] = tuple(_module_files(f"ddbias.{package}.{value.value}", ""))
        else:
            names = [node.id for node in ast.walk(value) if isinstance(node, ast.Name)]
            found[kind] = tuple(file for name in names for file in origin.get(name, ()))
    return found


def _entries(tree: ast.Module, registry: str) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if registry not in _targets(node):
            continue
        if isinstance(node.value, ast.Dict):
            yield from ((key.value, value) for key, value in zip(node.value.keys, node.value.values, strict=True))
        else:  # a tuple of kinds that are modules of the same name
            yield from ((item.value, item) for item in node.value.elts)


@cache
def _imported(path: Path) -> tuple[tuple[Path, str], ...]:
    """Return (file, what of it) of all that a file imports from the library, inside functions too.

    The second is the name that is imported and, if another one, the name it is given; empty for a whole module. Of a
    registry what its kinds share only.
    """
    found: list[tuple[Path, str]] = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and _is_ours(node.module):
            for alias in node.names:
                is_module = bool(_module_files(f"{node.module}.{alias.name}", ""))
                name = "" if is_module else f"{alias.name} as {alias.asname or alias.name}"
                found += [(file, name) for file in _module_files(node.module, alias.name)]
        elif isinstance(node, ast.Import):
            found += [(file, "") for alias in node.names for file in _module_files(alias.name, "")]
    if _is_registry(path):
        kinds = {file for files in registered(_module(path)).values() for file in files}
        return tuple((file, name) for file, name in found if file not in kinds)
    return tuple(found)


@cache
def _outside(path: Path) -> tuple[str, ...]:
    """Return the top-level names of all other modules that a file imports."""
    nodes = list(ast.walk(_tree(path)))
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
