"""What a job takes: seconds of one core, memory and disk, from a table of measured figures and the study's settings.

The table is ``workflow/resources/costs.csv``. Its rows of `distill` (``benchmarks/costs.py``) hold the published
network on 32x32 RGB images with ten classes and 256 real images per class; the others (``benchmarks/stage_costs.py``)
are of jobs of real runs. Work is counted in passes: training the published network on one image of that size is one,
only looking at it a third. Without torch, and looked up once for all jobs that differ in nothing that matters.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ddbias.base import paths
from ddbias.base.cell import WHOLE
from ddbias.planning.costs import network_work
from ddbias.planning.sizes import DataSize, data_size
from ddbias.planning.study import Study

TABLE = paths.RESOURCES / "costs.csv"
DEPENDS = {  # the wildcards that what a job takes depends on
    "synthesize_dataset": ("dataset",),
    "check_data": ("dataset",),
    "train_surrogate": ("dataset", "surrogate"),
    "estimate_weights": ("dataset", "debias"),
    "pretrain_models": ("dataset", "models"),
    "distill": ("dataset", "distiller", "ipc"),
    "evaluate": ("dataset", "distiller", "ipc", "evaluation"),
    "train_attribute_model": ("dataset", "evaluation"),
    "measure_images": ("dataset", "ipc", "evaluation"),
}
START_SECONDS, START_MB = 2.0, 350.0  # of every job, before it does anything: libraries
NOT_MEASURED = {"synthesize_dataset": 5e-3, "check_data": 1e-3}  # seconds an image: decoding and resizing files
UPDATE = 0.03  # seconds of an update of the distilled images, however small the network
LOOK = 1 / 3  # of a pass, when nothing is learnt from an image
VIEWS = {"supcon": 2, "selecmix": 2, "lff": 2}  # of an image, or networks that it passes through
LAYERS = 7  # times the values that a network's layers put out are held while it learns
HALF = 0.6  # of that in bfloat16
DEBIASED_TRAINING = 3  # times the work of plain training: two networks, and what they are told by
MEASURED_BATCH, MEASURED_CLASSES = 256, 10
DAY = 86_400.0


@cache
def _size(study: Study, dataset: str) -> DataSize:
    return data_size(study.config["datasets"][dataset], study.config["data"])


@dataclass(frozen=True)
class Work:
    """How much a job has to do.

    Attributes
    ----------
    kind : str
        What of the stage, as in the table.
    units : float
        How many of the units of the table.
    memory_mb, disk_mb : float
        At its peak; what it writes.
    precision : str
        ``exact`` or ``fast``; empty where there is one way only.
    more : float
        Seconds beside the units.
    known : bool
        Whether the sizes behind it are known.
    """

    kind: str
    units: float
    memory_mb: float
    disk_mb: float
    precision: str = ""
    more: float = 0.0
    known: bool = True


@dataclass(frozen=True)
class Cost:
    """What a job is expected to take, without a margin.

    Attributes
    ----------
    seconds : float
        Of one core.
    memory_mb, disk_mb : float
    measured : bool
        False where the table has no row for it, or a size is not known.
    """

    seconds: float
    memory_mb: float
    disk_mb: float
    measured: bool


def cost(study: Study, stage: str, wildcards: object) -> Cost:
    """Return what a job is expected to take.

    Parameters
    ----------
    study : Study
    stage : str
        The rule: a key of `DEPENDS`, or one that only shows.
    wildcards : object
        Snakemake's, or anything with attributes of these names.
    """
    return _cost(study, stage, *(getattr(wildcards, name) for name in DEPENDS.get(stage, ())))


def work(study: Study, stage: str, wildcards: object) -> Work:
    """Return how much a job has to do, in units of the table; for measuring these."""
    return WORK[stage](study, *(getattr(wildcards, name) for name in DEPENDS[stage]))


@cache
def _cost(study: Study, stage: str, *wildcards: str) -> Cost:
    if stage not in WORK:
        return Cost(10, 500, 1, True)  # tables, figures, the page
    done = WORK[stage](study, *wildcards)
    seconds = seconds_per_unit(stage, done.kind, done.precision) if done.units else 0.0
    if seconds is None:
        expected = START_SECONDS + done.more + done.units * fallback(stage)
    else:
        expected = START_SECONDS + done.more + done.units * seconds
    return Cost(expected, done.memory_mb, done.disk_mb, done.known and seconds is not None)


@cache
def rows(table: Path = TABLE) -> tuple[Mapping[str, str], ...]:
    """Return the rows of the table."""
    with table.open(newline="") as file:
        return tuple(csv.DictReader(file))


def seconds_per_unit(stage: str, kind: str, precision: str = "") -> float | None:
    """Return the seconds of one core for a unit of work; None where nothing like it was measured."""
    found = [row for row in rows() if (row["stage"], row["kind"]) == (stage, kind) and not row["ipc"]]
    found = [row for row in found if row["precision"] == precision] or found
    return float(found[0]["seconds_per_unit"]) if found else None


def fallback(stage: str) -> float:
    """Return the seconds for a unit of what was not measured: a generous guess, or the training of an evaluation."""
    return NOT_MEASURED.get(stage) or passed()


def passed(precision: str = "exact") -> float:
    """Return the seconds of a pass: the training of every stage is that of the evaluation."""
    return seconds_per_unit("evaluate", "training", precision) or 0.01


# ---- one function a stage ------------------------------------------------------------------------------------------


def _dataset(study: Study, dataset: str) -> Work:
    """Count the images; the splits are held as they are read, as they are made and as they are written."""
    of, settings = _size(study, dataset), study.config["datasets"][dataset]
    kind = settings["source"]["kind"]
    # What is decoded from files takes longer than any bias, but for corruptions.
    kind = settings["bias"]["kind"] if kind in ("digits", "mnist", "fashion_mnist", "cifar10") else kind
    images = of.train + of.test
    stored = images * of.image_bytes / 1e6
    return Work(kind, images, START_MB + 4 * stored, stored + 0.1, known=of.known)


def _check(study: Study, dataset: str) -> Work:
    of = _size(study, dataset)
    stored = (of.train + of.test) * of.image_bytes / 1e6
    return Work("check", of.train + of.test, START_MB + 2 * stored, 0.1, known=of.known)


def _surrogate(study: Study, dataset: str, surrogate: str) -> Work:
    """Count the training steps, the looks of early stopping, and the look at every image in the end."""
    of, settings = _size(study, dataset), study.config["surrogates"][surrogate]
    network, batch = study.config["networks"][settings["network"]], settings["batch_size"]
    steps = settings["steps"] or max(1, round(settings["epochs"] * -(-of.train // batch)))
    views = VIEWS.get(settings["kind"], 1)
    looks = of.train + (steps // settings["check_every"] * 4096 if settings["early_stopping"] else 0)
    units = (steps * batch * views + LOOK * looks) * network_work.relative(network, of.channels, of.side)
    embedded = of.train * (4 * dimensions(study, surrogate, of) + 24) / 1e6
    memory = START_MB + 2 * _train_mb(of) + embedded + _learning(network, of, batch * views)
    return Work("surrogate", units, memory, embedded + 2, known=of.known)


def dimensions(study: Study, surrogate: str, of: DataSize) -> int:
    """Return the dimensions of a surrogate's embedding."""
    settings = study.config["surrogates"][surrogate]
    if settings.get("embedding") == "projection":
        return settings["dimensions"]
    return network_work.features(study.config["networks"][settings["network"]], of.side)


