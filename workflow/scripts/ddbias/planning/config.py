"""A study file, checked and completed: defaults, scale, and one readable line for every mistake.

Reads ``workflow/schemas/config.schema.yaml``. JSON Schema does the checking; what it cannot do well is done here:
defaults that depend on a ``kind``, amounts of work that depend on ``scale``, and messages for people.
Cross-references between sections are checked in `ddbias.planning.checks`.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import jsonschema
import yaml

from ddbias.base import paths
from ddbias.base.errors import DdbiasError, nearest
from ddbias.base.plugins.declarations import built_in, read
from ddbias.planning import plugin_options

_LONGEST_NAME = 60  # several of them make the name of a file
_PLACEHOLDERS = ("none", "all", "null")
_USUAL = (1e-100, 1e100)  # sizes of numbers that mean something
_SHOWN = 80  # characters of a value in a message
_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
SCHEMA = paths.SCHEMAS / "config.schema.yaml"


class ConfigErrors(DdbiasError):
    """All mistakes of a config, one line each."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = [" ".join(line.split()) for line in lines]  # a value may hold line breaks
        super().__init__("\n".join(self.lines))


def load_schema(plugins: Iterable[str | Path] = ()) -> dict:
    """Return the schema of a study file, with the library's kinds and those of plug-ins.

    Raises
    ------
    DdbiasError
        One line, if a plug-in or what it declares is not as it should be.
    """
    return plugin_options.extended(_own_schema(), [*built_in().values(), *read(plugins)])


@cache
def _own_schema() -> dict:
    """Return what the file says, read once in a process; nobody changes it."""
    return yaml.safe_load(SCHEMA.read_text())


def complete(config: Mapping, schema: Mapping | None = None) -> dict:
    """Return a copy of `config` with defaults filled in, amounts scaled and everything checked.

    Parameters
    ----------
    config : mapping
        A whole study file.
    schema : mapping, optional
        Defaults to `load_schema`.

    Returns
    -------
    dict

    Raises
    ------
    ConfigErrors
        One line for every mistake: the key, the value, what is allowed, the nearest right name.
    """
    schema = schema or _schema_of(config)
    if not isinstance(config, Mapping):
        raise ConfigErrors([f"a study is a mapping with the keys {', '.join(schema['required'])}, not {_show(config)}"])
    scale = config.get("scale", schema["properties"]["scale"]["default"])
    scales = list(schema["x-scales"])
    if scale not in scales:
        raise ConfigErrors([f"scale = {_show(scale)}: must be one of {', '.join(scales)}.{nearest(scale, scales)}"])
    errors: list[str] = []
    result = _Completion(schema, scale, errors).fill(copy.deepcopy(dict(config)), schema, "")
    if errors:
        raise ConfigErrors(errors)
    return result


def _schema_of(config: object) -> dict:
    """Return the schema with the plug-ins that a study names; what is no list of paths is left to the checks."""
    paths = config.get("plugins") if isinstance(config, Mapping) else None
    usable = isinstance(paths, list) and all(isinstance(path, str) for path in paths)
    try:
        return load_schema(paths if usable else ())
    except DdbiasError as error:
        raise ConfigErrors([str(error)]) from None


