"""The surrogate: a network whose embedding is dense where the biased (aligned) mass of a class is.

Source: supervised contrastive learning (Khosla et al., arXiv 2004.11362), used as a bias probe
as in Cui et al. (arXiv 2406.06609), who do not publish its settings: those of the config are ours. It differs from
the usual recipe in leaving out the augmentations that destroy the bias cue (colour jitter, gray), and in its
short training: the cue is learnt first, and the separation decays when training goes on.

Cost: one pass over two views of the training set an epoch; the loss is O((B V)^2 D) a step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ddbias import networks, store
from ddbias.augment import DSA
from ddbias.checkpoint import Checkpoint
from ddbias.data import Split
from ddbias.errors import DdbiasError, unknown
from ddbias.log import Progress
from ddbias.optimiser import SGD
from ddbias.seeding import derive, stream

LAYERS = ("features", "projection")


def supcon_loss(
    features: torch.Tensor,
    labels: torch.Tensor | None,
    *,
    temperature: float = 0.1,
    base_temperature: float = 0.07,
    mode: str = "all",
) -> torch.Tensor:
    """Supervised contrastive loss (SupCon, equation 2, the sum outside the logarithm).

    Parameters
    ----------
    features : Tensor, shape (N, V, D)
        V views of N images, any float dtype; normalised inside. Half precisions are summed in float32.
    labels : Tensor of int, shape (N,), or None
        None: only the other views of the same image are positives (SimCLR).
    temperature, base_temperature : float
        The loss is scaled by their ratio, as in the authors' code.
    mode : {"all", "one"}
        Whether all views or only the first ones are anchors.

    Returns
    -------
    Tensor, scalar
        Mean over the anchors; an anchor without positives contributes 0.

    Raises
    ------
    ValueError
        If a shape or the mode is wrong.
    """
    if features.ndim != 3:
        raise ValueError(f"features must have the shape (images, views, dimensions), not {tuple(features.shape)}")
    if mode not in ("all", "one"):
        raise ValueError(f"mode must be 'all' or 'one', not '{mode}'")
    count, views, _ = features.shape
    if labels is None:
        labels = torch.arange(count, device=features.device)
    if labels.shape != (count,):
        raise ValueError(f"labels of shape {tuple(labels.shape)} do not fit {count} images")
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    # View-major order, so that the first `count` rows are the first views.
    contrast = nn.functional.normalize(features, dim=2).transpose(0, 1).reshape(count * views, -1)
    anchors = contrast if mode == "all" else contrast[:count]
    similarity = anchors @ contrast.T / temperature  # (anchors, N V)
    itself = torch.eye(len(anchors), len(contrast), dtype=torch.bool, device=features.device)
    log_normaliser = similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    targets = labels.repeat(views)
    positive = (targets[: len(anchors), None] == targets[None, :]) & ~itself
    log_probability = (similarity - log_normaliser).masked_fill(~positive, 0).sum(1)
    per_anchor = -log_probability / positive.sum(1).clamp(min=1)
    return (temperature / base_temperature) * per_anchor.mean()


class ContrastiveNetwork(nn.Module):
    """An encoder of the zoo with a two-layer projection head (dim-dim-128), embedded L2-normalised."""

    def __init__(self, encoder: nn.Module, dimensions: int, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        size = encoder.embedding_size
        self.projection = nn.Sequential(
            nn.utils.skip_init(nn.Linear, size, size), nn.ReLU(), nn.utils.skip_init(nn.Linear, size, dimensions)
        )
        networks.reset(self.projection, stream(seed, "init", "projection"))

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters that the loss depends on: all but the encoder's classifier."""
        unused = set(self.encoder.head.parameters())
        return [parameter for parameter in self.parameters() if parameter not in unused]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the normalised projection (B, D) of normalised images (B, C, H, W)."""
        return nn.functional.normalize(self.projection(self.encoder.embed(images)), dim=1)


def train_surrogate(
    split: Split,
    *,
    network: Mapping,
    settings: Mapping,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint,
) -> tuple[ContrastiveNetwork, list[tuple[int, float]]]:
    """Train the contrastive network on the labels of a split.

    Parameters
    ----------
    split : Split
        Training images; attributes are not looked at.
    network : mapping
        ``kind`` and options of the encoder.
    settings : mapping
        ``epochs`` (may be a fraction), ``batch_size``, ``learning_rate``, ``momentum``, ``weight_decay``,
        ``temperature``, ``dimensions``, ``augment``, ``embedding``.
    seed : int
    device : device
    checkpoint : Checkpoint

    Returns
    -------
    ContrastiveNetwork
    list of (step, loss)
    """
    model = _build(split, network, settings, seed).to(device)
    images, labels = split.tensors(device)
    optimiser = SGD(
        model.trained(),
        learning_rate=settings["learning_rate"],
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
    )
    per_epoch = math.ceil(len(split) / settings["batch_size"])
    total = max(1, round(settings["epochs"] * per_epoch))
    history = torch.zeros(total)
    start, state = checkpoint.load()
    if state:
        _restore(model, optimiser, history, state)
    augment = DSA(settings["augment"])
    progress = Progress(total, f"surrogate seed{seed}", start)
    for step in progress:
        epoch, position = divmod(step, per_epoch)
        order = torch.randperm(len(split), generator=stream(seed, "order", epoch))
        batch = order[position * settings["batch_size"] :][: settings["batch_size"]].to(device)
        inputs = split.normalize(images[batch])
        views = [augment.per_sample(inputs, stream(seed, "augment", step, view)) for view in (0, 1)]
        features = model(torch.cat(views)).view(2, len(batch), -1).transpose(0, 1)
        loss = supcon_loss(features, labels[batch], temperature=settings["temperature"])
        optimiser.step(loss)
        history[step] = loss.item()
        progress.show(step, loss=history[step].item())
        if not math.isfinite(history[step]):
            raise DdbiasError(f"the loss of the surrogate is not finite at step {step}; lower its learning rate")
        if checkpoint.due():
            checkpoint.save(step + 1, _state(model, optimiser, history))
    return model, list(enumerate(history.tolist(), start=1))


def _build(split: Split, network: Mapping, settings: Mapping, seed: int) -> ContrastiveNetwork:
    channels, size, _ = split.shape
    options = {name: value for name, value in network.items() if name != "kind"}
    encoder = networks.build(
        network["kind"], channels=channels, size=size, classes=split.classes, seed=derive(seed, "encoder"), **options
    )
    return ContrastiveNetwork(encoder, settings["dimensions"], seed)


def _state(model: nn.Module, optimiser: SGD, history: torch.Tensor) -> dict[str, torch.Tensor]:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    return tensors | optimiser.state_dict() | {"history": history}


def _restore(model: nn.Module, optimiser: SGD, history: torch.Tensor, state: dict[str, torch.Tensor]) -> None:
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    optimiser.load_state_dict(state)
    history.copy_(state["history"])


@torch.no_grad()
def embed(
    model: ContrastiveNetwork, split: Split, *, layer: str, device: torch.device, batch_size: int = 512
) -> np.ndarray:
    """Return the L2-normalised embeddings of the un-augmented images of a split.

    Parameters
    ----------
    model : ContrastiveNetwork
    split : Split
    layer : {"features", "projection"}
        The encoder's embedding, or the output of the projection head that the loss sees.
    device : device
    batch_size : int

    Returns
    -------
    ndarray of float32, shape (N, D)
    """
    if layer not in LAYERS:
        raise unknown("embedding", layer, LAYERS)
    model.eval()
    read = model if layer == "projection" else model.encoder.embed
    parts = [
        nn.functional.normalize(read(split.normalize(torch.tensor(part, device=device))), dim=1).cpu()
        for part in np.array_split(split.images, max(1, math.ceil(len(split) / batch_size)))
    ]
    embeddings = torch.cat(parts).numpy()
    if not np.isfinite(embeddings).all():
        raise DdbiasError(
            "the embedding has values that are not finite: the surrogate diverged, lower its learning rate"
        )
    return embeddings


def save_embeddings(path, embeddings: np.ndarray, split: Split, meta: Mapping) -> None:
    """Write embeddings with the index, label and, where known, attribute of every sample."""
    columns = {
        "embedding": store.fixed_size_binary(embeddings.astype(np.float32)),
        "index": np.array(split.index),
        "label": np.array(split.labels),
    }
    if split.attributes is not None:
        columns["attribute"] = np.array(split.attributes)
    store.write_arrow(path, columns, {**meta, "dimensions": embeddings.shape[1]})


def load_embeddings(path) -> tuple[dict[str, np.ndarray], dict]:
    """Read what `save_embeddings` wrote: columns (``embedding`` as float32 (N, D)) and metadata."""
    columns, meta = store.read_arrow(path)
    return columns | {"embedding": columns["embedding"].view(np.float32)}, meta
