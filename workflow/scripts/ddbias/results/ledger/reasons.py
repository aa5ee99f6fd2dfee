"""Reasons, in words, why our number and a published one may differ, from recorded facts and the study's own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ddbias.base.cell import WHOLE
from ddbias.results.ledger.asked import Asked
from ddbias.results.ledger.ours import Ours

PAPER = "paper"  # the scale of the published compute
AMOUNTS = {  # settings that count work, as people say them
    "iterations": "iterations",
    "real_batch": "real images a class and step",
    "networks": "networks",
    "epochs": "epochs",
    "whole_steps": "steps",
}


def reasons(asked: Asked, ours: Ours) -> list[str]:
    """Return possible reasons for a gap, the most important first."""
    found = [] if ours.mean is not None else [f"not defined: {ours.why}" if ours.why else "not defined"]
    if ours.diverged:
        found.append(f"{ours.diverged} of the networks diverged")
    published, planned = asked.scales[PAPER], asked.scales[ours.scale]
    unused = "epochs" if asked.cell["ipc"] == WHOLE else "whole_steps"
    done = {} if ours.iterations is None else {"iterations": ours.iterations, "until": None}
    if ours.distiller is not None and ours.evaluation is not None:
        found.append(f"scale {ours.scale}")
        found += _shares({**ours.distiller, **done}, published.distiller)
        found += _shares(ours.evaluation, published.evaluation, unused)
    else:
        now = {**planned.distiller, **done}
        less = [*_shares(now, published.distiller), *_shares(planned.evaluation, published.evaluation, unused)]
        if less:
            found.append(f"scale {ours.scale} (in the study now: {', '.join(less)})")
    if ours.converged is False:
        found.append("not converged")
    if ours.converged:
        found.append("converged")
    if ours.moved:
        found.append(f"a pixel moved by {ours.moved} of 255 on average")
    found += ours.notes
    if ours.seeds < len(planned.sets):
        found.append(f"{ours.seeds} of {len(planned.sets)} seeds")
    elif ours.seeds == 1:
        found.append("1 seed: no interval")
    return [*found, *asked.differences]


def share(asked: Asked, ours: Ours) -> float:
    """Return which part of the published work was run: the product of the parts that each of the amounts is.

    The number of networks is no part of it: more of them only repeat the evaluation.
    """
    published, planned = asked.scales[PAPER], asked.scales[ours.scale]
    done = {} if ours.iterations is None else {"iterations": ours.iterations}
    made = {**(ours.distiller or planned.distiller), **done}
    pairs = ((made, published.distiller), (ours.evaluation or planned.evaluation, published.evaluation))
    unused = "epochs" if asked.cell["ipc"] == WHOLE else "whole_steps"
    return math.prod(
        run[key] / full[key]
        for run, full in pairs
        for key in AMOUNTS
        if key not in (unused, "networks") and isinstance(run.get(key), int) and isinstance(full.get(key), int)
    )


def _shares(run: Mapping, published: Mapping, unused: str = "") -> Iterator[str]:
    """Yield what differs between settings, a share where it is an amount of work; what is not recorded is no reason."""
    for key, value in published.items():
        if key == unused or key not in run or run[key] == value:
            continue
        if key in AMOUNTS and isinstance(run[key], int) and isinstance(value, int):
            most = "at most " if key == "iterations" and run.get("until") else ""  # it may have stopped before
            yield f"{most}{run[key]:,} of {value:,} {AMOUNTS[key]}"
        elif isinstance(run[key], Mapping) or isinstance(value, Mapping):
            yield f"another {key.replace('_', ' ')}"
        else:
            yield f"{key.replace('_', ' ')} {run[key]} instead of {value}"
