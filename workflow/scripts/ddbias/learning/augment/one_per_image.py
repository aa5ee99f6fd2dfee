"""The augmentation of dataset condensation before DSA: one change for each image, not differentiable.

Source: the evaluation on MNIST of Zhao, Mopuri and Bilen, "Dataset Condensation with Gradient Matching" (arXiv
2006.05929), with the numbers of its public code. Of the pieces named, one is drawn for every image:

- ``crop``: a window of the image's size, drawn from the image in a frame of 4 pixels; the frame is the mean of the
  batch, channel by channel. Offsets are 0 to 7 of 8.
- ``scale``: height and width are each 0.8 to 1.2 of the side, in whole pixels, nearest neighbour; in the middle, 0
  outside.
- ``rotate``: whole degrees from -45 to 44, spline of order 3, the mean of the batch outside; about the middle.

For training only: matching needs derivatives, which `ddbias.learning.augment.dsa` has.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ddbias.base.errors import unknown

FRAME = 4
SCALE = 0.2
DEGREES = 45


class OnePerImage:
    """Change every image by one piece, drawn for it alone.

    Parameters
    ----------
    strategy : str
        Keys of `PIECES` joined by underscores, such as ``crop_scale_rotate``; the empty string or ``none`` leaves
        images as they are.

    Raises
    ------
    DdbiasError
        Unknown piece.
    """

    def __init__(self, strategy: str) -> None:
        self.names = () if strategy.lower() in ("", "none") else tuple(strategy.split("_"))
        for name in self.names:
            if name not in PIECES:
                raise unknown("augmentation", name, PIECES)

    @torch.no_grad()
    def per_sample(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return images (B, C, H, W) changed, float; `generator` draws pieces, then the numbers of each piece."""
        if not self.names:
            return images
        mean = images.mean((0, 2, 3))
        drawn = torch.randint(len(self.names), (len(images),), generator=generator, device=generator.device)
        result = images.clone()
        for number, name in enumerate(self.names):
            rows = (drawn == number).nonzero()[:, 0].to(images.device)
            if len(rows):
                result[rows] = PIECES[name](images[rows], mean, generator)
        return result


def _whole_numbers(low: int, high: int, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Draw whole numbers of low .. high - 1, on the CPU."""
    return torch.randint(low, high, shape, generator=generator, device=generator.device).cpu()


def crop(images: torch.Tensor, mean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return windows of images (B, C, H, W) that are framed by `mean` (C,)."""
    count, channels, height, width = images.shape
    framed = mean[:, None, None].expand(channels, height + 2 * FRAME, width + 2 * FRAME).repeat(count, 1, 1, 1)
    framed[:, :, FRAME : FRAME + height, FRAME : FRAME + width] = images
    windows = framed.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, rows, columns, H, W)
    down, right = _whole_numbers(0, 2 * FRAME, (2, count), generator).to(images.device)
    return windows[torch.arange(count, device=images.device), :, down, right]


def scale(images: torch.Tensor, mean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return images (B, C, H, W), each resized to a height and a width of its own, and cut or filled with 0."""
    drawn = torch.rand((len(images), 2), generator=generator, device=generator.device, dtype=torch.float64).tolist()
    sides = images.shape[2:]
    result = []
    for image, factors in zip(images, drawn, strict=True):
        size = [int((1 - SCALE + 2 * SCALE * u) * side) for u, side in zip(factors, sides, strict=True)]
        resized = F.interpolate(image[None], size)[0]  # nearest neighbour
        result.append(_centred(resized, sides))
    return torch.stack(result)


def rotate(images: torch.Tensor, mean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return images (B, C, H, W), each turned by an angle of its own; outside is the mean of `mean` (C,)."""
    from scipy import ndimage

    outside = mean.mean().item()
    angles = _whole_numbers(-DEGREES, DEGREES, (len(images),), generator).tolist()
    result = []
    for image, angle in zip(images.cpu().numpy(), angles, strict=True):
        # Into a larger image that is cut, as published: half a pixel off the middle where one side is odd.
        turned = ndimage.rotate(image, angle, axes=(-2, -1), order=3, cval=outside)
        result.append(_centred(torch.from_numpy(turned), images.shape[2:]))
    return torch.stack(result).to(images)


def _centred(image: torch.Tensor, sides: tuple[int, int]) -> torch.Tensor:
    """Return an image (C, h, w) in the middle of zeros as large as the largest of all sides, cut to (C, *sides)."""
    largest = max(*image.shape[1:], *sides)
    (top, left), (down, right) = ([(largest - side) // 2 for side in inner] for inner in (image.shape[1:], sides))
    around = (left, largest - image.shape[2] - left, top, largest - image.shape[1] - top)
    return F.pad(image, around)[:, down : down + sides[0], right : right + sides[1]]


PIECES = {"crop": crop, "scale": scale, "rotate": rotate}
