"""Which files of the library a rule's script uses, so that an edit reruns what it can change and nothing else.

Found by reading import statements, never by importing. A package whose ``__init__.py`` holds a registry (a
dictionary from kind to what implements it) is followed only for the kinds that a job uses: an edit of one distiller
does not rerun the others, and a new one reruns nothing.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ddbias import plugins

COMPUTING = ("torch", "numpy", "scikit-learn")  # libraries whose version changes results
SCRIPTS = Path(__file__).resolve().parents[1]
REGISTRIES = {
    "sources": "SOURCES",
    "bias": "BIASES",
    "networks": "NETWORKS",
    "surrogate": "KINDS",
    "debias": "KINDS",
    "distill": "MODULES",
    "guidance": "MODULES",
    "debiased_training": "KINDS",
    "plots": "PLOTS",
}
# What these say or do changes no result.
WITHOUT_EFFECT = {
    "log.py",
    "errors.py",
    "job.py",
    "gpu_slots.py",
    "checkpoint.py",
    "cache.py",
    "processor.py",
    "stopping.py",
    "plugins.py",
    "plugin_declarations.py",
}


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


def digest(script: str, kinds: Iterable[tuple[str, str]] = ()) -> str:
    """Return a digest of the code that a job runs: by content, whatever the dates of the files.

    Covers the files of `files`, the functions in the ``__init__.py`` of the packages they use (of a registry only the
    entries of `kinds`, so a new entry changes nothing), and the versions of the libraries that compute.
    """
    kinds, own = _sorted_out(kinds)
    hasher = hashlib.sha256()
    for path in _reached(script, kinds, own):
        library = path not in own
        content = _face(path, kinds) if library and path.name == "__init__.py" else path.read_bytes()
        name = path.relative_to(SCRIPTS).as_posix() if library else path.name  # wherever a plug-in lies
        hasher.update(name.encode() + b"\0" + content + b"\0")
    for library in COMPUTING:
        # Without the local label, so that a CPU and a GPU build of one version share results.
        hasher.update(f"{library} {importlib.metadata.version(library).split('+')[0]}".encode())
    return hasher.hexdigest()[:16]


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
        if path not in seen:
            seen.add(path)
            todo.extend(_imported(path))
    return tuple(sorted(path for path in seen if path in own or path.name not in WITHOUT_EFFECT))


def _face(path: Path, kinds: tuple[tuple[str, str], ...]) -> bytes:
    """Return what the functions of a package's ``__init__.py`` do, and its registry's entries of `kinds`."""
    tree = ast.parse(path.read_text())
    registry = REGISTRIES.get(path.parent.name)
    chosen = {kind for package, kind in kinds if package == path.parent.name}
    parts = [ast.dump(value) for kind, value in _entries(tree, registry) if kind in chosen] if registry else []
    parts += [ast.dump(node) for node in tree.body if not _is_listing(node, registry)]
    return "\n".join(parts).encode()


def _is_listing(node: ast.stmt, registry: str | None) -> bool:
    """Tell whether a statement only lists: an import, a text, the registry itself."""
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Expr) or bool(_targets(node) & {registry, "__all__"})


def _targets(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


@cache
def registered(package: str) -> dict[str, tuple[Path, ...]]:
    """Return, for every kind of a registry, the files that implement it."""
    path = SCRIPTS / "ddbias" / package / "__init__.py"
    tree = ast.parse(path.read_text())
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


def _entries(tree: ast.Module, registry: str) -> Iterable[tuple[str, ast.expr]]:
    for node in tree.body:
        if registry not in _targets(node):
            continue
        if isinstance(node.value, ast.Dict):
            yield from ((key.value, value) for key, value in zip(node.value.keys, node.value.values, strict=True))
        else:  # a tuple of kinds that are modules of the same name
            yield from ((item.value, item) for item in node.value.elts)


@cache
def _imported(path: Path) -> tuple[Path, ...]:
    """Return the library files that a file imports, inside functions too; of a registry, the shared ones only."""
    found: list[Path] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ddbias"):
            for alias in node.names:
                found += _module_files(node.module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found += _module_files(alias.name, "")
    if path.name == "__init__.py" and path.parent.name in REGISTRIES:
        kinds = {file for files in registered(path.parent.name).values() for file in files}
        return tuple(file for file in found if file not in kinds)
    return tuple(found)


def _module_files(module: str | None, name: str) -> list[Path]:
    """Return the files of a module and, when `name` is a module in it, of that one."""
    if not (module or "").startswith("ddbias"):
        return []
    base = SCRIPTS.joinpath(*module.split("."))
    candidates = [base.with_suffix(".py"), base / "__init__.py", base / f"{name}.py", base / name / "__init__.py"]
    return [file for file in candidates if file.is_file()]
