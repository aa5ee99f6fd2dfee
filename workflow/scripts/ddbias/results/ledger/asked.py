"""A published number in the ledger, the cell of a study that is compared with it, and the cell's files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A cell at one scale.

    Attributes
    ----------
    folder : str
        Of the results of the study at this scale.
    data : str
        Folder of the data set.
    sets : tuple of (str, str)
        Folder of the distilled set and file of its evaluation, for every seed.
    distiller, evaluation : mapping
        The settings that the study has for them at this scale.
    """

    folder: str
    data: str
    sets: tuple[tuple[str, str], ...]
    distiller: Mapping
    evaluation: Mapping


@dataclass(frozen=True)
class Asked:
    """A published number that a study covers.

    Attributes
    ----------
    published : mapping
        Selects it, see `ddbias.results.tables.published.select_published`.
    path, study, table : str
        The study's file and name, and the table that names the number.
    cell : mapping of str
        The fields of a `ddbias.base.cell.Cell` but the seed.
    metric : str
    scale : str
        The study's own.
    scales : mapping of str to Scale
        From the least to the published amount of work.
    differences : tuple of str
        How the study's protocol differs from the published one, as the study declares it.
    """

    published: Mapping
    path: str
    study: str
    table: str
    cell: Mapping[str, str]
    metric: str
    scale: str
    scales: Mapping[str, Scale]
    differences: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command that runs the cell compared with the number, and nothing else."""
        targets = " ".join(evaluation for _, evaluation in self.scales[self.scale].sets)
        return shlex.join(["make", "run", f"CONFIG={self.path}", f"ARGS={targets}"])
