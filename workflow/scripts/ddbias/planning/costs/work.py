"""The cost of a job, seconds of one core and memory, from the study's settings.

Methods declare the cost of their iterations (``seconds``, ``passes`` and ``megabytes`` in `PLUGIN`, see
docs/extending.md). This module has what all jobs of a stage share. Seconds are those of the machine on which everything
was measured. Without torch; jobs with equal relevant settings are computed once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from inspect import signature

from ddbias.base import plugins
from ddbias.base.cell import WHOLE
from ddbias.base.plugins import formula
from ddbias.planning.costs.networks import LOOK, NetworkCost, features, network_cost
from ddbias.planning.sizes import DataSize, data_size
from ddbias.planning.study import Study

START_SECONDS, START_MB = 2.2, 350.0  # of every job: Snakemake's part, and loading libraries
OPEN_SECONDS = 5e-5  # of loading a training image
TRIAL_SECONDS, TRIAL_IMAGE_SECONDS = 12.0, 2e-4  # of each candidate of a trial: constant, and for each training image
IMAGE_SECONDS = 1.8e-4  # of making an image, beside what its source and bias declare
FAST = 0.52  # cost of a pass of a compiled network in bfloat16, relative to `exact`
FAST_START = 6.0  # seconds to load compiled networks
CONVERGED = 2 / 3  # share of the maximal iterations after which `until: converged` stops on average
GUESS = "network * classes * (real_batch + 10 * ipc)"  # seconds of an iteration of a distiller that declares none
# Factors of a job's request over its expected cost: a scheduler kills a job that takes more, which then requests more.
# Other nodes may be slower, `fast` is float32 on a processor without AMX, and other versions may need more memory.
TIME_MARGIN, MEMORY_MARGIN = 3.0, 1.5
UNMEASURED = 2.0  # additional factor of both where nothing was measured
LEAST_MINUTES, LEAST_MB = 10, 1000  # minutes are added (slow file system, compiling); megabytes are a minimum
ON_GPU = (
    "train_surrogate",
    "advise",
    "pretrain_models",
    "distill",
    "evaluate",
    "train_attribute_model",
    "measure_images",
)
GPU_MB = 3000  # of the host's memory: torch with CUDA
GPU_FACTOR = 4.0  # time of one core relative to a GPU: a cautious guess, no GPU was measured


@dataclass(frozen=True)
class Cost:
    """The expected cost of a job, without a margin."""

    seconds: float  # of one core of the measured machine
    memory_mb: float  # at the peak
    measured: bool = True  # False if nothing like its method, networks or images was measured


def cost(study: Study, stage: str, wildcards: object) -> Cost:
    """Return the expected cost of a job.

    Parameters
    ----------
    study : Study
    stage : str
        Name of the job's rule.
    wildcards : object
        With the rule's wildcards as attributes, such as Snakemake's own.
    """
    return _cost(study, stage, *(getattr(wildcards, name) for name in DEPENDS.get(stage, ())))


@cache
def _cost(study: Study, stage: str, *wildcards: str) -> Cost:
    if stage not in STAGES:
        return Cost(5, 500)  # tables, figures, the page
    of = _Of(study, wildcards[0])
    seconds, memory = STAGES[stage](of, *wildcards[1:])
    return Cost(START_SECONDS + seconds, START_MB + memory, of.measured)


class _Of:
    """A study and one of its data sets; `measured` becomes False when an unmeasured network is asked for."""

    def __init__(self, study: Study, dataset: str) -> None:
        self.config, self.dataset, self.size = study.config, dataset, _size(study, dataset)
        self.measured = self.size.known

    def network(self, name: str) -> NetworkCost:
        found = network_cost(self.config["networks"][name], self.size)
        self.measured &= found.known
        return found

    def mb(self, images: float) -> float:
        """Return the megabytes of stored images."""
        return images * self.size.image_bytes / 1e6


@cache
def _size(study: Study, dataset: str) -> DataSize:
    return data_size(study.config["datasets"][dataset], study.config["data"])


def request(study: Study, stage: str, wildcards: object) -> tuple[int, int]:
    """Return the megabytes and minutes that a job requests: its `cost`, with the same parameters, and a margin."""
    expected = cost(study, stage, wildcards)
    more = 1 if expected.measured else UNMEASURED
    memory, seconds = expected.memory_mb * MEMORY_MARGIN * more, expected.seconds * TIME_MARGIN * more
    if stage in ON_GPU and study.config["device"] != "cpu":
        memory += GPU_MB
        seconds /= GPU_FACTOR if study.config["device"] == "cuda" else 1  # auto may find no GPU
    return math.ceil(max(memory, LEAST_MB)), math.ceil(seconds / 60) + LEAST_MINUTES


# ---- one function for each stage: seconds and megabytes in addition to those of the start ---------------------------


def _dataset(of: _Of) -> tuple[float, float]:
    """Cost of reading and making all images; the memory holds several copies of the splits."""
    images, settings = of.size.train + of.size.test, of.config["datasets"][of.dataset]
    declared = [plugins.find(what, settings[what]["kind"]).facts.get("seconds", 0) for what in ("source", "bias")]
    seconds, memory = images * (IMAGE_SECONDS + sum(declared)), 4 * of.mb(images)
    if settings["normalise"] == "zca":
        values = of.size.image_bytes
        seconds += values**2 * (6e-11 * of.size.train + 6e-10 * values)
        memory += 8e-6 * values * (5 * values + 3 * 4096)
    return seconds, memory


def _surrogate(of: _Of, surrogate: str) -> tuple[float, float]:
    """Cost of the training steps, the measurements of early stopping, and the embedding of all images at the end."""
    settings, train = of.config["surrogates"][surrogate], of.size.train
    network, batch = of.network(settings["network"]), settings["batch_size"]
    steps = settings["steps"] or max(1, round(settings["epochs"] * -(-train // batch)))
    images = batch * plugins.find("surrogate", settings["kind"]).facts.get("passes", 1)
    looks = train + (steps // settings["check_every"] * 4096 if settings.get("early_stopping") else 0)
    memory = 3 * of.mb(train) + images * network.image_mb + 4e-6 * train * _dimensions(of, surrogate)
    return (steps * images + LOOK * looks) * network.seconds + OPEN_SECONDS * train, memory


def _dimensions(of: _Of, surrogate: str) -> int:
    """Return the dimensions of a surrogate's embedding."""
    settings = of.config["surrogates"][surrogate]
    if settings.get("embedding") == "projection":
        return settings["dimensions"]
    return features(of.config["networks"][settings["network"]], of.size.side)


