"""Checks of figures against the study: one line for each mistake."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from ddbias.base import plugins
from ddbias.base.cell import Cell, named, texts
from ddbias.base.errors import nearest
from ddbias.planning import metric_kinds
from ddbias.planning.study import KERNEL, Study


def contradictions(name: str, figure: Mapping, config: Mapping) -> Iterator[str]:
    """Yield a line for every name in the settings of a figure that is defined, but not as the figure needs it.

    Parameters
    ----------
    name : str
        Of the figure.
    figure, config : mapping
        Its completed settings, and the whole study's. What is not defined is another mistake.
    """
    if "metric" in figure:
        path = f"figures.{name}.metric"
        yield from metric_kinds.unmeasured(config, path, figure["metric"], [figure["evaluation"]])
    facts = plugins.find("figure", figure["kind"]).facts
    if "weights" in facts["files"]:
        yield from _without_weights(name, figure["debias"], config["debias"])
    if "histories" in facts["files"]:
        yield from _unmeasured(name, figure["surrogates"], config["surrogates"])
    if facts.get("kernels"):
        yield from _incomparable(name, figure["debias"], config["debias"])


def _without_weights(figure: str, name: str, debias: Mapping) -> Iterator[str]:
    if name in debias and debias[name].get("surrogate") is None:
        known = ", ".join(key for key, settings in debias.items() if settings.get("surrogate")) or "none"
        yield f"figures.{figure}.debias = '{name}': has no weights file; those that have one: {known}"


def _unmeasured(figure: str, names: list[str], surrogates: Mapping) -> Iterator[str]:
    for i, name in enumerate(names):
        if name in surrogates and not surrogates[name].get("early_stopping"):
            path = f"figures.{figure}.surrogates[{i}] = '{name}'"
            yield f"{path}: has no measurements over its steps; set surrogates.{name}.early_stopping to true"


def _incomparable(figure: str, names: list[str], debias: Mapping) -> Iterator[str]:
    """Yield a line for every debias without kernel, with that of another one, or with another difference."""
    first, seen = None, {}
    for i, name in enumerate(names):
        path, settings = f"figures.{figure}.debias[{i}] = '{name}'", debias.get(name)
        if settings is None:
            continue
        if not set(KERNEL) <= set(settings):
            known = ", ".join(key for key, other in debias.items() if set(KERNEL) <= set(other)) or "none"
            yield f"{path}: has no variance and temperature; those that have them: {known}"
            continue
        first = first or name
        other = debias[first]
        differs = [key for key in settings if key not in KERNEL and settings[key] != other.get(key)]
        if differs:
            yield f"{path}: differs from '{first}' in {', '.join(differs)}, too; a heatmap shows {' and '.join(KERNEL)}"
        kernel = tuple(settings[key] for key in KERNEL)
        if kernel in seen:
            yield f"{path}: has the variance and temperature of '{seen[kernel]}'"
        seen[kernel] = name


def errors(study: Study) -> Iterator[str]:
    """Yield a line for every figure that selects nothing, naming the setting that no cell has if there is one."""
    for name, wanted in _wanted(study.config["figures"]):
        cells = study.select(**wanted)
        if cells:
            yield from _unused_surrogates(study, name, cells)
            continue
        lone = [key for key, value in wanted.items() if value not in study.values(key)]
        for key in lone:
            text, known = wanted[key], study.values(key)
            yield f"figures.{name}.{key} = {text}: not in the grid; there: {', '.join(known)}.{nearest(text, known)}"
        if not lone:
            yield f"figures.{name}: no cell of the grid has {named(wanted)} together"


def _wanted(figures: Mapping) -> Iterator[tuple[str, dict]]:
    """Yield the name of each figure and the texts that its cells must have; once for every name in a list."""
    for name, figure in figures.items():
        lists = {key: value if isinstance(value, list) else [value] for key, value in figure.items()}
        axes = {key: values for key, values in lists.items() if key in Cell.fields and values != [None]}
        for values in itertools.product(*axes.values()):
            yield name, texts(dict(zip(axes, values, strict=True)))


def _unused_surrogates(study: Study, figure: str, cells: list[Cell]) -> Iterator[str]:
    """Yield a line for every surrogate of a figure that no debias of its cells uses."""
    settings = study.config["figures"][figure]
    shown = {"surrogate": settings["surrogate"]} if "surrogate" in settings else {}
    shown |= {f"surrogates[{i}]": name for i, name in enumerate(settings.get("surrogates", []))}
    for key, name in shown.items():
        if not study.with_surrogate(name, cells):
            used = {study.config["debias"][cell.debias].get("surrogate") for cell in cells} - {None}
            there = ", ".join(sorted(used)) or "none"
            yield f"figures.{figure}.{key} = '{name}': no debias of these cells uses it; used there: {there}"
