"""Settings of a study that cannot go together: one line each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from ddbias.base import lookup, plugins
from ddbias.base.cell import NATURAL, WHOLE
from ddbias.base.errors import DdbiasError
from ddbias.planning.checks import figures
from ddbias.planning.checks.names import selections
from ddbias.planning.sizes import smallest_class
from ddbias.planning.study import FILE_FIELDS

DC_PIECES = ("crop", "scale", "rotate")
PSEUDO = ("clusters", "dbscan", "predicted")  # groups that a surrogate tells
GROUP_OPTIONS = {  # and the groups that they are for
    "clusters": ("clusters",),
    "eps": ("dbscan",),
    "min_samples": ("dbscan",),
    "min_evidence": ("predicted",),
    "known": PSEUDO,
}


def contradictions(config: Mapping) -> Iterator[str]:
    """Yield a line for every two settings that cannot go together."""
    for path, entry in selections(config):
        if entry["dataset"] in config["datasets"]:
            bias = config["datasets"][entry["dataset"]]["bias"]["kind"]
            natural = plugins.find("bias", bias).facts.get("natural", False)
            for i, ratio in enumerate(entry["ratios"]):
                if natural != (ratio == NATURAL):
                    allowed = "'natural', since its bias is none" if natural else "a number, since a bias is injected"
                    yield f"{path}.ratios[{i}] = {ratio}: must be {allowed} in {entry['dataset']}"
        for distiller, (i, ipc) in itertools.product(entry["distillers"], enumerate(entry["ipc"])):
            kind = config["distillers"].get(distiller, {}).get("kind")
            if kind and (kind == "whole") != (ipc == WHOLE):
                allowed = f"only {WHOLE}" if kind == "whole" else "a number"
                yield f"{path}.ipc[{i}] = {ipc}: the distiller {distiller} takes {allowed}; give it its own entry"
            if kind == "external":
                for how in entry["debias"]:
                    if config["debias"].get(how, {}).get("kind", "uniform") != "uniform":
                        yield f"{path}.debias = {how}: no debias enters the finished set {distiller}; use uniform"
    for name, figure in config["figures"].items():
        yield from figures.contradictions(name, figure, config)
    for name, settings in config["evaluations"].items():
        if settings.get("cutmix") and settings["debiasing"]["kind"] != "none":
            path, debiasing = f"evaluations.{name}.cutmix", settings["debiasing"]["kind"]
            yield f"{path} = {settings['cutmix']}: debiasing {debiasing} has a loss of its own; choose one of them"
        yield from _augment_errors(f"evaluations.{name}", settings)
    yield from _braces(config)
    for name, settings in config["debias"].items():
        yield from _debias_errors(f"debias.{name}", settings, config["surrogates"])


def _braces(config: Mapping) -> Iterator[str]:
    """Yield a line for every file of the user that Snakemake, which sees no folders, would take for a pattern."""
    parts = [
        (f"datasets.{name}.{section}", section, settings[section])
        for (name, settings), section in itertools.product(config["datasets"].items(), ("source", "bias"))
    ]
    parts += [(f"distillers.{name}", "distiller", settings) for name, settings in config["distillers"].items()]
    for path, section, settings in parts:
        for option in plugins.find(section, settings["kind"]).facts.get("files", []):
            value = settings
            for key in option.split("."):
                value = (value or {}).get(key)
            kept = value or ""
            for field in FILE_FIELDS if section == "distiller" else ():
                kept = kept.replace(f"{{{field}}}", "")
            if set("{}") & set(kept) and not _is_folder(value, config["data"]):
                yield f"{path}.{option} = {value}: Snakemake reads braces as a wildcard; rename it"


def _is_folder(path: str, data: Mapping) -> bool:
    try:
        return bool(lookup.find_folder(path, data))
    except DdbiasError:
        return False


def _augment_errors(path: str, settings: Mapping) -> Iterator[str]:
    """Yield a line for pieces that an evaluation's rule does not have."""
    rule, pieces = settings.get("augment_rule", "dsa"), settings.get("augment", "none")
    if rule != "dsa" and pieces == "none":
        yield f"{path}.augment_rule = {rule}: augment is none; name its pieces, or leave the rule out"
    others = [piece for piece in pieces.split("_") if piece not in DC_PIECES]
    if rule == "dc" and pieces != "none" and others:
        yield f"{path}.augment = {pieces}: the rule dc has {', '.join(DC_PIECES)} only, not {', '.join(others)}"


def _debias_errors(path: str, settings: Mapping, surrogates: Mapping) -> Iterator[str]:
    """Yield a line for what a debias asks of its surrogate, or of none, and does not get."""
    groups, surrogate = settings.get("groups"), settings.get("surrogate")
    if groups == "attribute" and surrogate is not None:
        yield f"{path}.surrogate = '{surrogate}': not used with groups: attribute; leave it out or choose other groups"
    if groups in PSEUDO and surrogate is None:
        yield f"{path}.groups = {groups}: needs a surrogate; defined: {', '.join(surrogates) or 'none'}"
    for option, used in GROUP_OPTIONS.items():
        if groups not in (None, *used) and settings.get(option) is not None:
            yield f"{path}.{option} = {settings[option]}: only used with groups: {' or '.join(used)}"
    reads = ["logits"] if groups == "predicted" else plugins.find("debias", settings["kind"]).facts.get("reads", [])
    given = {name: plugin.facts.get("gives", []) for name, plugin in plugins.kinds("surrogate").items()}
    wanted = [name for name, columns in given.items() if set(reads) <= set(columns)]
    kind = surrogates.get(surrogate, {}).get("kind")  # a name that is not defined is another mistake
    if kind and kind not in wanted:
        what = "groups: predicted" if groups == "predicted" else settings["kind"]
        yield f"{path}.surrogate = '{surrogate}': {what} needs one of kind {' or '.join(wanted)}, not {kind}"


def too_many_images(config: Mapping) -> Iterator[str]:
    """Yield a line for every number of images per class that the data set does not have."""
    smallest = {
        name: smallest_class(settings["source"], config["data"]) for name, settings in config["datasets"].items()
    }
    for i, entry in enumerate(config["grid"]):
        most = smallest[entry["dataset"]]
        for k, ipc in enumerate(entry["ipc"]):
            if most is not None and ipc != WHOLE and ipc > most:
                yield f"grid[{i}].ipc[{k}] = {ipc}: must be at most {most}, the smallest class of {entry['dataset']}"