def _weights(study: Study, dataset: str, debias: str) -> Work:
    """Count the pairs of a class, or of all; a block of rows of their distances is held some times, not all of them."""
    of, settings = _size(study, dataset), study.config["debias"][debias]
    dims = dimensions(study, settings["surrogate"], of)
    if settings["kind"] != "kde":
        memory = START_MB + 2 * of.train * dims * 4 / 1e6
        return Work("samples", of.train, memory, of.train * 45 / 1e6, known=of.known)
    parts = of.classes if settings["per"] == "class" else 1
    members = of.train / parts
    pairs = parts * members * (members + (500 + 13 * 500 if settings["variance"] == "likelihood" else 0))
    block = 8 * min(settings["chunk_size"], members) * members * 8 / 1e6
    memory = START_MB + block + of.train * dims * 4 * 2 / 1e6 + members * dims * 8 / 1e6
    return Work("kde", pairs * max(dims, 64) / 128, memory, of.train * 45 / 1e6, known=of.known)


def _models(study: Study, dataset: str, models: str) -> Work:
    """Count the passes of all epochs; every epoch leaves a snapshot."""
    pool = study.config["models"][models]
    of, network = _size(study, pool["domain"] or dataset), study.config["networks"][pool["network"]]
    units = pool["epochs"] * of.train * network_work.relative(network, of.channels, of.side)
    snapshots = (pool["epochs"] + 1) * 4 * network_work.size(network, of.channels, of.side)[2]
    memory = START_MB + 2 * _train_mb(of) + _learning(network, of, pool["batch_size"]) + 2 * snapshots
    return Work("member", units, memory, snapshots, known=of.known)


