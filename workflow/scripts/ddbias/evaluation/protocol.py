"""Train new networks on a distilled set and count their predictions on the test split.

Source: the evaluation of dataset condensation (arXiv 2006.05929; see `ddbias.learning.training`). The number of
networks, their seeds and the recipe come from the config; always the network of the last epoch, never one chosen on the
test set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ddbias.base.errors import DdbiasError
from ddbias.base.groups import IDENTITY, Pairing
from ddbias.base.log import Progress, logger
from ddbias.base.seeding import derive, global_stream, stream
from ddbias.data.soft_labels import SoftLabels
from ddbias.data.split import Split
from ddbias.evaluation import calibration, debiased_training, metrics, records
from ddbias.learning import networks
from ddbias.learning.precision.compiled_network import CompiledNetwork
from ddbias.learning.training import Recipe, classify, phase_steps, train
from ddbias.runtime.checkpoint import Checkpoint

PLAIN = {"kind": debiased_training.NONE}


@dataclass(frozen=True)
class Outcome:
    """What networks predicted on a test split; all metrics follow from it.

    Attributes
    ----------
    counts : ndarray of int64, shape (repeats, A, K, K)
        See `ddbias.evaluation.metrics.count`; A is 1 when the attribute is unknown.
    confidence : list of ndarray (15, 3) or None
        One a network, see `ddbias.evaluation.calibration.bin_confidences`.
    """

    counts: np.ndarray
    confidence: list[np.ndarray | None]


def evaluate(
    images: torch.Tensor,
    labels: torch.Tensor,
    test: Split,
    *,
    network: Mapping,
    recipe: Recipe,
    epochs: int | None,
    steps: int | None,
    repeats: int,
    seed: int,
    device: torch.device,
    name: str = "evaluate",
    debiasing: Mapping = PLAIN,
    fast: CompiledNetwork | None = None,
    checkpoint: Checkpoint | None = None,
    soft_labels: SoftLabels | None = None,
) -> Outcome:
    """Count the test predictions of `repeats` networks trained on a set of images.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        Float32 images as distilled sets hold them, or raw uint8 ones (normalised batch by batch).
    labels : Tensor of int64, shape (N,)
    test : Split
    network : mapping
        ``kind`` and options.
    recipe : Recipe
    epochs, steps : int or None
        Exactly one: see `ddbias.learning.training.train`.
    repeats : int
        Number of networks, each with its own initialisation and order of batches.
    seed : int
        Seed of the distilled set; sets of one seed share their networks' initial weights and, if they are of the same
        size, the order of batches.
    device : device
    name : str
        Shown with the progress.
    debiasing : mapping
        ``kind`` and options, see `ddbias.evaluation.debiased_training`.
    fast : CompiledNetwork or None
        Computes for all networks, see `ddbias.evaluation.fast`; None: float32.
    checkpoint : Checkpoint, optional
        Keeps the predictions of finished networks, so that a resumed job continues with the next one.
    soft_labels : SoftLabels or None
        Of the images: networks are trained on them instead of the labels. Takes no debiasing and nothing fast.

    Returns
    -------
    Outcome
    """
    images, labels = images.to(device), labels.to(device)
    prepare = test.normalize if images.dtype == torch.uint8 else None
    images = images if prepare else test.whitened(images)
    if soft_labels and debiasing["kind"] != debiased_training.NONE:
        raise DdbiasError(
            f"debiasing {debiasing['kind']} has a loss of its own, and the set has soft labels; give the evaluation "
            "soft_labels: false"
        )
    targets = soft_labels.probabilities.to(device) if soft_labels else labels
    pixels, truth = test.tensors(device)
    truth = truth.cpu().numpy()
    groups = 1 if test.attributes is None else len(test.meta["attribute_names"])
    total = sum(phase_steps(len(labels), recipe, epochs=epochs, steps=steps))
    checkpoint = checkpoint or Checkpoint(None)
    start, state = checkpoint.load()
    counts, confidence = _restore(state, start)
    progress = Progress(repeats * total, name, start * total)
    trained = iter(progress)
    for repeat in range(start, repeats):
        model, loss = debiased_training.model_and_loss(
            debiasing,
            partial(build, network, test, device, seed, "evaluation", repeat),
            labels,
            classes=test.classes,
            steps=total,
            seed=derive(seed, "evaluation", repeat, "debiasing"),
        )
        if fast:
            fast.follow(model)
        with global_stream(seed, "evaluation", repeat, "global"):
            train(
                model,
                images,
                targets,
                recipe=recipe,
                epochs=epochs,
                steps=steps,
                prepare=prepare,
                generator=stream(seed, "evaluation", repeat, "batches"),
                loss=loss,
                gradients=fast.of_mean if fast else None,
                criterion=soft_labels.loss if soft_labels else torch.nn.functional.cross_entropy,
                adam=getattr(model, "adam", None),
                after_step=lambda: progress.show(next(trained)),
            )
        if not all(parameter.isfinite().all() for parameter in model.parameters()):
            # Counted like any other, since a published mean holds such networks too, but never silently.
            logger.warning("%s: network %d diverged; lower the learning rate of the evaluation", name, repeat)
        if fast:
            fast.refresh()
        told = classify(model, pixels, prepare=test.normalize, logits=fast.logits if fast else None)
        predictions, sure = (values.cpu().numpy() for values in told)
        counts.append(metrics.count(test.attributes, truth, predictions, groups, test.classes))
        confidence.append(calibration.bin_confidences(sure, predictions == truth))
        accuracy = np.einsum("akk->", counts[-1]) / len(test)
        logger.info("%s: network %d, accuracy %.4g", name, repeat, accuracy)
        if checkpoint.due():
            checkpoint.save(repeat + 1, _state(counts, confidence))
    next(trained, None)  # the bar's end
    return Outcome(np.stack(counts), confidence)


def _state(counts: list[np.ndarray], confidence: list[np.ndarray | None]) -> dict[str, torch.Tensor]:
    """Return what an `Outcome` holds of the networks so far, by name."""
    tensors = {f"counts.{i}": torch.from_numpy(table) for i, table in enumerate(counts)}
    known = {i: bins for i, bins in enumerate(confidence) if bins is not None}
    return tensors | {f"confidence.{i}": torch.from_numpy(bins) for i, bins in known.items()}


def _restore(state: Mapping[str, torch.Tensor], number: int) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Return what `_state` was given, of a number of networks."""
    confidence = [state.get(f"confidence.{i}") for i in range(number)]
    counts = [state[f"counts.{i}"].numpy() for i in range(number)]
    return counts, [None if bins is None else bins.numpy() for bins in confidence]


