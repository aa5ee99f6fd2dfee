"""Distilled sets in the format of the evaluators of DD-Ranking.

Source: DD-Ranking (Li et al., arXiv 2505.13300), repository NUS-HPC-AI-Lab/DD-Ranking. Its evaluators'
``compute_metrics`` takes either ``image_tensor``, normalised as its own ``get_dataset`` normalises the real images, or
``image_path`` for torchvision's ``ImageFolder``, whose classes are numbered in alphabetical order; hence folders
``00000``, ``00001``. ``hard_labels`` that are not given are assumed to be class after class, so the images are sorted
by class. Its losses on soft labels expect logits, of which they take the softmax at a temperature, so
``soft_labels.pt`` is ``T log p`` of the probabilities p of a set and the temperature T that it states. Its demos read
``images.pt`` with ``torch.load``; here these are plain tensors, which ``torch.load(..., weights_only=True)`` reads
without running anything.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch

from ddbias.data import store
from ddbias.results.export.sets import ExportedSet

# The data sets whose real images DD-Ranking loads, by our source: its name, shape, mean and standard deviation.
KNOWN = {"cifar10": ("CIFAR10", (3, 32, 32), [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])}


def write_folders(folder: Path, sets: Sequence[ExportedSet], *, template: str | Path) -> None:
    """Write a folder for each set, and ``README.md`` with how to evaluate one, into an empty folder.

    Parameters
    ----------
    folder : Path
    sets : sequence of ExportedSet
    template : path
        The text of the README.
    """
    for entry in sets:
        write_set(folder / entry.name, entry)
    store.write_bytes(folder / "README.md", Path(template).read_bytes())


def write_set(folder: Path, entry: ExportedSet) -> None:
    """Write ``images.pt``, ``labels.pt``, ``images/``, ``settings.json`` and, if there are any, soft labels and a rate.

    Parameters
    ----------
    folder : Path
    entry : ExportedSet
    """
    distilled, meta = entry.distilled, entry.meta
    images, labels = distilled.tensors()
    order = torch.sort(labels, stable=True).indices
    name, mean, std = normalisation(entry)
    _save(folder / "images.pt", renormalised(images, meta["mean"], meta["std"], mean, std)[order])
    _save(folder / "labels.pt", labels[order])
    if soft := distilled.soft_targets():
        logits = soft.temperature * soft.probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()
        _save(folder / "soft_labels.pt", logits[order])
    if "learning_rate" in meta:
        _save(folder / "lr.pt", torch.tensor(float(meta["learning_rate"])))
    contents = distilled.png_images()
    for label in range(len(meta["label_names"])):
        (folder / "images" / f"{label:05d}").mkdir(parents=True)
        for number, index in enumerate(torch.nonzero(labels == label).flatten().tolist()):
            (folder / "images" / f"{label:05d}" / f"{number:05d}.png").write_bytes(contents[index])
    counts = torch.bincount(labels, minlength=len(meta["label_names"])).tolist()
    settings = {
        "dataset": name,  # null: DD-Ranking has no real images to compare with
        "ipc": counts[0] if len(set(counts)) == 1 else None,
        "im_size": list(images.shape[2:]),
        "channels": images.shape[1],
        "mean": mean,
        "std": std,
        "label_names": list(map(str, meta["label_names"])),
        "whitened": bool(meta.get("whitened")),
    }
    if soft:
        settings["loss_fn_kwargs"] = {"temperature": soft.temperature}
    store.write_json(folder / "settings.json", settings)


def normalisation(entry: ExportedSet) -> tuple[str | None, list[float], list[float]]:
    """Return DD-Ranking's name of the real data set, if it has it, and the mean and deviation to normalise with."""
    name, shape, mean, std = KNOWN.get(entry.source.get("source"), (None, None, None, None))
    if name is None or tuple(entry.distilled.images.shape[1:]) != shape:
        return None, list(entry.meta["mean"]), list(entry.meta["std"])
    return name, mean, std


def renormalised(
    images: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    new_mean: Sequence[float],
    new_std: Sequence[float],
) -> torch.Tensor:
    """Return float32 images (N, C, H, W), normalised with one mean and deviation, as if with another; unclipped."""
    if list(mean) == list(new_mean) and list(std) == list(new_std):
        return images
    old, new = (
        [torch.tensor(part, dtype=torch.float64).view(-1, 1, 1) for part in pair]
        for pair in ((mean, std), (new_mean, new_std))
    )
    return ((images.double() * old[1] + old[0] - new[0]) / new[1]).float()


def _save(path: Path, tensor: torch.Tensor) -> None:
    """Write a plain tensor; into memory first, since torch keeps the name of the file it writes to."""
    content = io.BytesIO()
    torch.save(tensor.clone().contiguous(), content)
    store.write_bytes(path, content.getvalue())
