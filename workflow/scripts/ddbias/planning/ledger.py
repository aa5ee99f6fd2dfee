"""The published numbers that studies cover, for the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ddbias.base.cell import Cell
from ddbias.base.errors import DdbiasError
from ddbias.planning import load
from ddbias.planning.config import load_schema
from ddbias.planning.jobs import stem
from ddbias.planning.study import Study
from ddbias.results.ledger.asked import Asked, Scale


def asked(paths: Iterable[str | Path]) -> list[Asked]:
    """Return every published number that a table of a study in one of some files names, each once for a cell.

    Raises
    ------
    DdbiasError
        With the file's name, if one is not right at every scale.
    """
    amounts = load_schema()["x-scales"]
    scales = sorted(amounts, key=lambda scale: amounts[scale]["iterations"])
    found: dict[tuple, Asked] = {}
    for path in map(str, paths):
        try:
            own = load.read(path)
            if any(table["published"] for table in own.config["tables"].values()):
                studies = {scale: own if scale == own.scale else load.read(path, scale) for scale in scales}
                for one in _of_study(path, own, studies):
                    found.setdefault((one.study, *one.cell.values(), one.metric, *one.published.values()), one)
        except DdbiasError as error:
            raise DdbiasError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error
    return list(found.values())


def _of_study(path: str, own: Study, studies: dict[str, Study]) -> Iterator[Asked]:
    for table in own.config["tables"]:
        for published in own.published(table):
            cell = {field: published.cell[field] for field in Cell.fields_without_seed}
            yield Asked(
                published=published.value,
                path=path,
                study=own.name,
                table=table,
                cell=cell,
                metric=published.cell["metric"],
                scale=own.scale,
                scales={scale: _scale(study, cell) for scale, study in studies.items()},
                differences=published.differences,
            )


def _scale(study: Study, cell: dict[str, str]) -> Scale:
    sets = []
    for one in study.select(**cell):
        fields = {**cell, "seed": one.seed}
        sets.append((stem(study, "distill", fields), f"{stem(study, 'evaluate', fields)}.parquet"))
    return Scale(
        folder=study.folder,
        data=stem(study, "synthesize_dataset", cell),
        sets=tuple(sets),
        distiller=study.config["distillers"][cell["distiller"]],
        evaluation=study.config["evaluations"][cell["evaluation"]],
    )
