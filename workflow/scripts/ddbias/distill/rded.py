"""RDED: crops of real images that a trained network, the observer, finds easy, several of them in each image.

Source: Sun et al., "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation Paradigm"
(arXiv 2312.03526). For each class ``candidates`` images are drawn and ``crops`` square boxes of each, whose area is
uniform between ``least_area`` and 1, are resized to side / ``factor``. Of every image the crop with the lowest
cross-entropy under the observer is kept, of all images the ``ipc * factor ** 2`` crops with the lowest one. The best
``ipc`` are the first tiles of the images, the next ones the second tiles, and so on. The observer sees a crop in its
own size in the middle of an image of zeros.

What debias means here: candidates are drawn in proportion to the weights, not more than their effective sample size
(as `ddbias.distill.controls.kcenter`). The observer is a member of a pool of models, which the weights enter as well,
unless the pool names a ``domain``: with the cell's own data set as its domain it is trained without weights.

``soft_labels`` also stores the observer's probabilities for each finished image, at a temperature. They are fixed, as
those of DATM (arXiv 2310.05773) are; the published evaluation asks the observer for the labels of every augmented view.

Differs from the public code in that, and in: boxes and resizing without torchvision; named random streams. With several
members in the pool, seeds have different observers in turn.

Cost: a forward pass of the observer for each crop; nothing is learnt.
"""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy, interpolate, pad

from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import stream
from ddbias.data.soft_labels import SoftLabels
from ddbias.distill.controls.kcenter import candidates
from ddbias.distill.pretraining import last_network
from ddbias.distill.selector import Assembler

PLUGIN = {
    "distiller": {
        "rded": {
            "description": (
                "Crops of real images with the lowest loss of an observer, tiled (RDED, arXiv 2312.03526); the debias "
                "draws the images and trains the observer."
            ),
            "required": ["models"],
            "seconds": "0",
            "seconds_once": "0.4 * network * classes * candidates * crops",
            "options": {
                "models": {"type": "string", "description": "Name under `models`: the observer, and its network."},
                "candidates": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 300,
                    "description": "Images of each class that are looked at, if it has so many (RDED; 300).",
                },
                "crops": {"type": "integer", "minimum": 1, "default": 5, "description": "Of each image (RDED; 5)."},
                "least_area": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "maximum": 1,
                    "default": 0.08,
                    "description": "Smallest share of an image that a crop shows (RDED; 0.08); 1: the whole image.",
                },
                "factor": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 1,
                    "description": "Tiles in a row of an image (RDED; 1 for CIFAR-10, 2 for ImageNet).",
                },
                "soft_labels": {
                    "type": "boolean",
                    "default": False,
                    "description": "Store the observer's probabilities beside the labels, for evaluations.",
                },
                "temperature": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 20,
                    "description": "Of soft labels (RDED; 20).",
                },
            },
        }
    }
}

AT_ONCE = 256  # images; memory only


class Assembly(Assembler):
    """Looks at every class by itself."""

    def assemble(self, ipc: int) -> tuple[torch.Tensor, SoftLabels | None]:
        """Return the tiled images (K * ipc, C, H, W) and, with ``soft_labels``, the observer's labels of them."""
        self.observer = self._observer()
        if self.settings["factor"] > min(self.split.shape[1:]):
            raise DdbiasError(f"factor {self.settings['factor']} leaves tiles without pixels; use a smaller factor")
        images = torch.cat([self._of_class(label, ipc) for label in range(self.split.classes)])
        if not self.settings["soft_labels"]:
            return images, None
        temperature = self.settings["temperature"]
        return images, SoftLabels((self._logits(images) / temperature).softmax(1), temperature)

    def _of_class(self, label: int, ipc: int) -> torch.Tensor:
        factor, crops = self.settings["factor"], self.settings["crops"]
        wanted = ipc * factor**2
        if wanted > len(self.side.classes[label]):
            raise DdbiasError(
                f"{wanted} tiles of class {label} need as many images, and it has {len(self.side.classes[label])}; "
                "use a smaller factor"
            )
        rows = candidates(self.side, label, wanted, self.seed, most=self.settings["candidates"])
        pixels = torch.from_numpy(self.split.images[rows.numpy()])
        cut = random_crops(
            pixels.float() / 255,
            crops,
            side=[length // factor for length in pixels.shape[2:]],
            least_area=self.settings["least_area"],
            generator=stream(self.seed, "crops", label),
        )
        views = self._normalised(cut.flatten(0, 1))
        target = torch.full((len(views),), label)
        losses = cross_entropy(self._logits(centred(views, pixels.shape[2:])), target, reduction="none")
        return tiled(views[easiest(losses.unflatten(0, (-1, crops)), wanted)], factor, pixels.shape[2:])

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.tensor(self.split.meta[key]).view(-1, 1, 1) for key in ("mean", "std"))
        return (images - mean) / std

    def _observer(self) -> torch.nn.Module:
        (files,) = self.models.values()
        path = files[self.seed % len(files)]
        return last_network(path, self.split, self.settings["models"]).to(self.device)

    @torch.no_grad()
    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        parts = (self.split.whitened(part.to(self.device)) for part in images.split(AT_ONCE))
        return torch.cat([self.observer(part).cpu() for part in parts])


def random_crops(
    images: torch.Tensor, count: int, *, side: list[int], least_area: float, generator: torch.Generator
) -> torch.Tensor:
    """Return `count` random crops of every image, (N, count, C, *side).

    A box is a square, whose share of the area of the largest one is uniform in least_area..1, at a uniform place;
    resized with antialiasing.
    """
    height, width = images.shape[2:]
    areas, *places = torch.rand(3, len(images) * count, generator=generator)
    edges = ((least_area + (1 - least_area) * areas).sqrt() * min(height, width)).round().clamp(min=1).int().tolist()
    parts = []
    for number, (edge, top, left) in enumerate(zip(edges, *(place.tolist() for place in places), strict=True)):
        y, x = int(top * (height - edge + 1)), int(left * (width - edge + 1))
        box = images[number // count, None, :, y : y + edge, x : x + edge]
        parts.append(interpolate(box, size=side, mode="bilinear", antialias=True))
    return torch.cat(parts).unflatten(0, (-1, count))


def centred(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return images in the middle of zeros, as large as `size`."""
    tall, wide = (whole - part for whole, part in zip(size, images.shape[2:], strict=True))
    return pad(images, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2))


def easiest(losses: torch.Tensor, count: int) -> torch.Tensor:
    """Return which of the flattened `losses` (N, crops) are lowest, ascending, (count,), one of an image."""
    lowest, crop = losses.min(1)
    images = lowest.sort(stable=True).indices[:count]
    return images * losses.shape[1] + crop[images]


def tiled(tiles: torch.Tensor, factor: int, size: tuple[int, int]) -> torch.Tensor:
    """Return images (M, C, *size), tile k of image j of which is ``tiles[k * M + j]``, resized to fill it (nearest).

    Where `factor` does not divide a side, its first tiles are a pixel longer, as published.
    """
    by_place = tiles.unflatten(0, (factor, factor, -1))  # (rows, columns, M, C, h, w)
    heights, widths = ([side // factor + (i < side % factor) for i in range(factor)] for side in size)
    rows = [
        torch.cat([interpolate(by_place[i, j], size=(heights[i], widths[j])) for j in range(factor)], 3)
        for i in range(factor)
    ]
    return torch.cat(rows, 2)
