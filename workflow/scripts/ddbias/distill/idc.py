"""IDC: match the gradients of networks that learn from real images, with several training images in each stored one.

Source: Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization" (arXiv 2205.14959). Where
the images are in the pixels: `ddbias.data.formation`; with factor 1 the method is what the paper calls IDC-I.

An iteration draws a network and repeats ``outer_loop`` times (the paper's inner loop): for every class one SGD step of
the pixels on the distance of the gradients, then a short training of the network on *real* images. Only the
gradients of convolution weights enter the distance. Once an iteration pixels are clamped to the range of real ones.

**A step of the engine is one pass over the classes with the training that follows it.** Network and momentum of its
training belong to the state, and all random streams are named by the step or the iteration, so a resumed run is
bit-identical.

As published, and not obvious:

- One optimiser holds the pixels of all classes. In the step of one class the others have gradient 0, but their momentum
  still moves them.
- The published pixels are in 0..1 and normalised on their way into a network; here they are stored normalised. A step
  of the same size in 0..1 is ``1 / std ** 2`` times as large here, so gradients are scaled by that, channel by channel,
  and ``learning_rate`` means the same as published.
- The training uses whole batches until ``network_images`` are reached: 500 images are 8 batches of 64.

What debias means here: the targets are weighted means, as for every distiller (`ddbias.debias.real_side`), and the
images that train the network are drawn from the whole split in proportion to the weights, too, so that the networks
whose gradients are matched do not learn the bias that the weights are to remove. With equal weights they are a uniform
draw without replacement. Classes keep the shares that they have in the split.

Differs from the public code in: pixels are clamped after the last iteration as well, so that what is evaluated is what
can be exported as images; the network is not trained when the next step draws another; named random streams; every
training of a network and every real batch is a new draw (there they go on through one shuffled epoch of the data, or of
a class); the first images are drawn, not the first of a class in the order of the data; the first mosaics always have
the tiles that decoding cuts (the published one for factor 3 and 28 pixels is off by one).

Cost of a step: for every class a forward and a backward pass of the real batch, a forward and a twofold backward pass
of the decoded synthetic images; for the network one of each of ``network_images``. Memory: the graph of one class.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ddbias.base.errors import DdbiasError, unknown
from ddbias.base.seeding import derive, stream
from ddbias.data import formation
from ddbias.data.split import Split
from ddbias.debias.real_side import RealBatch, RealSettings, RealSide, Target
from ddbias.distill.first_images import initial_rows
from ddbias.distill.learner import Learner, reported
from ddbias.distill.precision.gradient_choice import gradients_for
from ddbias.learning import networks
from ddbias.learning.augment.chained import Chain
from ddbias.learning.augment.cutmix import CutMix
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.optimiser import SGD

PLUGIN = {
    "distiller": {
        "idc": {
            "description": (
                "Gradient matching with networks trained on real images and several training images in each "
                "stored one (arXiv 2205.14959); defaults of its code for CIFAR-10, but for network_images and init."
            ),
            "required": ["network"],
            # An update: gradients of real and of decoded synthetic images, then the training of the network.
            "seconds": (
                "outer_loop * (0.05"
                " + network * classes * (real_batch + 3 * min(ipc * factor * factor, synthetic_batch)))"
                " + (outer_loop - 1) * network * network_images"
            ),
            "megabytes": "image_mb * (900 + 8 * ipc)",
            "options": {
                "network": {"type": "string", "description": "Name under `networks`; one with convolutions."},
                "iterations": {
                    "$ref": "#/$defs/iterations",
                    "default": 2000,
                    "description": (
                        "Number of networks (IDC; 2,000). Each is used for `outer_loop` updates of the pixels."
                    ),
                },
                "outer_loop": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 100,
                    "description": (
                        "Updates of the pixels with one network (IDC; 100, called inner loop there). Not shrunk"
                        " by `scale`."
                    ),
                },
                "factor": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 2,
                    "description": (
                        "A stored image is cut into factor x factor tiles, each enlarged to a training image "
                        "(IDC; 2, ImageNet 3). 1 is the published IDC-I."
                    ),
                },
                "real_batch": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 64,
                    "x-scale": "batch",
                    "description": ("Real images per class and update (IDC; 64). Shrunk only by a mapping by scale."),
                },
                "synthetic_batch": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 128,
                    "description": (
                        "Training images of a class at most that an update draws from the stored ones (IDC; 128)."
                    ),
                },
                "learning_rate": {
                    "type": ["number", "null"],
                    "exclusiveMinimum": 0,
                    "default": None,
                    "description": (
                        "Of the pixels, in 0..1. null follows the distance: 0.005 * ipc / 10 with mse (IDC for "
                        "CIFAR-10 and SVHN), 0.0001 * ipc / 10 with l1 (MNIST and Fashion-MNIST, the latter "
                        "times 0.766)."
                    ),
                },
                "momentum": {
                    "type": "number",
                    "minimum": 0,
                    "exclusiveMaximum": 1,
                    "default": 0.5,
                    "description": "Of the pixels (IDC; 0.5).",
                },
                "distance": {
                    "enum": ["mse", "l1"],
                    "default": "mse",
                    "description": (
                        "Distance of the gradients of all convolution weights: squared (IDC for CIFAR-10 and "
                        "SVHN) or absolute differences (MNIST and Fashion-MNIST), summed."
                    ),
                },
                "init": {
                    "$ref": "#/$defs/init",
                    "default": "weighted_real",
                    "description": (
                        "Initial images, as for dm (IDC; the first real ones of a class); with a factor above 1 real "
                        "ones are mosaics of factor x factor reduced images."
                    ),
                },
                "augment": {
                    "$ref": "#/$defs/augment",
                    "default": "color_crop_cutout",
                    "description": (
                        "Augmentation of the matching and, without cutout if there is CutMix, of the network's "
                        "training. Flip, color and cutout are always applied, of the other pieces one is drawn "
                        "(IDC; for MNIST with a factor above 1 color_crop)."
                    ),
                },
                "network_images": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 500,
                    "description": (
                        "Real images, drawn in proportion to the debias weights, that train the network between"
                        " two updates, in whole batches (IDC; 500, CIFAR-10 2,000)."
                    ),
                },
                "network_batch": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 64,
                    "description": "Images a step of the network (IDC; 64).",
                },
                "network_learning_rate": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 0.01,
                    "description": "Of the network (IDC; 0.01).",
                },
                "network_momentum": {
                    "type": "number",
                    "minimum": 0,
                    "exclusiveMaximum": 1,
                    "default": 0.9,
                    "description": "Of the network (IDC; 0.9).",
                },
                "network_weight_decay": {
                    "type": "number",
                    "minimum": 0,
                    "default": 0.0005,
                    "description": "Of the network (IDC; 0.0005).",
                },
                "cutmix": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": 1,
                    "default": 0.5,
                    "description": (
                        "Share of the network's batches that are mixed by CutMix (IDC; 0.5, for MNIST with a "
                        "factor above 1 none)."
                    ),
                },
                "cutmix_beta": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 1,
                    "description": "Of the Beta distribution of the mixture (IDC; 1).",
                },
            },
        },
    },
}

# Published learning rate of ten images per class by the distance; it grows with their number.
RATES = {"mse": 5e-3, "l1": 1e-4}


def first_mosaics(split: Split, side: RealSide, *, init: str, factor: int, ipc: int, seed: int) -> torch.Tensor:
    """Return mosaics of real images, class after class, normalised float32 (K * ipc, C, H, W).

    Each holds ``factor ** 2`` images. ``balanced`` and ``stratified``: those of `initial_rows`. ``real`` and
    ``weighted_real``: drawn uniformly or in proportion to the weights of `side`, without replacement as long as the
    class has enough.

    Raises
    ------
    DdbiasError
        From `initial_rows`.
    """
    needed = ipc * factor**2
    if init in ("balanced", "stratified"):
        rows = [initial_rows(split, side, init=init, ipc=needed, seed=seed)]
    else:
        if init == "real":
            side = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=1, seed=seed)
        rows = []
        for label, members in enumerate(side.classes):
            generator, left = stream(seed, "init", label), needed
            while left > 0:
                rows.append(side.select(label, min(left, len(members)), generator))
                left -= len(members)
    return formation.mosaic(_real_images(split, torch.cat(rows)), factor)


def training_rows(side: RealSide, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return `count` rows (count,) of all classes in proportion to their weights; no more than there are.

    Equal weights: without replacement. Others: with replacement, since without it a class would run out of its heavy
    samples.
    """
    rows = torch.cat(side.classes)
    count = min(count, len(rows))
    if all(side.uniform):
        return rows[torch.randperm(len(rows), generator=generator)[:count]]
    return rows[torch.multinomial(torch.cat(side.weights), count, replacement=True, generator=generator)]