class _Completion:
    """Walks config and schema together; collects errors instead of stopping at the first."""

    def __init__(self, schema: Mapping, scale: str, errors: list[str]) -> None:
        self.defs, self.scales, self.scale, self.errors = schema["$defs"], schema["x-scales"], scale, errors

    def fill(self, value: object, schema: Mapping, path: str) -> object:
        schema = self._resolve(schema)
        if "x-kinds" in schema:
            if value is None and "null" in schema.get("type", ()):
                return None
            value, schema = self._kind(value, schema, path)
            if schema is None:
                return value
        if "x-scale" in schema:
            value, path = self._scaled(value, schema, path)
        value = _whole_number(value, schema)
        if schema.get("type") == "object" and isinstance(value, dict):
            return self._object(value, schema, path)
        if schema.get("type") == "array" and isinstance(value, list) and "items" in schema:
            self._validate(value, {k: v for k, v in schema.items() if k != "items"}, path)
            return [self.fill(item, schema["items"], f"{path}[{i}]") for i, item in enumerate(value)]
        self._check(value, schema, path)
        return value

    def _resolve(self, schema: Mapping) -> Mapping:
        return plugin_options.followed(schema, {"$defs": self.defs})

    def _kind(self, value: object, schema: Mapping, path: str) -> tuple[object, Mapping | None]:
        value = {"kind": value} if isinstance(value, str) else value
        kinds = self.defs[schema["x-kinds"]]
        if isinstance(value, dict) and "x-kind" in schema:
            value = {"kind": schema["x-kind"], **value}
        if not isinstance(value, dict) or "kind" not in value:
            self.errors.append(f"{path} = {_show(value)}: needs a kind, one of {', '.join(kinds)}")
            return value, None
        kind = value["kind"]
        if not isinstance(kind, str) or kind not in kinds:
            hint = nearest(kind, kinds)
            self.errors.append(f"{path}.kind = {_show(kind)}: must be one of {', '.join(kinds)}.{hint}")
            return value, None
        return value, kinds[value["kind"]]

    def _scaled(self, value: object, schema: Mapping, path: str) -> tuple[object, str]:
        """Return the amount of work at this scale and the key that states it."""
        if isinstance(value, dict) and "until" not in value:
            for name in value:
                if name not in self.scales:
                    known = f"{', '.join(self.scales)}.{nearest(name, self.scales)}"
                    self.errors.append(f"{path}.{name}: is not a scale; known: {known}")
            for name in set(value) & set(self.scales) - {self.scale}:  # sorted out now, not when it is first used
                self._check(_whole_number(value[name], schema), schema, f"{path}.{name}")
            if self.scale not in value:
                self.errors.append(f"{path}: has no value for the scale '{self.scale}' of this run; add one")
                return schema.get("minimum", 1), path
            return value[self.scale], f"{path}.{self.scale}"
        value = _whole_number(value, schema)
        amount = schema["x-scale"]
        if not isinstance(value, int) or isinstance(value, bool) or value < schema.get("minimum", value):
            return value, path  # wrong, as the check will say, or more than a number
        if amount == "choice":
            return value, path
        factor = self.scales[self.scale][amount]
        return (min(value, factor) if amount == "networks" else max(1, round(value * factor))), path

    def _object(self, value: dict, schema: Mapping, path: str) -> dict:
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        dot = f"{path}." if path else ""
        for name in schema.get("required", []):
            if name not in value:
                self.errors.append(f"{dot}{name}: is missing")
        if not value and schema.get("minProperties"):
            self.errors.append(f"{path} is empty: must name at least one")
        filled = {}
        for name, item in value.items():
            if name in properties:
                filled[name] = self.fill(item, properties[name], f"{dot}{name}")
            elif isinstance(others, Mapping):
                self._name(name, path)
                filled[name] = self.fill(item, others, f"{dot}{name}")
            else:
                known = ", ".join(properties)
                value_text = "" if isinstance(item, dict | list) else f" = {_show(item)}"
                self.errors.append(f"{dot}{name}{value_text}: unknown key; known: {known}.{nearest(name, properties)}")
        for name, subschema in properties.items():
            if name not in value and "default" in self._resolve(subschema):
                filled[name] = self.fill(self._default(self._resolve(subschema)), subschema, f"{dot}{name}")
        # In the schema's order, so that the order in the file makes no difference to what was run before.
        return {name: filled[name] for name in (*properties, *filled) if name in filled}

    def _default(self, schema: Mapping) -> object:
        """Return the default at this scale: a published one is shrunk, unless the schema says what holds instead."""
        instead = schema.get("x-default", {})
        return copy.deepcopy({self.scale: instead[self.scale]} if self.scale in instead else schema["default"])

    def _name(self, name: object, path: str) -> None:
        # Names become parts of file names and wildcards.
        if not isinstance(name, str) or not name.replace("_", "").isalnum() or not name.isascii():
            self.errors.append(f"{path}.{_show(name)}: a name may have letters, digits and underscores only")
        elif len(name) > _LONGEST_NAME:
            self.errors.append(f"{path}.{_show(name)}: a name may have {_LONGEST_NAME} letters at most")
        elif name.lower() in _PLACEHOLDERS:
            self.errors.append(f"{path}.{name}: has a meaning of its own in a study; choose another name")

    def _check(self, value: object, schema: Mapping, path: str) -> None:
        strange = [(key, number) for key, number in _floats(value, path) if not math.isfinite(number)]
        if strange:  # which pass every comparison of JSON Schema
            self.errors += [f"{key} = {_show(number)}: must be a finite number" for key, number in strange]
            return
        if isinstance(value, float) and value and not _USUAL[0] < abs(value) < _USUAL[1]:
            self.errors.append(f"{path} = {_show(value)}: is no number of a usual size")
            return
        self._validate(value, schema, path)

    def _validate(self, value: object, schema: Mapping, path: str) -> None:
        for error in jsonschema.Draft202012Validator(schema).iter_errors(value):
            key = path + "".join(f"[{part}]" for part in error.path)
            self.errors.append(f"{key} = {_show(error.instance)}: {_explain(error, schema)}")


