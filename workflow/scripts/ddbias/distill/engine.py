"""The loop around every distiller: initial images, steps, progress, state, history.

A distiller's module has one of

``Selection``
    a `ddbias.distill.selector.Selector`, for controls that choose real images,
``Assembly``
    a `ddbias.distill.selector.Assembler`, for methods that make images out of real ones at once,
``Distiller``
    a `ddbias.distill.learner.Learner`, for methods that learn images,
``given_set``
    a function that reads a set from files, see `ddbias.distill.controls.external`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ddbias.base import plugins
from ddbias.base.errors import DdbiasError, Misuse
from ddbias.base.log import Progress
from ddbias.base.plugins.given import need, need_kind
from ddbias.base.seeding import global_stream
from ddbias.data.soft_labels import SoftLabels
from ddbias.data.split import Split
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill.convergence import Probe, moved
from ddbias.distill.first_images import initial_images, initial_rows
from ddbias.distill.learner import FULL_SHARE, Guidance, Learner
from ddbias.distill.selector import Assembler, Selector
from ddbias.runtime.checkpoint import Checkpoint

NOTHING_LEARNT = dict.fromkeys(("iterations", "at_most", "moved", "converged"))
READ_EVERY = 50  # steps whose values are read from a device together
SAVED = "history."


@dataclass(frozen=True)
class Distilled:
    """What a distiller made.

    Attributes
    ----------
    labels : Tensor of int64, shape (M,)
    images : Tensor of float32, shape (M, C, H, W), or None
        Normalised per channel, not whitened; None when only rows are kept (`whole`).
    rows : Tensor of int64, shape (M,), or None
        Rows of the training split, when the images are real ones.
    history : dict of str to list of float
        One value per step of everything the distiller reported.
    formation : int
        Each image holds ``formation ** 2`` training images, see `ddbias.data.formation`.
    learning_rate : float or None
        What the distiller learnt to train on its images with, if it did.
    record : dict
        Of the run: ``iterations`` done and ``at_most``; ``moved``, see `ddbias.distill.convergence.moved`;
        ``converged``; ``first_conflicting``, the number of conflicting samples among the first (or chosen) images. None
        where it cannot be said. Where there was a probe also what `ddbias.distill.convergence.Probe.curve` returns.
    soft_labels : SoftLabels or None
        Of the images, beside `labels`.
    """

    labels: torch.Tensor
    images: torch.Tensor | None
    rows: torch.Tensor | None
    history: dict[str, list[float]]
    formation: int = 1
    learning_rate: float | None = None
    record: Mapping = field(default_factory=dict)
    soft_labels: SoftLabels | None = None


def run(
    split: Split,
    *,
    real: RealSettings,
    settings: Mapping,
    network: Mapping | None,
    ipc: int | str,
    seed: int,
    device: torch.device,
    precision: str,
    checkpoint: Checkpoint,
    models: Mapping[str, Sequence[str | Path]] | None = None,
    data: Mapping[str, object] | None = None,
    name: str = "distill",
) -> Distilled:
    """Make one distilled set.

    Parameters
    ----------
    split : Split
        Training images.
    real : RealSettings
        What the debias says about the real side: `ddbias.debias.apply.real_settings`.
    settings : mapping
        ``kind`` of the distiller and its options from the config.
    network : mapping or None
        ``kind`` and options of the distiller's network, if it has one.
    ipc : int or "all"
        Images per class.
    seed : int
    device : device
    precision : {"exact", "fast"}
    checkpoint : Checkpoint
        Where the state is kept.
    models : mapping of str to sequence of path, or None
        Files of the members of every pool of pre-trained models that the distiller uses.
    data : mapping or None
        ``root`` and ``mirrors``: where a distiller that reads files looks for them.
    name : str
        Shown with the progress.

    Returns
    -------
    Distilled

    Raises
    ------
    DdbiasError
        If `ipc` does not fit the distiller or a class has fewer images, or the loss stops being finite.
    """
    module = plugins.module("distiller", settings["kind"])
    if (ipc == "all") != (settings["kind"] == "whole"):
        raise DdbiasError(
            f"ipc {ipc} does not fit the distiller {settings['kind']}; use ipc all for whole, a number for all others"
        )
    smallest = int(np.bincount(split.labels, minlength=split.classes).min())
    if ipc != "all" and ipc > smallest:
        raise DdbiasError(f"ipc {ipc} is more than the {smallest} images of the smallest class")
    if hasattr(module, "given_set"):
        with plugins.calling("distiller", settings["kind"]):
            images, labels, facts = module.given_set(split, settings=settings, ipc=ipc, data=data or {})
        return Distilled(labels, images, None, {}, record=NOTHING_LEARNT | {"first_conflicting": None} | facts)
    if hasattr(module, "Selection"):
        side = RealSide(split.labels, real, batch_size=1, seed=seed)
        with plugins.calling("distiller", settings["kind"]), global_stream(seed, "global"):
            method = module.Selection(split, side, settings=settings, network=network, seed=seed, device=device)
            need_kind(method, Selector, "itself", "Selection")
            rows = method.select(ipc)
            _check_rows(rows, split, ipc)
        return _selected(split, rows, stores_images=method.stores_images)
    if hasattr(module, "Assembly"):
        side = RealSide(split.labels, real, batch_size=1, seed=seed)
        with plugins.calling("distiller", settings["kind"]), global_stream(seed, "global"):
            given = {"settings": settings, "network": network, "seed": seed, "device": device, "models": models or {}}
            method = module.Assembly(split, side, **given)
            need_kind(method, Assembler, "itself", "Assembly")
            return _assembled(split, *method.assemble(ipc), ipc)
    if not issubclass(module.Distiller, Learner):
        raise DdbiasError(f"the Distiller of {settings['kind']} must be a ddbias.distill.learner.Learner")
    if module.Distiller.needs_real and "real_batch" not in settings:
        raise DdbiasError(f"{settings['kind']} matches real images, so it must declare the option real_batch")
    side = RealSide(split.labels, real, batch_size=settings.get("real_batch", 1), seed=seed)
    with plugins.calling("distiller", settings["kind"]):
        given = {"settings": settings, "models": models or {}, "seed": seed, "device": device}
        first = {"init": settings["init"], "ipc": ipc, "seed": seed, "among": module.Distiller.eligible(split, **given)}
    rows, images = initial_rows(split, side, **first), initial_images(split, side, **first).to(device)
    more = {"models": models} if module.Distiller.needs_models else {}
    more |= {"side": side} if module.Distiller.needs_side else {}
    more |= {"data": data or {}} if module.Distiller.needs_data else {}
    if settings.get("guidance"):
        more["guidance"] = _guidance(settings["guidance"], images, models=models, split=split, seed=seed, device=device)
    with plugins.calling("distiller", settings["kind"]), global_stream(seed, "global"):
        method = module.Distiller(
            split,
            settings=settings,
            network=network,
            images=images,
            seed=seed,
            device=device,
            precision=precision,
            **more,
        )
    return _learnt(
        method,
        split,
        side,
        rows,
        real=real,
        settings=settings,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        name=name,
    )


def _guidance(settings: Mapping, images: torch.Tensor, *, split: Split, **given: object) -> Guidance:
    """Return the guidance of a kind, whose every result is looked at."""
    code = plugins.module("guidance", settings["kind"])
    labels = torch.arange(split.classes).repeat_interleave(len(images) // split.classes)
    with plugins.calling("guidance", settings["kind"]):
        made = code.Guidance(settings, split=split, labels=labels, **given)

    def guided(images: torch.Tensor, step: int) -> tuple[float, torch.Tensor]:
        with plugins.calling("guidance", settings["kind"]):
            value, gradient = made(images, step)
            need(gradient, "the gradient", "__call__", shape=images.shape, types=["float32"])
            return float(value), gradient

    return guided


def _check_rows(rows: torch.Tensor, split: Split, ipc: int | str) -> None:
    count = len(split) if ipc == "all" else ipc * split.classes
    need(rows, "the rows", "select", shape=[count], types=["int64"])
    need_kind(rows, torch.Tensor, "the rows", "select")
    if not 0 <= int(rows.min()) <= int(rows.max()) < len(split):
        raise Misuse(f"gives rows beyond the {len(split)} training images", "select")


def _assembled(split: Split, images: torch.Tensor, soft_labels: SoftLabels | None, ipc: int) -> Distilled:
    """Return images that were made at once, after a look at them."""
    need(images, "the images", "assemble", shape=[split.classes * ipc, *split.shape], types=["float32"])
    soft_labels = _checked(soft_labels, len(images), split.classes, "assemble")
    labels = torch.arange(split.classes).repeat_interleave(ipc)
    return Distilled(labels, images.cpu(), None, {}, record=NOTHING_LEARNT, soft_labels=soft_labels)


def _checked(soft_labels: SoftLabels | None, count: int, classes: int, of: str) -> SoftLabels | None:
    """Return soft labels after a look at them; `of` is what gave them."""
    if soft_labels is not None and not soft_labels.is_valid(count, classes):
        raise Misuse("gives soft labels that are no probabilities of the classes for each image", of)
    return soft_labels


def _selected(split: Split, rows: torch.Tensor, *, stores_images: bool) -> Distilled:
    """Return real images that were chosen, or their rows alone."""
    labels = torch.from_numpy(split.labels[rows.numpy()])
    record = NOTHING_LEARNT | {"first_conflicting": _conflicting(split, rows)}
    images = split.scaled(torch.from_numpy(split.images[rows.numpy()])) if stores_images else None
    return Distilled(labels, images, rows, {}, record=record)


def _learnt(
    method: Learner,
    split: Split,
    side: RealSide,
    rows: torch.Tensor | None,
    *,
    real: RealSettings,
    settings: Mapping,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint,
    name: str,
) -> Distilled:
    """Do all steps of a method that begins with the images of some rows (None: noise); see `run`."""
    images, first, turns = method.images, _stored(split, method.images), method.steps_per_iteration
    steps, probe = settings["iterations"] * turns, None
    if method.needs_real and steps and method.probe_loss is not None:
        probe = Probe(method, split, real, steps=steps, seed=seed, device=device)
    stops = settings.get("until") == "converged"
    if stops and probe is None:
        raise DdbiasError(
            f"{settings['kind']} has no probe loss, so until: converged cannot be used; give a number of iterations"
        )
    full = FULL_SHARE if settings.get("decay", "none") != "none" else 1.0
    history, done = _loop(
        method,
        split,
        side if method.needs_real else None,
        steps=steps,
        kind=settings["kind"],
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        name=name,
        probe=probe,
        stop_after=1 / full if stops else None,
    )
    images = _stored(split, images)
    if not images.isfinite().all():  # the last update comes after the last loss
        raise DdbiasError(f"{name}: the images are not finite; lower their learning rate")
    return Distilled(
        torch.arange(split.classes).repeat_interleave(len(images) // split.classes),
        images,
        None,
        history,
        formation=method.formation,
        learning_rate=method.learned_rate,
        soft_labels=_checked(method.soft_labels, len(images), split.classes, "Distiller"),
        record={
            "iterations": -(-done // turns),
            "at_most": settings["iterations"],
            "moved": moved(first, images, split.meta["std"]),
            "converged": probe.converged(full * done) if probe else None,
            # A stored image that is a mosaic began as others than these rows.
            "first_conflicting": _conflicting(split, rows) if method.formation == 1 else None,
            **({"probe": probe.curve(turns)} if probe else {}),
        },
    )


def _stored(split: Split, images: torch.Tensor) -> torch.Tensor:
    """Return a copy of images as a network sees them, as a distilled set holds them."""
    return split.unwhitened(images.detach().cpu().clone())


def _conflicting(split: Split, rows: torch.Tensor | None) -> int | None:
    """Count the conflicting samples among some rows, None where they are not known."""
    return None if rows is None or split.conflicting is None else int(split.conflicting[rows.numpy()].sum())


def _loop(
    method: Learner,
    split: Split,
    side: RealSide | None,
    *,
    steps: int,
    kind: str,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint,
    name: str,
    probe: Probe | None,
    stop_after: float | None,
) -> tuple[dict[str, list[float]], int]:
    """Do all steps, or `stop_after` times those that it takes to converge; returns the history and their number.

    Without a real side, steps get neither real images nor a batch.
    """
    pixels, _ = split.tensors(device)
    start, state = checkpoint.load()
    history = _History(steps, name, state)
    if state:
        method.load_state_dict(state)
        if probe:
            probe.load_state_dict(state)
    done, end = start, steps
    progress = Progress(steps, name, start)
    for step in progress:
        if probe and probe.due(step):
            probe.look(pixels)
        if stop_after and (converged := probe.first_converged()):
            end = min(steps, round(stop_after * converged))
        if step >= end:
            break
        method.anneal(step / end)
        batch = None if side is None else side.batch(step)
        real = None if batch is None else split.normalize(pixels[batch.index.to(device)])
        with plugins.calling("distiller", kind), global_stream(seed, "global", step):
            scalars = method.step(step, real, batch)
            need_kind(scalars, dict, "what a step reports", "step")
        history.add(step, scalars)
        progress.show(step, **history.last)
        done = step + 1
        if checkpoint.due():
            checkpoint.save(done, method.state_dict() | history.state_dict() | (probe.state_dict() if probe else {}))
    history.read()
    if probe and probe.due(done):
        probe.look(pixels)
    return {key: value[:done].tolist() for key, value in history.values.items()}, done


class _History:
    """What every step reports; values on a device are read some steps later, together, since the host waits for them.

    Attributes
    ----------
    values : dict of str to Tensor of float64, shape (steps,)
    last : dict of str to float
        Of the last step that was read.
    """

    def __init__(self, steps: int, name: str, state: Mapping[str, torch.Tensor]) -> None:
        self.steps, self.name = steps, name
        self.values = {key.removeprefix(SAVED): value for key, value in state.items() if key.startswith(SAVED)}
        self.last: dict[str, float] = {}
        self._waiting: list[tuple[int, dict[str, float | torch.Tensor]]] = []

    def add(self, step: int, scalars: Mapping[str, float | torch.Tensor]) -> None:
        """Keep what a step reports; raises `DdbiasError` where something that is read is not finite."""
        self._waiting.append((step, {key: v if _on_device(v) else float(v) for key, v in scalars.items()}))
        if not self.last or len(self._waiting) == READ_EVERY or not any(map(_on_device, scalars.values())):
            self.read()

    def read(self) -> None:
        """Read what has not been read yet."""
        there = [value for _, scalars in self._waiting for value in scalars.values() if _on_device(value)]
        numbers = iter(torch.stack(there).tolist() if there else [])
        for step, scalars in self._waiting:
            self.last = {key: next(numbers) if _on_device(value) else value for key, value in scalars.items()}
            for key, value in self.last.items():
                self.values.setdefault(key, torch.zeros(self.steps, dtype=torch.float64))[step] = value
            if not np.isfinite(list(self.last.values())).all():
                raise DdbiasError(
                    f"{self.name}: the loss is not finite at step {step}; lower the learning rate of the images"
                )
        self._waiting.clear()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the values of all steps so far, as named tensors."""
        self.read()
        return {SAVED + key: value for key, value in self.values.items()}


def _on_device(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type != "cpu"
