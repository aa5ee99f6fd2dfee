"""DC and DSA: match the gradients that synthetic and real images give a network which learns from the synthetic ones.

Sources: Zhao, Mopuri and Bilen, "Dataset Condensation with Gradient Matching" (arXiv 2006.05929), and Zhao and Bilen,
"Dataset Condensation with Differentiable Siamese Augmentation" (arXiv 2102.08259). DSA is DC with the setting
``augment``: one set of parameters for the real and the synthetic images of a class in the matching, one for each image
when the network is trained. So both kinds are this module.

An iteration draws a network and repeats ``outer_loop`` times: one SGD step of the pixels on the matching loss, summed
over the classes; then, but for the last time, ``inner_loop`` epochs of training the network on the synthetic images.
The momentum of the pixels is kept from one network to the next.

**A step of the engine is one matching step with the training that follows it**, not an iteration: ten images per class
take ten of them and 450 epochs an iteration, minutes on a CPU, which a killed job should not lose. Therefore the
network is part of the state (1.3 MB for the published one). All random streams are named by the step or the iteration,
so a resumed run is bit-identical. The history has one loss for each matching step.

Differs from the public code in: exactly ``iterations`` iterations (it does one more); the real loss is a weighted mean
(`ddbias.debias.real_side`); batch norm statistics come from the first images of the step's real batch instead of
another draw; named random streams instead of the clock; loop counts for every number of images per class.

Cost of a step: a forward and a backward pass of the real batch, a forward and a twofold backward pass of the synthetic
images, and ``inner_loop`` epochs. Memory: the graphs of as many classes as there are threads, since a class's distance
depends on its own images only.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ddbias.base.errors import unknown
from ddbias.base.seeding import derive, stream
from ddbias.data.split import Split
from ddbias.debias.real_side import RealBatch
from ddbias.distill.gradient_distance import METRICS, gradient_distance
from ddbias.distill.learner import Guidance, Learner
from ddbias.distill.precision.gradient_choice import matching_for
from ddbias.learning import networks, training
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.precision import compiling
from ddbias.learning.training import Recipe

PLUGIN = {
    "distiller": {
        "dc": {
            "description": "Gradient matching (arXiv 2006.05929); defaults of its code.",
            "required": ["network"],
            # An iteration's updates, and between two of them the training of the network; null stands for what `LOOPS`
            # says. The probe, the matching of 32 to 96 updates, is left out.
            "updates": "outer_loop or at(ipc, 1, 1, 2, 5, 10, 10, 20, 20, 30, 30, 40, 40, 50, 50, 51, 100)",
            "seconds": (
                "(outer_loop or at(ipc, 1, 1, 2, 5, 10, 10, 20, 20, 30, 30, 40, 40, 50, 50, 51, 100))"
                " * (0.008 * classes + network * classes * (real_batch + 4 * ipc))"
                " + ((outer_loop or at(ipc, 1, 1, 2, 5, 10, 10, 20, 20, 30, 30, 40, 40, 50, 50, 51, 100)) - 1)"
                " * network * classes * ipc"
                " * (inner_loop or at(ipc, 1, 1, 2, 10, 10, 50, 20, 25, 30, 20, 40, 15, 50, 10))"
            ),
            "seconds_fast": (
                "(outer_loop or at(ipc, 1, 1, 2, 5, 10, 10, 20, 20, 30, 30, 40, 40, 50, 50, 51, 100))"
                " * (0.008 * classes + network * classes * (0.5 * real_batch + 2 * ipc))"
                " + ((outer_loop or at(ipc, 1, 1, 2, 5, 10, 10, 20, 20, 30, 30, 40, 40, 50, 50, 51, 100)) - 1)"
                " * 0.5 * network * classes * ipc"
                " * (inner_loop or at(ipc, 1, 1, 2, 10, 10, 50, 20, 25, 30, 20, 40, 15, 50, 10))"
            ),
            "megabytes": "image_mb * (100 + 15 * ipc)",
            "options": {
                "network": {"type": "string", "description": "Name under `networks`."},
                "iterations": {
                    "$ref": "#/$defs/iterations",
                    "default": 1000,
                    "description": (
                        "Number of networks (DC; 1,000). Each is used for `outer_loop` updates of the pixels."
                    ),
                },
                "outer_loop": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "default": None,
                    "description": (
                        "Updates of the pixels with one network. null follows the images per class: 1, 10, 20, "
                        "30, 40, 50 for as many of them (DC); 5 from 2 images (COBRA), 100 above 50 (FairDD); "
                        "else as for the next lower number. Not shrunk by `scale`."
                    ),
                },
                "inner_loop": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "default": None,
                    "description": (
                        "Epochs on the synthetic images that train the network between two updates. null "
                        "follows the images per class: 1 for 1, 50, 25, 20, 15, 10 for 10, 20, 30, 40, 50 (DC);"
                        " 10 from 2 images (COBRA) and above 50 (FairDD); else as for the next lower number. "
                        "Not shrunk by `scale`."
                    ),
                },
                "real_batch": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 256,
                    "x-scale": "batch",
                    "description": ("Real images per class and update (DC; 256). Shrunk only by a mapping by scale."),
                },
                "learning_rate": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 0.1,
                    "description": "Of the pixels (DC; 0.1).",
                },
                "momentum": {
                    "type": "number",
                    "minimum": 0,
                    "exclusiveMaximum": 1,
                    "default": 0.5,
                    "description": "Of the pixels (DC; 0.5).",
                },
                "network_learning_rate": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 0.01,
                    "description": "Of the network (DC; 0.01).",
                },
                "network_batch": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 256,
                    "description": "Images a step of the network (DC; 256).",
                },
                "distance": {
                    "enum": ["ours", "mse", "cos", "l1"],
                    "default": "ours",
                    "description": (
                        "Distance of two gradients: ours = 1 - cosine, summed over the layers and their outputs"
                        " (DC); mse = squared distance of all values; cos = 1 - cosine of all values as one "
                        "vector; l1 = absolute differences of all values (IDC)."
                    ),
                },
                "init": {
                    "$ref": "#/$defs/init",
                    "default": "noise",
                    "description": "Initial images, as for dm (DC; noise).",
                },
                "guidance": {
                    "type": ["object", "null"],
                    "default": None,
                    "x-kinds": "guidance",
                    "description": "A further loss from pre-trained models, or null.",
                },
            },
        },
        "dsa": {
            "description": ("DC with siamese augmentation of the matching (arXiv 2102.08259); defaults of its code."),
            "like": "dc",
            "options": {
                "init": {
                    "$ref": "#/$defs/init",
                    "default": "real",
                    "description": "Initial images, as for dm (DSA; real).",
                },
                "augment": {
                    "$ref": "#/$defs/augment",
                    "default": "color_crop_cutout_flip_scale_rotate",
                    "description": (
                        "DSA strategy of the matching and of the network's training (DSA; without flip for digits)."
                    ),
                },
            },
        },
    },
}

# Images per class from which on (outer_loop, inner_loop) hold. 1 and 10 to 50: DC; the row for 2 is COBRA's (arXiv
# 2605.00185), that for 51 FairDD's (arXiv 2411.19623).
LOOPS = {1: (1, 1), 2: (5, 10), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10), 51: (100, 10)}
__all__ = ["METRICS", "Distiller", "gradient_distance", "loops"]
STATISTICS = 16  # real images per class that set the statistics of batch norm


def loops(ipc: int) -> tuple[int, int]:
    """Return the published (outer_loop, inner_loop) for `ipc` images per class; between two rows the lower one."""
    return LOOPS[max(least for least in LOOPS if least <= ipc)]


class Distiller(Learner):
    """The gradient matching step (see the module's text).

    Parameters
    ----------
    split : Split
        Training images; only shape and number of classes are used.
    settings : mapping
        ``learning_rate`` and ``momentum`` of the pixels; ``outer_loop`` and ``inner_loop`` (None: `loops`);
        ``network_learning_rate``, ``network_batch``; ``distance``; ``augment`` (DSA).
    network : mapping
        ``kind`` and options of the network.
    images : Tensor, shape (K * ipc, C, H, W)
        The synthetic images, class after class; changed in place.
    seed : int
    device : device
    precision : {"exact", "fast"}
        ``fast`` is compiled (`ddbias.distill.precision.gradient_choice`), in the training between two
        steps too.
    guidance : callable or None
        See `ddbias.distill.learner`.

    Attributes
    ----------
    steps_per_iteration : int
        The outer loop.

    Raises
    ------
    DdbiasError
        For an unknown distance or augmentation.
    """

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
        if settings["distance"] not in METRICS:
            raise unknown("gradient distance", settings["distance"], METRICS)
        self.network = networks.of_settings(network, split.shape, split.classes, seed).to(device)
        ipc = len(images) // split.classes
        strategy = settings.get("augment", "none")
        self.matching = matching_for(
            self.network,
            settings["distance"],
            DSA(strategy),
            shape=split.shape,
            classes=split.classes,
            ipc=ipc,
            real_batch=settings.get("real_batch", compiling.MICRO_BATCH),
            device=device,
            precision=precision,
        )
        published = loops(ipc)
        self.steps_per_iteration = settings["outer_loop"] or published[0]
        self.inner_loop = settings["inner_loop"] or published[1]
        self.seed, self.classes = seed, split.classes
        self.recipe = Recipe(
            learning_rate=settings["network_learning_rate"],
            momentum=0,
            weight_decay=0,
            batch_size=settings["network_batch"],
            augment=strategy,
            schedule="constant",
        )
        self.labels = torch.arange(self.classes, device=device).repeat_interleave(ipc)

    def match(self, step: int, real: torch.Tensor, batch: RealBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the matching loss, summed over the targets, and its gradient with respect to the synthetic images.

        `step` counts matching steps through all iterations.
        """
        iteration, turn = divmod(step, self.steps_per_iteration)
        if turn == 0:
            networks.reset(self.network, stream(self.seed, "network", iteration))
        self._fix_statistics(real, batch)
        # One siamese seed per class and step: real and synthetic images of a class get the same parameters.
        seeds = [derive(self.seed, "augment", step, label) % 2**31 for label in range(self.classes)]
        return self.matching.match(self.images, real, batch, seeds)

    def probe_loss(self, index: int, real: torch.Tensor, batch: RealBatch) -> float:
        """Return the loss for a fresh network."""
        return float(self.match(index * self.steps_per_iteration, real, batch)[0])

    @torch.no_grad()
    def _fix_statistics(self, real: torch.Tensor, batch: RealBatch) -> None:
        """Update the running statistics of batch norm with real images of all classes, then use these (DC).

        The few images of one class would give statistics of that class only.
        """
        networks.matching(self.network)
        norms = [module for module in self.network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        if norms:
            first = [(batch.labels == label).nonzero()[:STATISTICS, 0] for label in range(self.classes)]
            self.network(real[torch.cat(first).to(real.device)])
        for norm in norms:
            norm.eval()

    def after(self, step: int) -> None:
        """Train the network, unless the next step draws another."""
        if (step + 1) % self.steps_per_iteration:
            self.train(step)

    def train(self, step: int) -> None:
        """Train the network on the synthetic images for ``inner_loop`` epochs."""
        training.train(
            self.network,
            self.images.detach(),
            self.labels,
            recipe=self.recipe,
            epochs=self.inner_loop,
            generator=stream(self.seed, "train", step),
            gradients=self.matching.gradients.of_mean,
        )

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all that a later step depends on, as named tensors."""
        network = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return {**super().state_dict(), **network}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.network.load_state_dict({name: state[f"network.{name}"] for name in self.network.state_dict()})
