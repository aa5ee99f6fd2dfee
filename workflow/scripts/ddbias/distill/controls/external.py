"""A finished set that somebody else made, under the evaluation and the measures of our own sets.

Read as they are published: a folder of images, ``.pt`` files of tensors (DC and DM's ``res_*.pt``, MTT's
``images_best.pt`` with ``labels_best.pt``), safetensors, and Parquet of Hugging Face. No code of a file runs. No debias
enters. Pixels are restored to 0..1 with the normalisation that the set was made with, and get that of the data set.
Cost: none.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger
from ddbias.data.split import Split
from ddbias.datasets.normalisation import constants
from ddbias.distill.given_files import class_numbers, read

PLUGIN = {
    "distiller": {
        "external": {
            "description": "A finished set of somebody else, from image files, tensors or Parquet.",
            "seconds": "0",
            "megabytes": "1",
            "required": ["file"],
            "files": ["file", "labels"],
            "options": {
                "file": {
                    "type": "string",
                    "description": (
                        "A folder of images, or a .pt, .pth, .safetensors or .parquet file (also a pattern of Parquet "
                        "files); searched in the working directory and the folders of `data`. {dataset}, {ratio}, "
                        "{ipc} and {seed} stand for those of the set."
                    ),
                },
                "labels": {
                    "type": ["string", "null"],
                    "default": None,
                    "description": (
                        "null: the labels are in the file, of images the folder <label>/<file>. order: the images of a"
                        " class follow each other, IPC of each. Otherwise a file of labels: tensors for tensors, a CSV"
                        " file for a folder."
                    ),
                },
                "normalise": {"$ref": "#/$defs/file_constants", "default": "none"},
                "image": {
                    "type": "string",
                    "default": "image",
                    "description": "Tensor or column of the images (`images` is found, too); of a CSV file the path.",
                },
                "label": {
                    "type": "string",
                    "default": "label",
                    "description": "Tensor or column of the labels (`labels` is found, too).",
                },
                "experiment": {
                    "type": "integer",
                    "minimum": 0,
                    "default": 0,
                    "description": "Which set of a file that holds several (`data` of DC and DM), from 0.",
                },
            },
        },
    },
}
# Where the file is said not to be normalised: the share of pixels that may be outside 0..1, and how far any may be.
MOST_OUTSIDE, FARTHEST = 0.25, 16.0


def given_set(
    split: Split, *, settings: Mapping, ipc: int, data: Mapping[str, object]
) -> tuple[torch.Tensor, torch.Tensor, dict]:
    """Return the images (K * ipc, C, H, W), normalised as the split, class after class, their labels, and facts.

    Raises
    ------
    DdbiasError
        For a missing or damaged file, one with more than tensors, another size or number of images, labels outside the
        classes, soft labels, pixels that are not finite or not normalised as stated.
    """
    found = read(settings, split, data)
    name, wanted = settings["file"], ipc * split.classes
    if found.images.ndim != 4 or tuple(found.images.shape[1:]) != split.shape:
        channels, *sides = split.shape
        last = tuple(found.images.shape[1:]) == (*sides, channels)
        remedy = (
            "store them with the channels first"
            if last
            else "set size: and channels: of the data set to those of the file"
        )
        raise DdbiasError(
            f"the images of {name} are {_size(found.images.shape)}, those of the data set any x {_size(split.shape)} "
            f"(images, channels, height, width); {remedy}"
        )
    if len(found.images) != wanted:
        raise DdbiasError(
            f"{name} holds {len(found.images):,} images, and ipc {ipc} of {split.classes} classes are {wanted:,}; set "
            "ipc: to its images per class"
        )
    labels = class_numbers(found, split.meta["label_names"], ipc, name)
    counts = torch.bincount(labels, minlength=split.classes)
    if not bool((counts == ipc).all()):
        odd = int((counts != ipc).nonzero()[0])
        raise DdbiasError(
            f"{name} has {int(counts[odd])} images of class {odd}, not ipc {ipc}; all classes need as many"
        )
    pixels, outside = _pixels(found.images, settings["normalise"], name)
    mean, std = (torch.tensor(part).view(-1, 1, 1) for part in (split.meta["mean"], split.meta["std"]))
    order = labels.argsort(stable=True)
    facts = {"files": found.files, "outside": round(outside, 4)}
    return ((pixels - mean) / std)[order].contiguous(), labels[order], facts


def _pixels(images: torch.Tensor, normalise: object, name: str) -> tuple[torch.Tensor, float]:
    """Return pixels as float32, 0..1 where they were valid ones, and the share of those that were not."""
    if images.dtype == torch.uint8:
        if normalise != "none":
            raise DdbiasError(f"the images of {name} are uint8, which are not normalised; set normalise: none")
        return images.float() / 255, 0.0
    if not images.dtype.is_floating_point:
        raise DdbiasError(f"the images of {name} are {images.dtype}; they must be uint8 or floating point")
    images = images.float()
    if not bool(images.isfinite().all()):
        raise DdbiasError(f"the images of {name} hold values that are not finite numbers; take an intact set")
    mean, std = constants(normalise, "none", np.empty((0, images.shape[1], 1, 1), np.uint8))
    pixels = images * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)
    outside = float(((pixels < -1e-4) | (pixels > 1 + 1e-4)).float().mean())
    if normalise == "none" and (outside > MOST_OUTSIDE or float(images.abs().max()) > FARTHEST):
        raise DdbiasError(
            f"{outside:.0%} of the pixels of {name} are outside 0..1 ({images.min():.4g} to {images.max():.4g}); set "
            "normalise: to the [mean, std] of the code that made it, or divide 0..255 by 255"
        )
    logger.info("%s: %.1f %% of the pixels are outside 0..1", name, 100 * outside)
    return pixels, outside


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
