"""What a reader wants to know first: which debias is best, what distillation adds, and what to doubt.

From the sets of the page alone. Numbers are percent, a mean over distillation seeds with half of its 95 % interval
(`ddbias.results.tables.pool`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ddbias.results.report.sets import Run
from ddbias.results.tables.formats import fixed, seeds
from ddbias.results.tables.pool import half_interval

MAIN = ("unbiased_accuracy", "accuracy")  # the first that a set has
GROUP = ("dataset", "ratio", "distiller", "ipc")
REFERENCES = ("random", "whole")  # kinds of distillers that make no images
PLAIN = "uniform"  # the kind of debias that changes nothing
WIDTH, MARGIN = 130, 6  # of a line of dots


@dataclass(frozen=True)
class Mean:
    """A mean over distillation seeds and half of its interval, None for one seed."""

    mean: float
    interval: float | None
    n: int

    def text(self, *, sign: bool = False) -> str:
        """Return the number as people read it, with its interval or the reason why there is none."""
        number = fixed(self.mean, 1, sign=sign).replace("-", "−")
        return f"{number} ({seeds(1)})" if self.interval is None else f"{number} ± {fixed(self.interval, 1)}"


@dataclass(frozen=True)
class Line:
    """One debias of a comparison, whether it knows the true attribute, and where its dot and its interval are drawn."""

    debias: str
    value: Mean
    plain: bool
    informed: bool
    row: str
    dot: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """The debias methods of one cell of a study: the best comes first.

    ``gain`` is the best minus the plain debias, with an interval that allows for the choice of the best, ``added``
    what distillation adds with the debias ``added_with``, the best for which there are as many random images that
    were chosen with it: minus these. Both are taken seed by seed, and None where there is nothing to compare with.
    ``plain`` is where the plain one is drawn.
    """

    title: str
    metric: str
    lines: list[Line]
    gain: Mean | None
    added: Mean | None
    added_with: str
    plain: float | None
    low: str
    high: str


@dataclass(frozen=True)
class Summary:
    """All comparisons, and the rows that are not what they should be, as (text, id) pairs."""

    comparisons: list[Comparison]
    unconverged: list[tuple[str, str]]
    diverged: list[tuple[str, str]]
    unevaluated: list[tuple[str, str]]


def summarise(runs: Sequence[Run], ids: Sequence[str]) -> Summary:
    """Return the summary of some sets.

    Parameters
    ----------
    runs : sequence of Run
    ids : sequence of str
        Of their rows in the page.
    """
    values = _values(runs)
    rows: dict[tuple, str] = {}  # of the first seed
    for run, row in zip(runs, ids, strict=True):
        rows.setdefault((*(run.key[name] for name in GROUP), run.key["debias"]), row)
    kinds = {run.key["distiller"]: run.settings.get("distiller.kind", run.key["distiller"]) for run in runs}
    plain = {run.key["debias"] for run in runs if run.settings.get("debias.kind", run.key["debias"]) == PLAIN}
    informed = {run.key["debias"] for run in runs if run.settings.get("debias.groups") == "attribute"}
    random = next((name for name, kind in kinds.items() if kind == "random"), None)
    groups = [group for group in values if kinds[group[2]] not in REFERENCES] or list(values)
    found = [_comparison(group, values, rows, (plain, informed), random) for group in groups]
    texts = [(" ".join(run.key.values()), row) for run, row in zip(runs, ids, strict=True)]
    pairs = list(zip(runs, texts, strict=True))
    return Summary(
        found,
        [text for run, text in pairs if run.converged == "false"],
        [text for run, text in pairs if any(one.diverged for one in run.evaluations.values())],
        [text for run, text in pairs if not run.evaluations],
    )


def _values(runs: Sequence[Run]) -> dict[tuple, dict[str, dict[str, float]]]:
    """Return the main metric by (*GROUP, evaluation, metric), debias and seed."""
    values: dict[tuple, dict[str, dict[str, float]]] = {}
    for run in runs:
        for name, evaluation in run.evaluations.items():
            metric = next((metric for metric in MAIN if metric in evaluation.results), None)
            if metric:
                group = (*(run.key[key] for key in GROUP), name, metric)
                of_debias = values.setdefault(group, {}).setdefault(run.key["debias"], {})
                of_debias[run.key["seed"]] = evaluation.results[metric].mean
    return values


def _comparison(
    group: tuple, values: Mapping, rows: Mapping, told: tuple[set[str], set[str]], random: str | None
) -> Comparison:
    dataset, ratio, distiller, ipc, evaluation, metric = group
    of_debias = values[group]
    lines = [
        Line(name, _mean(found.values()), *(name in names for names in told), rows[(*group[:4], name)])
        for name, found in of_debias.items()
    ]
    lines.sort(key=lambda line: -line.value.mean)
    best = lines[0]
    vanilla = next((line for line in lines if line.plain), None)
    among = values.get((dataset, ratio, random, ipc, evaluation, metric), {}) if distiller != random else {}
    chosen = next((line.debias for line in lines if among.get(line.debias, {}).keys() & of_debias[line.debias]), "")
    ends = [line.value.mean + sign * (line.value.interval or 0) for line in lines for sign in (-1, 1)]
    low, high = max(0.0, min(ends)), min(100.0, max(ends))
    low, high = (low, high) if high - low > 1 else (max(0.0, low - 1), min(100.0, high + 1))

    def place(value: float) -> float:
        share = (np.clip(value, low, high) - low) / (high - low)
        return round(float(MARGIN + (WIDTH - 2 * MARGIN) * share), 1)

    drawn = []
    for line in lines:
        mean, half = line.value.mean, line.value.interval or 0
        drawn.append(replace(line, dot=place(mean), low=place(mean - half), high=place(mean + half)))
    return Comparison(
        title=f"{dataset}, ratio {ratio}, {distiller}, IPC {ipc}, {evaluation}",
        metric=metric,
        lines=drawn,
        gain=_minus(of_debias[best.debias], of_debias[vanilla.debias], of=len(lines) - 1)
        if vanilla and vanilla is not best
        else None,
        added=_minus(of_debias[chosen], among[chosen]) if chosen else None,
        added_with=chosen,
        plain=place(vanilla.value.mean) if vanilla else None,
        low=fixed(low, 1),
        high=fixed(high, 1),
    )


def _mean(values: Sequence[float], of: int = 1) -> Mean:
    values = list(values)
    return Mean(float(np.mean(values)), half_interval(values, of=of), len(values))


def _minus(these: Mapping[str, float], others: Mapping[str, float], of: int = 1) -> Mean | None:
    """Return the difference, paired by seed, as one of several; None without a common seed."""
    found = [these[seed] - others[seed] for seed in these if seed in others]
    return _mean(found, of) if found else None
