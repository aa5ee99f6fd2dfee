"""What a file says that it adds, read without running it: planning needs no torch, a mistake shows before any job.

Everything with a ``kind`` in a study is declared where it is implemented, in one plain literal::

    PLUGIN = {"distiller": {"mine": {"options": {"steps": {"type": "integer", "default": 3}}, "required": []}}}

The library's own kinds are declared so in its own files. A plug-in is a Python file of a user (or a folder with an
``__init__.py``) that does the same. `ddbias.planning.plugin_options` checks the options and makes the schema of a study
of them; `ddbias.base.plugins` runs the code.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

from ddbias.base import paths
from ddbias.base.errors import DdbiasError, PluginError, nearest
from ddbias.base.plugins import formula

DECLARATION = "PLUGIN"
# What the code of a kind is called. Where `use` names it, several kinds of a section may share a file.
CODE = {
    "source": None,
    "bias": None,
    "network": None,
    "surrogate": "Objective",
    "debias": None,  # sample_weights, estimate or both
    "distiller": None,  # Distiller or Selection
    "guidance": "Guidance",
    "debiasing": "Learner",
    "figure": "draw",
}
BY_NAME = ("source", "bias", "network")  # `use` names a function or class; of the others the file is the module
# What a section may say beside its options: what planning needs to know of a kind.
FACTS = {
    "source": {"facts": dict, "files": list, "seconds": float},
    "bias": {"files": list, "own_attribute": bool, "natural": bool, "seconds": float},
    "network": {"fixed": dict, "counts": list},
    "surrogate": {"gives": list, "passes": float},
    "debias": {"reads": list, "tries": str, "seconds": str, "megabytes": str},
    "distiller": {
        "files": list,
        "seconds": str,
        "seconds_fast": str,
        "seconds_once": str,
        "updates": str,
        "megabytes": str,
    },
    "guidance": {"seconds": str, "megabytes": str},
    "debiasing": {"passes": float},
    "figure": {"files": list, "whole": bool, "split": bool, "kernels": bool},
}
# Of those that are formulas (`ddbias.base.plugins.formula`): the names they may use beside options.
GIVEN = {
    "debias": ("train", "classes", "dimensions"),
    "distiller": ("network", "image_mb", "features", "train", "classes", "ipc"),
    "guidance": ("network", "image_mb", "classes", "ipc"),
}
KEYS = ("description", "use", "like", "required", "options")
LEARNER_OPTIONS = ("iterations", "init")  # what the loop around every learner reads


@dataclass(frozen=True)
class Plugin:
    """One kind, of the library or of a plug-in.

    Attributes
    ----------
    section, kind : str
        E.g. ``distiller`` and the name that ``kind:`` takes.
    file : Path
        As the study names it.
    options : dict
        JSON schemas of its config keys.
    required : tuple of str
    description : str
    use : str or None
        The function or class in the file, for the sections `BY_NAME`.
    facts : mapping
        What planning needs to know, by the keys of `FACTS`:

        ``facts``
            Of a source: ``train``, ``test``, ``classes``, ``channels``, ``side`` and, where it does not depend on
            options, ``smallest_class``.
        ``files``
            Of a source, bias or distiller: the options that name files or folders of the user (``a.b``: the key b of
            option a), whose change makes its data or sets again. Of a figure: the lists of files it is drawn from, see
            `ddbias.results.figures.FILES`.
        ``own_attribute``
            Of a bias: it keeps the attribute of the source.
        ``natural``
            Of a bias: it takes no aligned ratio; that of the source is called natural.
        ``whole``, ``split``, ``kernels``
            Of a figure: it shows whole training sets beside sets of its ``ipc``; the two parts of an amplification; the
            kernels of its debias, which its settings hold then.
        ``fixed``
            Of a network: options that it always has.
        ``gives``, ``reads``
            Columns that a surrogate writes and that a debias needs: ``embedding``, ``logits``, ``difficulty``,
            ``predictions``, ``excluded``.
        ``tries``
            Of a debias: how many candidates it offers for a trial that it wants; a formula.
        ``seconds``, ``updates``, ``passes``, ``megabytes``, ``counts``
            What it costs, see docs/extending.md; ``ddbias.planning.costs`` reads them.
    built_in : bool
    """

    section: str
    kind: str
    file: Path
    options: Mapping
    required: tuple[str, ...]
    description: str
    use: str | None
    facts: Mapping = field(default_factory=dict)
    built_in: bool = False

    @property
    def module(self) -> str:
        """Dotted name of the module, of a built-in kind."""
        return ".".join(self.file.relative_to(paths.SCRIPTS).with_suffix("").parts)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files whose edit may change what the plug-in does."""
        return tuple(sorted(self.file.parent.rglob("*.py"))) if self.file.name == "__init__.py" else (self.file,)

    def error(self, text: str, of: str | None = None) -> PluginError:
        """Return an error that names the file and the kind, and the line where `of`, a function or class, begins."""
        return PluginError(f"plug-in {self.file}{self._line(of)}: {self.section} '{self.kind}' {text}")

    def _line(self, name: str | None) -> str:
        defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        nodes = ast.walk(_parse(self.file)) if name else ()
        lines = [node.lineno for node in nodes if isinstance(node, defined) and node.name == name]
        return f", line {lines[0]}" if lines else ""


