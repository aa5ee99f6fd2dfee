"""Reading and checking a study: a `Study` has no mistakes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from ddbias.base import plugins
from ddbias.base.cell import NATURAL, expand
from ddbias.planning import sizes
from ddbias.planning.checks import cells, figures, names, settings
from ddbias.planning.config import ConfigErrors, complete
from ddbias.planning.study import Study
from ddbias.planning.study_file import read_yaml


def load(config: Mapping) -> Study:
    """Check and complete a study.

    The plug-ins that it names become known to this process, and no others (`ddbias.base.plugins.use`).

    Parameters
    ----------
    config : mapping
        A whole study file, as read; it is left as it is.

    Returns
    -------
    Study

    Raises
    ------
    ConfigErrors
        One line for every mistake.

    Examples
    --------
    >>> import yaml
    >>> study = load(yaml.safe_load(open("config.yaml")))
    >>> study.name, study.cells[0].ratio
    ('digits', '0.95')
    """
    completed = complete(config)
    plugins.use(completed["plugins"])
    _refuse([*names.undefined(completed), *settings.contradictions(completed)])
    for dataset in completed["datasets"].values():
        own = sizes.keeps_attribute(dataset["bias"]["kind"])
        dataset["test"] = dataset["test"] or (NATURAL if own else "balanced")
    for distiller in completed["distillers"].values():
        distiller |= counted(distiller)
    made = dict.fromkeys(itertools.chain.from_iterable(map(expand, completed["grid"])))
    study = Study(completed, tuple(made))
    _refuse([*cells.errors(study), *figures.errors(study), *settings.too_many_images(completed)])
    return study


def counted(distiller: Mapping) -> dict:
    """Return the number of iterations of a distiller that stops by itself: all counts with the most there can be."""
    iterations = distiller.get("iterations")
    if not isinstance(iterations, Mapping):
        return {}
    return {"until": iterations["until"], "iterations": iterations["at_most"]}


def read(path: str | Path, scale: str = "") -> Study:
    """Read, check and complete the study in a file, at another scale than its own if one is given; as `load`."""
    config = read_yaml(path)
    return load(config | {"scale": scale} if scale and isinstance(config, Mapping) else config)


def _refuse(errors: list[str]) -> None:
    if errors:
        raise ConfigErrors(errors)
