"""What a plug-in says that it adds, read without running it: planning needs no torch, a mistake shows before any job.

A plug-in is a Python file (or a folder with an ``__init__.py``) that declares what it adds in one plain literal::

    PLUGIN = {"distiller": {"mine": {"options": {"steps": {"type": "integer", "default": 3}}, "required": []}}}

`ddbias.planning.plugin_options` checks the options and adds them to the schema of a study; `ddbias.base.plugins` runs
the code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ddbias.base.errors import DdbiasError, nearest

DECLARATION = "PLUGIN"
PACKAGES = {
    "distiller": "distill",
    "debias": "debias.kinds",
    "guidance": "distill.guidance",
    "source": "datasets.sources",
    "bias": "datasets.bias",
    "network": "learning.networks",
}
BY_NAME = ("source", "bias", "network")  # `use` names a function or class; of the others the file is the module
KEYS = ("options", "required", "description", "use")
LEARNER_OPTIONS = ("iterations", "real_batch", "init")  # what the loop around every learner reads


@dataclass(frozen=True)
class Plugin:
    """One kind that a plug-in adds.

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
    """

    section: str
    kind: str
    file: Path
    options: Mapping
    required: tuple[str, ...]
    description: str
    use: str | None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files whose edit may change what the plug-in does."""
        return tuple(sorted(self.file.parent.rglob("*.py"))) if self.file.name == "__init__.py" else (self.file,)

    def error(self, text: str) -> DdbiasError:
        """Return an error that names the file and the kind."""
        return DdbiasError(f"plug-in {self.file}: {self.section} '{self.kind}' {text}")


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
    files: dict[Path, Path] = {file.resolve(): file for path in paths for file in _files(Path(path).expanduser())}
    for file in files.values():
        for plugin in _declared(file):
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
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == DECLARATION for target in targets):
            return node.value
    return None


def _declared(file: Path) -> list[Plugin]:
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
        if section not in PACKAGES:
            known = f"known: {', '.join(PACKAGES)}.{nearest(section, PACKAGES)}"
            raise DdbiasError(f"plug-in {file}: {DECLARATION} has the unknown section '{section}'; {known}")
        for kind, entry in _mapping(kinds, file, f"{DECLARATION}['{section}']").items():
            plugin = _plugin(section, kind, _mapping(entry, file, f"{section} '{kind}'"), file)
            _check_code(plugin, names)
            plugins.append(plugin)
    return plugins


def _mapping(value: object, file: Path, what: str) -> Mapping:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise DdbiasError(f"plug-in {file}: {what} must be a mapping from names, like {{'name': {{...}}}}")
    return value


def _plugin(section: str, kind: str, entry: Mapping, file: Path) -> Plugin:
    options, required = entry.get("options", {}), entry.get("required", [])
    listed = isinstance(required, list | tuple)
    described = str(entry.get("description", ""))
    plugin = Plugin(section, kind, file, options, tuple(required) if listed else (), described, entry.get("use"))
    if not listed:
        raise plugin.error(f"must have a list under 'required', not {required!r}")
    for key in entry:
        if key not in KEYS:
            raise plugin.error(f"has the unknown key '{key}'; known: {', '.join(KEYS)}.{nearest(key, KEYS)}")
    if not kind.replace("_", "").isalnum() or not kind.isascii():
        raise plugin.error("must have a name of letters, digits and underscores")
    for name, option in _mapping(options, file, f"options of {section} '{kind}'").items():
        if not isinstance(option, dict) or name == "kind":
            raise plugin.error(f"has the option '{name}', which must be a JSON schema and not be called kind")
    for name in required:
        if name not in options:
            raise plugin.error(f"requires '{name}', which is none of its options: {', '.join(options) or 'none'}")
    return plugin


def _defined(tree: ast.Module) -> dict[str, object]:
    """Return the names that a file defines at its top level, with their values where these are plain."""
    names: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = None
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((alias.asname or alias.name, None) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            value = node.value.value if isinstance(node.value, ast.Constant) else None
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update((target.id, value) for target in targets if isinstance(target, ast.Name))
    return names


def _check_code(plugin: Plugin, names: Mapping[str, object]) -> None:
    """Refuse a plug-in whose file lacks what will be called, or whose options lack what will be read."""

    def need(*wanted: str) -> None:
        for name in wanted:
            if name not in names:
                raise plugin.error(f"needs {name}, which the file does not define.{nearest(name, names)}")

    if plugin.section in BY_NAME:
        if not isinstance(plugin.use, str):
            raise plugin.error("needs the key 'use': the name of its function or class in the file")
        need(plugin.use)
    elif plugin.use is not None:
        raise plugin.error(f"takes no 'use'; that is for {', '.join(BY_NAME)}")
    elif plugin.section == "guidance":
        need("Guidance")
    elif plugin.section == "debias":
        if not {"sample_weights", "estimate"} & set(names):
            raise plugin.error("needs a function sample_weights or estimate, and the file defines neither")
        if "sample_weights" not in names and "surrogate" not in plugin.required:
            raise plugin.error("has estimate only, so it must require the option 'surrogate'")
        if "estimate" not in names and "surrogate" in plugin.options:
            raise plugin.error("has the option 'surrogate', but no function estimate that reads it")
    elif "select" in names:
        need("STORES_IMAGES")
        if names["STORES_IMAGES"] is not True:
            raise plugin.error("must set STORES_IMAGES = True")
    elif "Distiller" in names:
        unread = {"real_batch"} if names.get("NEEDS_REAL") is False else set()
        for option in (name for name in LEARNER_OPTIONS if name not in unread):
            if "default" not in plugin.options.get(option, {}) and option not in plugin.required:
                raise plugin.error(f"learns images, so it needs the option '{option}', with a default or required")
    else:
        raise plugin.error("needs a class Distiller or a function select, and the file defines neither")
