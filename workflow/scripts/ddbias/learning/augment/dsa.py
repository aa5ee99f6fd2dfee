"""Differentiable Siamese augmentation (DSA, Zhao and Bilen, arXiv 2102.08259).

One strategy is drawn per batch. With a seed, the whole batch shares one set of parameters that depends on the seed
and the image side only, so the real and the synthetic batch are augmented alike; without one, every image gets its
own. Images are normalised: pixels from outside of the image, and those cut out, are 0, the mean of the data.

Random numbers are drawn on the generator's device, by default the CPU, and moved. The global generator is never used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from ddbias.base.errors import DdbiasError, unknown
from ddbias.learning.augment.draws import BatchDraws, Draws, Parameter, SeededDraws
from ddbias.learning.device import transfer

# Published constants of DSA.
BRIGHTNESS = 1.0
SATURATION = 2.0
CONTRAST = 0.5
CROP_SHARE = 0.125
CUTOUT_SHARE = 0.5
FLIP_PROBABILITY = 0.5
SCALE_RATIO = 1.2
ROTATION_DEGREES = 15.0


class DSA:
    """Augment batches of images with strategies drawn from a list.

    Parameters
    ----------
    strategy : str
        Keys of `STRATEGIES` joined by underscores, such as ``color_crop_cutout_flip_scale_rotate``; the empty string
        or ``none`` leaves images as they are.
    align_corners : bool
        Convention of the sampling grid of scale and rotate: False in DC, DSA, DM and FairDD with a current PyTorch,
        True in MTT. Both are about the centre, so that it changes nothing but the rounding of square images.

    Raises
    ------
    DdbiasError
        Unknown strategy.

    Examples
    --------
    >>> import torch
    >>> from ddbias import DSA
    >>> augment, images = DSA("color_crop_flip"), torch.rand(4, 3, 16, 16)
    >>> torch.equal(augment(images[:2], seed=3), augment(images, seed=3)[:2])
    True
    """

    def __init__(self, strategy: str, *, align_corners: bool = False) -> None:
        self.names = () if strategy.lower() in ("", "none") else tuple(strategy.split("_"))
        for name in self.names:
            if name not in STRATEGIES:
                raise unknown("augmentation", name, STRATEGIES)
        self.align_corners = align_corners

    def __repr__(self) -> str:
        return f"DSA({'_'.join(self.names)!r}, align_corners={self.align_corners})"

    def __call__(self, images: torch.Tensor, seed: int) -> torch.Tensor:
        """Apply one strategy with parameters shared by the batch (the Siamese rule).

        The generator is seeded with `seed` for the strategy and with ``seed + 1``, ``seed + 2``, ... for each further
        number, as published. The result for an image does not depend on the rest of the batch.

        Parameters
        ----------
        images : torch.Tensor
            Float, (B, C, H, W).
        seed : int
            The same one for the real and the synthetic batch.

        Returns
        -------
        torch.Tensor
            Like `images`, and differentiable with respect to them.
        """
        return self._augment(images, SeededDraws(seed))

    def per_sample(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Apply one strategy with parameters of its own to each image: the mode of training and evaluation.

        `images` and the result are as in ``__call__``; `generator` draws the strategy, then B values of each parameter.
        """
        return self._augment(images, BatchDraws(generator, len(images)))

    def strategy_of(self, seed: int) -> str:
        """Return the name of the strategy that `seed` draws; an empty string where there is none."""
        return self.names[SeededDraws(seed).choice(len(self.names))] if self.names else ""

    def _augment(self, images: torch.Tensor, draws: Draws) -> torch.Tensor:
        if images.ndim != 4 or not images.is_floating_point():
            raise DdbiasError(
                f"DSA augments float images of shape (B, C, H, W), got {images.dtype} {tuple(images.shape)}; "
                "convert and normalise them first"
            )
        if not self.names:
            return images
        name, parameters = self.drawn(draws, *images.shape[2:])
        if isinstance(draws, BatchDraws):
            parameters = transfer(parameters, images.device)
        return self.changed(images, name, parameters)

    def changed(self, images: torch.Tensor, name: str, parameters: Sequence[Parameter]) -> torch.Tensor:
        """Return images (B, C, H, W) changed by a strategy with the parameters that `drawn` gave, on their device."""
        grid = {"align_corners": self.align_corners} if name in MATRICES else {}
        return STRATEGIES[name][1](images, *parameters, **grid)

    def drawn(self, draws: Draws, height: int, width: int) -> tuple[str, tuple[Parameter, ...]]:
        """Return the name of a strategy, of which there must be one, and the parameters of its function."""
        name = self.names[draws.choice(len(self.names))]
        return name, STRATEGIES[name][0](draws, height, width)


