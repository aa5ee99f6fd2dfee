"""MTT: a network trained on the synthetic images shall follow the trajectory of experts trained on real images.

Source: Cazenavette et al., "Dataset Distillation by Matching Training Trajectories" (arXiv 2203.11932). A step takes an
expert and an epoch t of its training, does ``syn_steps`` SGD steps on the synthetic images from the expert's parameters
at t, and moves the images, and the size of these steps, down the gradient of the squared distance to the expert's
parameters ``expert_epochs`` later, relative to how far the expert went (`ddbias.distill.unrolled`). The learned step
size is part of the result: it is the learning rate for training on the images.

Two parts of DATM (Guo et al., arXiv 2310.05773): ``min_start`` and ``first_max_start`` are its window of start epochs,
late segments for large sets, and easy ones first. With ``soft_labels`` the label of an image is ``softmax(z)``, the
steps descend the cross-entropy with it, and the logits z are moved down the same gradient as the images, at a rate of
their own. They begin as those of the last epoch of an expert for the first image, and the first images are drawn among
those that this expert classifies correctly.

The experts are a pool of `ddbias.distill.pretraining`. Debias weights enter *their* training and nothing else here, so
no real images are drawn (``needs_real``).

The public code whitens images for 1 and 10 images per class of CIFAR-10: that is ``normalise: zca`` of the data set.

Differs from it in: exactly ``iterations`` iterations (it does one more), a pass's short batch comes last (there first;
it matters where ``syn_batch`` does not divide the number of images), the gradient in little memory by default, named
random streams instead of the clock. Of several experts, seeds take one after the other for the first soft labels.

Cost of a step: ``syn_steps`` times a forward and a twofold backward pass of a batch of synthetic images, with
``memory: replay`` or ``constant`` another forward and backward pass. Soft labels add one forward pass of all training
images at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from ddbias.base.errors import DdbiasError, unknown
from ddbias.base.seeding import stream
from ddbias.data.soft_labels import SoftLabels
from ddbias.data.split import Split
from ddbias.debias.real_side import RealBatch
from ddbias.distill.learner import Guidance, Learner
from ddbias.distill.pretraining import Member, last_network, open_member
from ddbias.distill.unrolled import WAYS, squared_distance
from ddbias.learning import networks
from ddbias.learning.augment.draws import BatchDraws
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.device import fast_dtype, transfer
from ddbias.learning.optimiser import SGD
from ddbias.learning.precision import compiling
from ddbias.learning.training import predict, shuffled_batches

PLUGIN = {
    "distiller": {
        "mtt": {
            "description": (
                "Trajectory matching (arXiv 2203.11932); defaults of its code for CIFAR10, which null takes for"
                " 1, 10 and 50 images per class, else as for the next lower number. Debias weights enter the "
                "training of the experts. The network is theirs."
            ),
            "required": ["models"],
            # Of a pass for an image of a step: with `replay` every step is done twice, once with a twofold gradient.
            "seconds": (
                "0.05 + 4 * network * (syn_steps or at(ipc, 1, 50, 10, 30))"
                " * min(classes * ipc, syn_batch or classes * ipc)"
            ),
            "seconds_once": "0.4 * network * train * soft_labels",
            "megabytes": "image_mb * (500 + 6 * min(classes * ipc, syn_batch or classes * ipc))",
            "options": {
                "models": {"type": "string", "description": "Name under `models`: the experts."},
                "iterations": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 5000,
                    "x-scale": "iterations",
                    "description": "Updates (MTT; 5,000).",
                },
                "syn_steps": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "default": None,
                    "description": (
                        "Steps of the network on the synthetic images for one update (MTT; 50, 30, 30). Not "
                        "shrunk by `scale`."
                    ),
                },
                "expert_epochs": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "default": None,
                    "description": (
                        "Epochs of an expert that these steps shall match (MTT; 2). Not shrunk by `scale`."
                    ),
                },
                "max_start": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "default": None,
                    "description": (
                        "An update starts at an epoch of an expert below this one (MTT; 2, 20, 40). null goes "
                        "no further than the experts were trained."
                    ),
                },
                "min_start": {
                    "type": "integer",
                    "minimum": 0,
                    "default": 0,
                    "description": "First epoch at which an update starts (MTT; 0; DATM: later ones).",
                },
                "first_max_start": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "default": None,
                    "description": "max_start of the first iteration, from which it grows (DATM); null: it does not.",
                },
                "growth": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 5000,
                    "x-scale": "iterations",
                    "description": "Iterations in which it grows, evenly.",
                },
                "learning_rate": {
                    "type": ["number", "null"],
                    "exclusiveMinimum": 0,
                    "default": None,
                    "description": "Of the pixels (MTT; 100, 100, 1000).",
                },
                "momentum": {
                    "type": "number",
                    "minimum": 0,
                    "exclusiveMaximum": 1,
                    "default": 0.5,
                    "description": "Of the pixels (MTT; 0.5).",
                },
                "step_size": {
                    "type": ["number", "null"],
                    "exclusiveMinimum": 0,
                    "default": None,
                    "description": ("First learning rate of the steps, which is learned (MTT; 0.01, 0.001, 0.001)."),
                },
                "step_size_learning_rate": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "default": None,
                    "description": ("Of that learning rate, with momentum 0.5 (MTT; 1e-7, 1e-5, 1e-5); 0 keeps it."),
                },
                "syn_batch": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "default": None,
                    "description": "Synthetic images a step; null takes all (MTT).",
                },
                "soft_labels": {
                    "type": "boolean",
                    "default": False,
                    "description": (
                        "Learn a probability of every class for each image (DATM), for evaluations; the first images "
                        "are then real ones that an expert classifies correctly. false: MTT."
                    ),
                },
                "soft_label_learning_rate": {
                    "type": "number",
                    "minimum": 0,
                    "default": 2,
                    "description": "Of their logits, with the momentum of the pixels; 0 keeps them. Default ours.",
                },
                "init": {
                    "$ref": "#/$defs/init",
                    "default": "real",
                    "description": "Initial images, as for dm (MTT; real).",
                },
                "augment": {
                    "$ref": "#/$defs/augment",
                    "default": "color_crop_cutout_flip_scale_rotate",
                    "description": "DSA strategy of the steps (MTT; without flip for digits).",
                },
                "memory": {
                    "enum": ["graph", "replay", "constant"],
                    "default": "replay",
                    "description": (
                        "graph keeps all steps in memory (MTT); replay does them twice, for the same values in "
                        "the memory of one step and its parameters times `syn_steps`, and takes about half as "
                        "long again (compiled or captured steps are done once); constant leaves out how a step acts "
                        "on later gradients, for memory that "
                        "does not grow with the steps (TESLA, arXiv 2211.10586). Default ours."
                    ),
                },
            },
        },
    },
}

STEP_SIZE_MOMENTUM = 0.5


@dataclass(frozen=True)
class Published:
    """Settings that depend on the number of images per class: the names are those of the config."""

    syn_steps: int
    expert_epochs: int
    max_start: int
    learning_rate: float
    step_size: float
    step_size_learning_rate: float


# By images per class, for CIFAR10 (a picture in the README of the public code).
PUBLISHED = {
    1: Published(50, 2, 2, 100, 0.01, 1e-7),
    10: Published(30, 2, 20, 100, 0.001, 1e-5),
    50: Published(30, 2, 40, 1000, 0.001, 1e-5),
}


def published(ipc: int) -> Published:
    """Return the published settings for `ipc` images per class; between two rows the lower one."""
    return PUBLISHED[max(least for least in PUBLISHED if least <= ipc)]


class Distiller(Learner):
    """The trajectory matching step (see the module's text).

    Parameters
    ----------
    split : Split
        Training images; only shape and number of classes are used.
    settings : mapping
        ``models``, the name of the pool; ``syn_steps``, ``expert_epochs``, ``max_start``, ``learning_rate`` of the
        pixels, ``step_size`` (the first one) and ``step_size_learning_rate`` (None: `published`; ``max_start`` then no
        larger than the pool allows), ``min_start``, ``first_max_start``, ``growth``; ``momentum`` of the pixels;
        ``syn_batch`` (None: all images); ``soft_labels`` and ``soft_label_learning_rate``; ``augment``; ``memory``, a
        key of `ddbias.distill.unrolled.WAYS`.
    network : mapping or None
        Not used: the network is that of the pool.
    images : Tensor, shape (K * ipc, C, H, W)
        The synthetic images, class after class; changed in place.
    seed : int
    device : device
    precision : {"exact", "fast"}
    models : mapping of str to sequence of path
        Files of the members of every pool.
    guidance : callable or None
        See `ddbias.distill.learner`.

    Attributes
    ----------
    step_size : Tensor of float32, a scalar
        The learned step size.
    logits : Tensor of float32, shape (K * ipc, K), or None
        The learned soft labels are their softmax.

    Raises
    ------
    DdbiasError
        If the pool does not fit the images or the settings, or for an unknown way or augmentation.
    """

    needs_real, needs_models = False, True

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
        guidance: Guidance | None = None,
    ) -> None:
        if settings["memory"] not in WAYS:
            raise unknown("memory", settings["memory"], WAYS)
        self.members = _open(_files(models, settings), split)
        self.settings = _settled(settings, published(len(images) // split.classes), self.members)
        super().__init__(images, self.settings, guidance)
        self.step_size = torch.tensor(float(self.settings["step_size"]), device=device)
        rate = self.settings["step_size_learning_rate"]
        # What is learned besides the images, and how it is moved, by its name in the state.
        self.others = {
            "step_size": (self.step_size, SGD([self.step_size], learning_rate=rate, momentum=STEP_SIZE_MOMENTUM))
        }
        self.logits = None
        if settings.get("soft_labels"):
            with torch.no_grad():
                self.logits = _labeller(models, settings, split, seed, device)(images)
            rate = settings["soft_label_learning_rate"]
            self.others["logits"] = (
                self.logits,
                SGD([self.logits], learning_rate=rate, momentum=settings["momentum"]),
            )
        first = self.members[0]
        shape = (first.channels, first.size, first.size)
        made = networks.of_settings(first.network, shape, first.classes, seed)
        self.network = networks.matching(made.to(device))
        self.names = [name for name, _ in self.network.named_parameters()]
        self.augment = DSA(settings["augment"], align_corners=True)
        self.labels = torch.arange(split.classes, device=device).repeat_interleave(len(images) // split.classes)
        batch = slice(self.settings["syn_batch"])
        self.step_gradient = _step_gradient_for(self.network, images[batch], self.labels[batch], precision)
        self.seed = seed

    def match(self, step: int, real: torch.Tensor | None, batch: RealBatch | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of a step and its gradient with respect to the images; keep those of all else.

        The real batch is not used.
        """
        count, steps = len(self.images), self.settings["syn_steps"]
        size, shape = self.settings["syn_batch"] or count, self.images.shape[2:]
        rows = list(shuffled_batches(count, size, steps, stream(self.seed, "order", step)))
        # Before the steps, of which some ways do each one twice; then all goes to the device in one piece.
        drawn = [
            self.augment.drawn(BatchDraws(stream(self.seed, "augment", step, turn), len(batch)), *shape)
            for turn, batch in enumerate(rows)
            if self.augment.names
        ]
        sides = self.segment(step)
        there = iter(transfer([*sides[0], *sides[1], *rows, *(p for _, ps in drawn for p in ps)], self.images.device))
        # All parameters in one row: then a step of the network, and its derivative, is few operations.
        start, target = ([torch.cat([next(there).flatten() for _ in side])] for side in sides)
        batches = [next(there) for _ in rows]
        drawn = [(name, [next(there) for _ in parameters]) for name, parameters in drawn]

        def slopes(learned, parameters, turn, create_graph):
            inputs = learned[0][batches[turn]]
            if drawn:
                inputs = self.augment.changed(inputs, *drawn[turn])
            targets = (self.labels if self.logits is None else learned[1])[batches[turn]]
            targets = targets if self.logits is None else targets.softmax(1)
            return [self.step_gradient(inputs, targets, *parameters, create_graph)]

        # What is compiled or captured keeps the arguments of a step, and no graph that could be given up.
        held = self.step_gradient.captured is not None and self.settings["memory"] == "replay"
        way = WAYS["graph" if held else self.settings["memory"]]
        learned = [self.images] if self.logits is None else [self.images, self.logits]
        loss, (gradient, *more), rate_gradient = way(slopes, learned, self.step_size, start, target, steps)
        self.gradients = [rate_gradient, *more]
        return loss, gradient

    def segment(self, step: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return an expert's parameters at the start and at the end of the segment of its training drawn for a step.

        All experts are used in turn, each time in a new order; the first epoch is uniform in the `window`.
        """
        turn, position = divmod(step, len(self.members))
        chosen = torch.randperm(len(self.members), generator=stream(self.seed, "experts", turn))[position]
        first, end = self.window(step)
        epoch = first + int(torch.randint(end - first, (), generator=stream(self.seed, "start", step)))
        member = self.members[int(chosen)]
        states = [member.state(e) for e in (epoch, epoch + self.settings["expert_epochs"])]
        self._take_buffers(states[0])
        start, target = ([state[name] for name in self.names] for state in states)
        if not squared_distance(start, target) > 0:
            raise DdbiasError(f"{member.path} does not move after epoch {epoch}; raise the learning rate of the pool")
        return start, target

    def window(self, step: int) -> tuple[int, int]:
        """Return the first epoch at which the segment of a step may begin, and the first at which it may not."""
        least, most = self.settings["first_max_start"], self.settings["max_start"]
        grown = 1 if least == most else min(1, step / self.settings["growth"])
        return self.settings["min_start"], least + int((most - least) * grown)

    @torch.no_grad()
    def _take_buffers(self, state: Mapping[str, torch.Tensor]) -> None:
        """Give the network, and its copy for the steps, the expert's buffers, which a network of yours may draw."""
        for name, buffer in self.network.named_buffers():
            buffer.copy_(state[name])
        if self.step_gradient.network is not self.network:
            compiling.refresh(self.step_gradient.network, self.network)

    def after(self, step: int) -> None:
        """Move the step size and the soft labels."""
        for (_, optimiser), gradient in zip(self.others.values(), self.gradients, strict=True):
            optimiser.apply([gradient])

    def step(self, step: int, real: torch.Tensor | None, batch: RealBatch | None) -> dict[str, float]:
        """Do one update; returns ``loss``, ``learning_rate`` (the step size after it), and ``guidance`` if any.

        A step size that is no longer positive ends the run.
        """
        scalars, rate = super().step(step, real, batch), self.learned_rate
        if not rate > 0:
            raise DdbiasError(f"the learned step size is {rate:.3g} at step {step}; lower step_size_learning_rate")
        return {**scalars, "learning_rate": rate}

    @property
    def learned_rate(self) -> float:
        """The learned step size: the learning rate for training on the images."""
        return self.step_size.item()

    @property
    def soft_labels(self) -> SoftLabels | None:
        """The learned soft labels of the images."""
        return None if self.logits is None else SoftLabels(self.logits.softmax(1).cpu())

    @classmethod
    def eligible(
        cls,
        split: Split,
        *,
        settings: Mapping,
        models: Mapping[str, Sequence[str | Path]],
        seed: int,
        device: torch.device,
    ) -> np.ndarray | None:
        """Return which images soft labels can begin with (N,): those that the expert classifies correctly."""
        if not settings.get("soft_labels"):
            return None
        if settings["init"] == "noise":
            raise DdbiasError("soft_labels begin as an expert's for real images; choose another init than noise")
        expert = _labeller(models, settings, split, seed, device)
        images, labels = split.tensors(device)
        return (predict(expert, images, prepare=split.normalize) == labels).cpu().numpy()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all that a later step depends on, as named tensors."""
        state = super().state_dict()
        for name, (value, optimiser) in self.others.items():
            state |= {f"{name}.{key}": tensor for key, tensor in {"value": value, **optimiser.state_dict()}.items()}
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        for name, (value, optimiser) in self.others.items():
            own = {key.removeprefix(f"{name}."): t for key, t in state.items() if key.startswith(f"{name}.")}
            value.copy_(own["value"])
            optimiser.load_state_dict(own)


class StepGradient:
    """The gradient of the cross-entropy of a batch with respect to a network's parameters, and its own gradient.

    Parameters
    ----------
    network : Module
        As the steps see it, or rounded (`ddbias.learning.precision.compiling.rounded_copy`).
    capture : callable or None
        Makes a function of tensors, which returns a tuple of them, faster: it compiles or captures it.
    """

    def __init__(self, network: torch.nn.Module, capture: Callable[[Callable], Callable] | None = None) -> None:
        self.network = network
        self.shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
        self.dtype = next(network.parameters()).dtype
        self.captured = None if capture is None else (capture(self._gradient), capture(self._pulled_back))

    def __call__(
        self, inputs: torch.Tensor, targets: torch.Tensor, row: torch.Tensor, create_graph: bool
    ) -> torch.Tensor:
        """Return the gradient (P,) at parameters `row` (P,), of images (B, C, H, W) and labels (B,) or (B, K)."""
        if self.captured is not None:
            return _Captured.apply(self.captured, inputs, targets, row)
        return torch.autograd.grad(self._loss(row, inputs, targets), row, create_graph=create_graph)[0]

    def _loss(self, row: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        parts = row.to(self.dtype).split([shape.numel() for shape in self.shapes.values()])
        named = {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        return cross_entropy(functional_call(self.network, named, (inputs.to(self.dtype),)).to(row.dtype), targets)

    def _gradient(self, inputs: torch.Tensor, targets: torch.Tensor, row: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.func.grad(self._loss)(row, inputs, targets),)

    def _pulled_back(
        self, direction: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor, row: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return the gradients of ``direction @ gradient``: of images, soft labels if any, and parameters."""
        if targets.is_floating_point():
            return torch.func.vjp(lambda *given: self._gradient(*given)[0], inputs, targets, row)[1](direction)
        return torch.func.vjp(lambda x, p: self._gradient(x, targets, p)[0], inputs, row)[1](direction)


class _Captured(torch.autograd.Function):
    @staticmethod
    def forward(ctx, captured, *given):
        gradient, ctx.pulled_back = captured
        ctx.save_for_backward(*given)
        return gradient(*(tensor.detach() for tensor in given))[0]

    @staticmethod
    def backward(ctx, direction):
        given = [tensor.detach() for tensor in ctx.saved_tensors]
        found = iter(ctx.pulled_back(direction.detach(), *given))
        return None, *(next(found) if tensor.is_floating_point() else None for tensor in given)


def _step_gradient_for(
    network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, precision: str
) -> StepGradient:
    """Return the gradient of a step in a precision, tried with a batch of images (B, C, H, W) and labels (B,)."""
    plain, device = StepGradient(network), images.device
    captures = compiling.captures(device)
    if precision != "fast" and not captures:
        return plain
    row = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    direction = torch.randn(len(row), generator=stream(0, "probe")).to(row)

    def probe(way: StepGradient) -> list[torch.Tensor]:
        leaves = [images.clone().requires_grad_(True), row.clone().requires_grad_(True)]
        given = way(leaves[0], labels, leaves[1], True)
        return [given.detach(), *torch.autograd.grad(given, leaves, direction)]

    if precision != "fast":
        return compiling.same_in_graphs(plain, lambda: StepGradient(network, compiling.graphed), probe)

    def fast() -> StepGradient:
        rounded = compiling.not_in_place(compiling.rounded_copy(network, fast_dtype(device)))
        return StepGradient(rounded.requires_grad_(False), compiling.captured if captures else compiling.compiled)

    return compiling.fast_or_exact(
        plain,
        fast,
        probe,
        obstacle=compiling.network_obstacle(network, device),
        instead="the steps of the network are computed exactly",
        calls=compiling.CAPTURED_CALLS if captures else 1,
    )


def _labeller(
    models: Mapping[str, Sequence[str | Path]], settings: Mapping, split: Split, seed: int, device: torch.device
) -> torch.nn.Module:
    """Return the expert whose logits soft labels begin with."""
    files = _files(models, settings)
    return last_network(files[seed % len(files)], split, settings["models"]).to(device)


def _files(models: Mapping[str, Sequence[str | Path]], settings: Mapping) -> Sequence[str | Path]:
    """Return the files of the pool."""
    if settings["models"] not in models:
        raise unknown("pool of models", settings["models"], models)
    return models[settings["models"]]


def _open(files: Sequence[str | Path], split: Split) -> list[Member]:
    """Open the experts of a pool, which must be alike and fit the images."""
    members = [open_member(path) for path in files]
    if not members:
        raise DdbiasError("the pool of models has no member; raise its count")
    first, channels, size = members[0], *split.shape[:2]
    if (first.channels, first.size, first.classes) != (channels, size, split.classes):
        raise DdbiasError(
            f"{first.path} knows {first.channels}x{first.size}x{first.size} images of {first.classes} classes, the "
            f"data set has {channels}x{size}x{size} and {split.classes}; train the pool on this data set"
        )
    for member in members:
        if (member.network, member.epochs) != (first.network, first.epochs):
            raise DdbiasError(f"{member.path} and {first.path} differ in network or epochs; delete them and run again")
    return members


def _settled(settings: Mapping, table: Published, members: list[Member]) -> dict:
    """Return the settings with the published ones in place of None, as far as the experts' training reaches."""
    settled = {**settings, **{name: v for name, v in asdict(table).items() if settings[name] is None}}
    last, ahead = members[0].epochs[-1], settled["expert_epochs"]
    longest = last - ahead + 1
    if longest < 1:
        raise DdbiasError(f"expert_epochs is {ahead}, but the pool of models has only {last} epochs; train it longer")
    if settings["max_start"] is None:
        settled["max_start"] = min(settled["max_start"], longest)
    elif settled["max_start"] > longest:
        raise DdbiasError(
            f"max_start is {settled['max_start']} and expert_epochs {ahead}, but the pool of models has only {last} "
            f"epochs; use max_start {longest} or less, or train it longer"
        )
    settled["min_start"] = settings.get("min_start", 0)
    settled["first_max_start"] = settings.get("first_max_start") or settled["max_start"]
    if not settled["min_start"] < settled["first_max_start"] <= settled["max_start"]:
        raise DdbiasError(
            f"an update cannot start at an epoch from min_start {settled['min_start']} and below first_max_start "
            f"{settled['first_max_start']}, which grows to max_start {settled['max_start']}; use ascending numbers"
        )
    return settled