def _evaluation(study: Study, dataset: str, distiller: str, ipc: str, evaluation: str) -> Work:
    """Count the passes over the distilled images, and a look at every test image, of all networks."""
    of, settings = _size(study, dataset), study.config["evaluations"][evaluation]
    network = study.config["networks"][settings["network"]]
    if ipc == WHOLE:
        steps = study.config["distillers"][distiller]["steps"] or settings["whole_steps"]
        passes, images = steps * settings["batch_size"], of.train
    else:
        images = int(ipc) * of.classes
        passes = settings["epochs"] * images
    plain = settings["debiasing"]["kind"] == "none"
    fast = study.config["precision"] == "fast" and plain and network["kind"] == "convnet"
    factor = study.config["distillers"][distiller].get("factor", 1) ** 2  # training images in a stored one
    units = settings["networks"] * (passes * factor * (1 if plain else DEBIASED_TRAINING) + LOOK * of.test)
    units *= network_work.relative(network, of.channels, of.side)
    memory = START_MB + 2 * (of.test + images) * of.image_bytes / 1e6
    memory += _learning(network, of, settings["batch_size"]) * (1 if plain else 2) * (HALF if fast else 1)
    precision = "fast" if fast else "exact"
    return Work("training", units, memory, 0.02, precision, known=of.known)


def _attribute_model(study: Study, dataset: str, evaluation: str) -> Work:
    of, settings = _size(study, dataset), study.config["evaluations"][evaluation]
    network = study.config["networks"][settings["network"]]
    units = settings["steps"] * settings["batch_size"] + LOOK * of.test
    units *= network_work.relative(network, of.channels, of.side)
    memory = START_MB + 2 * _train_mb(of) + _learning(network, of, settings["batch_size"])
    parameters = network_work.size(network, of.channels, of.side)[2]
    return Work("attribute", units, memory, 4 * parameters, known=of.known)


def _images(study: Study, dataset: str, ipc: str, evaluation: str) -> Work:
    of, settings = _size(study, dataset), study.config["evaluations"][evaluation]
    network = study.config["networks"][settings["network"]]
    seen = (settings["repeats"] + 1) * of.classes * min(200 if ipc == WHOLE else int(ipc), 200)
    units = LOOK * seen * network_work.relative(network, of.channels, of.side)
    memory = START_MB + 2 * (_train_mb(of) + of.test * of.image_bytes / 1e6) + _learning(network, of, 256)
    return Work("images", units, memory, 0.02, known=of.known)


# ---- distillation --------------------------------------------------------------------------------------------------


