"""The finished distilled sets of a study, each with its metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ddbias.base.errors import DdbiasError
from ddbias.data import png, store
from ddbias.data.distilled import DistilledSet, IndicesOnlyError, load_distilled
from ddbias.results.tables.read import read_evaluations

CELL = ("dataset", "ratio", "distiller", "debias", "ipc", "seed")
METRICS = ("accuracy", "unbiased_accuracy", "conflicting_accuracy")  # those that are shown where they are defined
HALF_STEP = 0.5 / 255  # what rounding to uint8 may change; what lies further outside 0..1 is clipped


@dataclass(frozen=True)
class Accuracy:
    """A metric of `n` networks trained on a set, in percent; `std` has ddof 0 and is None for a single network.

    `diverged` is the number of diverged networks.
    """

    evaluation: str
    metric: str
    mean: float
    std: float | None
    n: int
    diverged: int = 0


@dataclass(frozen=True)
class ExportedSet:
    """A distilled set to export.

    Attributes
    ----------
    name : str
        Of the set's subset and folder: its cell joined by "-", which no name of a study holds.
    distilled : DistilledSet
    selected : bool
        Whether the images are training images as they are.
    run : mapping
        What its ``run.json`` says; empty without one.
    source : mapping
        ``source``, ``licence`` and perhaps ``citation`` of the data set it was made from.
    accuracies : list of Accuracy
    """

    name: str
    distilled: DistilledSet
    selected: bool
    run: Mapping
    source: Mapping
    accuracies: list[Accuracy]

    @property
    def meta(self) -> Mapping:
        """What the file says about how the set was made."""
        return self.distilled.meta

    @property
    def commit(self) -> str:
        """The code that made it, with a + when the checkout had changes."""
        return self.run.get("commit", "unknown")

    @property
    def date(self) -> str | None:
        """The day on which it was made, as in ``2026-01-31``."""
        return self.run.get("date", "")[:10] or None

    @property
    def clipped(self) -> float:
        """Share of the pixel values that lie outside 0..255 and that uint8 cannot hold."""
        mean, std = (torch.tensor(self.meta[key]).view(-1, 1, 1) for key in ("mean", "std"))
        values = self.distilled.tensors()[0] * std + mean
        return float(((values < -HALF_STEP) | (values > 1 + HALF_STEP)).double().mean())


def read_sets(
    *,
    distilled: Sequence[str | Path],
    runs: Sequence[str | Path],
    trains: Sequence[str | Path],
    evaluations: Sequence[str | Path],
) -> tuple[list[ExportedSet], list[str]]:
    """Read the finished sets of a study.

    Parameters
    ----------
    distilled : sequence of path
        Files ``distilled.safetensors``.
    runs : sequence of path
        Files ``run.json``, each in the folder of its set; a set without one has an unknown commit and no date.
    trains : sequence of path
        Files ``{dataset}/{ratio}/train.arrow``; a data set without one has an unknown licence.
    evaluations : sequence of path

    Returns
    -------
    sets : list of ExportedSet
        In the order of `distilled`.
    left_out : list of str
        Why a set is not exported, one line each.

    Raises
    ------
    DdbiasError
        If a file is damaged or no distilled set.
    """
    facts = {Path(path).parent: store.read_json(path) for path in runs}
    sources = {Path(path).parts[-3:-1]: _source(path) for path in trains}
    measured = _accuracies(evaluations)
    sets, left_out = [], []
    for path in map(Path, distilled):
        try:
            loaded = load_distilled(path)
        except IndicesOnlyError:
            left_out.append(f"{path.parent}: it holds only indices of training samples, no images")
            continue
        store.require(path, "a distilled set", loaded.meta, ("study", "scale", "settings", "provenance", *CELL))
        if loaded.images.shape[1] not in png.CHANNELS:
            left_out.append(f"{path.parent}: its images have {loaded.images.shape[1]} channels, which PNG has not")
            continue
        cell = tuple(str(loaded.meta[key]) for key in CELL)
        sets.append(
            ExportedSet(
                name=subset_name(loaded.meta),
                distilled=loaded,
                selected="index" in store.read_tensors(path, prefix="index")[0],
                run=facts.get(path.parent, {}),
                source=sources.get(cell[:2], {}),
                accuracies=measured.get(cell, []),
            )
        )
    return sets, left_out


def subset_name(meta: Mapping) -> str:
    """Return the name of a set outside its study, e.g. ``digits_fg-0.95-dm-kde-ipc10-seed0``.

    Raises
    ------
    DdbiasError
        If the name in a file's metadata is no name of a folder: the file may be somebody else's.
    """
    cell = {key: str(meta[key]) for key in CELL}
    name = "{dataset}-{ratio}-{distiller}-{debias}-ipc{ipc}-seed{seed}".format(**cell)
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise DdbiasError(f"a distilled set says that it is '{name}', which cannot name a folder; distil it again")
    return name


def different(values: Iterable) -> list:
    """Return the different values in the order of their first appearance; they need not be hashable."""
    found = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _source(path: str | Path) -> Mapping:
    """Return the credits of the images of a training split."""
    _, meta = store.read_arrow(path)
    credits = meta.get("source", {})
    return {key: credits[key] for key in ("source", "licence", "citation") if key in credits}


def _accuracies(paths: Sequence[str | Path]) -> dict[tuple[str, ...], list[Accuracy]]:
    """Return the accuracies of every cell."""
    frame = read_evaluations(paths)
    frame = frame[frame["metric"].isin(METRICS)]
    found: dict[tuple[str, ...], list[Accuracy]] = {}
    for (*cell, evaluation, metric), rows in frame.groupby([*CELL, "evaluation", "metric"]):
        values = 100 * rows["value"].to_numpy(float)
        std = float(values.std()) if len(values) > 1 else None
        diverged = int(rows["diverged"].sum())
        accuracy = Accuracy(evaluation, metric, float(values.mean()), std, len(values), diverged)
        found.setdefault(tuple(map(str, cell)), []).append(accuracy)
    return found
