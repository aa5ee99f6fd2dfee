"""Why an evaluation lacks a metric, and which of its networks diverged, from what its file says."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from ddbias.base.groups import IDENTITY, aligned_cells
from ddbias.evaluation import calibration, metrics
from ddbias.evaluation.images import image_metrics

NO_ATTRIBUTE = "the attribute is not known, or all test images have the same one"
NO_PAIRS = "no attribute is paired with a label (set pairs: of the bias)"
SINGLE = "a class has a single image"
DIVERGED = "every network diverged (lower the learning rate of the evaluation or of its debiasing)"
NOT_RECORDED = "its file does not say why"


def reasons(found: Collection[str], meta: Mapping) -> dict[str, str]:
    """Return why an evaluation lacks the metrics that it lacks.

    Parameters
    ----------
    found : collection of str
        The metrics that it has.
    meta : mapping
        The metadata of its file: ``counts`` and ``confidence`` of its networks, ``pairing`` of the test split.

    Returns
    -------
    dict
        Missing metric to the reason, to be put after a colon.

    Examples
    --------
    Ten test images of each of two classes, of an unknown attribute:

    >>> reasons(["accuracy"], {"counts": [[[[8, 2], [1, 9]]]], "pairing": None})["conflicting_accuracy"]
    'the attribute is not known, or all test images have the same one'
    """
    if set(found) & set(image_metrics.METRICS):
        return {name: _of_images(name, found, meta) for name in image_metrics.METRICS if name not in found}
    counts = np.asarray(meta.get("counts") or [])
    missing = [name for name in (*metrics.METRICS, calibration.METRIC) if name not in found]
    if counts.ndim != 4:
        return dict.fromkeys(missing, NOT_RECORDED)
    support = counts[0].sum(2)
    return {name: _of_networks(name, support, meta) for name in missing}


def diverged(meta: Mapping) -> list[bool]:
    """Tell for every network of an evaluation whether it diverged: its confidence is not finite."""
    return [bins is None for bins in meta.get("confidence") or []]


def _of_networks(metric: str, support: np.ndarray, meta: Mapping) -> str:
    """Return why a metric is missing that depends on the number (A, K) of test images by attribute and label."""
    if metric == calibration.METRIC:
        flags = diverged(meta)
        return DIVERGED if flags and all(flags) else NOT_RECORDED
    if len(support) < 2:
        return NO_ATTRIBUTE
    empty = int((support == 0).sum())
    if metric == "unbiased_accuracy" and empty:
        return f"the test set has no image of {empty} of its {support.size} groups (attribute and label)"
    if metric in ("aligned_accuracy", "conflicting_accuracy", "attribute_accuracy"):
        aligned = aligned_cells(meta.get("pairing", IDENTITY), *support.shape)
        return NO_PAIRS if aligned is None else f"the test set has no {metric.removesuffix('_accuracy')} image"
    if metric == "attribute_information":
        return "in the test set the label tells the attribute of every image"
    return "the test images of a class have one attribute only, or there are none"


def _of_images(metric: str, found: Collection[str], meta: Mapping) -> str:
    if metric in ("coverage", "density"):
        return f"a class has fewer than {image_metrics.FEWEST} real images"
    if metric.endswith("_distance"):
        return f"{SINGLE}, or no two real ones differ"
    if "attribute_classifier_accuracy" not in found:
        return NO_ATTRIBUTE
    return NO_PAIRS if metric == "aligned_share" else f"{SINGLE}, or there is one attribute only"