@cache
def built_in() -> Mapping[tuple[str, str], Plugin]:
    """Return the kinds of the library by (section, kind), sorted."""
    found: dict[tuple[str, str], Plugin] = {}
    for file in sorted((paths.SCRIPTS / "ddbias").rglob("*.py")):
        if f"\n{DECLARATION} = {{".encode() in file.read_bytes():  # most have none, and need not be parsed
            found |= {(plugin.section, plugin.kind): plugin for plugin in _declared(file, found, built_in=True)}
    return MappingProxyType(dict(sorted(found.items())))


def read(paths: Iterable[str | Path]) -> list[Plugin]:
    """Return what the plug-ins at some paths add.

    Parameters
    ----------
    paths : iterable of path
        Python files, folders with an ``__init__.py`` (one plug-in), or folders of Python files, of which those that
        declare nothing are passed over; relative to the working directory.

    Raises
    ------
    DdbiasError
        One line: a missing file, a syntax error, a declaration that is missing, broken or not what the file defines,
        or a kind that is added twice.
    """
    found: dict[tuple[str, str], Plugin] = {}
    folders = [Path(os.path.expanduser(path)) for path in paths]
    files: dict[Path, Path] = {file.resolve(): file for folder in folders for file in _files(folder)}
    for file in files.values():
        for plugin in _declared(file, {**built_in(), **found}):
            key = plugin.section, plugin.kind
            if key in found:
                raise plugin.error(f"is also added by {found[key].file}; rename one of them")
            found[key] = plugin
    return list(found.values())


def _files(path: Path) -> list[Path]:
    if path.is_file() and path.suffix == ".py":
        return [path]
    if path.is_dir() and (path / "__init__.py").is_file():
        return [path / "__init__.py"]
    if path.is_dir():
        declaring = [file for file in sorted(path.glob("*.py")) if _declaration(_parse(file)) is not None]
        if declaring:
            return declaring
        raise DdbiasError(f"plug-in folder {path}: no Python file in it declares {DECLARATION}")
    what = "is neither a Python file (.py) nor a folder" if path.exists() else "no such file or folder"
    raise DdbiasError(f"plug-in {path}: {what}; paths are relative to the working directory")


