"""Distilled images in a grid beside real ones: one column per class, one block of rows per set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddbias.base import groups
from ddbias.data import store
from ddbias.results.figures import names, style

PLUGIN = {
    "figure": {
        "images": {
            "description": "Distilled images beside real ones, a row of blocks a set.",
            "required": ["dataset", "ratio", "ipc", "seed"],
            "options": {
                "dataset": {"type": "string", "description": "Name under `datasets`."},
                "ratio": {"$ref": "#/$defs/ratio"},
                "ipc": {"$ref": "#/$defs/ipc"},
                "seed": {"type": "integer", "description": "Distillation seed."},
            },
            "files": ["datasets", "distilled"],
        },
    },
}

logger = logging.getLogger(__name__)
NAMES = ("dataset", "ratio", "distiller", "debias", "ipc", "seed")
GAP = 2  # white pixels between images
TILE, BETWEEN, LETTER = 0.5, 0.14, 0.085  # inches: an image, the gap between blocks, a letter at most


@dataclass
class Block:
    """Images of one set: uint8, shape (rows, classes, H, W, 3); what a class lacks is white."""

    label: str
    tiles: np.ndarray


def draw(*, datasets: Sequence[str | Path], distilled: Sequence[str | Path], settings: dict, **_: object) -> Figure:
    """Draw real training images (aligned, then conflicting, where the attribute is known) above distilled ones.

    Sets that hold indices instead of images (distiller ``whole``) are left out.

    Parameters
    ----------
    datasets : sequence of path
        ``train.arrow`` of the one data set shown.
    distilled : sequence of path
        ``distilled.safetensors`` files; their metadata names them in the figure.
    settings : dict
        ``rows`` (images per class of each set, default 2) and ``classes`` (columns at most, default 10).
    """
    rows, columns = int(settings.get("rows", 2)), int(settings.get("classes", 10))
    sets = [item for item in (_read(path) for path in distilled) if item is not None]
    if not sets and not datasets:
        return style.nothing_yet("images")
    classes, blocks = None, []
    for path in datasets[:1]:
        classes, blocks = _real(path, rows, columns)
    common = ""
    if sets:
        labels, common = style.describe([{n: meta[n] for n in NAMES} for _, _, meta in sets], ("distiller", "debias"))
        classes = classes or list(sets[0][2]["label_names"])
        for label, (images, of, _) in zip(labels, sets, strict=True):
            blocks.append(Block(label.replace(", ", "\n"), _tiles(images, of, rows, min(columns, len(classes)))))
    shown, note = names.classes(classes[:columns])
    if len(shown) < len(classes):
        common = ", ".join(filter(None, [common, f"first {len(shown)} of {len(classes)} classes"]))
    return _grid([block for block in blocks if len(block.tiles)], shown, common, note)


def _read(path: str | Path) -> tuple[np.ndarray, np.ndarray, dict] | None:
    """Return pixels (N, H, W, C), labels and metadata of a distilled set, or None if it holds no images."""
    tensors, meta = store.read_tensors(path, framework="np")  # a figure must not load torch
    if "images" not in tensors:
        logger.info("%s has indices instead of images and is omitted from the figure", path)
        return None
    store.require(path, "a distilled set", [*tensors, *meta], ("labels", *NAMES, "mean", "std", "label_names"))
    store.require_finite(path, "images", tensors["images"])
    mean, std = (np.reshape(meta[name], (-1, 1, 1)).astype(np.float32) for name in ("mean", "std"))
    pixels = np.clip(np.rint((tensors["images"] * std + mean) * 255), 0, 255).astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1), tensors["labels"], meta


def _real(path: str | Path, rows: int, columns: int) -> tuple[list[str], list[Block]]:
    """Return the class names and the blocks of real images."""
    data, meta = store.read_arrow(path)
    store.require(path, "a split", [*data, *meta], ("image", "label", "shape", "label_names"))
    classes = [str(name) for name in meta["label_names"]]
    images, labels = data["image"].reshape(-1, *meta["shape"]).transpose(0, 2, 3, 1), data["label"]
    wanted = {"real": np.ones(len(labels), bool)}
    conflicting = groups.conflicting(labels, data.get("attribute"), meta.get("pairing", groups.IDENTITY))
    if conflicting is not None:
        wanted = {"real,\naligned": ~conflicting, "real,\nconflicting": conflicting}
    columns = min(columns, len(classes))
    return classes, [Block(label, _tiles(images, labels, rows, columns, mask)) for label, mask in wanted.items()]


def _tiles(images: np.ndarray, labels: np.ndarray, rows: int, columns: int, mask: np.ndarray | None = None):
    """Return the first `rows` images of each class as (rows, columns, H, W, 3); rows without any image are cut."""
    tiles = np.full((rows, columns, *images.shape[1:3], 3), 255, np.uint8)
    most = 0
    for label in range(columns):
        found = np.flatnonzero((labels == label) if mask is None else (labels == label) & mask)[:rows]
        tiles[: len(found), label] = images[found]  # one channel is spread over three
        most = max(most, len(found))
    return tiles[:most]


def _grid(blocks: list[Block], classes: list[str], title: str, note: str) -> Figure:
    """Put the blocks below each other, class names on top and set names at the left, and a note below all.

    Placed by hand, in inches: with square pixels the automatic layouts cut long names and leave uneven gaps.
    """
    tile = TILE if len(classes) <= 12 else TILE * 2 / 3
    longest = names.longest(classes)
    slanted = longest > 5
    left = 0.25 + LETTER * names.longest(block.label for block in blocks)
    top = 0.4 + (0.25 if not slanted else 0.2 + 0.7 * LETTER * longest)
    right = 0.1 if not slanted else max(0.1, 0.75 * LETTER * longest - tile / 2)
    width = max(left + tile * len(classes) + right, left + LETTER * names.width(title), 0.2 + 0.75 * LETTER * len(note))
    rows = sum(len(block.tiles) for block in blocks)
    bottom = 0.35 if note else 0.1
    height = top + tile * rows + BETWEEN * (len(blocks) - 1) + bottom
    figure = Figure(figsize=(width, height))
    edge = height - top
    for number, block in enumerate(blocks):
        tall = tile * len(block.tiles)
        edge -= tall
        rect = (left / width, edge / height, tile * len(classes) / width, tall / height)
        axis = figure.add_axes(rect)
        _mosaic(axis, block, classes if number == 0 else [], slanted)
        edge -= BETWEEN
    figure.text((left + tile * len(classes) / 2) / width, 1 - 0.1 / height, title, ha="center", va="top", fontsize=11)
    if note:
        figure.text(0.1 / width, 0.1 / height, note, fontsize=8, color=".4")
    return figure


def _mosaic(axis, block: Block, classes: list[str], slanted: bool) -> None:
    """Show one block as a single picture; `classes` are written above its columns."""
    rows, columns, height, width, _ = block.tiles.shape
    padded = np.pad(block.tiles, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    mosaic = padded.transpose(0, 2, 1, 3, 4).reshape(rows * (height + GAP), columns * (width + GAP), 3)
    axis.imshow(mosaic[:-GAP, :-GAP], interpolation="nearest", aspect="auto")
    axis.set_axis_off()
    axis.text(-0.1 / TILE * (width + GAP), mosaic.shape[0] / 2, block.label, ha="right", va="center")
    for column, name in enumerate(classes):
        centre = column * (width + GAP) + (width - 1) / 2
        turn = {"rotation": 40, "ha": "left", "rotation_mode": "anchor"} if slanted else {"ha": "center"}
        axis.text(centre, -0.12 * height, name, va="bottom", **turn)
