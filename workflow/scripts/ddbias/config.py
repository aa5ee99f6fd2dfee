"""A study file, checked and completed: defaults, scale, and one readable line for every mistake.

Reads ``workflow/schemas/config.schema.yaml``. JSON Schema does the checking; what it cannot do well is done here:
defaults that depend on a ``kind``, amounts of work that depend on ``scale``, and messages for people.
Cross-references between sections are checked in `ddbias.study`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import jsonschema
import yaml

from ddbias.errors import DdbiasError, nearest

SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "config.schema.yaml"


class ConfigErrors(DdbiasError):
    """All mistakes of a config, one line each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def load_schema() -> dict:
    """Return the schema of a study file."""
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
    schema = schema or load_schema()
    scale = config.get("scale", schema["properties"]["scale"]["default"])
    if scale not in schema["x-scales"]:
        raise ConfigErrors(
            [f"scale = '{scale}': must be one of {', '.join(schema['x-scales'])}.{nearest(scale, schema['x-scales'])}"]
        )
    errors: list[str] = []
    result = _Completion(schema, scale, errors).fill(copy.deepcopy(dict(config)), schema, "")
    if errors:
        raise ConfigErrors(errors)
    return result


class _Completion:
    """Walks config and schema together; collects errors instead of stopping at the first."""

    def __init__(self, schema: Mapping, scale: str, errors: list[str]) -> None:
        self.defs, self.scales, self.scale, self.errors = schema["$defs"], schema["x-scales"], scale, errors

    def fill(self, value: object, schema: Mapping, path: str) -> object:
        schema = self._resolve(schema)
        if "x-kinds" in schema:
            value, schema = self._kind(value, schema["x-kinds"], path)
            if schema is None:
                return value
        if "x-scale" in schema:
            value = self._scaled(value, schema["x-scale"], path)
        if schema.get("type") == "object" and isinstance(value, dict):
            return self._object(value, schema, path)
        if schema.get("type") == "array" and isinstance(value, list) and "items" in schema:
            self._check(value, {k: v for k, v in schema.items() if k != "items"}, path)
            return [self.fill(item, schema["items"], f"{path}[{i}]") for i, item in enumerate(value)]
        self._check(value, schema, path)
        return value

    def _resolve(self, schema: Mapping) -> Mapping:
        while "$ref" in schema:
            target = self.defs[schema["$ref"].removeprefix("#/$defs/")]
            schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
        return schema

    def _kind(self, value: object, section: str, path: str) -> tuple[object, Mapping | None]:
        value = {"kind": value} if isinstance(value, str) else value
        kinds = self.defs[section]
        if not isinstance(value, dict) or "kind" not in value:
            self.errors.append(f"{path}: needs a kind, one of {', '.join(kinds)}")
            return value, None
        if value["kind"] not in kinds:
            hint = nearest(value["kind"], kinds)
            self.errors.append(f"{path}.kind = '{value['kind']}': must be one of {', '.join(kinds)}.{hint}")
            return value, None
        return value, kinds[value["kind"]]

    def _scaled(self, value: object, amount: str, path: str) -> object:
        if isinstance(value, dict):
            if self.scale not in value or set(value) - set(self.scales):
                scales = ", ".join(self.scales)
                self.errors.append(f"{path}: a mapping by scale has the keys {scales}, also '{self.scale}' of this run")
                return 1
            return value[self.scale]
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        factor = self.scales[self.scale][amount]
        return min(value, factor) if amount == "networks" else max(1, round(value * factor))

    def _object(self, value: dict, schema: Mapping, path: str) -> dict:
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        dot = f"{path}." if path else ""
        for name in schema.get("required", []):
            if name not in value:
                self.errors.append(f"{dot}{name}: is missing")
        if not value and schema.get("minProperties"):
            self.errors.append(f"{path}: must name at least one")
        filled = {}
        for name, item in value.items():
            if name in properties:
                filled[name] = self.fill(item, properties[name], f"{dot}{name}")
            elif isinstance(others, Mapping):
                self._name(name, path)
                filled[name] = self.fill(item, others, f"{dot}{name}")
            else:
                known = ", ".join(properties)
                self.errors.append(f"{dot}{name}: unknown key; known here: {known}.{nearest(name, properties)}")
        for name, subschema in properties.items():
            if name not in value and "default" in self._resolve(subschema):
                default = copy.deepcopy(self._resolve(subschema)["default"])
                filled[name] = self.fill(default, subschema, f"{dot}{name}")
        return filled

    def _name(self, name: object, path: str) -> None:
        # Names become parts of file names and wildcards.
        if not isinstance(name, str) or not name.replace("_", "").isalnum() or not name.isascii():
            self.errors.append(f"{path}.{name}: a name may have letters, digits and underscores only")

    def _check(self, value: object, schema: Mapping, path: str) -> None:
        for error in jsonschema.Draft202012Validator({k: v for k, v in schema.items() if k != "$ref"}).iter_errors(
            value
        ):
            self.errors.append(f"{path} = {_show(value)}: {_explain(error)}")


def _show(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else f"{value}"


def _explain(error: jsonschema.ValidationError) -> str:
    """Say what is allowed, instead of what is not."""
    allowed = error.validator_value
    match error.validator:
        case "enum":
            return f"must be one of {', '.join(map(str, allowed))}.{nearest(error.instance, allowed)}"
        case "type":
            names = [allowed] if isinstance(allowed, str) else allowed
            return f"must be {' or '.join('null' if n == 'null' else f'of type {n}' for n in names)}"
        case "minimum":
            return f"must be at least {allowed}"
        case "maximum":
            return f"must be at most {allowed}"
        case "exclusiveMinimum":
            return f"must be above {allowed}"
        case "exclusiveMaximum":
            return f"must be below {allowed}"
        case "minItems":
            return f"must have at least {allowed} entries"
        case "uniqueItems":
            return "must not name the same thing twice"
        case "pattern":
            return f"must match {allowed}"
        case _:
            return error.message


def describe(schema: Mapping | None = None) -> Iterator[tuple[str, str, object]]:
    """Yield (key, description, default) of every setting, for the documentation."""
    schema = schema or load_schema()
    yield from _describe(schema, "", schema["$defs"])


def _describe(schema: Mapping, path: str, defs: Mapping) -> Iterator[tuple[str, str, object]]:
    if "$ref" in schema:
        schema = {**defs[schema["$ref"].removeprefix("#/$defs/")], **schema}
    if "x-kinds" in schema:
        for kind, target in defs[schema["x-kinds"]].items():
            yield f"{path} ({kind})", target.get("description", ""), ""
            for name, item in target.get("properties", {}).items():
                if name != "kind":
                    yield from _describe(item, f"{path} ({kind}).{name}", defs)
        return
    if path and "description" in schema:
        yield path, schema["description"], schema.get("default", "")
    for name, item in schema.get("properties", {}).items():
        yield from _describe(item, f"{path}.{name}" if path else name, defs)
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _describe(schema["additionalProperties"], f"{path}.<name>", defs)
