"""Data sets below each other: training images of every class, aligned at the left and conflicting at the right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddbias.base import groups
from ddbias.data import store
from ddbias.results.figures import names, style

PLUGIN = {
    "figure": {
        "datasets": {
            "description": "Every data set of the study, a row of aligned and conflicting training images each.",
            "files": ["datasets"],
        },
    },
}

COLUMNS = 10  # images of each kind
TILE, BETWEEN, GAP, TOP = 0.42, 0.06, 0.25, 0.3  # inches
LETTER = 0.085
UNPAIRED = "no attribute is paired with a label: left are images of both kinds"
BORDER = 1  # pixels between images


def draw(*, datasets: Sequence[str | Path], settings: dict, **_: object) -> Figure:
    """Draw one row per training split.

    A row holds ten aligned and ten conflicting images, the classes in turn, evenly spaced over the split; what a
    split lacks stays white. Where no attribute is known, or none is paired, the images at the left are of both kinds,
    and the right half says why.

    Parameters
    ----------
    datasets : sequence of path
        ``.../{dataset}/{ratio}/train.arrow``.
    settings : dict
        Nothing is used.
    """
    if not datasets:
        return style.nothing_yet("data set")
    rows = [_row(Path(path)) for path in datasets]
    left = 0.2 + LETTER * names.longest(label for label, *_ in rows)
    block = COLUMNS * TILE
    width, height = left + 2 * block + GAP + 0.1, TOP + len(rows) * (TILE + BETWEEN) + 0.05
    figure = Figure(figsize=(width, height))
    for number, (label, blocks, why) in enumerate(rows):
        bottom = height - TOP - (number + 1) * TILE - number * BETWEEN
        for side, tiles in enumerate(blocks):
            x = left + side * (block + GAP)
            axis = figure.add_axes((x / width, bottom / height, block / width, TILE / height))
            axis.imshow(_mosaic(tiles), interpolation="nearest", aspect="auto")
            axis.set_axis_off()
        x = (left + block + GAP + block / 2) / width
        figure.text(x, (bottom + TILE / 2) / height, why, ha="center", va="center", fontsize=8, color=".4")
        figure.text((left - 0.08) / width, (bottom + TILE / 2) / height, label, ha="right", va="center", fontsize=8)
    for side, text in enumerate(("training images",) if all(why for *_, why in rows) else ("aligned", "conflicting")):
        x = left + side * (block + GAP) + block / 2
        figure.text(x / width, 1 - 0.08 / height, text, ha="center", va="top", fontsize=10)
    return figure


def _row(path: Path) -> tuple[str, list[np.ndarray], str]:
    """Return the name of a data set, its two blocks of tiles (COLUMNS, H, W, 3), and why the second one is empty."""
    data, meta = store.read_arrow(path)
    store.require(path, "a split", [*data, *meta], ("image", "label", "shape", "label_names"))
    images, labels = data["image"].reshape(-1, *meta["shape"]), data["label"]
    conflicting = groups.conflicting(labels, data.get("attribute"), meta.get("pairing", groups.IDENTITY))
    masks = (np.ones(len(labels), bool), None) if conflicting is None else (~conflicting, conflicting)
    why = "" if conflicting is not None else UNPAIRED if "attribute" in data else "attribute unknown"
    label = f"{names.text(path.parent.parent.name)}\nratio {names.text(path.parent.name)}"
    return label, [_tiles(images, labels, mask, len(meta["label_names"])) for mask in masks], why


def _tiles(images: np.ndarray, labels: np.ndarray, mask: np.ndarray | None, classes: int) -> np.ndarray:
    tiles = np.full((COLUMNS, *images.shape[2:], 3), 255, np.uint8)
    if mask is None:
        return tiles
    for column in range(COLUMNS):
        members = np.flatnonzero((labels == column % classes) & mask)
        turns = -(-COLUMNS // classes)  # how often a class comes up
        if column // classes < len(members):
            # Attributes often ascend with the position, so another part of the split for each column shows them all.
            place = column // classes / turns if turns > 1 else (7 * column % COLUMNS + 0.5) / COLUMNS
            tiles[column] = images[members[int(place * len(members))]].transpose(1, 2, 0)  # one channel over three
    return tiles


def _mosaic(tiles: np.ndarray) -> np.ndarray:
    padded = np.pad(tiles, ((0, 0), (0, 0), (0, BORDER), (0, 0)), constant_values=255)
    return padded.transpose(1, 0, 2, 3).reshape(tiles.shape[1], -1, 3)