def _weights(of: _Of, debias: str) -> tuple[float, float]:
    settings, train = of.config["debias"][debias], of.size.train
    facts, dimensions = plugins.find("debias", settings["kind"]).facts, _dimensions(of, settings["surrogate"])
    given = {**settings, "train": train, "classes": of.size.classes, "dimensions": dimensions}
    seconds, memory, tries = (
        formula.value(facts.get(key, "0"), given) or 0 for key in ("seconds", "megabytes", "tries")
    )
    if settings.get("trial") is not None:
        tries = max(tries, 1) if settings["trial"] else 0
    if tries:
        seconds += TRIAL_SECONDS * (1 + tries) + TRIAL_IMAGE_SECONDS * (2 + tries) * train
        memory += 100 + 3 * of.mb(train)
    return seconds + 1e-5 * train, memory + 12e-6 * train * dimensions


def _advice(of: _Of) -> tuple[float, float]:
    """Cost of a surrogate on small images and trials of five candidates."""
    train = of.size.train
    return 60 + 7 * TRIAL_SECONDS + 9 * TRIAL_IMAGE_SECONDS * train, 300 + 6 * of.mb(train)


def _models(of: _Of, models: str) -> tuple[float, float]:
    """Cost of the passes of all epochs; a checkpoint is kept after every epoch."""
    pool = of.config["models"][models]
    network = of.network(pool["network"])
    memory = 3 * of.mb(of.size.train) + (pool["batch_size"] + 256) * network.image_mb
    fast = of.config["precision"] == "fast" and of.config["networks"][pool["network"]]["kind"] == "convnet"
    return pool["epochs"] * of.size.train * network.seconds * (FAST if fast else 1) + FAST_START * fast, memory


