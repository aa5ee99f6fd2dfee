"""CLoM: pre-trained models guide the synthetic images of a distiller.

Source: Lu et al., "Can Pre-Trained Models Assist in Dataset Distillation?" (arXiv 2310.03295). To the matching loss of
every step, alpha times the loss of a frozen model on all synthetic images, without augmentation, is added; the model is
drawn anew for each step: a pool (an architecture), one of its members, one of its snapshots. Loss ``ce``: the mean
cross-entropy of the model (its text writes a ratio, its code this). Loss ``cos``: the mean cosine distance between
the embeddings of synthetic and real images of the same class, relative to that of all pairs; for models of another
domain, whose classes are others.

Differs from the public code in: named random streams. Like it, the models stay in training mode, which matters for
batch norm only. No debias enters it: ``cos`` draws the real images uniformly. Cost of a step: a forward and a backward
pass of the synthetic images, with ``cos`` a forward pass of ``real_batch`` real images too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy, normalize

from ddbias.base.errors import DdbiasError, unknown
from ddbias.base.seeding import stream
from ddbias.data.split import Split
from ddbias.distill.precision.frozen import ExactEmbedding
from ddbias.distill.pretraining import open_member
from ddbias.learning import networks

PLUGIN = {
    "guidance": {
        "clom": {
            "description": (
                "A frozen model's loss on the synthetic images is added to the matching loss (CLoM, arXiv 2310.03295)."
            ),
            "required": ["models"],
            "seconds": "network * (classes * ipc + (real_batch / 3 if loss == 'cos' else 0))",
            "megabytes": (
                "image_mb * (classes * ipc + 64) + (0.00003 * classes * ipc * real_batch if loss == 'cos' else 0)"
            ),
            "options": {
                "models": {
                    "$ref": "#/$defs/names",
                    "description": (
                        "Names under `models`, one for each architecture; one is drawn for a step, then a "
                        "member, then a snapshot."
                    ),
                },
                "loss": {
                    "enum": ["ce", "cos"],
                    "default": "ce",
                    "description": (
                        "ce = cross-entropy, for models of the same classes; cos = embeddings, for another domain."
                    ),
                },
                "alpha": {
                    "type": "number",
                    "minimum": 0,
                    "default": 1000,
                    "description": "Weight of the loss (CLoM's README; 1,000).",
                },
                "trained": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "number", "minimum": 0, "maximum": 1},
                    "default": [1],
                    "description": (
                        "Shares of the training whose snapshots are drawn; 0 = initial, 1 = the last epoch."
                    ),
                },
                "real_batch": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 8196,
                    "x-scale": "batch",
                    "description": "Real images for cos (CLoM; 8,196).",
                },
            },
        },
    },
}

LOSSES = ("ce", "cos")


def cosine_loss(
    synthetic: torch.Tensor, synthetic_labels: torch.Tensor, real: torch.Tensor, real_labels: torch.Tensor
) -> torch.Tensor:
    """Return ``sum(M * D) / sum(D)``: the share of pairs of one class in the cosine distances of all pairs.

    Parameters
    ----------
    synthetic : Tensor of float, shape (N, F)
        Embeddings.
    synthetic_labels : Tensor of int64, shape (N,)
    real : Tensor of float, shape (M, F)
    real_labels : Tensor of int64, shape (M,)

    Returns
    -------
    Tensor
        A scalar; ``D[i, j] = 1 - cos(synthetic[i], real[j])``, ``M[i, j] = 1`` where the labels are equal.
    """
    distances = 1 - normalize(synthetic) @ normalize(real).T
    same = synthetic_labels[:, None] == real_labels[None]
    return (distances * same).sum() / distances.sum()


class Guidance:
    """The additional loss of a distillation run; call it with the images and the step.

    Parameters
    ----------
    settings : mapping
        ``loss`` ("ce" or "cos"), ``alpha``, ``trained`` (shares of the training, 0..1, whose snapshots are drawn),
        ``real_batch`` (for "cos").
    models : mapping of str to sequence of path
        Files of the members of every pool.
    split : Split
        Training images.
    labels : Tensor of int64, shape (K * ipc,)
        Of the synthetic images.
    seed : int
    device : device

    Raises
    ------
    DdbiasError
        For an unknown loss, or a pool that does not fit the images.
    """

    def __init__(
        self,
        settings: Mapping,
        *,
        models: Mapping[str, Sequence[str | Path]],
        split: Split,
        labels: torch.Tensor,
        seed: int,
        device: torch.device,
    ) -> None:
        if settings["loss"] not in LOSSES:
            raise unknown("guidance loss", settings["loss"], LOSSES)
        self.settings, self.split, self.seed, self.device = settings, split, seed, device
        self.labels = labels.to(device)
        self.pools = [[open_member(path) for path in files] for files in models.values()]
        self.networks = [self._build(name, pool[0]) for name, pool in zip(models, self.pools, strict=True)]

    def _build(self, name: str, member) -> torch.nn.Module:
        channels, size, _ = self.split.shape
        if (member.channels, member.size) != (channels, size):
            raise DdbiasError(
                f"models {name} see {member.channels}x{member.size}x{member.size} images, the data set has "
                f"{channels}x{size}x{size}; bring the domain to the same size and channels"
            )
        if self.settings["loss"] == "ce" and member.classes != self.split.classes:
            raise DdbiasError(
                f"models {name} know {member.classes} classes, the data set has {self.split.classes}; "
                "use loss: cos for a domain with other classes"
            )
        network = networks.of_settings(member.network, self.split.shape, member.classes, 0)
        return networks.matching(network.to(self.device).requires_grad_(False))

    def __call__(self, images: torch.Tensor, step: int) -> tuple[float, torch.Tensor]:
        """Return alpha times the loss of a step and its gradient with respect to the images, (K * ipc, C, H, W)."""
        generator = stream(self.seed, "guidance", step)
        network = self._draw(generator)
        images = images.detach().requires_grad_(True)
        if self.settings["loss"] == "ce":
            loss = cross_entropy(network(images), self.labels)
        else:
            real, labels = self._real(generator)
            target = ExactEmbedding(network, self.device)(real)  # in parts: thousands of images
            loss = cosine_loss(network.embed(images), self.labels, target, labels)
        loss = self.settings["alpha"] * loss
        (gradient,) = torch.autograd.grad(loss, images)
        return loss.item(), gradient

    def _draw(self, generator: torch.Generator) -> torch.nn.Module:
        """Return the network of a pool with the parameters of one of its snapshots."""

        def pick(count: int) -> int:
            return int(torch.randint(count, (), generator=generator))

        chosen = pick(len(self.pools))
        member = self.pools[chosen][pick(len(self.pools[chosen]))]
        shares = self.settings["trained"]
        epoch = member.epochs[round(shares[pick(len(shares))] * (len(member.epochs) - 1))]
        network = self.networks[chosen]
        network.load_state_dict(member.state(epoch))
        return network

    def _real(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw real images with replacement from the whole split."""
        rows = torch.randint(len(self.split), (self.settings["real_batch"],), generator=generator).numpy()
        images = self.split.normalize(torch.from_numpy(self.split.images[rows]).to(self.device))
        return images, torch.from_numpy(self.split.labels[rows]).to(self.device)
