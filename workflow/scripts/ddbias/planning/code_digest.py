"""A digest of the code that a job runs, so that an edit reruns what it can change and nothing else.

Which files a job reaches is found by reading import statements, never by importing. A package whose ``__init__.py``
holds a registry (a dictionary from kind to what implements it) is followed only for the kinds that a job uses: an edit
of one distiller does not rerun the others, and a new one reruns nothing.

What counts is what code does, wherever it lies: not comments, docstrings, layout, the names of files and folders, or
the options that a plug-in declares (they reach a job as parameters).
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from ddbias.base import paths, plugins
from ddbias.base.plugins.declarations import DECLARATION, Plugin
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
    "base.versions",  # the versions themselves count
)


def digest(script: str, kinds: Iterable[tuple[str, str]] = ()) -> str:
    """Return a digest of the code that a job runs, with the versions of the libraries it computes with.

    Covers the files of `files`, and of the ``__init__.py`` of the packages they use the functions and the entries of
    `kinds`. Parameters as there.
    """
    built_in, own = _sorted_out(kinds)
    reached = _reached(script, built_in, _files_of(own))
    parts = [_face(path, built_in) if _is_registry(path) else _content(path) for path in reached]
    parts += [f"uses {plugin.use}" for plugin in own if plugin.use]  # which of its functions or classes is the kind
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
    built_in, plugged_in = _sorted_out(kinds)
    own = _files_of(plugged_in)
    return [path for path in _reached(script, built_in, own) if path in own or path.name != "__init__.py"]


def forget() -> None:
    """Forget what files were read: for a process in which they are edited."""
    for cached in (_reached, _content, _code, _tree, _imported, _all_imported, _outside, registered):
        cached.cache_clear()


def _sorted_out(kinds: Iterable[tuple[str, str]]) -> tuple[tuple[tuple[str, str], ...], tuple[Plugin, ...]]:
    """Return the kinds of the library, and the plug-ins that add the others."""
    built_in, own = [], []
    for package, kind in kinds:
        if plugin := plugins.added(package, kind):
            own.append(plugin)
        else:
            built_in.append((package, kind))
    return tuple(built_in), tuple(own)


def _files_of(own: Iterable[Plugin]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(file for plugin in own for file in plugin.files))


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
    return _joined(_code(path), _names(_imported(path)))


@cache
def _code(path: Path) -> str:
    """Return a digest of a file's own code; of a registry nothing, since what counts of it hangs on the job."""
    return "" if _is_registry(path) else _written(node for node in _tree(path).body if not _is_declaration(node))


def _face(path: Path, kinds: tuple[tuple[str, str], ...]) -> str:
    """Return a digest of what the functions of a registry's package do, and of the entries of `kinds`."""
    package, tree = _module(path), _tree(path)
    registry, chosen = REGISTRIES[package], {kind for place, kind in kinds if place == package}
    entries = sorted((kind, value) for kind, value in _entries(tree, registry) if kind in chosen)
    # A text names a file, whose content counts by itself.
    values = [ast.Expr(value) for _, value in entries if not isinstance(value, ast.Constant)]
    shared = [node for node in tree.body if not _targets(node) & {registry, "__all__"}]
    others = {file for kind, files in registered(package).items() if kind not in chosen for file in files}
    others -= {file for kind in chosen for file in registered(package)[kind]}
    return _joined(_written([*values, *shared]), _names(pair for pair in _all_imported(path) if pair[0] not in others))


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
    return DECLARATION in _targets(node)


def _targets(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


# ---- what code imports --------------------------------------------------------------------------------------------


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


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
    """Return (file, name) as `_all_imported`; of a registry what its kinds share only."""
    if not _is_registry(path):
        return _all_imported(path)
    kinds = {file for files in registered(_module(path)).values() for file in files}
    return tuple((file, name) for file, name in _all_imported(path) if file not in kinds)


@cache
def _all_imported(path: Path) -> tuple[tuple[Path, str], ...]:
    """Return (file, name) of all that a file imports from the library, inside functions too.

    The name is what is imported and what it is called, ``load as read``; of a whole module the latter only.
    """
    found: list[tuple[Path, str]] = []
    for node in ast.walk(_tree(path)):
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
    return next(ast.literal_eval(node.value) for node in tree.body if _targets(node) == {"_HOMES"})


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