def _distilled(of: _Of, distiller: str, ipc: str) -> tuple[float, float]:
    """Cost that the distiller declares for its iterations and for the whole set, and that of its guidance."""
    settings, size = of.config["distillers"][distiller], of.size
    facts = plugins.find("distiller", settings["kind"]).facts
    pools = of.config["models"]
    name = settings.get("network") or pools.get(settings.get("models"), {}).get("network")
    network = of.network(name) if name else NetworkCost(0, 0, known=True)
    width = features(of.config["networks"][name], size.side) if name else 0
    given = {**settings, "train": size.train, "classes": size.classes, "ipc": 0 if ipc == WHOLE else int(ipc)}
    own = {**given, "network": network.seconds, "image_mb": network.image_mb, "features": width}
    fast = of.config["precision"] == "fast" and "seconds_fast" in facts
    each = formula.value(facts["seconds_fast" if fast else "seconds"], own) if "seconds" in facts else None
    once = (formula.value(facts.get("seconds_once", "0"), own) or 0) + FAST_START * fast
    memory = formula.value(facts.get("megabytes", "256 * image_mb"), own) or 1000
    if each is None:
        each, of.measured = formula.value(GUESS, own) or 1.0, False
    guidance = settings.get("guidance") or {}
    if guidance:
        guides = [of.network(pools[pool]["network"]) for pool in guidance["models"]]
        largest = {"network": max(one.seconds for one in guides), "image_mb": max(one.image_mb for one in guides)}
        declared = plugins.find("guidance", guidance["kind"]).facts
        its = {name: given[name] for name in ("classes", "ipc")} | dict(guidance) | largest
        updates = formula.value(facts.get("updates", "1"), own) or 1
        each += updates * (formula.value(declared.get("seconds", "0"), its) or 0)
        memory += formula.value(declared.get("megabytes", "0"), its) or 0
    iterations = settings.get("iterations", 0) * (CONVERGED if settings.get("until") == "converged" else 1)
    return iterations * each + once + OPEN_SECONDS * size.train, of.mb(size.train) + memory


def _evaluation(of: _Of, distiller: str, ipc: str, evaluation: str) -> tuple[float, float]:
    """Cost of training all networks on the set, and of testing them on every test image."""
    settings, made_by = of.config["evaluations"][evaluation], of.config["distillers"][distiller]
    network, kind = of.network(settings["network"]), settings["debiasing"]["kind"]
    if ipc == WHOLE:
        images, passes = of.size.train, (made_by["steps"] or settings["whole_steps"]) * settings["batch_size"]
    else:
        images = int(ipc) * of.size.classes * made_by.get("factor", 1) ** 2  # several of them in one stored image
        passes = settings["epochs"] * images
    plain = kind == "none"
    passes *= 1 if plain else plugins.find("debiasing", kind).facts.get("passes", 1)
    on_convnet = of.config["networks"][settings["network"]]["kind"] == "convnet"
    fast = of.config["precision"] == "fast" and plain and on_convnet and not settings["cutmix"]
    seconds = settings["networks"] * (passes + LOOK * of.size.test) * network.seconds * (FAST if fast else 1)
    memory = 2 * of.mb(of.size.test + images) + settings["batch_size"] * network.image_mb * (1 if plain else 2)
    return seconds + FAST_START * fast, memory


def _attribute_model(of: _Of, evaluation: str) -> tuple[float, float]:
    settings = of.config["evaluations"][evaluation]
    network, batch = of.network(settings["network"]), settings["batch_size"]
    seconds = (settings["steps"] * batch + LOOK * of.size.test) * network.seconds
    return seconds, 2 * of.mb(of.size.train) + batch * network.image_mb


def _images(of: _Of, ipc: str, evaluation: str) -> tuple[float, float]:
    settings = of.config["evaluations"][evaluation]
    network, most = of.network(settings["network"]), 200  # images of a class at most
    seen = (settings["repeats"] + 1) * of.size.classes * (most if ipc == WHOLE else min(int(ipc), most))
    return LOOK * seen * network.seconds, 2 * of.mb(of.size.train + of.size.test) + 256 * network.image_mb


STAGES = {
    "synthesize_dataset": _dataset,
    "check_data": _dataset,
    "advise": _advice,
    "train_surrogate": _surrogate,
    "estimate_weights": _weights,
    "pretrain_models": _models,
    "distill": _distilled,
    "evaluate": _evaluation,
    "train_attribute_model": _attribute_model,
    "measure_images": _images,
}
# The wildcards on which the cost of a job depends.
DEPENDS = {stage: ("dataset", *list(signature(work).parameters)[1:]) for stage, work in STAGES.items()}
