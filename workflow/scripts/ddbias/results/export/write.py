"""Export of all finished sets of a study, with a summary of missing ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ddbias.base import escape
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.results.export import dd_ranking, hub
from ddbias.results.export.folder import DD_RANKING, HUB, check, replaced
from ddbias.results.export.sets import ExportedSet, read_sets


def export_study(
    *,
    study: str,
    scale: str,
    folder: str | Path,
    distilled: Sequence[str | Path],
    runs: Sequence[str | Path],
    trains: Sequence[str | Path],
    evaluations: Sequence[str | Path],
    planned: int,
    card: str | Path,
    readme: str | Path,
    summary: str | Path,
) -> None:
    """Write ``huggingface/`` and ``dd-ranking/`` into a folder, each whole or not at all, and a summary.

    Parameters
    ----------
    study, scale : str
    folder : path
    distilled, runs, trains, evaluations : sequence of path
        See `ddbias.results.export.sets.read_sets`.
    planned : int
        Number of sets that the study asks for.
    card, readme : path
        The texts of the two folders.
    summary : path
        Markdown: what was exported, what is missing and why.

    Raises
    ------
    DdbiasError
        If no set can be exported, a file is damaged, or the folder holds something else.
    """
    if not distilled:
        raise DdbiasError(f"none of the {planned} distilled sets is finished; make them with `make run`")
    folder = Path(folder)
    for name in (HUB, DD_RANKING):  # before any work
        check(folder / name)
    sets, left_out = read_sets(distilled=distilled, runs=runs, trains=trains, evaluations=evaluations)
    if not sets:
        raise DdbiasError(f"nothing to export: {left_out[0]}")
    with replaced(folder / HUB) as part:
        hub.write_repository(part, sets, study=study, scale=scale, template=card)
    with replaced(folder / DD_RANKING) as part:
        dd_ranking.write_folders(part, sets, template=readme)
    lines = _summary(sets, left_out, study=study, scale=scale, folder=folder, missing=planned - len(distilled))
    store.write_bytes(summary, ("\n".join(lines) + "\n").encode())


def _summary(
    sets: Sequence[ExportedSet], left_out: Sequence[str], *, study: str, scale: str, folder: Path, missing: int
) -> list[str]:
    count = f"{len(sets)} distilled set{'s' if len(sets) > 1 else ''}"
    lines = [
        f"# Export of {study}, scale {scale}",
        "",
        f"- {escape.markdown(folder / HUB)}: {count} for Hugging Face, Croissant and safetensors; "
        + escape.markdown_code(f'datasets.load_dataset("{folder / HUB}", "{sets[0].name}")'),
        f"- {escape.markdown(folder / DD_RANKING)}: the same for the evaluators of DD-Ranking",
    ]
    if missing:
        lines.append(
            f"- missing: {missing} of {missing + len(sets) + len(left_out)} sets of the study are not finished"
        )
    return lines + [f"- left out: {escape.markdown(line)}" for line in left_out]
