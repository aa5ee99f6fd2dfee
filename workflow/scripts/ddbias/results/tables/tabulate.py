"""A result table: the mean of every cell beside the published number and the gap, in every format, with its footer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddbias.base.errors import DdbiasError, unknown
from ddbias.base.groups import CONVENTIONS
from ddbias.evaluation import comparisons
from ddbias.evaluation.images import image_metrics
from ddbias.results.tables.formats import Entry, Table, write_csv, write_html, write_markdown, write_tex
from ddbias.results.tables.pool import summarise
from ddbias.results.tables.published import read_published, select_published
from ddbias.results.tables.read import read_evaluations

if TYPE_CHECKING:
    import pandas as pd

WRITERS = {"csv": write_csv, "md": write_markdown, "tex": write_tex, "html": write_html}
SPREADS = {
    "deviation": "Percent; mean ± standard deviation (ddof 0) over n values, every network of every distillation seed; "
    "– where one value has no deviation.",
    "interval": "Percent; mean over n values, every network of every distillation seed, ± half of its 95 % interval "
    "(Student's t over the seeds, over the networks where there is one seed); – where one value has none.",
}
COMPARED = (
    "Amplification: points of accuracy that the distilled set loses more to the bias than the whole training set does, "
    "each against its own kind made from unbiased data; ± is the root of the sum of its terms' squares."
)


def tabulate(
    *,
    evaluations: Sequence[str | Path],
    rows: Sequence[Mapping],
    published: str | Path,
    scale: str,
    commit: str,
    outputs: Mapping[str, str | Path],
    caption: str,
    spread: str = "deviation",
) -> None:
    """Write one table in every format asked for.

    Parameters
    ----------
    evaluations : sequence of path
        All evaluation files that the table rests on; the missing ones are counted in the footer.
    rows : sequence of mapping
        The entries in table order: the fields of a cell without its seed, ``metric``, perhaps ``terms``, and
        ``published`` (a selector or None).
    published : path
        The CSV of published numbers.
    scale, commit, caption : str
        Shown with the table. The CSV holds the scale but never the commit, so a rerun gives the same bytes.
    spread : {"deviation", "interval"}
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
    entries, sources = [], []
    for row in rows:
        number = select_published(numbers, row["published"]) if row.get("published") else None
        sources += [number.source] if number else []
        entries.append(summarise(frame, row, number))
    done = sum(Path(path).is_file() for path in evaluations)
    notes = _notes(frame, entries, sources, scale=scale, commit=commit, done=done, total=len(evaluations))
    compared = [COMPARED] if any(entry.metric in comparisons.METRICS for entry in entries) else []
    notes[1:1] = [SPREADS[spread], *compared]
    table = Table(caption=caption, scale=scale, entries=entries, notes=notes, spread=spread)
    for form, path in outputs.items():
        WRITERS[form](path, table)


def _notes(
    frame: pd.DataFrame, entries: list[Entry], sources: list[str], *, scale: str, commit: str, done: int, total: int
) -> list[str]:
    """Say what the numbers mean: the footer of the table."""
    notes = [f"Scale {scale}, commit {commit}."]
    if done < total:
        notes.append(f"Unfinished: {done} of {total} evaluations have been run.")
    shown = frame[frame["dataset"].isin({entry.key["dataset"] for entry in entries})]
    for kind, names in shown.groupby("convention")["dataset"].unique().items():
        notes.append(f"Test set {convention(kind)}: {', '.join(sorted(names))}.")
    if any(entry.state == "not defined" for entry in entries):
        notes.append("Not defined: the metric needs groups that this test set does not have.")
    if any(entry.metric in image_metrics.METRICS for entry in entries):
        notes.append(
            "Of the images themselves: n counts draws of real images; distances are percent of those of real images."
        )
    if sources:
        notes.append(f"Published: {'; '.join(dict.fromkeys(sources))}; gap = mean − published, in points.")
    return notes


def convention(kind: str) -> str:
    """Say how the attributes of a test set relate to its labels."""
    return f"{kind} ({CONVENTIONS[kind]})" if kind in CONVENTIONS else kind
