"""The config keys of all kinds, the library's and those of plug-ins, checked and added to the schema of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import jsonschema

from ddbias.base.errors import nearest
from ddbias.base.plugins.declarations import CODE, Plugin

TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
KEYWORDS = (
    *("type", "enum", "const", "default", "description", "x-scale", "x-default", "x-allowed", "x-kinds", "$ref"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern"),
    *("items", "minItems", "maxItems", "uniqueItems", "properties", "additionalProperties", "required"),
)
REFERENCE = "#/$defs/"
MOST_LISTED = 24  # in a message
COMMON = {"figure": {"caption": {"type": "string", "default": "", "description": "What the figure shows."}}}


def extended(schema: Mapping, plugins: Iterable[Plugin]) -> dict:
    """Return a copy of the schema of a study in which some kinds are known.

    Parameters
    ----------
    schema : mapping
        Of the parts of a study that have no kind.
    plugins : iterable of Plugin
        The library's own first.

    Raises
    ------
    DdbiasError
        One line: a kind that is built in, or an option that is no JSON schema (only `KEYWORDS` count) or whose default
        does not fit it.
    """
    definitions = {**{section: {} for section in CODE}, **schema["$defs"]}
    for plugin in plugins:
        if plugin.kind in definitions[plugin.section]:
            raise plugin.error("is built in; choose another name")
        if not plugin.built_in:  # those of the library are checked by a test
            for name, option in plugin.options.items():
                check(plugin, name, option, schema)
        settings = {
            "type": "object",
            "additionalProperties": False,
            "required": list(plugin.required),
            "description": plugin.description,
            "properties": {"kind": {"const": plugin.kind}, **COMMON.get(plugin.section, {}), **plugin.options},
        }
        definitions[plugin.section] = {**definitions[plugin.section], plugin.kind: settings}
    return {**schema, "$defs": definitions}


def check(plugin: Plugin, name: str, option: object, schema: Mapping) -> None:
    """Refuse an option that the checks of a study could not use, parts of lists and mappings included."""
    if not isinstance(option, dict):
        raise plugin.error(f"has the option '{name}', which must be a JSON schema, like {{'type': 'integer'}}")
    _check_keywords(plugin, name, option, schema)
    parts = {f"{name}[]": option["items"]} if "items" in option else {}
    if isinstance(option.get("properties"), dict):
        parts |= {f"{name}.{key}": part for key, part in option["properties"].items()}
    for path, part in parts.items():
        check(plugin, path, part, schema)
    plain = _resolved(option, schema)
    try:
        jsonschema.Draft202012Validator.check_schema(plain)
    except jsonschema.SchemaError as error:
        raise plugin.error(f"has the option '{name}', which is no JSON schema: {_first_line(error)}") from None
    if "default" in plain:
        for error in jsonschema.Draft202012Validator(plain).iter_errors(plain["default"]):
            raise plugin.error(f"has the option '{name}' with a wrong default: {_first_line(error)}")


def _check_keywords(plugin: Plugin, name: str, option: Mapping, schema: Mapping) -> None:
    def one_of(what: str, value: object, known: Sequence[str]) -> None:
        if value not in known:
            listed = f"known: {', '.join(known)}" if len(known) <= MOST_LISTED else f"there are {len(known)}"
            hint = f"{listed}.{nearest(value, known)}"
            raise plugin.error(f"has the option '{name}' with the unknown {what} {value!r}; {hint}")

    for keyword in option:
        one_of("keyword", keyword, KEYWORDS)
    kinds = option.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        one_of("type", kind, TYPES)
    if "x-scale" in option:
        one_of("x-scale", option["x-scale"], [*schema["x-scales"]["paper"], "choice"])
    if "$ref" in option:
        usable = [key for key, part in schema["$defs"].items() if {"type", "enum", "$ref"} & set(part)]
        one_of("$ref", option["$ref"], [f"{REFERENCE}{key}" for key in usable])


def followed(option: Mapping, schema: Mapping) -> Mapping:
    """Return an option with the keys of what it refers to; its own come first."""
    while "$ref" in option:
        target = schema["$defs"][option["$ref"].removeprefix(REFERENCE)]
        option = {**target, **{key: value for key, value in option.items() if key != "$ref"}}
    return option


def _resolved(option: Mapping, schema: Mapping) -> dict:
    """Return an option with what it refers to filled in, parts of lists and mappings included."""
    whole = dict(followed(option, schema))
    if isinstance(whole.get("items"), dict):
        whole["items"] = _resolved(whole["items"], schema)
    if isinstance(whole.get("properties"), dict):
        whole["properties"] = {key: _resolved(part, schema) for key, part in whole["properties"].items()}
    return whole


def _first_line(error: Exception) -> str:
    return str(error.message).splitlines()[0]
