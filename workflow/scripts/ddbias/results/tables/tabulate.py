"""A result table: the mean of every cell beside the published number and the gap, in every format, with its footer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddbias.base.errors import DdbiasError, unknown
from ddbias.base.groups import CONVENTIONS
from ddbias.evaluation import comparisons
from ddbias.evaluation.images import image_metrics
from ddbias.results.tables.formats import (
    DIVERGED,
    MARK,
    NOT_DEFINED,
    NOT_PAIRED,
    Entry,
    Table,
    metric_words,
    write_csv,
    write_html,
    write_markdown,
    write_tex,
)
from ddbias.results.tables.pool import by_cell, summarise
from ddbias.results.tables.published import read_published, select_published
from ddbias.results.tables.read import read_evaluations

if TYPE_CHECKING:
    import pandas as pd

WRITERS = {"csv": write_csv, "md": write_markdown, "tex": write_tex, "html": write_html}
SPREADS = {
    "interval": "± is half of the 95 % interval of that mean (Student's t over the seeds).",
    "deviation": "± is the standard deviation (ddof 0) over all networks; for metrics of several cells, over seeds.",
}
ONE_SEED = "1 seed: no interval, since the variation between seeds is not known."
AMPLIFICATION = (
    "Amplification: how many points more the distilled set loses to the bias than the whole training set, each "
    "compared with its counterpart made from unbiased data, seed by seed."
)
SPLIT = (
    "Amplification = size + distillation over the same seeds (n): how much more as many random images, drawn with the "
    "weights of the debias, lose than the whole training set, and how much more the distilled set loses than these."
)
AGAINST = (
    "minus {}: the difference to the row that differs in the debias only, seed by seed, ± half of its 95 % interval."
)
MARKED = (
    f"{MARK} not converged: the loss of a distilled set behind the number still changed when its iterations ended, "
    "so more iterations would change it."
)
DIVERGED_NOTE = (
    f"{DIVERGED} diverged: networks behind the number have weights that are not finite and predict one class for every "
    "image, so it says little about the set; a calibration error leaves them out. Lower the learning rate of the "
    "evaluation or of its debiasing."
)
PAIRED = "Not paired: its cells have no distillation seed in common."


def tabulate(
    *,
    evaluations: Sequence[str | Path],
    rows: Sequence[Mapping],
    published: str | Path,
    scale: str,
    commit: str,
    outputs: Mapping[str, str | Path],
    caption: str,
    spread: str = "interval",
) -> None:
    """Write one table in every format asked for.

    Parameters
    ----------
    evaluations : sequence of path
        All evaluation files that the table rests on; the missing ones are counted in the footer.
    rows : sequence of mapping
        The entries in table order: the fields of a cell without its seed, ``metric``, perhaps ``terms`` and
        ``against``, and ``published`` (a selector or None).
    published : path
        The CSV of published numbers.
    scale, commit, caption : str
        Shown with the table. The CSV holds the scale but never the commit, so a rerun gives the same bytes.
    spread : {"interval", "deviation"}
        What people's formats show behind the ±; the CSV has both.
    outputs : mapping
        Format (``csv``, ``md``, ``tex``, ``html``) to the path to write.

    Raises
    ------
    DdbiasError
        If a file is not what it should be, the evaluations are of another scale, a published number is not
        found exactly once, or a format is unknown.
    """
    for form in outputs:
        if form not in WRITERS:
            raise unknown("table format", form, WRITERS)
    frame = read_evaluations(evaluations)
    foreign = sorted(set(frame["scale"]) - {scale})
    if foreign:
        raise DdbiasError(f"the table is for scale {scale} but an evaluation has scale {foreign[0]}; mix no scales")
    numbers = read_published(published)
    cells, entries, sources = by_cell(frame), [], []
    for row in rows:
        number = select_published(numbers, row["published"]) if row.get("published") else None
        sources += [number.source] if number else []
        entries.append(summarise(cells, row, number))
    done = sum(Path(path).is_file() for path in evaluations)
    notes = _notes(frame, entries, sources, scale=scale, commit=commit, done=done, total=len(evaluations))
    notes[1:1] = [*_reading(entries, spread)]
    table = Table(caption=caption, scale=scale, entries=entries, notes=notes, spread=spread)
    for form, path in outputs.items():
        WRITERS[form](path, table)


def _reading(entries: list[Entry], spread: str) -> Iterator[str]:
    """Say how the numbers of a table are read."""
    finished = [entry for entry in entries if not entry.state]
    numbers = [entry.networks for entry in finished]
    networks = " to ".join(map(str, dict.fromkeys([min(numbers), max(numbers)]))) if numbers else "several"
    judged = "one network" if networks == "1" else f"the mean over {networks} networks"
    yield f"Percent; mean over n distillation seeds, with {judged} for each. {SPREADS[spread]}"
    if any(entry.n == 1 for entry in finished):
        yield ONE_SEED
    shown = {entry.metric for entry in entries}
    if shown & set(comparisons.AMPLIFICATIONS):
        yield AMPLIFICATION
    if any("random" in comparisons.AMPLIFICATIONS.get(metric, ()) for metric in shown):
        yield SPLIT
    yield from (AGAINST.format(name) for name in {entry.difference.against: 0 for entry in entries if entry.difference})
    differences = [entry.difference for entry in finished if entry.difference]
    if any(one.converged == "false" for one in [*finished, *differences]):
        yield MARKED
    if any(one.diverged for one in [*finished, *differences]):
        yield DIVERGED_NOTE
    if any(entry.state == NOT_PAIRED for entry in entries):
        yield PAIRED


def _notes(
    frame: pd.DataFrame, entries: list[Entry], sources: list[str], *, scale: str, commit: str, done: int, total: int
) -> list[str]:
    """Say what the numbers mean: the footer of the table."""
    notes = [f"Scale {scale}; the table was written at commit {commit}, its sets name theirs in run.json."]
    if done < total:
        notes.append(f"Unfinished: {done} of {total} evaluations have been run.")
    shown = frame[frame["dataset"].isin({entry.key["dataset"] for entry in entries})]
    for kind, names in shown.groupby("convention")["dataset"].unique().items():
        notes.append(f"Test set {convention(kind)}: {', '.join(sorted(names))}.")
    notes += _undefined(entries)
    if any(entry.metric in image_metrics.METRICS for entry in entries):
        notes.append(
            "Metrics of images: draws of real images take the place of networks; distances are in percent of those of "
            "real images."
        )
    if sources:
        found = "; ".join(dict.fromkeys(sources))
        notes.append(f"Published: {found}; gap = mean − published, in points; its ± is the one printed there.")
    return notes


def _undefined(entries: list[Entry]) -> Iterator[str]:
    """Say why metrics are not defined, once for all that have the same reason."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for metric in dict.fromkeys(entry.metric for entry in entries):
        shown = [entry for entry in entries if entry.metric == metric]
        reasons: dict[str, dict[str, None]] = {}
        for entry in shown:
            if entry.state == NOT_DEFINED:
                reasons.setdefault(entry.why, {})[entry.key["dataset"]] = None
        for reason, names in reasons.items():
            found.setdefault((reason, tuple(names)), []).append(metric_words(metric))
    several = len({entry.key["dataset"] for entry in entries}) > 1
    for (reason, names), metrics in found.items():
        where = f" on {', '.join(names)}" if several else ""
        yield f"Not defined{where}: {', '.join(metrics)}: {reason}."


def convention(kind: str) -> str:
    """Say how the attributes of a test set relate to its labels."""
    return f"{kind} ({CONVENTIONS[kind]})" if kind in CONVENTIONS else kind
