"""Reading a study file, safely: nothing in it runs, and every mistake in it is one line with its place.

Snakemake reads configs through yte, which runs Python code that a file holds (``__use_yte__``); here that is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from ddbias.base.errors import DdbiasError

LARGEST = 200_000  # values of a study, aliases counted as often as they are used: an alias bomb has billions
DEEPEST = 40
_YTE = "__use_yte__"
# What YAML 1.1 reads as another number than people do: 0100 is 64, 1:40 is 100.
_SURPRISES = (
    (re.compile(r"[-+]?0[0-9_]+"), "an octal number"),
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"), "a number to the base 60"),
)


# A date for Snakemake, which reads the file on in its own way.
_DATE = dict(yaml.SafeLoader.yaml_implicit_resolvers["2"])["tag:yaml.org,2002:timestamp"]


class _Loader(yaml.SafeLoader):
    """YAML without dates, which no key of a study has: they are text here, and so are a mistake without quotes."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as in the base class)
        start: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for start, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(path: str | Path) -> object:
    """Return what a YAML file holds.

    Parameters
    ----------
    path : path

    Raises
    ------
    DdbiasError
        One line with line and column: no UTF-8, no YAML, a key twice, too large or too deep (by aliases, too), code for
        yte, a date, or a number that people read as another one.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DdbiasError(f"cannot be read ({error.strerror}); name a file of studies/ with CONFIG=") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DdbiasError(
            f"line {line}: byte {error.object[error.start]:#x} is no UTF-8; save the file as UTF-8"
        ) from None
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        for mistake in _mistakes(node):
            raise DdbiasError(mistake)
        try:
            return json.loads(text)  # as Snakemake does first: 1e-05 is a number in JSON, and text in YAML
        except ValueError:
            return loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise DdbiasError(f"line {line}: the character #x{code:04x} is not allowed") from None
    except yaml.MarkedYAMLError as error:
        raise DdbiasError(f"{_at(error.problem_mark or error.context_mark)}: {_problem(error)}") from None
    except RecursionError:
        raise DdbiasError(f"is more than {DEEPEST} levels deep") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise DdbiasError(f"cannot be read ({' '.join(str(error).split())[:200]})") from None
    finally:
        if loader is not None:
            loader.dispose()


def _at(mark: yaml.Mark | None) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"


def _problem(error: yaml.MarkedYAMLError) -> str:
    text = " ".join(f"{error.context or ''}, {error.problem or ''}".strip(", ").split())
    hints = {
        "found character '\\t'": "; indent with spaces",
        "mapping values are not allowed here": "; put a text with a colon in quotes",
    }
    return text + next((hint for start, hint in hints.items() if start in text), "")


def _mistakes(root: yaml.Node) -> Iterator[str]:
    """Yield what is wrong with the nodes of a document, before anything is made of them."""
    sizes: dict[int, int] = {}
    if too_large := _measure(root, sizes, (), 0):
        yield too_large
        return
    seen: set[int] = set()
    todo = [root]
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield from _keys(node)
            todo += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            todo += node.value
        else:
            yield from _surprises(node)


def _measure(node: yaml.Node, sizes: dict[int, int], above: tuple[int, ...], depth: int) -> str | None:
    """Add how many values a node has, aliases as often as they are used; returns what is wrong with it, if anything."""
    if id(node) in above:
        return f"{_at(node.start_mark)}: holds itself"
    if depth > DEEPEST:
        return f"{_at(node.start_mark)}: is more than {DEEPEST} levels deep"
    if id(node) in sizes:
        return None
    size = 1
    if not isinstance(node, yaml.ScalarNode):
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        for part in parts:
            if mistake := _measure(part, sizes, (*above, id(node)), depth + 1):
                return mistake
            size += sizes[id(part)]
    sizes[id(node)] = size
    return f"{_at(node.start_mark)}: has more than {LARGEST:,} values" if size > LARGEST else None


def _keys(node: yaml.MappingNode) -> Iterator[str]:
    seen: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            yield f"{_at(key.start_mark)}: a key must be text"
        elif key.value == _YTE:
            yield f"{_at(key.start_mark)}: {_YTE} would run Python code that the file holds; a study is data, remove it"
        elif key.value in seen and key.value != "<<":
            first = seen[key.value].start_mark.line + 1
            yield f"{_at(key.start_mark)}: '{key.value[:80]}' is already in line {first}; remove or rename one"
        seen.setdefault(str(key.value), key)


def _surprises(node: yaml.ScalarNode) -> Iterator[str]:
    if node.style is None and _DATE.match(node.value):
        yield f"{_at(node.start_mark)}: YAML reads {node.value[:80]} as a date; put it in quotes"
    if node.style is None and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        for pattern, what in _SURPRISES:
            if pattern.fullmatch(node.value):
                text = node.value[:80]
                place = _at(node.start_mark)
                yield f"{place}: YAML reads {text} as {what}; write it without leading 0 or :, or in quotes"
        if len(node.value) > 400:
            yield f"{_at(node.start_mark)}: a number of {len(node.value):,} characters"
