"""DM: match the mean embedding of each class under randomly initialised networks.

Source: Zhao and Bilen, "Dataset Condensation with Distribution Matching" (arXiv 2110.04181).
Loss of a step, with a fresh network of frozen weights: sum over targets of |target - mean phi(S_c)|^2 (summed over
features), pixels moved by SGD with momentum 0.5. Differs from the public code in: micro-batches that do not end where
a class ends; the targets may be weighted (`ddbias.debias.real_side`); named random streams instead of the clock.

``distance: characteristic`` is NCFM's (arXiv 2502.20653), see `ddbias.distill.embedding_distance`.

Two options are what COBRA's public code (arXiv 2605.00185) does differently: ``distance: absolute`` sums absolute
differences instead of squares, and ``warm_up`` trains the fresh network for so many epochs on the synthetic images
before it is frozen (SGD 0.01 without momentum, batches of 256, the matching's strategy with parameters of its own for
each image).

Three are ours, for the same objective in less time: ``step: scaled`` multiplies the gradient by
`ddbias.distill.learner.step_scale` and divides it by how many targets of the class are added up, or the sum over ten
groups would make a step that throws the images out of their range; ``decay: cosine`` lets the learning rate fall to 0
in the second half; ``updates_per_network`` moves the images so many times on one network, batch and augmentation, whose
targets are most of a step's cost.

Cost: one forward pass of the real batch and ``updates_per_network`` forward and backward passes of the synthetic images
a step, and ``warm_up`` epochs, which are always float32.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ddbias.base.errors import unknown
from ddbias.base.seeding import derive, stream
from ddbias.data.split import Split
from ddbias.debias.real_side import RealBatch
from ddbias.distill.embedding_distance import embedding_distance
from ddbias.distill.learner import Guidance, Learner, step_scale
from ddbias.distill.precision.frozen import embedding_for
from ddbias.learning import networks, training
from ddbias.learning.augment import siamese
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.device import kind, transfer
from ddbias.learning.networks import own
from ddbias.learning.training import Recipe

PLUGIN = {
    "distiller": {
        "dm": {
            "description": "Distribution matching (arXiv 2110.04181); defaults of its code.",
            "required": ["network"],
            # Drawing a network, augmenting class by class, and passes: of a real image that is embedded, of a synthetic
            # one that is moved. The probe embeds 512 real images of a class once, the synthetic ones a hundred times.
            "updates": "updates_per_network",
            "seconds": (
                "0.02 + (0.0005 + 0.0015 * image_mb) * classes * (1 + updates_per_network)"
                " + network * classes * (0.37 * real_batch + 1.08 * updates_per_network * ipc + warm_up * ipc)"
                " + ((0.05 + classes * (0.00026 * real_batch + 0.0006 * updates_per_network * ipc))"
                " * frequencies / 4096 * features / 2048"
                " if distance == 'characteristic' else 0)"
            ),
            "seconds_fast": (
                "0.02 + (0.0005 + 0.0015 * image_mb) * classes * (1 + updates_per_network)"
                " + network * classes * (0.15 * real_batch + 0.37 * updates_per_network * ipc + warm_up * ipc)"
                " + ((0.05 + classes * (0.00026 * real_batch + 0.0006 * updates_per_network * ipc))"
                " * frequencies / 4096 * features / 2048"
                " if distance == 'characteristic' else 0)"
            ),
            "seconds_once": "0.1 * classes + 0.3 * network * classes * (512 + 100 * ipc)",
            # Characteristic functions hold real and imaginary parts of all real images (the probe's are 512), twice.
            "megabytes": (
                "image_mb * (256 + min(classes * ipc, 1024))"
                " + (0.000016 * classes * max(real_batch, 512) * frequencies if distance == 'characteristic' else 0)"
            ),
            "options": {
                "network": {"type": "string", "description": "Name under `networks`."},
                "iterations": {
                    "$ref": "#/$defs/iterations",
                    "default": 20_000,
                    "x-default": {"quick": 60, "fast": 240},
                    "description": (
                        "Number of networks, each used for `updates_per_network` updates (DM; "
                        "20,000). { until: converged, at_most: N } stops when the matching loss on a fixed "
                        "probe no longer changes, after the decay if there is one (docs/distillers.md)."
                    ),
                },
                "real_batch": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 256,
                    "x-scale": "batch",
                    "x-default": {"quick": 64, "fast": 64},
                    "description": (
                        "Real images per class and step (DM; 256; at the smaller scales 64). Shrunk only by a "
                        "mapping by scale."
                    ),
                },
                "learning_rate": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 1.0,
                    "x-scale": "choice",
                    "x-default": {"quick": 10.0, "fast": 10.0},
                    "description": (
                        "Of the pixels (DM; 1, 10 from IPC 100; at the smaller scales 10, for `step` scaled)."
                    ),
                },
                "step": {
                    "enum": ["published", "scaled"],
                    "default": "published",
                    "x-scale": "choice",
                    "x-default": {"quick": "scaled", "fast": "scaled"},
                    "description": (
                        "scaled multiplies the step of a pixel by ipc / 10, rescales it as if images were "
                        "normalised by their own statistics, and divides it by the number of targets of "
                        "a class (the groups of FairDD), so that one learning rate suits all data sets, numbers of "
                        "images and debias kinds. Ours."
                    ),
                },
                "decay": {
                    "enum": ["none", "cosine"],
                    "default": "none",
                    "x-scale": "choice",
                    "x-default": {"quick": "cosine", "fast": "cosine"},
                    "description": (
                        "How the learning rate falls: not at all (DM), or in the second half of the iterations "
                        "to 0 (ours)."
                    ),
                },
                "updates_per_network": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 1,
                    "x-scale": "batch",
                    "x-default": {"quick": 2, "fast": 2},
                    "description": (
                        "Updates of the pixels with one network, real batch and augmentation, whose targets are"
                        " computed once (DM; 1). Shrunk only by a mapping by scale."
                    ),
                },
                "momentum": {
                    "type": "number",
                    "minimum": 0,
                    "exclusiveMaximum": 1,
                    "default": 0.5,
                    "description": "Of the pixels (DM; 0.5).",
                },
                "init": {
                    "$ref": "#/$defs/init",
                    "default": "real",
                },
                "augment": {
                    "$ref": "#/$defs/augment",
                    "default": "color_crop_cutout_flip_scale_rotate",
                    "description": "DSA strategy of the matching (DM; without flip for digits).",
                },
                "distance": {
                    "enum": ["squared", "absolute", "characteristic"],
                    "default": "squared",
                    "description": (
                        "Sum of the squared (DM) or of the absolute (COBRA) differences of the mean embeddings; or "
                        "difference of their characteristic functions (NCFM, arXiv 2502.20653), whose gradient has "
                        "another size: give its learning rate."
                    ),
                },
                "frequencies": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 4096,
                    "description": "Random frequencies of a step, for characteristic (NCFM; 4,096).",
                },
                "alpha": {
                    "type": "number",
                    "minimum": 0,
                    "default": 0.5,
                    "description": "Weight of the amplitudes, for characteristic (NCFM; 0.5).",
                },
                "beta": {
                    "type": "number",
                    "minimum": 0,
                    "default": 0.5,
                    "description": "Weight of the phases, for characteristic (NCFM; 0.5).",
                },
                "warm_up": {
                    "type": "integer",
                    "minimum": 0,
                    "default": 0,
                    "description": (
                        "Epochs on the synthetic images that train the fresh network before the matching "
                        "(COBRA; 10, but 50 with 50 images per class and 100 with 100). Not shrunk by `scale`."
                    ),
                },
                "guidance": {
                    "type": ["object", "null"],
                    "default": None,
                    "x-kinds": "guidance",
                    "description": "A further loss from pre-trained models, or null.",
                },
            },
        }
    }
}

STEPS = ("published", "scaled")
GRAPH_IMAGES = 1024  # synthetic images whose graph is held at a time, about 1 GB with the published network
CHANNELS_LAST = 32  # least height and width of images whose embedding is faster with this memory format, measured


class Distiller(Learner):
    """The distribution matching step (see the module's text).

    Parameters
    ----------
    split : Split
        Training images; only shape and number of classes are used.
    settings : mapping
        ``learning_rate``, ``momentum``, ``augment``; ``distance`` and its own; ``warm_up``, in epochs;
        ``step``, one of `STEPS`; ``decay``; ``updates_per_network``.
    network : mapping
        ``kind`` and options of the embedding network.
    images : Tensor, shape (K * ipc, C, H, W)
        The synthetic images, class after class; changed in place.
    seed : int
    device : device
    precision : {"exact", "fast"}
    guidance : callable or None
        See `ddbias.distill.learner`.

    Raises
    ------
    DdbiasError
        For an unknown distance or augmentation.
    """

    cheap_probe = True

    def __init__(
        self,
        split: Split,
        *,
        settings: Mapping,
        network: Mapping,
        images: torch.Tensor,
        seed: int,
        device: torch.device,
        precision: str,
        guidance: Guidance | None = None,
    ) -> None:
        super().__init__(images, settings, guidance)
        self.distance = embedding_distance(settings)
        if settings.get("step", STEPS[0]) not in STEPS:
            raise unknown("step", settings["step"], STEPS)
        scaled = settings.get("step") == "scaled"
        self.gain = step_scale(split, len(images) // split.classes).to(images) if scaled else None
        self.updates = settings.get("updates_per_network", 1)
        self.probed: dict[int, tuple[torch.Tensor, ...]] = {}
        self.network = networks.of_settings(network, split.shape, split.classes, seed).to(device)
        # A network of a plug-in may `view` what a convolution puts out; a GPU's group norm would copy it back.
        # Below 32 pixels torch's kernels take 10 to 30 % longer channels-last; from there on up to half as long.
        if kind(device).micro_batches and min(split.shape[1:]) >= CHANNELS_LAST and not own.is_own(self.network):
            self.network.to(memory_format=torch.channels_last)
        networks.matching(self.network).requires_grad_(False)
        self.frozen = embedding_for(self.network, shape=split.shape, device=device, precision=precision)
        sides = {"shape": split.shape, "classes": split.classes, "ipc": len(images) // split.classes}
        self.augment = siamese.of_classes(DSA(settings["augment"]), device, precision, **sides)
        self.seed, self.classes = seed, split.classes
        self.warm_up = settings.get("warm_up", 0)
        self.recipe = Recipe(
            learning_rate=0.01,
            momentum=0,
            weight_decay=0,
            batch_size=256,
            augment=settings["augment"],
            schedule="constant",
        )

    def match(self, step: int, real: torch.Tensor, batch: RealBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of a step, summed over the targets, and its gradient with respect to the synthetic images."""
        self._draw_network(step)
        return self._distance(step, *self._targets(step, real, batch))

    def step(self, step: int, real: torch.Tensor, batch: RealBatch) -> dict[str, float]:
        """Do ``updates_per_network`` updates of the images; see `Learner.step`. ``loss`` is that of the last one."""
        self._draw_network(step)
        targets = self._targets(step, real, batch)
        gain = None if self.gain is None else self.gain / self._counted(*targets[1:3])
        for _ in range(self.updates):
            scalars = self.update(step, *self._distance(step, *targets), gain)
        return scalars

    def _counted(self, classes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Return how much the targets (R,) of its class count together, for every image: (K * ipc, 1, 1, 1)."""
        counted = torch.zeros(self.classes).to(scale).index_add(0, classes, scale)  # (K,)
        return counted.repeat_interleave(len(self.images) // self.classes).view(-1, 1, 1, 1)

    def probe_loss(self, index: int, real: torch.Tensor, batch: RealBatch) -> float:
        """Return the loss of a step; targets of an index are computed once, unless its network follows the images."""
        self._draw_network(index)
        if self.warm_up or index not in self.probed:
            self.probed[index] = self._targets(index, real, batch)
        targets, classes, scale, _ = self.probed[index]
        images = self.augment(self.images.detach(), self._seeds(index), self._sizes())
        means = self.distance.lift(self.frozen(images)).unflatten(0, (self.classes, -1)).mean(1)  # (K, L)
        return float(scale @ self.distance.between(targets, means[classes]))

    def _seeds(self, step: int) -> list[int]:
        """Return one Siamese seed per class: real and synthetic images of a class get the same parameters."""
        return [derive(self.seed, "augment", step, label) % 2**31 for label in range(self.classes)]

    def _targets(self, step: int, real: torch.Tensor, batch: RealBatch) -> tuple[torch.Tensor, ...]:
        """Return the targets (R, L) of a step, the class (R,) and the scale (R,) of each, and the first (K + 1,).

        The last are on the CPU: class k has the targets from ``first[k]`` up to ``first[k + 1]``.
        """
        sizes = torch.bincount(batch.labels, minlength=self.classes).tolist()
        lifted = self.distance.lift(self.frozen(self.augment(real, self._seeds(step), sizes)))  # (M, L)
        first = torch.searchsorted(batch.classes, torch.arange(self.classes + 1))
        rows, shares, places, classes, scale = transfer([*batch.blocks(), batch.classes, batch.scale], lifted.device)
        # (K, m, L), in order where no class has fewer images than another
        members = lifted[rows] if rows.numel() > len(lifted) else lifted.view(*rows.shape, -1)
        pooled = torch.bmm(shares, members).flatten(0, 1)  # (K, r, m) x (K, m, L) -> (K * r, L)
        return (pooled if len(pooled) == len(places) else pooled[places]), classes, scale, first

    def _distance(
        self, step: int, targets: torch.Tensor, classes: torch.Tensor, scale: torch.Tensor, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss for given targets, and its gradient with respect to the synthetic images."""
        seeds, ipc = self._seeds(step), len(self.images) // self.classes
        losses, gradients = [], []
        for first, last in self._groups():
            members = slice(int(starts[first]), int(starts[last]))
            images = self.images.detach()[first * ipc : last * ipc]
            loss, gradient = self._match(
                images, seeds[first:last], targets[members], classes[members] - first, scale[members].clone()
            )
            losses.append(loss)
            gradients.append(gradient)
        return sum(losses[1:], losses[0]), torch.cat(gradients) if len(gradients) > 1 else gradients[0]

    def _draw_network(self, step: int) -> None:
        """Draw the network of a step, and train it on the synthetic images if it is to be warmed up."""
        networks.reset(self.network, stream(self.seed, "network", step))
        if self.warm_up:
            labels = torch.arange(self.classes, device=self.images.device)
            self.network.requires_grad_(True)
            training.train(
                self.network,
                self.images.detach(),
                labels.repeat_interleave(len(self.images) // self.classes),
                recipe=self.recipe,
                epochs=self.warm_up,
                generator=stream(self.seed, "warm_up", step),
            )
            self.network.requires_grad_(False)
        networks.matching(self.network)
        self.frozen.refresh()
        self.distance.draw(self.network.embedding_size, stream(self.seed, "frequencies", step), self.images.device)

    def _groups(self) -> list[tuple[int, int]]:
        """Return ranges of classes whose graphs fit into memory together; a class's loss needs its own images only."""
        if self.frozen.depends_on_batch:
            return [(0, self.classes)]  # they share the statistics
        size = max(1, GRAPH_IMAGES * self.classes // len(self.images))
        return [(first, min(first + size, self.classes)) for first in range(0, self.classes, size)]

    def _match(
        self, images: torch.Tensor, seeds: list[int], targets: torch.Tensor, classes: torch.Tensor, scale: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return loss and gradient for the images of some classes; target r is for class ``classes[r]`` of these."""
        leaf = images.requires_grad_(True)
        embedding = self.frozen.with_gradient(self.augment(leaf, seeds, self._sizes()[: len(seeds)]))
        means = self.distance.lift(embedding).unflatten(0, (len(seeds), -1)).mean(1)  # (K, ipc, L) -> (K, L)
        # Targets are sorted by class, and every class has one: as many of them are the classes.
        loss = scale @ self.distance.between(targets, means if len(targets) == len(means) else means[classes])
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    def _sizes(self) -> list[int]:
        """Return the number of synthetic images of each class."""
        return [len(self.images) // self.classes] * self.classes
