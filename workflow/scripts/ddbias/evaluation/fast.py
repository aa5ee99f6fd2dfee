"""Whether an evaluation trains and tests compiled networks, as ``precision: fast`` asks for.

Parameters, momentum and the update stay float32; the gradient of a batch, and the logits of the test images, come from
a compiled network (`ddbias.learning.precision.compiled_network`). Batches and augmentation are those of
float32. Repeats share the compiled graphs.
"""

from __future__ import annotations

from collections.abc import Mapping

from ddbias.data.split import Split
from ddbias.evaluation import debiased_training
from ddbias.learning.networks import Network
from ddbias.learning.precision.compiled_network import CompiledNetwork, for_training


def fast_network(
    network: Network,
    test: Split,
    *,
    count: int,
    batch_size: int,
    debiasing: Mapping,
    cutmix: float = 0.0,
    soft_labels: bool = False,
) -> CompiledNetwork | None:
    """Return what computes like `network` fast, or None and say why it cannot be had.

    Parameters
    ----------
    network : Network
        Of the architecture and on the device of all that will be trained.
    test : Split
    count, batch_size : int
        Number of images to train on, and of those of a batch.
    debiasing : mapping
        ``kind`` and options, see `ddbias.evaluation.debiased_training`.
    cutmix : float
        Share of the batches that are mixed.
    soft_labels : bool
        Whether networks are trained on soft labels.
    """
    return for_training(
        network,
        test.shape,
        test.classes,
        count=count,
        batch_size=batch_size,
        obstacle=_loss_obstacle(debiasing["kind"], cutmix, soft_labels),
        instead="the evaluation is computed exactly",
    )


def _loss_obstacle(debiasing: str, cutmix: float, soft_labels: bool) -> str | None:
    if cutmix:
        return "CutMix has a loss of its own"
    if soft_labels:
        return "soft labels have a loss of their own"
    return None if debiasing == debiased_training.NONE else f"debiasing {debiasing} has a loss of its own"