def build(network: Mapping, test: Split, device: torch.device, seed: int, *names: object) -> networks.Network:
    """Return a new network for the images and classes of a split, with weights of the stream of some names."""
    return networks.of_settings(network, test.shape, test.classes, derive(seed, *names)).to(device)


def rows(outcome: Outcome, wildcards: Mapping[str, object], pairing: Pairing = IDENTITY) -> list[dict]:
    """Return one row per network and metric: the wildcards, ``repeat``, ``metric``, ``value``, ``support``."""
    table = []
    for repeat, (counts, bins) in enumerate(zip(outcome.counts, outcome.confidence, strict=True)):
        values, support = metrics.group_metrics(counts, pairing), metrics.group_support(counts, pairing)
        if bins is not None:
            values[calibration.METRIC] = calibration.calibration_error(bins)
            support[calibration.METRIC] = int(counts.sum())
        for metric, value in values.items():
            table.append({**wildcards, "repeat": repeat, "metric": metric, "value": value, "support": support[metric]})
    return table


def recipe(settings: Mapping) -> Recipe:
    """Return the training recipe in the settings of an evaluation."""
    return Recipe(**{field.name: settings[field.name] for field in fields(Recipe)})


def save(path: str | Path, outcome: Outcome, *, cell: Mapping[str, object], meta: Mapping) -> None:
    """Write one row per network and metric, checked against the schema of results; counts go to the metadata.

    Parameters
    ----------
    path : path
    outcome : Outcome
    cell : mapping
        All wildcards; ``seed`` an int.
    meta : mapping
        ``convention`` and ``pairing`` of the test split, settings, provenance.
    """
    table = rows(outcome, cell, meta.get("pairing", IDENTITY))
    confidence = [None if bins is None else bins.tolist() for bins in outcome.confidence]
    records.write(path, table, {**meta, "counts": outcome.counts.tolist(), "confidence": confidence})