def _parse(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), filename=str(file))
    except OSError as error:
        raise DdbiasError(f"plug-in {file}: cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        line = f" in line {error.lineno}" if getattr(error, "lineno", None) else ""
        raise DdbiasError(f"plug-in {file}: not valid Python{line}: {getattr(error, 'msg', error)}") from None


def _declaration(tree: ast.Module) -> ast.expr | None:
    return next((node.value for node in tree.body if DECLARATION in assigned(node)), None)


def assigned(node: ast.stmt) -> set[str]:
    """Return the names that a statement gives a value."""
    one = [node.target] if isinstance(node, ast.AnnAssign | ast.AugAssign) else []
    targets = node.targets if isinstance(node, ast.Assign) else one
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _declared(file: Path, before: Mapping[tuple[str, str], Plugin], *, built_in: bool = False) -> list[Plugin]:
    """Return what a file adds to what was declared `before` it, which its kinds may be like."""
    tree = _parse(file)
    node = _declaration(tree)
    if node is None:
        raise DdbiasError(f"plug-in {file}: declares no {DECLARATION}; see docs/extending.md")
    try:
        declared = ast.literal_eval(node)
    except (ValueError, TypeError):
        raise DdbiasError(
            f"plug-in {file}: {DECLARATION} in line {node.lineno} must be written out: only mappings, lists, text, "
            "numbers, True, False and None, nothing computed"
        ) from None
    _mapping(declared, file, DECLARATION)
    names = _defined(tree)
    plugins = []
    for section, kinds in declared.items():
        if section not in CODE:
            hint = f"known: {', '.join(CODE)}.{nearest(section, CODE)}"
            raise DdbiasError(f"plug-in {file}: {DECLARATION} has the unknown section '{section}'; {hint}")
        known = {kind: plugin for (place, kind), plugin in before.items() if place == section}
        for kind, entry in _mapping(kinds, file, f"{DECLARATION}['{section}']").items():
            entry = _mapping(entry, file, f"{section} '{kind}'")
            known[kind] = _plugin(section, kind, entry, file, known, built_in=built_in)
            _check_code(known[kind], names)
            plugins.append(known[kind])
    return plugins


def _mapping(value: object, file: Path, what: str) -> Mapping:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise DdbiasError(f"plug-in {file}: {what} must be a mapping from names, like {{'name': {{...}}}}")
    return value


def _plugin(
    section: str, kind: str, entry: Mapping, file: Path, others: Mapping[str, Plugin], *, built_in: bool
) -> Plugin:
    known = (*KEYS, *FACTS.get(section, ()))
    plugin = Plugin(section, kind, file, {}, (), "", None)  # for messages
    for key in entry:
        if key not in known:
            raise plugin.error(f"has the unknown key '{key}'; known: {', '.join(known)}.{nearest(key, known)}")
    like = entry.get("like")
    if like is not None and like not in others:
        hint = f"known: {', '.join(others) or 'none'}.{nearest(like, others)}"
        raise plugin.error(f"is like '{like}', which is no {section} that is declared before it; {hint}")
    required = entry.get("required", list(others[like].required) if like else [])
    if not isinstance(required, list | tuple):
        raise plugin.error(f"must have a list under 'required', not {required!r}")
    if not kind.replace("_", "").isalnum() or not kind.isascii():
        raise plugin.error("must have a name of letters, digits and underscores")
    own = _mapping(entry.get("options", {}), file, f"options of {section} '{kind}'")
    options = {**(others[like].options if like else {}), **own}
    for name, option in options.items():
        if not isinstance(option, dict) or name == "kind":
            raise plugin.error(f"has the option '{name}', which must be a JSON schema and not be called kind")
    for name in required:
        if name not in options:
            raise plugin.error(f"requires '{name}', which is none of its options: {', '.join(options) or 'none'}")
    facts = {key: entry[key] for key in FACTS.get(section, ()) if key in entry}
    for key, value in facts.items():
        if not isinstance(value, FACTS[section][key]):
            raise plugin.error(f"must have a {FACTS[section][key].__name__} under '{key}', not {value!r}")
        if FACTS[section][key] is str:
            _check_formula(plugin, key, value, (*GIVEN[section], *options))
    facts = {**(others[like].facts if like else {}), **facts}
    options = {name: option for name, option in options.items() if name not in facts.get("fixed", ())}
    described = str(entry.get("description", ""))
    return Plugin(section, kind, file, options, tuple(required), described, entry.get("use"), facts, built_in)


def _check_formula(plugin: Plugin, key: str, text: str, known: Iterable[str]) -> None:
    try:
        unknown = sorted(formula.names(text) - set(known))
    except ValueError as error:
        raise plugin.error(f"has under '{key}' what {error}; see docs/extending.md") from None
    if unknown:
        raise plugin.error(f"has under '{key}' the unknown name '{unknown[0]}'.{nearest(unknown[0], known)}")


def _defined(tree: ast.Module) -> set[str]:
    """Return the names that a file defines at its top level."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
        names |= assigned(node)
    return names


def _check_code(plugin: Plugin, names: set[str]) -> None:
    """Refuse a plug-in whose file lacks what will be called, or whose options lack what will be read."""

    def need(*wanted: str) -> None:
        for name in wanted:
            if name not in names:
                raise plugin.error(f"needs {name}, which the file does not define.{nearest(name, sorted(names))}")

    if plugin.section in BY_NAME:
        if not isinstance(plugin.use, str):
            raise plugin.error("needs the key 'use': the name of its function or class in the file")
        need(plugin.use)
    elif plugin.use is not None:
        raise plugin.error(f"takes no 'use'; that is for {', '.join(BY_NAME)}")
    elif CODE[plugin.section]:
        need(CODE[plugin.section])
    elif plugin.section == "debias":
        if not {"sample_weights", "estimate"} & names:
            raise plugin.error("needs a function sample_weights or estimate, and the file defines neither")
        if "sample_weights" not in names and "surrogate" not in plugin.required:
            raise plugin.error("has estimate only, so it must require the option 'surrogate'")
        if "estimate" not in names and "surrogate" in plugin.options:
            raise plugin.error("has the option 'surrogate', but no function estimate that reads it")
    elif {"Selection", "Assembly", "given_set"} & names:
        return
    elif "Distiller" in names:
        for option in LEARNER_OPTIONS:
            if "default" not in plugin.options.get(option, {}) and option not in plugin.required:
                raise plugin.error(f"learns images, so it needs the option '{option}', with a default or required")
    else:
        raise plugin.error("needs a class Distiller, Selection or Assembly, and the file defines none")