def _distilled(study: Study, dataset: str, distiller: str, ipc: str) -> Work:
    """Count iterations, in those of the table; without iterations the passes that train an embedding, if any."""
    of, settings = _size(study, dataset), study.config["distillers"][distiller]
    if ipc == WHOLE:
        return Work("selection", 0, START_MB + _train_mb(of), of.train * 32 / 1e6 + 0.1, known=of.known)
    images = int(ipc) * of.classes
    disk = images * (4 * of.image_bytes + 32) / 1e6 + 0.2 + 0.6 * images * of.image_bytes / 1e6
    name = settings.get("network") or study.config["models"].get(settings.get("models"), {}).get("network")
    network = study.config["networks"].get(name)
    if "iterations" not in settings:
        passes = (
            settings.get("epochs", 0) * of.train * network_work.relative(network, of.channels, of.side)
            if network
            else 0
        )
        memory = START_MB + 2 * _train_mb(of) + (_learning(network, of, 256) if network else 0)
        return Work("selection", 0, memory, disk, more=passes * passed(), known=of.known)
    row = nearest(settings["kind"], int(ipc), study.config["precision"])
    if row is None or network is None:  # a plug-in's
        return Work(settings["kind"], 0, 8000, disk, more=DAY, known=False)
    values = network_work.size(network, of.channels, of.side)[1] / 172.0
    more_images = max(1.0, images / (MEASURED_CLASSES * int(row["ipc"])))
    memory = START_MB + max(float(row["peak_memory_mb"]) - START_MB, 100) * values * more_images + 2 * _train_mb(of)
    seconds = float(row["seconds_per_unit"]) * _beside_the_table(settings, int(ipc), int(row["ipc"]), of)
    relative = network_work.relative(network, of.channels, of.side)
    seconds = seconds * relative + UPDATE * (settings.get("outer_loop") or 1)
    seconds += settings.get("warm_up", 0) * images * relative * passed()
    seconds += _guiding(study, settings, images, of)
    published = network_work.is_published(network) and of.side == network_work.SIDE
    return Work(
        settings["kind"],
        0,
        memory,
        disk,
        row["precision"],
        settings["iterations"] * seconds,
        known=of.known and published,
    )


def nearest(kind: str, ipc: int, precision: str) -> Mapping[str, str] | None:
    """Return the row of a distiller, of this precision if there is one, with the next number of images per class."""
    found = [row for row in rows() if row["stage"] == "distill" and row["kind"] == kind]
    found = [row for row in found if row["precision"] == precision] or found
    larger = [row for row in found if int(row["ipc"]) >= ipc]
    return min(larger or found, key=lambda row: abs(int(row["ipc"]) - ipc), default=None)


def _beside_the_table(settings: Mapping, ipc: int, row_ipc: int, of: DataSize) -> float:
    """Return how many times the images of the table's iteration one of these has.

    Real images are only looked at by dm, where a distilled one takes twice the time; where gradients are matched the
    networks' training on distilled images, inside the loops, takes more than all the matching.
    """
    if settings["kind"] == "mtt":
        return max(1.0, ipc / row_ipc) * of.classes / MEASURED_CLASSES
    real, kind = settings.get("real_batch", MEASURED_BATCH), settings["kind"]
    usual, distilled = (64 if kind == "idc" else MEASURED_BATCH), (2 if kind == "dm" else 20)
    images = (real + distilled * settings.get("updates_per_network", 1) * ipc) / (usual + distilled * row_ipc)
    if kind != "dm" and ipc == row_ipc:
        images = max(images, 1.0)
    loops = {"idc": 100, "dm": 1}.get(kind, row_ipc)  # updates in an iteration of the table
    updates = settings.get("outer_loop") or (100 if kind in ("dc", "dsa") and ipc > 50 else loops)
    return images * of.classes / MEASURED_CLASSES * updates / loops


def _guiding(study: Study, settings: Mapping, images: int, of: DataSize) -> float:
    """Return the seconds of an iteration that a pre-trained model takes to look at the distilled images."""
    pools = (settings.get("guidance") or {}).get("models", [])
    networks = [study.config["networks"][study.config["models"][name]["network"]] for name in pools]
    slowest = max((network_work.relative(network, of.channels, of.side) for network in networks), default=0)
    return slowest * images * passed()


def _train_mb(of: DataSize) -> float:
    return of.train * of.image_bytes / 1e6


def _learning(network: Mapping, of: DataSize, batch: int) -> float:
    """Return the memory of a step on a batch: what the layers put out, and the parameters with their gradients."""
    _, values, parameters = network_work.size(network, of.channels, of.side)
    return LAYERS * 4 * batch * values / 1e3 + 16 * parameters


WORK = {
    "synthesize_dataset": _dataset,
    "check_data": _check,
    "train_surrogate": _surrogate,
    "estimate_weights": _weights,
    "pretrain_models": _models,
    "distill": _distilled,
    "evaluate": _evaluation,
    "train_attribute_model": _attribute_model,
    "measure_images": _images,
}
