"""Pools of pre-trained models: each member is trained on a training split and leaves a snapshot after every epoch.

The pools serve MTT, whose experts are trajectories of parameters (Cazenavette et al., arXiv 2203.11932), and CLoM
guidance, which needs single snapshots (Lu et al., arXiv 2310.03295). Both train with plain SGD, and the published
numbers are in the config. Debias weights enter here: images are then drawn in proportion to them. FairDD and COBRA,
which match group by group, can do so only where real images are matched; here their weights draw the groups of a class
equally often.

Differs from the public codes in: each member has named random streams of its own, by epoch and step, instead of the
clock, so that a resumed training is bit-identical. Augmentation samples with ``align_corners``, as that of MTT.

Cost: the training; a file, and the state towards its end, of (epochs + 1) times the parameters (1.3 MB for the
published ConvNet).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ddbias.base.errors import DdbiasError
from ddbias.base.log import Progress
from ddbias.base.seeding import derive, global_stream, stream
from ddbias.data import store
from ddbias.data.split import Split
from ddbias.debias.real_side import check_weights
from ddbias.learning import networks
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.optimiser import SGD
from ddbias.learning.precision.compiled_network import for_training
from ddbias.learning.training import train_step
from ddbias.runtime.checkpoint import Checkpoint

KIND = "pretrained"


def train_member(
    split: Split,
    *,
    network: Mapping,
    settings: Mapping,
    weights: np.ndarray | None,
    member: int,
    device: torch.device,
    precision: str = "exact",
    checkpoint: Checkpoint,
) -> dict[str, torch.Tensor]:
    """Train one member of a pool and return its snapshots.

    Parameters
    ----------
    split : Split
        Training images; attributes are not used.
    network : mapping
        ``kind`` and options.
    settings : mapping
        ``epochs``, ``batch_size``, ``learning_rate``, ``momentum``, ``weight_decay``, ``augment``, ``seed`` of the
        pool, and ``drops``: shares of the epochs (0..1) after which the rate falls to a tenth, keeping the momentum.
    weights : ndarray of float, shape (N,), or None
        Sample weights of the debias, see `epoch_order`; None weights all images equally.
    member : int
        Number of the member; each has its own initial weights, order of images and augmentation.
    device : device
    precision : {"exact", "fast"}
        ``fast`` trains a compiled network (`ddbias.learning.precision.compiled_network`).
    checkpoint : Checkpoint

    Returns
    -------
    dict of str to Tensor
        ``"{epoch}.{name}"`` for every epoch 0 (untrained) to E and every parameter and buffer, on the CPU.

    Raises
    ------
    DdbiasError
        If weights are negative or not finite, or the loss is not finite.
    """
    weights = None if weights is None else check_weights(weights, split.labels)
    seed, size = derive(settings["seed"], "member", member), settings["batch_size"]
    model = _build(split, network, seed).to(device).train()
    optimiser = SGD(
        model.parameters(),
        learning_rate=settings["learning_rate"],
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
    )
    fast = None
    if precision == "fast":
        like, sizes = (split.shape, split.classes), {"count": len(split), "batch_size": size}
        fast = for_training(model, *like, **sizes, instead="the member is trained exactly")
    images, labels = split.tensors(device)
    augment = DSA(settings["augment"], align_corners=True)  # as MTT's experts
    per_epoch = math.ceil(len(split) / size)
    snapshots, order = _snapshot(model, 0), None
    start, state = checkpoint.load()
    if state:
        snapshots = _restore(model, optimiser, state)
    progress = Progress(settings["epochs"] * per_epoch, f"member {member}", start)
    for step in progress:
        epoch, position = divmod(step, per_epoch)
        if order is None or position == 0:
            order = epoch_order(split.labels, weights, stream(seed, "order", epoch))
        optimiser.learning_rate = rate(settings, epoch)
        with global_stream(seed, "global", step):
            loss = train_step(
                model,
                optimiser,
                images,
                labels,
                order[position * size :][:size],
                augment=augment,
                prepare=split.normalize,
                generator=stream(seed, "augment", step),
                gradients=fast.of_mean if fast else None,
            ).item()
        progress.show(step, loss=loss)
        if not math.isfinite(loss):
            raise DdbiasError(f"the loss of member {member} is not finite at step {step}; lower its learning rate")
        if position == per_epoch - 1:
            snapshots |= _snapshot(model, epoch + 1)
        if checkpoint.due():
            checkpoint.save(step + 1, _state(model, optimiser, snapshots))
    return snapshots


def epoch_order(labels: np.ndarray, weights: np.ndarray | None, generator: torch.Generator) -> torch.Tensor:
    """Return the rows (N,) int64 of one epoch, in training order.

    Every image once if the weights are equal within each class or None. Else N images, drawn with replacement in
    proportion to their weights.

    Parameters
    ----------
    labels : ndarray of int64, shape (N,)
    weights : ndarray of float64, shape (N,), or None
        Of mean 1 within each class, so that the classes keep their shares.
    generator : Generator
    """
    # By class, since scaling to mean 1 may round differently in two classes.
    if weights is None or all(np.ptp(weights[labels == label]) == 0 for label in np.unique(labels)):
        return torch.randperm(len(labels), generator=generator)
    return torch.multinomial(torch.from_numpy(weights), len(labels), replacement=True, generator=generator)


def rate(settings: Mapping, epoch: int) -> float:
    """Return the learning rate of an epoch (from 0): a tenth of it for each share in ``drops`` that has passed."""
    passed = sum(epoch >= round(share * settings["epochs"]) for share in settings["drops"])
    return settings["learning_rate"] * 0.1**passed


def _build(split: Split, network: Mapping, seed: int) -> nn.Module:
    return networks.of_settings(network, split.shape, split.classes, derive(seed, "network"))


def _snapshot(model: nn.Module, epoch: int) -> dict[str, torch.Tensor]:
    return {f"{epoch}.{name}": value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _state(model: nn.Module, optimiser: SGD, snapshots: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    return tensors | optimiser.state_dict() | {f"snapshot.{name}": value for name, value in snapshots.items()}


def _restore(model: nn.Module, optimiser: SGD, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Put a state back and return the snapshots in it."""
    model.load_state_dict(_part(state, "model."))
    optimiser.load_state_dict(state)
    return _part(state, "snapshot.")


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names start with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def save_member(
    path: str | Path,
    snapshots: Mapping[str, torch.Tensor],
    split: Split,
    *,
    network: Mapping,
    settings: Mapping,
    member: int,
    provenance: object,
) -> None:
    """Write what `train_member` returned, with what is needed to build the network and to know where it comes from."""
    channels, size, _ = split.shape
    meta = {
        "kind": KIND,
        "network": dict(network),
        "settings": dict(settings),
        "member": member,
        "epochs": list(range(settings["epochs"] + 1)),
        "channels": channels,
        "size": size,
        "classes": split.classes,
        "provenance": provenance,
    }
    store.write_tensors(path, snapshots, meta)


