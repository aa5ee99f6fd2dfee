"""The reference of a study file, as Markdown: every section, kind and option, off the schema and the declarations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ddbias.base import paths, plugins
from ddbias.base.plugins.declarations import CODE
from ddbias.planning.plugin_options import followed

HEAD = """# Every key of a study file

*Written by `make config-reference` from what every kind declares in its file; do not edit.*

A study is one YAML file: `config.yaml` is the default study, `studies/` has others. Where a key takes something with a
`kind`, a bare text stands for a kind without options (`source: digits`). **Scaled** amounts of work are published ones:
a plain number is reduced by `scale`, a mapping `{quick: , fast: , paper: }` gives the amount of each scale, which is
not reduced. Defaults of a scale are given beside the published one.
"""


def reference(schema: Mapping) -> str:
    """Return the page.

    Parameters
    ----------
    schema : mapping
        As `ddbias.planning.config.load_schema` returns it.
    """
    return "\n".join([HEAD, *_sections(schema)])


def _sections(schema: Mapping) -> Iterator[str]:
    sections, plain = {}, {}
    for name, key in schema["properties"].items():
        inner = key.get("additionalProperties")
        (sections if isinstance(inner, Mapping) or ("items" in key and "$ref" in key["items"]) else plain)[name] = key
    yield "## Keys of the study\n"
    yield from _table(plain, schema["required"], schema)
    for name, key in plain.items():
        if "properties" in key:
            yield f"### `{name}`\n\n{_sentence(key)}\n"
            yield from _table(key["properties"], [], schema)
    for name, key in sections.items():
        entry = followed(key.get("additionalProperties") or key["items"], schema)
        yield f"## `{name}`\n\n{_sentence(key)}\n"
        if "x-kinds" in entry:
            yield from _kinds(entry["x-kinds"], schema)
            continue
        yield from _table(entry["properties"], entry.get("required", []), schema)
        for option in entry["properties"].values():
            if "x-kinds" in option:
                yield f"### Kinds of {option['x-kinds']}\n"
                yield from _kinds(option["x-kinds"], schema)
        for option, value in entry["properties"].items():
            parts = followed(followed(value, schema).get("items", value), schema).get("properties")
            if parts:
                yield f"### `{name}`: {option}\n\n{_sentence(followed(value, schema))}\n"
                yield from _table(parts, [], schema)


def _kinds(section: str, schema: Mapping) -> Iterator[str]:
    files = {kind: plugin.file for kind, plugin in plugins.kinds(section).items()} if section in CODE else {}
    for kind, settings in schema["$defs"][section].items():
        place = ""
        if kind in files:
            path = files[kind].relative_to(paths.SCRIPTS.parent.parent)
            place = f" [{path.name}](../{path})"
        yield f"#### {section}: `{kind}`\n\n{_sentence(settings)}{place}\n"
        options = {name: option for name, option in settings["properties"].items() if name != "kind"}
        if options:
            yield from _table(options, settings.get("required", []), schema)
        for name, option in options.items():
            inner = option.get("x-kinds")
            if inner and name in ("guidance", "debiasing") and kind in ("dm", "training"):  # once each
                yield f"##### Kinds of {inner}\n"
                yield from _kinds(inner, schema)


def _table(options: Mapping, required: list, schema: Mapping) -> Iterator[str]:
    yield "| key | takes | default | |"
    yield "|---|---|---|---|"
    for name, option in options.items():
        option = followed(option, schema)
        cells = [f"`{name}`", _takes(option), _default(name, option, required), _sentence(option)]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _sentence(option: Mapping) -> str:
    return " ".join(str(option.get("description", "")).split()).replace("<", "&lt;")


def _takes(option: Mapping) -> str:
    if "enum" in option:
        return ", ".join(f"`{_yaml(value)}`" for value in option["enum"])
    if "const" in option:
        return f"`{_yaml(option['const'])}`"
    if "x-kinds" in option:
        return f"a kind of {option['x-kinds']}" + (" or `null`" if "null" in option.get("type", ()) else "")
    if "x-allowed" in option:
        text = option["x-allowed"].replace("<", "&lt;")
    else:
        types = option.get("type", [])
        names = {"object": "mapping", "array": "list", "string": "text", "integer": "whole number"}
        names |= {"boolean": "true or false", "null": "`null`"}
        text = " or ".join(names.get(one, one) for one in ([types] if isinstance(types, str) else types))
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{word} {option[key]}" for key, word in bounds.items() if key in option and "x-allowed" not in option]
    scaled = ["scaled"] if option.get("x-scale") not in (None, "choice") else []
    return ", ".join([text, *limits, *scaled])


def _default(name: str, option: Mapping, required: list) -> str:
    if name in required:
        return "required"
    if "default" not in option:
        return ""
    at = [f"{scale} `{_yaml(value)}`" for scale, value in option.get("x-default", {}).items()]
    return "; ".join([f"`{_yaml(option['default'])}`", *at])


def _yaml(value: object) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