def color(images: torch.Tensor, brightness: Parameter, saturation: Parameter, contrast: Parameter) -> torch.Tensor:
    """Change brightness, then saturation, then contrast.

    With c the mean over the channels of a pixel and m the mean over an image, the three published steps
    ``x + b``, ``(x - c) s + c`` and ``(x - m) k + m`` are together ``k s x + k (1 - s) c + (1 - k) m + b``: brightness
    moves c and m by b, saturation leaves them. One pass instead of three.

    `images` are float (B, C, H, W); b, s and k are one number each, or one per image.
    """
    shaped = (_per_image(value, images.dtype) for value in (brightness, saturation, contrast))
    return recoloured(images, *coefficients(*shaped))


def coefficients(b: Parameter, s: Parameter, k: Parameter) -> tuple[Parameter, ...]:
    """Return the factors of a value, of its pixel's mean and of its image's mean, and what is added: see `color`."""
    return k * s, k * (1 - s), 1 - k, b


def recoloured(
    images: torch.Tensor, gain: Parameter, pixel: Parameter, image: Parameter, offset: Parameter
) -> torch.Tensor:
    """Return images (B, C, H, W) after `color` with these `coefficients`."""
    pixel_mean = images.mean(1, keepdim=True)
    image_mean = pixel_mean.mean((2, 3), keepdim=True)
    return gain * images + (pixel * pixel_mean + (image * image_mean + offset))


def crop(images: torch.Tensor, rows: Parameter, columns: Parameter) -> torch.Tensor:
    """Move the window over images (B, C, H, W) down by `rows` and right by `columns`; outside of the image is 0.

    Both are whole pixels, smaller in size than the image: one number, or one per image (int64).
    """
    if not isinstance(rows, torch.Tensor):
        # Negative padding cuts off.
        return F.pad(images, (-columns, columns, -rows, rows))
    count, channels, height, width = images.shape
    down = torch.arange(height, device=images.device) + rows[:, None]
    right = torch.arange(width, device=images.device) + columns[:, None]
    inside = ((down >= 0) & (down < height))[:, :, None] & ((right >= 0) & (right < width))[:, None, :]
    source = down.clamp(0, height - 1)[:, :, None] * width + right.clamp(0, width - 1)[:, None, :]
    source = source.view(count, 1, -1).expand(-1, channels, -1)  # (B, C, H * W)
    return images.flatten(2).gather(2, source).view(images.shape) * inside[:, None]


def cutout(images: torch.Tensor, rows: Parameter, columns: Parameter) -> torch.Tensor:
    """Set a box of half the height and half the width of images (B, C, H, W) to 0, clipped to the image.

    Its centre is `rows` in 0 .. H and `columns` in 0 .. W: one number, or one per image.
    """
    in_rows = _in_box(images.shape[2], rows, images.device)
    in_columns = _in_box(images.shape[3], columns, images.device)
    outside = ~(in_rows[:, :, None] & in_columns[:, None, :])
    return images * outside[:, None]


def flip(images: torch.Tensor, mirrored: bool | torch.Tensor) -> torch.Tensor:
    """Mirror images (B, C, H, W) left to right where `mirrored`, one bool or one per image, is true."""
    if not isinstance(mirrored, torch.Tensor):
        return images.flip(3) if mirrored else images
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def scale(
    images: torch.Tensor, horizontal: Parameter, vertical: Parameter, *, align_corners: bool = False
) -> torch.Tensor:
    """Stretch images (B, C, H, W) about their centre, bilinear, 0 outside.

    `horizontal` and `vertical`, one number or one per image, are factors of the sampling grid: below 1 enlarges.
    """
    return warp(images, scaling(horizontal, vertical), align_corners)


def rotate(images: torch.Tensor, angle: Parameter, *, align_corners: bool = False) -> torch.Tensor:
    """Turn images (B, C, H, W) about their centre by `angle` radians, bilinear, 0 outside."""
    return warp(images, rotation(angle), align_corners)


Matrix = tuple[tuple[Parameter, ...], ...]  # 2 x 3, of numbers or tensors (B,)