@dataclass(frozen=True)
class Member:
    """A member of a pool whose snapshots stay in its file until they are asked for.

    Attributes
    ----------
    path : Path
    network : dict
        ``kind`` and options.
    settings : dict
        How it was trained.
    member : int
    epochs : tuple of int
        Those with a snapshot, ascending; 0 is the untrained network.
    channels, size, classes : int
        Of the images that it was trained on.
    """

    path: Path
    network: dict
    settings: dict
    member: int
    epochs: tuple[int, ...]
    channels: int
    size: int
    classes: int

    def state(self, epoch: int) -> dict[str, torch.Tensor]:
        """Return the parameters and buffers of one epoch by name, on the CPU; only they are read.

        Raises
        ------
        DdbiasError
            If there is no snapshot of that epoch, or the file is damaged.
        """
        if epoch not in self.epochs:
            raise DdbiasError(
                f"{self.path} has no snapshot of epoch {epoch}, only of {self.epochs[0]} to {self.epochs[-1]}"
            )
        tensors, _ = store.read_tensors(self.path, prefix=f"{epoch}.")
        for name, tensor in tensors.items():
            store.require_finite(self.path, name, tensor.numpy())
        return _part(tensors, f"{epoch}.")


def open_member(path: str | Path) -> Member:
    """Read the metadata of a file that `save_member` wrote.

    Raises
    ------
    DdbiasError
        If the file is missing, damaged or something else.
    """
    _, meta = store.read_tensors(path, prefix=None)
    if meta.get("kind") != KIND:
        raise DdbiasError(f"{path} is not a member of a pool of models; name files of the stage pretrain_models")
    wanted = ("network", "settings", "member", "channels", "size", "classes")
    store.require(path, "a member of a pool of models", meta, ("epochs", *wanted))
    return Member(path=Path(path), epochs=tuple(meta["epochs"]), **{name: meta[name] for name in wanted})


def last_network(path: str | Path, split: Split, pool: str) -> nn.Module:
    """Return the network of a member after its last epoch, frozen and in evaluation mode, on the CPU.

    Raises
    ------
    DdbiasError
        If it is not for the images and classes of `split`; `pool` is the name that the message has.
    """
    member = open_member(path)
    channels, size, _ = split.shape
    if (member.channels, member.size, member.classes) != (channels, size, split.classes):
        raise DdbiasError(
            f"models {pool} are not for images {split.shape} of {split.classes} classes; choose a pool of this data set"
        )
    network = networks.of_settings(member.network, split.shape, member.classes, 0)
    network.load_state_dict(member.state(member.epochs[-1]))
    return network.eval().requires_grad_(False)
