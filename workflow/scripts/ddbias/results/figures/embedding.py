"""Map of a surrogate's embedding: once coloured by label, once by aligned and conflicting."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddbias.base import groups
from ddbias.data import store
from ddbias.results.figures import names, style

PLUGIN = {
    "figure": {
        "embedding": {
            "description": (
                "Map of a surrogate's embedding in two dimensions (t-SNE), coloured by label and by aligned and"
                " conflicting."
            ),
            "required": ["dataset", "ratio", "surrogate", "seed"],
            "options": {
                "dataset": {"type": "string", "description": "Name under `datasets`."},
                "ratio": {"$ref": "#/$defs/ratio"},
                "surrogate": {"type": "string", "description": "Name under `surrogates`."},
                "seed": {"type": "integer", "description": "Distillation seed."},
                "samples": {
                    "type": "integer",
                    "minimum": 10,
                    "maximum": 20_000,
                    "default": 2000,
                    "description": "Samples shown, a fixed random choice. Ours.",
                },
            },
            "files": ["embeddings", "datasets"],
        },
    },
}

SAMPLES = 2000
SEED = 0  # of the samples shown and of the map; `ddbias.base.seeding` would load torch, which no figure needs
COMPONENTS, PERPLEXITY = 50, 30.0
NAMED = 20  # classes at most whose names are written into the map


def draw(*, embeddings: Sequence[str | Path], datasets: Sequence[str | Path], settings: dict, **_: object) -> Figure:
    """Draw the embedding of the first surrogate in two dimensions.

    The map is scikit-learn's t-SNE of the first principal components; close samples stay close, while distances between
    distant ones and the sizes of clusters mean little. The panel of aligned and conflicting samples is left out where
    the attribute is not known.

    Parameters
    ----------
    embeddings : sequence of path
        ``.../{dataset}/{ratio}/{surrogate}/seed{seed}/embeddings.arrow``.
    datasets : sequence of path
        The ``train.arrow`` of the same data set, for the names of its classes.
    settings : dict
        ``samples`` (how many are shown, default 2000).
    """
    if not embeddings:
        return style.nothing_yet("surrogate")
    path = Path(embeddings[0])
    embedding, labels, conflicting = _read(path)
    chosen = _choice(len(labels), int(settings.get("samples", SAMPLES)))
    places, labels = _map(embedding[chosen]), labels[chosen]
    figure, axes = style.panels(1 if conflicting is None else 2, width=3.6, height=4.2)
    classes, note = _names(datasets)
    _by_label(axes[0], places, labels, classes)
    if note:
        lines = textwrap.wrap(note, int(figure.get_figwidth() / style.LETTER))
        figure.supxlabel("\n".join(lines), fontsize=8, color=".4")
    if conflicting is not None:
        _by_conflict(axes[1], places, conflicting[chosen])
    middle, half = (places.max(0) + places.min(0)) / 2, 0.54 * np.ptp(places, 0).max()
    for axis in axes:
        axis.set(xticks=[], yticks=[], xlim=middle[0] + [-half, half], ylim=middle[1] + [-half, half])
    dataset, ratio, surrogate, seed = (folder.name for folder in reversed(path.parents[:4]))
    key = {"dataset": dataset, "ratio": ratio, "surrogate": surrogate, "seed": seed.removeprefix("seed")}
    style.title(figure, style.describe([key])[1] + f", {len(chosen)} samples")
    axes[0].set_xlabel("t-SNE map: only what lies close\ntogether can be compared", fontsize=8, color=".4")
    return figure


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the embedding (N, D), the labels (N,) and which samples conflict (N,), None where that is unknown."""
    columns, meta = store.read_arrow(path)
    store.require(path, "the embedding of a surrogate", columns, ("embedding", "label"))
    embedding = columns["embedding"].view(np.float32)
    store.require_finite(path, "embedding", embedding)
    conflicting = groups.conflicting(columns["label"], columns.get("attribute"), meta.get("pairing", groups.IDENTITY))
    return embedding, columns["label"], conflicting


def _choice(count: int, samples: int) -> np.ndarray:
    """Return which of `count` samples are shown: the same ones each time."""
    return np.sort(np.random.default_rng(SEED).permutation(count)[:samples])


def _map(embedding: np.ndarray) -> np.ndarray:
    """Return places (N, 2) of an embedding (N, D)."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    count, dimensions = embedding.shape
    components = min(COMPONENTS, count, dimensions)
    perplexity = min(PERPLEXITY, (count - 1) / 3)
    with threadpool_limits(1):  # the same map for any number of cores, and no threads that wait for each other
        reduced = PCA(components, svd_solver="full").fit_transform(embedding.astype(np.float64))
        return TSNE(2, perplexity=perplexity, init="pca", random_state=SEED).fit_transform(reduced)


def _names(datasets: Sequence[str | Path]) -> tuple[list[str] | None, str]:
    """Return the names of the classes, None where they are not known, and what has to be said of them."""
    for path in datasets:
        meta = store.read_arrow(path)[1]
        store.require(path, "a split", meta, ("label_names",))
        return names.classes(meta["label_names"])
    return None, ""


def _by_label(axis, places: np.ndarray, labels: np.ndarray, classes: list[str] | None) -> None:
    """Draw a colour for each class, with its name in the middle of its samples, since colours do not print in grey."""
    from matplotlib.patheffects import withStroke

    present = np.unique(labels)
    for label in present:
        mine = places[labels == label]
        axis.scatter(*mine.T, s=7, alpha=0.6, linewidths=0, color=style.colour(int(label)))
        if len(present) <= NAMED:
            # The place of a sample: a median may lie between two clusters.
            centre = mine[np.argmin(np.abs(mine - np.median(mine, 0)).sum(1))]
            text = classes[label] if classes else str(label)
            halo = [withStroke(linewidth=2.5, foreground="white")]
            axis.text(*centre, text, ha="center", va="center", weight="bold", path_effects=halo)
    axis.set_title("by label")


def _by_conflict(axis, places: np.ndarray, conflicting: np.ndarray) -> None:
    """Draw conflicting samples on top, larger and of another shape: they are few."""
    aligned = {"s": 7, "alpha": 0.45, "linewidths": 0, "color": style.colour(style.ALIGNED)}
    crossed = {"s": 14, "linewidths": 0.9, "marker": "x", "color": style.colour(style.CONFLICTING)}
    for name, mask, look in (("aligned", ~conflicting, aligned), ("conflicting", conflicting, crossed)):
        axis.scatter(*places[mask].T, label=f"{name} ({mask.sum()})", **look)
    axis.set_title("by attribute")
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "ncols": 2}
    axis.legend(**below, handletextpad=0.2, columnspacing=1.2, markerscale=1.5)
