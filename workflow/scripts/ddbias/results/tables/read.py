"""Evaluation files: one of them, or those behind a table or figure joined row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ddbias.base.cell import shortest
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.evaluation import records, undefined
from ddbias.evaluation.images import image_metrics

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FACTS = ("convention", "diverged", "lacking", "converged", "moved", "first_conflicting")


def read_evaluations(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Read the evaluation files that exist and join them row by row.

    Parameters
    ----------
    paths : sequence of path
        Files that the stage `evaluate` writes; those that do not exist (yet) are passed over.

    Returns
    -------
    DataFrame
        The columns of `ddbias.evaluation.records.COLUMNS` (``value`` in 0..1, or more for those of
        `ddbias.evaluation.images.image_metrics.ABOVE_ONE`; ``ratio`` and ``ipc`` are strings) and those of `FACTS`
        from the file's metadata: ``convention``, that of the test split; ``diverged``, whether the network has;
        ``lacking``, why the file has no value of a metric, by its name; and how far the set's distillation went:
        ``converged``, "true", "false" or, where there is nothing to judge or it is unknown, an empty string;
        ``moved`` (mean change of a pixel in 0..255) and ``first_conflicting`` (conflicting samples among the first
        images), NaN where unknown. Without a file it has no rows.

    Raises
    ------
    DdbiasError
        If a file is damaged, lacks a column, holds a value outside 0..1, or a network occurs twice.
    """
    import pandas as pd

    frames = [_frame(path) for path in dict.fromkeys(map(str, paths)) if Path(path).is_file()]
    if not frames:
        return pd.DataFrame(columns=[*records.COLUMNS, *FACTS])
    joined = pd.concat(frames, ignore_index=True)
    identity = [c for c in records.COLUMNS if c not in ("value", "support")]
    twice = joined[joined.duplicated(identity)]
    if len(twice):
        row = ", ".join(f"{name} {twice.iloc[0][name]}" for name in identity)
        raise DdbiasError(f"the evaluations hold one network twice ({row}); pass each result once")
    return joined


def read_evaluation(path: str | Path) -> tuple[pa.Table, dict]:
    """Return the rows (the columns of `ddbias.evaluation.records.COLUMNS`) and the metadata of one evaluation file.

    Raises
    ------
    DdbiasError
        If the file is damaged, lacks a column or holds a value outside 0..1.
    """
    table, meta = store.read_table(path)
    store.require(path, "an evaluation", table.column_names, records.COLUMNS)
    value, metric = table["value"].to_numpy(), np.array(table["metric"].to_pylist())
    most = np.where(np.isin(metric, image_metrics.ABOVE_ONE), np.inf, 1)
    if not ((value >= 0) & (value <= most)).all():  # False for NaN too
        raise DdbiasError(f"{path} holds a value outside 0..1; metrics are stored as fractions, evaluate again")
    return table.select(records.COLUMNS), meta


def _frame(path: str | Path) -> pd.DataFrame:
    table, meta = read_evaluation(path)
    frame = table.to_pandas()
    frame["ratio"] = [shortest(ratio) for ratio in frame["ratio"]]
    frame["ipc"] = frame["ipc"].astype(str)
    diverged = {network for network, one in enumerate(undefined.diverged(meta)) if one}
    lacking = undefined.reasons(set(frame["metric"]), meta)
    return frame.assign(
        convention=str(meta.get("convention", "unknown")),
        diverged=[network in diverged for network in frame["repeat"]],
        lacking=[lacking] * len(frame),
        **distillation(meta, path),
    )


def distillation(meta: Mapping, path: str | Path) -> dict[str, object]:
    """Return what the metadata of a set, or of its evaluation, tell about its distillation, by the names in `FACTS`.

    Files of earlier versions tell nothing.

    Raises
    ------
    DdbiasError
        If it is not what `ddbias.distill.write` writes.
    """
    facts = meta.get("distillation") or {}
    try:
        moved, first = (
            float("nan") if facts.get(name) is None else float(facts[name]) for name in ("moved", "first_conflicting")
        )
        converged = {True: "true", False: "false", None: ""}[facts.get("converged")]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DdbiasError(f"{path} is damaged: distillation is no record of a run; delete it and run again") from error
    return {"converged": converged, "moved": moved, "first_conflicting": first}