def scaling(horizontal: Parameter, vertical: Parameter) -> Matrix:
    """Return the matrix of `scale`."""
    return (horizontal, 0.0, 0.0), (0.0, vertical, 0.0)


def rotation(angle: Parameter) -> Matrix:
    """Return the matrix of `rotate`."""
    if isinstance(angle, torch.Tensor):
        cosine, sine = angle.cos(), angle.sin()
    else:
        cosine, sine = math.cos(angle), math.sin(angle)
    return (cosine, -sine, 0.0), (sine, cosine, 0.0)


MATRICES = {"scale": scaling, "rotate": rotation}


def _per_image(value: Parameter, dtype: torch.dtype) -> Parameter:
    """Give a parameter per image the shape (B, 1, 1, 1) and the type of the images."""
    return value.to(dtype)[:, None, None, None] if isinstance(value, torch.Tensor) else value


def _in_box(side: int, centre: Parameter, device: torch.device) -> torch.Tensor:
    """Return which of `side` pixels belong to the box, bool (B, side), or (1, side) for a shared centre."""
    length = _cutout_length(side)
    centre = centre[:, None] if isinstance(centre, torch.Tensor) else centre
    distance = torch.arange(side, device=device)[None] - centre
    return (distance >= -(length // 2)) & (distance < length - length // 2)


def _cutout_length(side: int) -> int:
    return int(side * CUTOUT_SHARE + 0.5)


def warp(images: torch.Tensor, matrix: Matrix, align_corners: bool) -> torch.Tensor:
    """Sample images (B, C, H, W) on the grid of a matrix."""
    # Coordinates need more digits than half precision has.
    dtype = torch.promote_types(images.dtype, torch.float32)
    per_image = [entry for row in matrix for entry in row if isinstance(entry, torch.Tensor)]
    if per_image:
        zero = torch.zeros_like(per_image[0])
        theta = torch.stack([torch.stack([zero + entry for entry in row], -1) for row in matrix], -2)
    else:
        (theta,) = transfer([torch.tensor([matrix])], images.device)
    theta = theta.to(dtype)
    size = [len(theta), 1, *images.shape[2:]]
    grid = F.affine_grid(theta, size, align_corners=align_corners).expand(len(images), -1, -1, -1)
    return F.grid_sample(images.to(dtype), grid, align_corners=align_corners).to(images.dtype)


# The order of the draws of a strategy is part of the published rule. Height and width are those of the images.
def _draw_color(draws: Draws, height: int, width: int) -> tuple[Parameter, ...]:
    brightness = (draws.uniform() - 0.5) * BRIGHTNESS
    saturation = draws.uniform() * SATURATION
    return brightness, saturation, draws.uniform() + CONTRAST


def _draw_crop(draws: Draws, height: int, width: int) -> tuple[Parameter, ...]:
    down, right = (int(side * CROP_SHARE + 0.5) for side in (height, width))
    rows = draws.integer(-down, down + 1)
    return rows, draws.integer(-right, right + 1)


def _draw_cutout(draws: Draws, height: int, width: int) -> tuple[Parameter, ...]:
    # The far border is a centre only for boxes of even length.
    height, width = (side + 1 - _cutout_length(side) % 2 for side in (height, width))
    rows = draws.integer(0, height)
    return rows, draws.integer(0, width)


def _draw_flip(draws: Draws, height: int, width: int) -> tuple[Parameter, ...]:
    return (draws.uniform() < FLIP_PROBABILITY,)


def _draw_scale(draws: Draws, height: int, width: int) -> tuple[Parameter, ...]:
    smallest = 1 / SCALE_RATIO
    horizontal = draws.uniform() * (SCALE_RATIO - smallest) + smallest
    return horizontal, draws.uniform() * (SCALE_RATIO - smallest) + smallest


def _draw_rotate(draws: Draws, height: int, width: int) -> tuple[Parameter, ...]:
    return ((draws.uniform() * 2 - 1) * math.radians(ROTATION_DEGREES),)


# What draws the parameters of a strategy, and what changes images by them.
STRATEGIES: dict[str, tuple[Callable[..., tuple[Parameter, ...]], Callable[..., torch.Tensor]]] = {
    "color": (_draw_color, color),
    "crop": (_draw_crop, crop),
    "cutout": (_draw_cutout, cutout),
    "flip": (_draw_flip, flip),
    "scale": (_draw_scale, scale),
    "rotate": (_draw_rotate, rotate),
}