def _floats(value: object, path: str) -> Iterator[tuple[str, float]]:
    """Yield a number, or those in a list, with their keys."""
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _floats(part, f"{path}[{place}]")


def _whole_number(value: object, schema: Mapping) -> object:
    """Return 10 for 10.0 where a whole number is meant: JSON Schema takes both, paths and ranges do not."""
    kinds = schema.get("type", ())
    whole = isinstance(value, float) and value.is_integer() and "integer" in kinds and "number" not in kinds
    return int(value) if whole else value


def _show(value: object) -> str:
    """Write a value as YAML would, on one line and not too long."""
    if isinstance(value, str):
        text = f"'{value}'"
    elif isinstance(value, float) and not math.isfinite(value):
        text = {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[str(value)]
    else:
        text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _explain(error: jsonschema.ValidationError, schema: Mapping) -> str:
    """Say what is allowed, instead of what is not."""
    allowed = error.validator_value
    match error.validator:
        case "enum":
            known = ["null" if value is None else value for value in allowed]
            return f"must be one of {', '.join(map(str, known))}.{nearest(error.instance, known)}"
        case "type":
            names = [allowed] if isinstance(allowed, str) else allowed
            wanted = " or ".join(_TYPES[name] for name in names)
            return f"must be {wanted}{_text_for_number(error.instance, names)}{_text_for_truth(error.instance, names)}"
        case "minimum":
            return f"must be at least {allowed}"
        case "maximum":
            return f"must be at most {allowed}"
        case "exclusiveMinimum":
            return f"must be above {allowed}"
        case "exclusiveMaximum":
            return f"must be below {allowed}"
        case "minItems" | "maxItems":
            some = "at least" if error.validator == "minItems" else "at most"
            return f"must have {some} {allowed} {'entry' if allowed == 1 else 'entries'}"
        case "uniqueItems":
            twice = next(item for i, item in enumerate(error.instance) if item in error.instance[:i])
            return f"must not name {_show(twice)} twice"
        case "additionalProperties":
            known = error.schema["properties"]
            strange = next(name for name in error.instance if name not in known)
            return f"{_show(strange)} is an unknown key; known: {', '.join(known)}.{nearest(strange, known)}"
        case "pattern" if "x-allowed" in schema:
            return f"must be {schema['x-allowed']}"
        case _:
            return error.message


def _text_for_truth(value: object, allowed: list[str]) -> str:
    """Explain another one: YAML 1.1 reads no as false."""
    if isinstance(value, bool) and "string" in allowed:
        return "; YAML reads yes, no, on and off as true and false, write it in quotes"
    return ""


def _text_for_number(value: object, allowed: list[str]) -> str:
    """Explain a frequent surprise: YAML 1.1 reads 1e-3 as text."""
    if isinstance(value, str) and {"number", "integer"} & set(allowed) and "string" not in allowed:
        with contextlib.suppress(ValueError):
            return f"; YAML reads this as text, write {float(value)!r}"
    return ""
