"""LGM: images that give a linear classifier on frozen features the gradient that the real images give it.

Source: Cazenavette et al., "Dataset Distillation for Pre-Trained Self-Supervised Vision Models" (arXiv 2511.16674).
A step draws a linear classifier with standard normal weights on the embedding of a trained, frozen network, and moves
the images down 1 - cos(g, h): g and h are the gradients of the mean cross-entropy of real and synthetic images with
respect to all its weights and biases, as one vector. Of every synthetic image ``views`` augmented ones are taken.

What debias means here: g is the mean over the classes of a weighted mean over the real images of each
(`ddbias.debias.real_side`). With several targets a class, as FairDD's groups are, each is compared with the gradient of
the images of its class, and the distances are averaged over the classes. The network is a member of a pool of models,
whose training the weights enter as well, unless the pool names a ``domain``; with several members, seeds have different
ones in turn. Or its parameters are in a file of the user, which no debias reaches.

Differs from the paper in: the network (there foundation models; published evaluations train a linear
classifier on it, here networks are trained on the images as on any other set), pixels instead of a pyramid of
resolutions with decorrelated colours, DSA's augmentation, real images without augmentation (so that each is embedded
once), biases that begin at 0.

Cost: a forward pass of every training image, once, and their embeddings in memory; a step is a forward and backward
pass of ``views`` times the synthetic images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch.nn.functional import one_hot

from ddbias.base import lookup
from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger
from ddbias.base.seeding import stream
from ddbias.data.split import Split
from ddbias.debias.real_side import RealBatch
from ddbias.distill.given_files import safetensors
from ddbias.distill.learner import Guidance, Learner
from ddbias.distill.precision.frozen import embedding_for
from ddbias.distill.pretraining import last_network
from ddbias.learning import networks
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.device import transfer
from ddbias.learning.optimiser import Adam

PLUGIN = {
    "distiller": {
        "lgm": {
            "description": (
                "Gradients of a random linear classifier on the features of a trained network (linear gradient "
                "matching, arXiv 2511.16674); the debias also trains that network."
            ),
            "files": ["weights_file"],
            "seconds": "0.05 + 1.08 * network * classes * ipc * views + 0.00000005 * classes * real_batch * classes",
            "seconds_once": "0.37 * network * train",
            "megabytes": "0.008 * train + image_mb * (256 + classes * ipc * views)",
            "options": {
                "models": {
                    "type": ["string", "null"],
                    "default": None,
                    "description": "Name under `models`: the frozen network, after its last epoch.",
                },
                "weights_file": {
                    "type": ["string", "null"],
                    "default": None,
                    "description": (
                        "Instead of `models` a safetensors file of the parameters of `network`, as of torchvision; "
                        "searched in the working directory and the folders of `data`."
                    ),
                },
                "network": {
                    "type": ["string", "null"],
                    "default": None,
                    "description": "Name under `networks`, for `weights_file`.",
                },
                "iterations": {
                    "$ref": "#/$defs/iterations",
                    "default": 5000,
                    "x-default": {"quick": 60, "fast": 500},
                    "description": "Updates (LGM; 5,000).",
                },
                "real_batch": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 256,
                    "description": "Real images per class and step, which are embedded already (ours).",
                },
                "learning_rate": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 0.002,
                    "x-scale": "choice",
                    "x-default": {"quick": 0.1, "fast": 0.02},
                    "description": "Of the pixels, by Adam (LGM; 0.002).",
                },
                "decay": {
                    "enum": ["none", "cosine"],
                    "default": "none",
                    "description": "How it falls: not at all (LGM), or in the second half to 0 (ours).",
                },
                "views": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 10,
                    "x-scale": "choice",
                    "x-default": {"quick": 2, "fast": 2},
                    "description": "Augmented views of every synthetic image (LGM; 10).",
                },
                "init": {
                    "$ref": "#/$defs/init",
                    "default": "real",
                    "description": "Initial images, as for dm (LGM; noise).",
                },
                "augment": {
                    "$ref": "#/$defs/augment",
                    "default": "color_crop_cutout_flip_scale_rotate",
                    "description": "DSA strategy of the views, a draw for each (without flip for digits).",
                },
            },
        },
    },
}

AT_ONCE = 4096  # images that are embedded together; memory only


class Distiller(Learner):
    """The step of linear gradient matching (see the module's text).

    Parameters
    ----------
    split : Split
        Training images, all of which are embedded.
    settings : mapping
        ``models``, the name of the pool, or ``weights_file``; ``learning_rate``, ``decay``, ``views``, ``augment``.
    network : mapping or None
        ``kind`` and options of the network of ``weights_file``; else it is that of the pool.
    images : Tensor, shape (K * ipc, C, H, W)
        The synthetic images, class after class; changed in place.
    seed : int
    device : device
    precision : {"exact", "fast"}
        Of the embedding.
    models : mapping of str to sequence of path
        Files of the members of every pool.
    data : mapping
        ``root`` and ``mirrors``: where ``weights_file`` is searched.
    guidance : callable or None
        See `ddbias.distill.learner`.

    Raises
    ------
    DdbiasError
        If the pool does not fit the images or the file the network, or for an unknown augmentation.
    """

    needs_models = needs_data = True

    def __init__(
        self,
        split: Split,
        *,
        settings: Mapping,
        network: Mapping | None,
        images: torch.Tensor,
        seed: int,
        device: torch.device,
        precision: str,
        models: Mapping[str, Sequence[str | Path]],
        data: Mapping[str, object],
        guidance: Guidance | None = None,
    ) -> None:
        super().__init__(images, {**settings, "momentum": 0}, guidance)
        self.optimiser = Adam([images], learning_rate=settings["learning_rate"])
        pool, file = settings["models"], settings["weights_file"]
        if (pool is None) == (file is None) or (file is not None and network is None):
            raise DdbiasError("lgm needs models, the name of a pool, or both weights_file and network")
        if pool is not None:
            self.network = last_network(models[pool][seed % len(models[pool])], split, pool)
        else:
            self.network = networks.of_settings(network, split.shape, split.classes, seed)
            load_body(self.network, lookup.find(file, data))
        self.network = self.network.eval().requires_grad_(False).to(device)
        self.frozen = embedding_for(self.network, shape=split.shape, device=device, precision=precision)
        self.frozen.refresh()
        pixels, _ = split.tensors(device)
        self.features = with_bias(torch.cat([self.frozen(split.normalize(part)) for part in pixels.split(AT_ONCE)]))
        self.augment, self.views = DSA(settings["augment"]), settings["views"]
        self.labels = torch.arange(split.classes, device=device).repeat_interleave(len(images) // split.classes)
        self.seed, self.classes = seed, split.classes

    def match(self, step: int, real: torch.Tensor, batch: RealBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of a step and its gradient with respect to the images; `real` is embedded already."""
        leaf = self.images.detach().requires_grad_(True)
        loss = self._loss(step, leaf, batch)
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    @torch.no_grad()
    def probe_loss(self, index: int, real: torch.Tensor, batch: RealBatch) -> float:
        """Return the loss of a step without its update."""
        return float(self._loss(index, self.images, batch))

    def _loss(self, step: int, images: torch.Tensor, batch: RealBatch) -> torch.Tensor:
        width = self.features.shape[1]
        classifier = torch.randn(self.classes, width, generator=stream(self.seed, "classifier", step))
        classifier[:, -1] = 0  # the biases
        classifier, index, given = transfer([classifier, batch.index, batch.labels], images.device)
        features = self.features[index]  # (M, F + 1)
        slopes = residuals(features, classifier, given)  # (M, K)
        batch, classes, scale = batch.on(images.device)
        wanted = torch.stack(
            [(slopes[one.images] * one.share[:, None]).T @ features[one.images] for one in batch.targets]
        )  # (R, K, F + 1)
        drawn = [stream(self.seed, "augment", step, view) for view in range(self.views)]
        views = torch.cat([self.augment.per_sample(images, generator) for generator in drawn])
        own = with_bias(self.frozen.with_gradient(views))  # (views * K * ipc, F + 1)
        slopes = residuals(own, classifier, self.labels.repeat(self.views))
        members = one_hot(self.labels, self.classes).to(own).repeat(self.views, 1)  # (views * K * ipc, K)
        given = torch.einsum("nc,nk,nf->ckf", members / members.sum(0), slopes, own)  # (K, K, F + 1)
        if len(wanted) == self.classes:  # a target a class: one gradient of all classes
            return scale[0] * cosine_distance(given.mean(0, keepdim=True), wanted.mean(0, keepdim=True))[0]
        return scale @ cosine_distance(given[classes], wanted) / self.classes


def load_body(network: networks.Network, path: Path) -> None:
    """Give the body of a network the parameters of a safetensors file; a classifier in the file is left out.

    Parameters
    ----------
    network : Network
        Changed in place.
    path : Path
        Names are those of the body, perhaps all with a further beginning (``module.``, ``body.``).

    Raises
    ------
    DdbiasError
        If the file is damaged, or a parameter is missing or of another shape.
    """
    given, wanted = safetensors(path), network.body.state_dict()
    first = min(wanted, default="")
    beginnings = sorted((name.removesuffix(first) for name in given if name.endswith(first)), key=len)
    for name, value in wanted.items():
        found = given.get(f"{beginnings[0] if beginnings else ''}{name}")
        if found is None or found.shape != value.shape:
            what = "no" if found is None else f"of shape {tuple(found.shape)} the"
            raise DdbiasError(
                f"{path} has {what} parameter {name} {tuple(value.shape)} of the network; name the network that the "
                "file was written for"
            )
        value.copy_(found)
    left = len(given) - len(wanted)
    logger.info("%s: %d parameters read%s", path, len(wanted), f", {left} left out" if left else "")


def with_bias(features: torch.Tensor) -> torch.Tensor:
    """Return features (B, F) with a column of ones, whose weight is the bias."""
    return torch.cat([features, torch.ones_like(features[:, :1])], 1)


def residuals(features: torch.Tensor, classifier: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the derivative of the cross-entropy of each image with respect to its logits, (B, K).

    Its product with the features is the gradient with respect to the classifier.
    """
    return (features @ classifier.T).softmax(1) - one_hot(labels, len(classifier))


def cosine_distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return 1 - cos of the angle between gradients (R, ...) as vectors, (R,)."""
    return 1 - torch.cosine_similarity(a.flatten(1), b.flatten(1))
