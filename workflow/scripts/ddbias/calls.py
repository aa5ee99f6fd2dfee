"""Two stages of the workflow as calls on arrays: the same settings give the same bits as its files.

The options of a method are those of a study file, with the same defaults, checks and messages (docs/config.md).
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from numpy.typing import ArrayLike

from ddbias.base import groups, plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger
from ddbias.data import store
from ddbias.data.distilled import DistilledSet
from ddbias.data.split import Split
from ddbias.datasets import normalisation
from ddbias.datasets.arrays import array, plain, split_of
from ddbias.debias import estimation, surrogate
from ddbias.debias.apply import formed, real_settings
from ddbias.debias.real_side import RealSettings
from ddbias.debias.weights.diagnosis import diagnose
from ddbias.distill import engine, pretraining, write
from ddbias.learning import device as devices
from ddbias.runtime.checkpoint import Checkpoint

SECTIONS = ("networks", "surrogates", "models", "debias", "distillers")
ABSENT = ("datasets", "evaluations", "grid", "tables", "figures")  # what a study has besides
POOLS = {"mtt": "experts"}  # what trains the models of a distiller; those of a guidance are classifiers
# The surrogate that is trained where none is named, by what the debias reads of it.
SURROGATES = {"embedding": "supcon", "logits": "generalised_ce", "difficulty": "lff"}
ASKS_TWICE = "cross_fitted"  # for contradiction and predicted groups


@dataclass(frozen=True, eq=False)
class Weights:
    """What `estimate_weights` returns; `numpy.asarray` makes it the array `weights`.

    Attributes
    ----------
    weights : ndarray of float64, shape (N,)
        With mean 1 within each class.
    groups : ndarray of int64, shape (N,), or None
        Compared within a class only; None for a debias without groups.
    log_density : ndarray of float64, shape (N,), or None
    diagnostics : dict
        What the debias found, and what `ddbias.debias.weights.diagnosis.diagnose` says.
    settings : dict
        ``kind`` and all options of the debias.
    """

    weights: np.ndarray
    groups: np.ndarray | None
    log_density: np.ndarray | None
    diagnostics: Mapping
    settings: Mapping
    _labels: np.ndarray | None = field(default=None, repr=False)  # of the images that they belong to

    def __len__(self) -> int:
        return len(self.weights)

    def __array__(self, dtype: np.typing.DTypeLike = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.weights, dtype, copy=copy)


@dataclass(frozen=True, eq=False)
class Distillation(DistilledSet):
    """What `distill` returns: a `DistilledSet` with the course of its run, which can be written.

    Attributes
    ----------
    history : dict of str to list of float
        One value per step of everything the distiller reported.
    split : Split
        The training images. `split.normalize(pixels)` are test images as networks see them, `split.whitened(images)`
        those of the set with ``normalise="zca"``.
    """

    history: Mapping[str, list[float]] = field(default_factory=dict)
    split: Split | None = field(default=None, repr=False)
    _save: Callable | None = field(default=None, repr=False)

    def save(self, folder: str | Path) -> Path:
        """Write the files that the stage `distill` writes, which `ddbias.load_distilled` opens.

        Raises
        ------
        DdbiasError
            If the folder holds something, or cannot be written.
        """
        names = ("distilled.safetensors", "history.parquet", "preview.png", "run.json")
        with store.new_folder(folder, "the set") as part:
            self._save(outputs=SimpleNamespace(**{name.split(".")[0]: part / name for name in names}))
        return Path(folder).resolve()


def estimate_weights(
    images: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    kind: str = "kde",
    *,
    surrogate: str | Mapping | None = None,
    network: str | Mapping = "convnet",
    attributes: ArrayLike | None = None,
    pairing: groups.Pairing = None,
    normalise: normalisation.Normalisation = "own",
    scale: str = "paper",
    seed: int = 0,
    device: str = "auto",
    threads: int = 1,
    plug_ins: str | Path | Sequence[str | Path] = (),
    progress: bool = True,
    **options: object,
) -> Weights:
    """Estimate how much each image should count so that a bias of the data set has less effect.

    Parameters
    ----------
    images : array or tensor of uint8, shape (N, H, W, C), (N, C, H, W) or (N, H, W)
        Squares with 1 or 3 channels. Where both the second and the last axis could be channels, the second is.
    labels : array or tensor of int, shape (N,)
        0..K-1; every class has images.
    kind : str
        Of the debias, see docs/debias.md.
    surrogate : str or mapping, optional
        Kind of the surrogate that is trained on the images, or its kind and options. By default one that fits the
        debias: supcon, generalised_ce where it reads logits, lff where it reads difficulty, cross_fitted for
        contradiction and predicted groups; none for a debias that needs none.
    network : str or mapping
        Of the surrogate: kind, or kind and options.
    attributes : array of int, shape (N,), optional
        0..A-1; the debias sees them only if it is one with known attributes.
    pairing : "identity", sequence of int or None
        The attribute that each label is aligned with, for diagnostics: the one of its own number, or one for each
        label. None: unknown.
    normalise : "own", "none", "zca" or (mean, std)
        What networks see pixels normalised with; "zca" also whitens, see `ddbias.data.whitening`.
    scale : {"paper", "fast", "quick"}
        How much of the published work is done; numbers are as given with ``paper`` only.
    seed : int
    device : {"auto", "cpu", "cuda"}
    threads : int
        CPU threads; they change the last bits.
    plug_ins : path or sequence of path
        Python files that add kinds; their code runs.
    progress : bool
        Whether progress and messages are shown on stderr.
    **options
        Of the debias, as in a study file.

    Returns
    -------
    Weights

    Raises
    ------
    DdbiasError
        One line: images, labels or settings that cannot be used, or a surrogate that diverges.

    Examples
    --------
    >>> import ddbias
    >>> from ddbias import load_split
    >>> split = load_split("results/digits/quick/data/digits_fg/0.95/train.arrow")
    >>> weights = ddbias.estimate_weights(
    ...     split.images, split.labels, surrogate={"kind": "supcon", "steps": 2}, variance=0.1, progress=False
    ... )
    >>> len(weights), round(float(weights.weights.mean()), 6)
    (1200, 1.0)
    """
    plug_ins, device = _listed(plug_ins), str(device)
    plugins.use(plug_ins)
    debias = plugins.find("debias", kind)
    if surrogate is not None and "surrogate" not in debias.options:
        raise DdbiasError(f"the debias {kind} reads no surrogate; leave surrogate out")
    groups_of = options.get("groups", "attribute")
    if surrogate is None and ("surrogate" in debias.required or groups_of != "attribute"):
        asks = kind == "contradiction" or groups_of == "predicted"
        reads, *_ = debias.facts.get("reads") or ["embedding"]
        surrogate = ASKS_TWICE if asks else SURROGATES.get(reads, ASKS_TWICE)
    given = {"debias": {kind: {"kind": kind, **options}}, "networks": {"network": network}}
    if surrogate is not None:
        named = {"kind": surrogate} if isinstance(surrogate, str) else surrogate
        given["surrogates"] = {"surrogate": {"network": "network", **named}}
        given["debias"][kind]["surrogate"] = "surrogate"
    study = _checked(given, scale=scale, seed=seed, device=device, threads=threads, plugins=plug_ins)
    settings = study["debias"][kind]
    split = split_of(images, labels, attributes, pairing, normalise)
    with _told(progress), _prepared(device, threads) as where:
        if surrogate is None:
            found, log_density, told = real_settings(settings, split, None), None, {}
        else:
            found = _estimated(settings, split, study, seed, where)
            log_density, told = found.log_density, found.diagnostics
    described = diagnose(found.weights, log_density, split.conflicting, split.labels)
    return Weights(found.weights, found.groups, log_density, {**told, **described}, settings, split.labels)


def _estimated(settings: Mapping, split: Split, study: Mapping, seed: int, where: torch.device):
    """Train the surrogate and return what a debias estimates from it."""
    network, how = study["networks"]["network"], study["surrogates"]["surrogate"]
    objective, _ = surrogate.train_surrogate(
        split, network=network, settings=how, seed=seed, device=where, checkpoint=Checkpoint(None)
    )
    with plugins.calling("surrogate", how["kind"]):
        columns = surrogate.embed(objective, split, device=where)
    columns |= {"index": split.index, "label": split.labels}
    if split.attributes is not None:
        columns["attribute"] = split.attributes
    return estimation.estimate_weights(settings, columns, split, seed=seed)


def distill(
    images: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    ipc: int = 10,
    method: str = "dm",
    weights: Weights | ArrayLike | None = None,
    *,
    network: str | Mapping = "convnet",
    models: str | Mapping | None = None,
    attributes: ArrayLike | None = None,
    pairing: groups.Pairing = None,
    label_names: Sequence[str] | None = None,
    normalise: normalisation.Normalisation = "own",
    scale: str = "paper",
    seed: int = 0,
    device: str = "auto",
    precision: str = "exact",
    threads: int = 1,
    plug_ins: str | Path | Sequence[str | Path] = (),
    progress: bool = True,
    **options: object,
) -> Distillation:
    """Distil a data set into a few images per class.

    Parameters
    ----------
    images, labels, attributes, pairing, normalise, scale, seed, device, threads, plug_ins, progress
        See `estimate_weights`. Attributes are used by ``init="stratified"`` and ``init="balanced"`` and kept with
        chosen images.
    ipc : int
        Images per class.
    method : str
        Kind of the distiller, see docs/distillers.md; all but ``whole``, which makes no images.
    weights : Weights, array of float, shape (N,), or None
        How much the images count: what `estimate_weights` returned, or numbers of which only ratios within a class
        matter. None counts all alike.
    network : str or mapping
        Of the distiller: kind, or kind and options.
    models : str or mapping, optional
        Kind, or kind and options, of the models that are trained first, for ``mtt`` and guidance; by default experts
        and classifiers.
    label_names : sequence of str, optional
    precision : {"exact", "fast"}
    **options
        Of the distiller, as in a study file.

    Returns
    -------
    Distillation

    Raises
    ------
    DdbiasError
        One line: images, labels, weights or settings that cannot be used, or a loss that is not finite.

    Examples
    --------
    >>> import ddbias
    >>> from ddbias import load_split
    >>> split = load_split("results/digits/quick/data/digits_fg/0.95/train.arrow")
    >>> made = ddbias.distill(split.images, split.labels, ipc=2, iterations=3, progress=False)
    >>> images, labels = made.tensors()
    >>> images.shape, labels[:4]
    (torch.Size([20, 3, 16, 16]), tensor([0, 0, 1, 1]))
    """
    plug_ins, device = _listed(plug_ins), str(device)
    plugins.use(plug_ins)
    if method == "whole":
        raise DdbiasError("the method whole makes no images; train on the images that you have")
    if method == "external":
        raise DdbiasError("the method external reads a set that is finished, for a study; see docs/own-set.md")
    takes, guidance = plugins.find("distiller", method).options, options.get("guidance")
    given = {"networks": {"network": network}, "distillers": {method: {"kind": method, **options}}}
    if "network" in takes:
        given["distillers"][method]["network"] = "network"
    pool = "models" in takes and not options.get("weights_file")
    if pool or guidance:
        named = {"kind": models} if isinstance(models, str) else models or {}
        given["models"] = {"models": {"kind": POOLS.get(method, "classifiers"), "network": "network", **named}}
    elif models:
        raise DdbiasError(f"the method {method} trains no models first; leave models out")
    if pool:
        given["distillers"][method]["models"] = "models"
    elif guidance:
        named = {"kind": guidance} if isinstance(guidance, str) else guidance
        given["distillers"][method]["guidance"] = {"models": ["models"], **named}
    asked = {"scale": scale, "seed": seed, "ipc": ipc, "device": device, "precision": precision, "threads": threads}
    study = _checked(given, plugins=plug_ins, **asked)
    ipc, seed = study["ipc"], study["seed"]
    settings, architecture = study["distillers"][method], study["networks"]["network"] if "network" in takes else None
    split = split_of(images, labels, attributes, pairing, normalise, label_names)
    if isinstance(weights, Weights):
        if weights._labels is not None and not np.array_equal(weights._labels, split.labels):
            raise DdbiasError("the weights were estimated with other labels; give the same images in the same order")
        debias, real = weights.settings, formed(weights.settings, weights.weights, weights.groups)
    elif weights is None:
        debias, real = {"kind": "uniform"}, RealSettings.plain(len(split))
    else:
        numbers = array("weights", weights)
        if numbers.dtype.kind not in "iuf":
            raise DdbiasError(
                f"the weights are {numbers.dtype}; give what estimate_weights returns, or a number for each image"
            )
        debias, real = {"kind": "given"}, RealSettings(numbers.astype(np.float64))
    cell = {"distiller": method, "debias": debias["kind"], "ipc": str(ipc), "seed": str(seed)}
    with _told(progress), _prepared(device, threads, precision) as where, tempfile.TemporaryDirectory() as folder:
        run, provenance = write.Run(), devices.provenance(where, threads, precision)
        pools = _pools(split, study, real.weights, where, precision, provenance, Path(folder))
        result = engine.run(
            split,
            real=real,
            settings=settings,
            network=architecture,
            ipc=ipc,
            seed=seed,
            device=where,
            precision=precision,
            checkpoint=Checkpoint(None),
            models=pools,
            name="{distiller} {debias} ipc{ipc} seed{seed}".format(**cell),
        )
    kept = {"distiller": settings, "debias": debias, "network": architecture}
    facts = {"cell": cell, "settings": kept, "provenance": provenance}
    made_by = f"ddbias.distill(images, labels, ipc={ipc}, method={method!r}, seed={seed}, ...)"
    save = partial(write.save, result, split, **facts, run=run, made_by=made_by)
    meta = write.described(result, split, **facts)
    return Distillation(result.images, result.labels, meta, result.soft_labels, result.history, split, save)


def _pools(
    split: Split,
    study: Mapping,
    weights: np.ndarray,
    where: torch.device,
    precision: str,
    provenance: Mapping,
    folder: Path,
) -> dict[str, list[Path]]:
    """Train the models that a distiller uses, with its weights, and return their files."""
    files: dict[str, list[Path]] = {}
    for name, settings in study["models"].items():
        network = study["networks"][settings["network"]]
        for member in range(settings["count"]):
            path = folder / f"{name}{member}.safetensors"
            how = {"network": network, "settings": settings, "member": member}
            given = {"weights": weights, "device": where, "precision": precision, "checkpoint": Checkpoint(None)}
            snapshots = pretraining.train_member(split, **how, **given)
            pretraining.save_member(path, snapshots, split, **how, provenance=provenance)
            files.setdefault(name, []).append(path)
    return files


def _checked(given: Mapping, **values: object) -> dict:
    """Return sections of a study, completed and checked as those of a study file."""
    from ddbias.planning import load  # here, since what reads study files need not be installed to train on a set
    from ddbias.planning.checks import names, settings
    from ddbias.planning.config import ConfigErrors, complete, load_schema

    values["plugins"] = [str(path) for path in values["plugins"]]
    given, values = plain(given), plain(values)
    schema = load_schema(values["plugins"])
    more = {"ipc": {"$ref": "#/$defs/ipc"}, "seed": {"$ref": "#/$defs/seed"}}
    completed = complete(
        {**given, **values}, {**schema, "required": [], "properties": {**schema["properties"], **more}}
    )
    study = {name: {} for name in (*SECTIONS, *ABSENT)} | completed
    if errors := [*names.undefined(study), *settings.contradictions(study)]:
        raise ConfigErrors(errors)
    for distiller in study["distillers"].values():
        distiller |= load.counted(distiller)
    return study


@contextmanager
def _prepared(name: str, threads: int, precision: str = "exact") -> Iterator[torch.device]:
    """Compute as a job does, whatever the caller has set in torch, and leave torch as it was."""
    count, dtype, deterministic = torch.get_num_threads(), torch.get_default_dtype(), torch.utils.deterministic
    fixed, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    filled = deterministic.fill_uninitialized_memory
    flushed = not torch.tensor([1e-40], dtype=torch.float32).mul(1).item()
    try:
        torch.set_default_dtype(torch.float32)
        with torch.inference_mode(False), torch.enable_grad():
            yield devices.prepare(name, threads, precision)
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(count)
        torch.use_deterministic_algorithms(fixed, warn_only=warn)
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
        deterministic.fill_uninitialized_memory = filled
        torch.set_flush_denormal(flushed)


def _listed(paths: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [paths] if isinstance(paths, str | Path) else list(paths)


@contextmanager
def _told(progress: bool) -> Iterator[None]:
    """Show the messages of the library on stderr for a while, or warnings only."""
    level, handlers = logger.level, logger.handlers[:]
    logger.setLevel(logging.INFO if progress else logging.WARNING)
    if not handlers:
        logger.addHandler(logging.StreamHandler(sys.stderr))
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.handlers[:] = handlers