def _real_images(split: Split, rows: torch.Tensor, device: torch.device | str = "cpu") -> torch.Tensor:
    return split.normalize(torch.from_numpy(split.images[rows.numpy()]).to(device))


class Distiller(Learner):
    """The step of IDC (see the module's text).

    Parameters
    ----------
    split : Split
        Training images; the network learns from them.
    settings : mapping
        ``factor``; ``learning_rate`` (None: of `RATES`, times a tenth of the images per class), ``momentum`` of pixels
        in 0..1; ``init``; ``outer_loop``; ``synthetic_batch``; ``distance``; ``augment``; of the network's training
        ``network_images``, ``network_batch``, ``network_learning_rate``, ``network_momentum``,
        ``network_weight_decay``, ``cutmix`` (its probability), ``cutmix_beta``.
    network : mapping
        ``kind`` and options of a network with convolutions.
    images : Tensor, shape (K * ipc, C, H, W)
        The stored images, class after class; changed in place. With real first images and a factor above 1 they are
        replaced by mosaics right away.
    seed : int
    device : device
    precision : {"exact", "fast"}
        Of the matching; the network's training between two steps is exact.
    side : RealSide
        Draws real images as the debias says.

    Attributes
    ----------
    steps_per_iteration : int
        The outer loop.
    formation : int
        The factor.

    Raises
    ------
    DdbiasError
        For an unknown distance or augmentation, a factor that the images are too small for, or a network without
        convolutions.
    """

    needs_side = True  # first images and training images are drawn from it

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
        side: RealSide,
    ) -> None:
        ipc = len(images) // split.classes
        if settings["distance"] not in RATES:
            raise unknown("gradient distance", settings["distance"], RATES)
        rate = settings["learning_rate"]
        if rate is None:
            rate = RATES[settings["distance"]] * ipc / 10
        super().__init__(images, {"learning_rate": rate, "momentum": settings["momentum"]}, None)
        if split.whitening is not None:
            raise DdbiasError("idc keeps its images within 0..1, so it takes no normalise: zca; choose own")
        self.network = networks.of_settings(network, split.shape, split.classes, seed).to(device)
        matched = [name for name, parameter in self.network.named_parameters() if parameter.ndim == 4]
        if not matched:
            raise DdbiasError(f"idc matches convolutions, and the network {network['kind']} has none; use convnet")
        self.split, self.side, self.settings, self.seed = split, side, settings, seed
        self.classes, self.steps_per_iteration = split.classes, settings["outer_loop"]
        self.formation = settings["factor"]
        networks.matching(self.network)
        self.gradients = gradients_for(
            self.network,
            settings["distance"],
            matched,
            shape=split.shape,
            count=min(settings["synthetic_batch"], ipc * self.formation**2),
            device=device,
            precision=precision,
        )
        self.augment = Chain(settings["augment"])
        self.cutmix = CutMix(settings["cutmix"], settings["cutmix_beta"])
        # The network's training leaves out cutout where CutMix cuts already (published).
        pieces = [name for name in DSA(settings["augment"]).names if not (self.cutmix.probability and name == "cutout")]
        self.training_augment = Chain("_".join(pieces))
        self._prepare_pixels(ipc)

    def _prepare_pixels(self, ipc: int) -> None:
        """Set the first images, and what pixels in 0..1 mean for normalised ones."""
        mean, std = (
            torch.tensor(self.split.meta[name], dtype=torch.float64).view(-1, 1, 1) for name in ("mean", "std")
        )
        black, white, gain = -mean / std, (1 - mean) / std, std**-2
        self.black, self.white, self.gain = (value.to(self.images) for value in (black, white, gain))
        if self.formation > 1 and self.settings["init"] != "noise":
            options = {"init": self.settings["init"], "factor": self.formation, "ipc": ipc, "seed": self.seed}
            self.images.copy_(first_mosaics(self.split, self.side, **options))
        self._clamp()
        self._restart(0)

    def _clamp(self) -> None:
        self.images.clamp_(self.black, self.white)

    def _restart(self, iteration: int) -> None:
        """Draw the network of an iteration; its training starts without momentum."""
        networks.reset(self.network, stream(self.seed, "network", iteration))
        networks.matching(self.network)
        self.trainer = SGD(
            self.network.parameters(),
            learning_rate=self.settings["network_learning_rate"],
            momentum=self.settings["network_momentum"],
            weight_decay=self.settings["network_weight_decay"],
        )

    def decoded(self, images: torch.Tensor) -> torch.Tensor:
        """Return the training images that stored images hold."""
        return formation.decode(images, self.formation, mean=self.split.meta["mean"], std=self.split.meta["std"])

    def step(self, step: int, real: torch.Tensor, batch: RealBatch) -> dict[str, float]:
        """Move the pixels of one class after the other, then train the network; see `Learner.step`.

        `step` counts passes over the classes through all iterations. ``loss`` is the distance, summed over the targets.
        """
        iteration, turn = divmod(step, self.steps_per_iteration)
        if turn == 0:
            self._restart(iteration)
        loss, (batch, *_) = torch.zeros((), device=real.device), batch.on(real.device)
        for label in range(self.classes):
            distance, gradient = self.match_class(step, label, real, batch)
            loss += distance
            whole = torch.zeros_like(self.images)
            whole.chunk(self.classes)[label].copy_(gradient * self.gain)
            self.optimiser.apply([whole])
        if turn + 1 == self.steps_per_iteration:
            self._clamp()
        else:
            self.train(step)
        return {"loss": reported(loss)}

    def probe_loss(self, index: int, real: torch.Tensor, batch: RealBatch) -> float:
        """Return the distance, summed over the targets, for a fresh network."""
        self._restart(index)
        step, (batch, *_) = index * self.steps_per_iteration, batch.on(real.device)
        return sum(float(self.match_class(step, label, real, batch)[0]) for label in range(self.classes))

    def match_class(
        self, step: int, label: int, real: torch.Tensor, batch: RealBatch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distance of one class, summed over its targets, and its gradient for the class's stored images."""
        # One seed per class and step: real and synthetic images get the same parameters.
        shared, chosen = derive(self.seed, "augment", step, label), batch.of_class(label)
        self.gradients.refresh()
        targets = [self._target(real, one, shared) for one in chosen]
        scales = torch.stack([real.new_full((), one.scale) for one in chosen])
        stored = self.images.detach().chunk(self.classes)[label].clone().requires_grad_(True)
        synthetic = self.decoded(stored)
        if len(synthetic) > self.settings["synthetic_batch"]:
            order = torch.randperm(len(synthetic), generator=stream(self.seed, "synthetic_batch", step, label))
            synthetic = synthetic[order[: self.settings["synthetic_batch"]].to(synthetic.device)]
        augmented = self.augment(synthetic, shared)
        labels = torch.full((len(augmented),), label, device=real.device)
        distance, slope = self.gradients.match(augmented.detach(), labels, targets, scales)
        (gradient,) = torch.autograd.grad(augmented, stored, slope)
        return distance, gradient

    def _target(self, real: torch.Tensor, target: Target, shared: int) -> tuple[torch.Tensor, ...]:
        """Return the gradient of the weighted mean loss of the real images of a target."""
        images = self.augment(real[target.images], shared)
        labels = torch.full((len(images),), target.label, device=images.device)
        return self.gradients.real(images, labels, target.share.to(images))

    def train(self, step: int) -> None:
        """Train the network on ``network_images`` real images, in whole batches."""
        generator, size = stream(self.seed, "train", step), self.settings["network_batch"]
        count = -(-self.settings["network_images"] // size) * size
        rows = training_rows(self.side, count, generator)
        images = _real_images(self.split, rows, self.images.device)
        labels = torch.from_numpy(self.split.labels[rows.numpy()]).to(images.device)
        self.network.train()
        for inputs, truth in zip(images.split(size), labels.split(size), strict=True):
            inputs = self.training_augment.per_sample(inputs, generator)
            self.trainer.step(self.cutmix.loss(self.network, inputs, truth, generator))
        networks.matching(self.network)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all that a later step depends on, as named tensors."""
        network = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        trainer = {f"trainer.{name}": tensor for name, tensor in self.trainer.state_dict().items()}
        return {**super().state_dict(), **network, **trainer}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.network.load_state_dict({name: state[f"network.{name}"] for name in self.network.state_dict()})
        prefix = "trainer."
        self.trainer.load_state_dict(
            {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        )
