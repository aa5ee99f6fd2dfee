"""Which kind of evaluation gives which metric, and what tables and figures ask of the wrong one. Without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ddbias.evaluation.images import image_metrics

TRAINING, IMAGES = "training", "images"


def of_kind(config: Mapping, kind: str) -> list[str]:
    """Return the names of the evaluations of a kind in a completed study."""
    return [name for name, settings in config["evaluations"].items() if settings["kind"] == kind]


def kind_of(metric: str) -> str:
    """Return the kind of evaluation that gives a metric."""
    return IMAGES if metric in image_metrics.METRICS else TRAINING


def gives(config: Mapping, evaluation: str, metric: str) -> bool:
    """Tell whether an evaluation of a completed study gives a metric, if the data set allows it."""
    return config["evaluations"][evaluation]["kind"] == kind_of(metric)


def unmeasured(config: Mapping, path: str, metric: str, evaluations: Iterable[str]) -> Iterator[str]:
    """Yield a line when none of some evaluations gives the metric that the study file names at `path`.

    Evaluations that are not defined are another mistake.
    """
    named = [name for name in evaluations if name in config["evaluations"]]
    if named and not any(gives(config, name, metric) for name in named):
        kind = kind_of(metric)
        needed = f"needs an evaluation of kind {kind}; defined: {', '.join(of_kind(config, kind)) or 'none'}"
        yield f"{path} = '{metric}': not measured by {', '.join(named)}, {needed}"
